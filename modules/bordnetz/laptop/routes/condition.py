"""The WHERE part of a route: from tokens to a function over a message.

Precedence as in Edge hub's grammar, loosest first: ``??``, OR, AND, equality, order, ``+ - ||``,
``* / %``, then the unary ``-`` and NOT, which bind tighter than any comparison: NOT (a = 'b')
needs its parentheses.  Types are checked before there is a message: properties are text, so
``as_number(speed) > 5``; what comes from the body is checked when it comes.

Truth has three values.  A condition that ends undefined does not match.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from bordnetz.laptop.routes.functions import (
    FUNCTIONS,
    UNDEFINED,
    Type,
    Value,
    concat,
    number,
    utf16,
)
from bordnetz.laptop.routes.message import Message
from bordnetz.laptop.routes.tokens import Cursor, Lexeme, Token

MAX_DEPTH = 50
"""Parentheses, functions, NOT and minus signs inside each other: no hand-written one needs more."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A part of a condition: where it stands, what is known of it, how to get its value."""

    position: int
    type: Type
    value: Callable[[Message], Value]


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    return math.copysign(math.inf, left) * math.copysign(1.0, right) if left else math.nan


def _remainder(left: float, right: float) -> float:
    return math.fmod(left, right) if right and math.isfinite(left) else math.nan


_ARITHMETIC: Final[dict[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
}
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _calculate(sign: str, left: Value, right: Value) -> Value:
    if not isinstance(left, float) or not isinstance(right, float):
        return UNDEFINED
    return number(_ARITHMETIC[sign](left, right))


def _compare(sign: str, left: Value, right: Value) -> Value:
    """Values of one type by their order; of two types, which the body may bring, by type."""
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    return _COMPARE[sign](_key(left), _key(right))


def _key(value: Value) -> tuple[int, Any]:
    if isinstance(value, bool):
        return 0, value
    if isinstance(value, float):
        return 1, value
    if isinstance(value, str):
        return 2, utf16(value)
    return 3, 0


def _logic(decisive: bool, left: Value, right: Value) -> Value:
    """AND (decided by a false) or OR (decided by a true) with three values."""
    if left is decisive or right is decisive:
        return decisive
    return UNDEFINED if left is UNDEFINED or right is UNDEFINED else not decisive


def _logic_of_body(decisive: bool, left: Value, right: Value) -> Value:
    """As `_logic`, but one value that is neither true nor false spoils the other, as there."""
    if not isinstance(left, bool) or not isinstance(right, bool):
        return UNDEFINED
    return _logic(decisive, left, right)


def parse_condition(cursor: Cursor) -> Callable[[Message], bool]:
    """Read a condition; the cursor stays at what follows it.

    Returns:
        A pure function that tells whether a message matches.

    Raises:
        RouteError: No condition, or one of the wrong types.
    """
    expression = _Parser(cursor).expression()
    if expression.type not in (Type.BOOL, Type.JSON):
        raise cursor.error(
            f"this is {expression.type.value}, so it never matches; "
            "WHERE needs a comparison or a function that is true or false",
            expression.position,
        )
    return lambda message: expression.value(message) is True


_LEVELS: Final[tuple[tuple[str, ...], ...]] = (
    ("??",),
    ("OR",),
    ("AND",),
    ("=", "!=", "<>"),
    ("<", "<=", ">", ">="),
    ("+", "-", "||"),
    ("*", "/", "%"),
)
"""Binary operators, loosest first; those of a level from left to right."""

_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))")
_STEP = re.compile(r"([^.*()\[\]]+)(?:\[([0-9]{1,9})\])?")
_BODY = "$body."


