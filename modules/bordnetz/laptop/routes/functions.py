"""The functions of a route's condition, on values as Edge hub has them.

Values are text (str), numbers (float), true and false (bool), null (None) and `UNDEFINED`.
Whatever has no answer is undefined: a function never fails on a message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from bordnetz.laptop.routes.tokens import MAX_LENGTH


class Undefined(Enum):
    """The type of `UNDEFINED`: what a missing property and a failed function are."""

    UNDEFINED = auto()


UNDEFINED: Final = Undefined.UNDEFINED

Value = str | float | bool | None | Undefined

MAX_TEXT = 262_144
"""Longest text a function makes, in UTF-16 units: no message is longer (IoT Hub, quotas)."""


class Type(Enum):
    """What is known of an expression before there is a message."""

    TEXT = "text"
    NUMBER = "a number"
    BOOL = "true or false"
    NULL = "null"
    JSON = "a value of the body"
    ANY = "anything"

    def fits(self, other: Type) -> bool:
        """Whether a parameter of this type takes an argument of the other."""
        return self is other or self is Type.ANY or other is Type.JSON


@dataclass(frozen=True, slots=True)
class Function:
    """One function.

    Attributes:
        parameters: Their types.
        result: Its type.
        run: Takes as many values as there are arguments; their types are checked here only for
            what was unknown before the message came.
        optional: How many of the last parameters may be left out.
        repeats: Whether the last parameter may come again and again.
    """

    parameters: tuple[Type, ...]
    result: Type
    run: Callable[..., Value]
    optional: int = 0
    repeats: bool = False

    def takes(self, arguments: Sequence[Type]) -> bool:
        """Whether it can be called so."""
        least = len(self.parameters) - self.optional
        if len(arguments) < least or (len(arguments) > len(self.parameters) and not self.repeats):
            return False
        padding = (self.parameters[-1],) * (len(arguments) - len(self.parameters))
        return all(
            parameter.fits(argument)
            for parameter, argument in zip((*self.parameters, *padding), arguments, strict=False)
        )


def number(value: float) -> Value:
    """A result of arithmetic: what is not a number is undefined."""
    return UNDEFINED if math.isnan(value) else value


def utf16(text: str) -> bytes:
    """Text as Edge hub counts and orders it: big-endian UTF-16 code units."""
    return text.encode("utf-16-be", "surrogatepass")


def _floats(run: Callable[..., float]) -> Callable[..., Value]:
    """``run`` on numbers; undefined for all else, and where it has no answer."""

    def guarded(*values: Value) -> Value:
        if not all(isinstance(value, float) for value in values):
            return UNDEFINED
        try:
            return number(float(run(*values)))
        except ValueError:
            return UNDEFINED
        except OverflowError:
            return math.inf

    return guarded


def _texts(run: Callable[..., Value]) -> Callable[..., Value]:
    """``run`` on text; undefined for all else."""

    def guarded(*values: Value) -> Value:
        return run(*values) if all(isinstance(value, str) for value in values) else UNDEFINED

    return guarded


def _whole(value: float, rounded: Callable[[float], int]) -> float:
    return float(rounded(value)) if math.isfinite(value) else value


def _is(kind: type) -> Callable[[Value], Value]:
    def check(value: Value) -> Value:
        return UNDEFINED if value is UNDEFINED else isinstance(value, kind)

    return check


_DECIMAL = re.compile(r"\s*[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*")


def _as_number(value: Value) -> Value:
    """The number that a text spells in plain decimal form."""
    if isinstance(value, str):
        short = len(value) <= MAX_LENGTH and _DECIMAL.fullmatch(value)
        return float(value) if short else UNDEFINED
    return value if isinstance(value, float) else UNDEFINED


def concat(*values: Value) -> Value:
    """All texts one after the other."""
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values) or sum(map(len, texts)) > MAX_TEXT:
        return UNDEFINED
    return "".join(texts)


def _substring(text: Value, start: Value, length: Value = None) -> Value:
    """A part of a text; positions count UTF-16 units from 0."""
    if not isinstance(text, str) or not isinstance(start, float):
        return UNDEFINED
    units = utf16(text)
    available = len(units) // 2
    if length is None:
        if not 0 <= start <= available:
            return UNDEFINED
        part = units[2 * int(start) :]
    else:
        if not isinstance(length, float) or not 0 <= start < available:
            return UNDEFINED
        if not 0 <= length <= available - start:
            return UNDEFINED
        part = units[2 * int(start) : 2 * (int(start) + int(length))]
    return part.decode("utf-16-be", "surrogatepass")


def _index_of(text: str, fragment: str) -> Value:
    found = text.find(fragment)
    return float(found) if found < 0 else len(utf16(text[:found])) / 2


def _cased(convert: Callable[[str], str]) -> Callable[[str], str]:
    """Case one character at a time: .NET keeps the length of a text."""

    def run(text: str) -> str:
        return "".join(
            new if len(new := convert(character)) == 1 else character for character in text
        )

    return run


_NUMBER, _TEXT = Type.NUMBER, Type.TEXT

FUNCTIONS: Final[dict[str, Function]] = {
    "abs": Function((_NUMBER,), _NUMBER, _floats(abs)),
    "as_number": Function((_TEXT,), _NUMBER, _as_number),
    "ceiling": Function((_NUMBER,), _NUMBER, _floats(lambda x: _whole(x, math.ceil))),
    "concat": Function((_TEXT, _TEXT), _TEXT, concat, repeats=True),
    "contains": Function((_TEXT, _TEXT), Type.BOOL, _texts(lambda a, b: b in a)),
    "ends_with": Function((_TEXT, _TEXT), Type.BOOL, _texts(lambda a, b: a.endswith(b))),
    "exp": Function((_NUMBER,), _NUMBER, _floats(math.exp)),
    "floor": Function((_NUMBER,), _NUMBER, _floats(lambda x: _whole(x, math.floor))),
    "index_of": Function((_TEXT, _TEXT), _NUMBER, _texts(_index_of)),
    "is_bool": Function((Type.ANY,), Type.BOOL, _is(bool)),
    "is_defined": Function((Type.ANY,), Type.BOOL, lambda value: value is not UNDEFINED),
    "is_number": Function((Type.ANY,), Type.BOOL, _is(float)),
    "is_string": Function((Type.ANY,), Type.BOOL, _is(str)),
    "length": Function((_TEXT,), _NUMBER, _texts(lambda text: len(utf16(text)) / 2)),
    "lower": Function((_TEXT,), _TEXT, _texts(_cased(str.lower))),
    "power": Function((_NUMBER, _NUMBER), _NUMBER, _floats(math.pow)),
    "sign": Function((_NUMBER,), _NUMBER, _floats(lambda x: (x > 0) - (x < 0))),
    "sqrt": Function((_NUMBER,), _NUMBER, _floats(math.sqrt)),
    "square": Function((_NUMBER,), _NUMBER, _floats(lambda x: x * x)),
    "starts_with": Function((_TEXT, _TEXT), Type.BOOL, _texts(lambda a, b: a.startswith(b))),
    "substring": Function((_TEXT, _NUMBER, _NUMBER), _TEXT, _substring, optional=1),
    "upper": Function((_TEXT,), _TEXT, _texts(_cased(str.upper))),
}
"""By name in lower case; Edge hub takes the names in any case."""
