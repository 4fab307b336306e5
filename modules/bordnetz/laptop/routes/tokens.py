"""Cuts a route into tokens: the longest match wins, as in Edge hub's lexer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

from bordnetz.errors import BordnetzError

MAX_LENGTH = 4096
"""Characters of a route: what a twin holds in one string value (IoT Hub, device twins)."""

_VIEW = 60
"""Characters shown on either side of the place of an error."""


class RouteError(BordnetzError):
    """A route that Edge hub would refuse, or accept and never match as meant.

    Attributes:
        problem: What is wrong and what to write instead.
        position: Index into the text of the route where it is wrong.
    """

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.problem = problem
        self.position = position
        start = max(0, position - _VIEW)
        view = re.sub(r"\s", " ", text[start : position + _VIEW])
        caret = " " * (position - start) + "^"
        super().__init__(f"column {position + 1}: {problem}\n    {view}\n    {caret}")


class Token(Enum):
    """What a token is."""

    NAME = auto()
    KEYWORD = auto()
    LITERAL = auto()
    SYSTEM = auto()
    STRING = auto()
    NUMBER = auto()
    SYMBOL = auto()
    END = auto()


@dataclass(frozen=True, slots=True)
class Lexeme:
    """One token of a route: keywords in upper case, all else as written."""

    token: Token
    text: str
    position: int

    def __str__(self) -> str:
        return "the end of the route" if self.token is Token.END else f"'{self.text}'"


_SPACE = re.compile(r"[ \t\r\n]+")
_NAME = re.compile(r'[^()<>@,;:\\"/\[\]?={} \t\r\n]+')
_SYSTEM = re.compile(r'\$[^()<>@,;:\\"/?={} \t\r\n]+')
_ESCAPE = r"\\(?:[\"'\\]|u[0-9A-Fa-f]{4})"
_STRING = re.compile(rf"\"(?:{_ESCAPE}|[^\"\\])*\"|'(?:{_ESCAPE}|[^'\\])*'")
_NUMBER = re.compile(
    r"0[xX][0-9a-fA-F]+|-?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?|-?[0-9]*[eE][+-]?[0-9]+|-?[0-9]+"
)
_SYMBOL = re.compile(r"<>|<=|>=|!=|\|\||\?\?|[()<>=,/{}*+%-]")
_PATTERNS = (
    (Token.STRING, _STRING),
    (Token.NUMBER, _NUMBER),
    (Token.SYMBOL, _SYMBOL),
    (Token.SYSTEM, _SYSTEM),
    (Token.NAME, _NAME),
)
"""In the order that decides between matches of one length."""

_KEYWORDS = frozenset({"SELECT", "FROM", "WHERE", "INTO", "AND", "OR", "NOT"})
_LITERALS = frozenset({"true", "false", "null", "undefined"})
_UNFINISHED = (
    "the string that begins here does not end, or has an escape other than "
    "\\\\ \\\" \\' and \\uXXXX"
)
_GLUED = re.compile(r"['!*+%|&]|^-")
"""Marks a name that swallowed an operator or a quote."""


def tokenize(text: str) -> list[Lexeme]:
    """Cut ``text``; the last token is always `Token.END`.

    Raises:
        RouteError: Too long, a character that begins nothing, an unfinished string, a comment,
            or a name that swallowed its neighbour.
    """
    if len(text) > MAX_LENGTH:
        raise RouteError(
            text,
            MAX_LENGTH,
            f"the route has {len(text)} characters; a twin holds {MAX_LENGTH} in one string",
        )
    lexemes: list[Lexeme] = []
    position = 0
    while position < len(text):
        if space := _SPACE.match(text, position):
            position = space.end()
            continue
        lexeme = _longest(text, position)
        lexemes.append(lexeme)
        position += len(lexeme.text)
    lexemes.append(Lexeme(Token.END, "", len(text)))
    return lexemes


def _longest(text: str, position: int) -> Lexeme:
    """The longest token at ``position``; the first kind of `_PATTERNS` among equals."""
    if text.startswith("/*", position) and (end := text.find("*/", position + 2)) >= 0:
        raise RouteError(
            text,
            position,
            f"Edge hub takes '{text[position : end + 2]}' for a comment; "
            "leave out either '/*' or '*/'",
        )
    token, found = Token.END, ""
    for kind, pattern in _PATTERNS:
        match = pattern.match(text, position)
        if match and len(match.group()) > len(found):
            token, found = kind, match.group()
    if not found:
        if text[position] == '"':
            raise RouteError(text, position, _UNFINISHED)
        raise RouteError(text, position, f"'{text[position]}' has no meaning in a route")
    if token is Token.NAME:
        return _named(text, found, position)
    return Lexeme(token, found, position)


def _named(text: str, name: str, position: int) -> Lexeme:
    """A keyword, a literal or a name; no name that is none."""
    if name.upper() in _KEYWORDS:
        return Lexeme(Token.KEYWORD, name.upper(), position)
    if name in _LITERALS:
        return Lexeme(Token.LITERAL, name, position)
    if name.lower() in _LITERALS:
        raise RouteError(
            text, position, f"Edge hub reads '{name}' as a property; write '{name.lower()}'"
        )
    if name.startswith("'") and name.count("'") % 2:
        raise RouteError(text, position, _UNFINISHED)
    if _GLUED.search(name):
        raise RouteError(
            text,
            position,
            f"Edge hub reads '{name}' as one name; "
            "put spaces around operators and strings, and use '*' alone between slashes",
        )
    return Lexeme(Token.NAME, name, position)


class Cursor:
    """Walks over the tokens of a route."""

    def __init__(self, text: str) -> None:
        """Cut ``text``.

        Raises:
            RouteError: As `tokenize`.
        """
        self.text = text
        self._lexemes = tokenize(text)
        self._index = 0

    @property
    def here(self) -> Lexeme:
        """The token to be read next."""
        return self._lexemes[self._index]

    def take(self) -> Lexeme:
        """Read one token; the end stays where it is."""
        lexeme = self.here
        if lexeme.token is not Token.END:
            self._index += 1
        return lexeme

    def accept(self, *texts: str) -> Lexeme | None:
        """Read a symbol or a keyword if it is one of ``texts``."""
        if self.here.token in (Token.SYMBOL, Token.KEYWORD) and self.here.text in texts:
            return self.take()
        return None

    def expect(self, text: str, where: str) -> Lexeme:
        """Read a symbol or a keyword that must stand here.

        Raises:
            RouteError: Something else stands here.
        """
        found = self.accept(text)
        if found is None:
            raise self.error(f"expected '{text}' {where}, found {self.here}")
        return found

    def end(self, what: str) -> None:
        """Make sure that the route ends here.

        Raises:
            RouteError: Something follows ``what``.
        """
        if self.here.token is not Token.END:
            raise self.error(f"nothing may follow {what}, found {self.here}")

    def error(self, problem: str, position: int | None = None) -> RouteError:
        """An error at ``position``, or at the token to be read next."""
        return RouteError(self.text, self.here.position if position is None else position, problem)