class _Parser:
    """Precedence climbing over the cursor; chains are loops, so only nesting goes deep."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._depth = 0

    def expression(self, level: int = 0) -> Expression:
        """Operators of ``level`` and all tighter ones."""
        if level == len(_LEVELS):
            return self._unary()
        left = self.expression(level + 1)
        steps: list[tuple[Callable[[Value, Value], Value], Callable[[Message], Value]]] = []
        first = left.value
        while sign := self._cursor.accept(*_LEVELS[level]):
            right = self.expression(level + 1)
            kind, run = self._operator(sign, left, right)
            steps.append((run, right.value))
            left = Expression(left.position, kind, left.value)
        if not steps:
            return left

        def value(message: Message) -> Value:
            result = first(message)
            for run, operand in steps:
                result = run(result, operand(message))
            return result

        return Expression(left.position, left.type, value)

    def _operator(
        self, sign: Lexeme, left: Expression, right: Expression
    ) -> tuple[Type, Callable[[Value, Value], Value]]:
        """The type of the result and the operator, once the operands' types are right."""
        text, types = sign.text, (left.type, right.type)
        body = Type.JSON in types
        if text in ("AND", "OR"):
            self._need(Type.BOOL, f"{text} needs a condition on both sides", left, right)
            if right.type is Type.JSON and left.type is not Type.JSON:
                raise self._cursor.error(
                    f"Edge hub takes no bare value of the body after {text}; write '... = true'",
                    right.position,
                )
            decisive = text == "OR"
            if body:
                return Type.JSON, lambda a, b: _logic_of_body(decisive, a, b)
            return Type.BOOL, lambda a, b: _logic(decisive, a, b)
        if text == "||":
            self._need(Type.TEXT, "'||' joins text", left, right)
            return Type.TEXT, concat
        if text in _ARITHMETIC:
            self._need(Type.NUMBER, f"'{text}' needs numbers", left, right)
            if text == "%" and body:
                raise self._cursor.error(
                    "Edge hub cannot take '%' of a value of the body; use as_number(...)",
                    sign.position,
                )
            return Type.JSON if body else Type.NUMBER, lambda a, b: _calculate(text, a, b)
        if not body and left.type is not right.type:
            raise self._cursor.error(
                f"'{text}' between {left.type.value} and {right.type.value}{_advice(*types)}",
                sign.position,
            )
        if text == "??":
            return Type.JSON if body else left.type, lambda a, b: b if a is UNDEFINED else a
        return Type.BOOL, lambda a, b: _compare(text, a, b)

    def _need(self, kind: Type, rule: str, *operands: Expression) -> None:
        for operand in operands:
            if not kind.fits(operand.type):
                raise self._cursor.error(
                    f"{rule}, this is {operand.type.value}{_advice(operand.type, kind)}",
                    operand.position,
                )

    def _unary(self) -> Expression:
        start = self._cursor.here
        if not (sign := self._cursor.accept("-", "NOT")):
            return self._primary()
        operand = self._nested(start, self._unary)
        inner = operand.value
        if sign.text == "NOT":
            self._need(
                Type.BOOL, "NOT takes what follows it directly; write NOT (...) around it", operand
            )

            def negated(message: Message) -> Value:
                truth = inner(message)
                return not truth if isinstance(truth, bool) else UNDEFINED

            return Expression(start.position, Type.BOOL, negated)
        self._need(Type.NUMBER, "'-' needs a number", operand)
        if operand.type is Type.JSON:
            raise self._cursor.error(
                "Edge hub cannot negate a value of the body; use as_number(...)", operand.position
            )
        return Expression(
            start.position, Type.NUMBER, lambda message: _calculate("-", 0.0, inner(message))
        )

    def _nested(self, start: Lexeme, parse: Callable[[], Expression]) -> Expression:
        if self._depth == MAX_DEPTH:
            raise self._cursor.error(f"nested deeper than {MAX_DEPTH} levels", start.position)
        self._depth += 1
        try:
            return parse()
        finally:
            self._depth -= 1

    def _primary(self) -> Expression:
        lexeme = self._cursor.here
        if self._cursor.accept("("):
            inside = self._nested(lexeme, self.expression)
            self._cursor.expect(")", "to close the parenthesis")
            return Expression(lexeme.position, inside.type, inside.value)
        if self._cursor.accept("{"):
            name = self._cursor.take()
            if name.token is not Token.SYSTEM:
                raise self._cursor.error("'{' needs a name that begins with '$'", name.position)
            self._cursor.expect("}", "after the name")
            return self._system(name, escaped=True)
        if lexeme.token not in (
            Token.NAME,
            Token.LITERAL,
            Token.SYSTEM,
            Token.STRING,
            Token.NUMBER,
        ):
            raise self._cursor.error(f"expected a property, a value or '(', found {lexeme}")
        self._cursor.take()
        if lexeme.token is Token.NAME:
            if self._cursor.accept("("):
                return self._nested(lexeme, lambda: self._call(lexeme))
            return Expression(
                lexeme.position, Type.TEXT, lambda message: message.property(lexeme.text)
            )
        if lexeme.token is Token.SYSTEM:
            return self._system(lexeme)
        return self._constant(lexeme)

    def _constant(self, lexeme: Lexeme) -> Expression:
        text = lexeme.text
        kind: Type
        constant: Value
        if lexeme.token is Token.STRING:
            kind, constant = Type.TEXT, _unescape(text[1:-1])
        elif lexeme.token is Token.NUMBER:
            kind, constant = Type.NUMBER, self._number(lexeme)
        elif text == "null":
            kind, constant = Type.NULL, None
        elif text == "undefined":
            raise self._cursor.error(
                "nothing equals undefined; use is_defined(...)", lexeme.position
            )
        else:
            kind, constant = Type.BOOL, text == "true"
        return Expression(lexeme.position, kind, lambda _message: constant)

    def _number(self, lexeme: Lexeme) -> float:
        try:
            if lexeme.text[:2] in ("0x", "0X"):
                return float(int(lexeme.text, 16))
            return float(lexeme.text)
        except (ValueError, OverflowError):
            raise self._cursor.error(
                f"Edge hub reads '{lexeme.text}' as a number, but it is none", lexeme.position
            ) from None

    def _system(self, lexeme: Lexeme, *, escaped: bool = False) -> Expression:
        """``$name``: a user property of that name first, unless escaped as ``{$name}``."""
        name = lexeme.text
        kind: Type
        value: Callable[[Message], Value]
        if name.lower().startswith(_BODY):
            path = self._body_path(lexeme)
            kind, value = Type.JSON, lambda message: message.at(path)
        elif "[" in name or "]" in name:
            raise self._cursor.error("only $body has elements", lexeme.position)
        else:
            kind, value = Type.TEXT, lambda message: message.system(name[1:])
        if escaped or "[" in name:
            return Expression(lexeme.position, kind, value)
        fallback = value

        def user_first(message: Message) -> Value:
            user = message.property(name)
            return fallback(message) if user is UNDEFINED else user

        return Expression(lexeme.position, kind, user_first)

    def _body_path(self, lexeme: Lexeme) -> tuple[str | int, ...]:
        path: list[str | int] = []
        for part in lexeme.text[len(_BODY) :].split("."):
            step = _STEP.fullmatch(part)
            if not step:
                raise self._cursor.error(
                    "a path into the body is $body.name, $body.name.name or $body.name[0]",
                    lexeme.position,
                )
            path.append(step.group(1))
            if step.group(2):
                path.append(int(step.group(2)))
        return tuple(path)

    def _call(self, name: Lexeme) -> Expression:
        """A function, its opening parenthesis read."""
        function = FUNCTIONS.get(name.text.lower())
        if function is None:
            raise self._cursor.error(
                f"no function '{name.text}'; there are {', '.join(FUNCTIONS)}", name.position
            )
        arguments: list[Expression] = []
        if not self._cursor.accept(")"):
            arguments.append(self.expression())
            while self._cursor.accept(","):
                arguments.append(self.expression())
            self._cursor.expect(")", f"after the arguments of {name.text}")
        if not function.takes([argument.type for argument in arguments]):
            wanted = ", ".join(parameter.value for parameter in function.parameters)
            given = ", ".join(argument.type.value for argument in arguments) or "nothing"
            raise self._cursor.error(f"{name.text} takes ({wanted}), not ({given})", name.position)
        values = tuple(argument.value for argument in arguments)
        run = function.run
        return Expression(
            name.position, function.result, lambda message: run(*(v(message) for v in values))
        )


def _unescape(text: str) -> str:
    units = _ESCAPE.sub(lambda m: chr(int(m.group(1), 16)) if m.group(1) else m.group(2), text)
    # Two \u escapes may be the halves of one character.
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _advice(*types: Type) -> str:
    if set(types) == {Type.TEXT, Type.NUMBER}:
        return "; properties are text: use as_number(...), or quote the number"
    if set(types) == {Type.TEXT, Type.BOOL}:
        return "; properties are text: compare with 'true' or another string"
    return ""
