"""The text of a DBC file, cut into its statements.

Files of the real world leave out semicolons, senders and receivers, write ``.25``, let names
begin with digits, and have text in them that belongs to nothing.  What can be understood is
taken; a statement that cannot is handed on as far as it could be read, and reading goes on at
the next line that begins with a keyword, so that it costs none of its neighbours.

Every pattern here is possessive: it never looks again at what it has passed.  A statement that is
wrong can make a text run on to the next quotation mark, but not beyond the one after it: no part
before a text can end with the backslash that would hide its first quotation mark from another one.
So the time is linear in the size of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

__all__ = ["PAIR", "RANGE", "Statement", "statements", "unquoted"]

_KEYWORDS = [
    *("BA_", "BA_DEF_", "BA_DEF_DEF_", "BA_DEF_DEF_REL_", "BA_DEF_REL_", "BA_DEF_SGTYPE_"),
    *("BA_REL_", "BA_SGTYPE_", "BO_", "BO_TX_BU_", "BS_", "BU_", "BU_BO_REL_", "BU_EV_REL_"),
    *("BU_SG_REL_", "CAT_", "CAT_DEF_", "CM_", "ENVVAR_DATA_", "EV_", "EV_DATA_", "FILTER", "NS_"),
    *("NS_DESC_", "SGTYPE_", "SGTYPE_VAL_", "SG_", "SG_MUL_VAL_", "SIGTYPE_VALTYPE_", "SIG_GROUP_"),
    *("SIG_TYPE_REF_", "SIG_VALTYPE_", "VAL_", "VAL_TABLE_", "VERSION"),
]
_KEY = rf"(?:{'|'.join(sorted(_KEYWORDS, key=len, reverse=True))})(?!\w)"
_NEXT = rf"[ \t]*+{_KEY}"
"""Behind the end of a line: the next one begins a statement."""

_SPACE = r"(?:\s++|//[^\n]*+)*+"
_NUMBER = r"[-+]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][-+]?\d++)?+"
_RESERVED = rf"(?:{'|'.join(word for word in _KEYWORDS if word.endswith('_'))})(?!\w)"
_NAME = rf'(?!//|{_RESERVED})[^\s:;,"\\]++'
_TEXT = rf'"(?:[^"\\\n]++|\\"?+|\n(?!{_NEXT}))*+"'
"""A text in quotation marks; one of which the second is missing ends with its statement."""
_COMMENT = r'"(?:[^"\\]++|\\"?+)*+"'
"""The same of a comment, which may have lines that look like statements."""
_END = rf"(?P<end>;|(?={_KEY}|\Z))"
"""A semicolon; where it is missing, it belongs before the next statement."""
_OBJECT = (
    rf"(?:BO_{_SPACE}(?P<message>{_NUMBER})"
    rf"|SG_{_SPACE}(?P<id>{_NUMBER}){_SPACE}(?P<name>{_NAME})"
    rf"|(?P<other>(?:BU_|EV_){_SPACE}{_NAME}))?+"
)
"""What an attribute is of."""
_TAIL = (
    rf"(?:{_SPACE}\[{_SPACE}(?P<low>{_NUMBER}){_SPACE}\|{_SPACE}(?P<high>{_NUMBER}){_SPACE}\])?+"
    rf"(?:{_SPACE}(?P<unit>{_TEXT})"
    rf"(?:[ \t]*+(?P<receivers>{_NAME}(?:(?:{_SPACE},{_SPACE}|[ \t]++){_NAME})*+))?+)?+"
    rf"(?:[ \t]++|//[^\n]*+)*+(?P<stray>(?!{_KEY})[^\n]++)?+"
)
"""What follows factor and offset of a signal, which is of use without it."""
_PIECE = rf'[^";\n/]++|/(?:/[^\n]*+)?+|"(?:(?:[^"\n]++|\n(?!{_NEXT}))*+")?+|\n(?!{_NEXT})'
"""Anything but a semicolon, in texts of any kind: here they end at the next quotation mark."""
_REST = rf"(?:{_PIECE})*+"
"""Whatever there is up to a semicolon or to the next statement."""

PAIR = re.compile(rf"(?P<value>{_NUMBER}){_SPACE}(?P<text>{_TEXT})", re.ASCII)
"""A raw value and its text."""
RANGE = re.compile(rf"(?P<low>{_NUMBER})\s*+-\s*+(?P<high>{_NUMBER})", re.ASCII)
"""First and last value of a multiplexer that select a signal."""


def _bare(pattern: re.Pattern[str]) -> str:
    return re.sub(r"\?P<\w+>", "?:", pattern.pattern)


_FORMS: dict[str, tuple[str, ...]] = {
    "BO_": (
        rf"(?P<id>{_NUMBER})(?!\w)",
        rf"(?P<name>{_NAME})",
        r"(?P<colon>:?)",
        rf"(?P<length>{_NUMBER})(?:[ \t]*+(?P<sender>{_NAME}))?+",
    ),
    "SG_": (
        rf"(?P<name>{_NAME})",
        rf"(?P<mark>(?:{_NAME})?)",
        ":",
        rf"(?P<start>{_NUMBER})",
        r"\|",
        rf"(?P<length>{_NUMBER})",
        "@",
        "(?P<order>[01])",
        "(?P<sign>[-+])",
        r"\(",
        rf"(?P<factor>{_NUMBER})",
        ",",
        rf"(?P<offset>{_NUMBER})",
        rf"\){_TAIL}",
    ),
    "VAL_": (
        rf"(?:(?P<id>{_NUMBER})(?=[\s/]){_SPACE})?+",
        rf"(?P<name>{_NAME})",
        rf"(?P<pairs>(?:{_bare(PAIR)}{_SPACE})*+)",
        _END,
    ),
    "SIG_VALTYPE_": (
        rf"(?P<id>{_NUMBER})(?!\w)",
        rf"(?P<name>{_NAME})",
        ":?",
        rf"(?P<kind>{_NUMBER})",
        _END,
    ),
    "SG_MUL_VAL_": (
        rf"(?P<id>{_NUMBER})(?!\w)",
        rf"(?P<name>{_NAME})",
        rf"(?P<selector>{_NAME})",
        rf"(?P<ranges>{_bare(RANGE)}(?:{_SPACE},{_SPACE}{_bare(RANGE)})*+)",
        _END,
    ),
    "BA_DEF_": (
        "(?:(?:SG_|BO_|EV_|BU_)(?!\\w))?+",
        rf"(?P<attribute>{_TEXT})",
        rf"(?P<type>{_NAME})(?P<values>{_REST})",
        _END,
    ),
    "BA_DEF_DEF_": (rf"(?P<attribute>{_TEXT})", rf"(?P<value>{_NUMBER}|{_TEXT})", _END),
    "BA_": (
        rf"(?P<attribute>{_TEXT})",
        _OBJECT,
        rf"(?P<value>{_NUMBER}|{_TEXT})",
        _END,
    ),
    "CM_": (
        r"(?P<of>(?:(?:BO_|SG_|BU_|EV_)(?!\w))?)",
        rf"(?P<id>(?:{_NUMBER}(?=[\s/\"]))?)",
        rf"(?P<name>(?:{_NAME})?)",
        rf"(?P<text>{_COMMENT})",
        _END,
    ),
    "VERSION": (_TEXT,),
    # A list of keywords, each on a line of its own.
    "NS_": (r":[ \t\w]*+(?:\n[ \t]*+\w*+[ \t]*+(?=\n|\Z))*+",),
    "BS_": (r":[^\n;]*+;?",),
    "BU_": (rf":{_REST};?",),
}


class _Form:
    """How statements of one keyword are written."""

    def __init__(self, keyword: str) -> None:
        # Of statements without a form nothing is of use here.
        rest = "" if keyword in _FORMS else f"{_REST};?"
        self._parts = [rf"{keyword}(?!\w){rest}", *_FORMS.get(keyword, ())]

    @cached_property
    def whole(self) -> re.Pattern[str]:
        """All of it; compiled when the first statement of the keyword is read."""
        return re.compile(_SPACE.join(self._parts), re.ASCII)

    @cached_property
    def _beginnings(self) -> list[re.Pattern[str]]:
        """The form up to each of its parts, most parts first."""
        joined = accumulate(self._parts[:-1], lambda done, part: f"{done}{_SPACE}{part}")
        return [re.compile(text, re.ASCII) for text in reversed(list(joined))]

    def as_far_as_it_goes(self, text: str, at: int) -> re.Match[str]:
        """What of a statement that is not of this form is."""
        found = (pattern.match(text, at) for pattern in self._beginnings)
        return next(match for match in found if match)


_FORM = {keyword: _Form(keyword) for keyword in _KEYWORDS}
_BLANK = re.compile(_SPACE, re.ASCII)
_KEYWORD = re.compile(_KEY, re.ASCII)
_SKIPPED = re.compile(rf"{_REST};?+", re.ASCII)
_UNKNOWN = re.compile(rf"(?:{_PIECE}|;(?!\s*+{_KEY}))*+;?+", re.ASCII)
"""Text without a keyword, up to where one can stand."""
_HEADER = re.compile(rf"\S{{1,20}}+\s++{_NUMBER}\s++{_NAME}\s*+:\s*+{_NUMBER}", re.ASCII)


class Statement(NamedTuple):
    """A statement, or what stands in the place of one.

    Attributes:
        keyword: That it begins with; "" for text that belongs to nothing.
        at: Where in the text it begins.
        parts: What of it follows the grammar, None for text that belongs to nothing.
        ends: Where it stops to follow the grammar; None for a statement that does to its end.
        is_header: Whether text that belongs to nothing could be a message's, misspelt.
    """

    keyword: str
    at: int
    parts: re.Match[str] | None
    ends: int | None = None
    is_header: bool = False

    def read(self) -> dict[str, str]:
        """Its parts by their names, "" for those that are left out."""
        return self.parts.groupdict("") if self.parts else {}


def statements(text: str) -> Iterator[Statement]:
    """All statements of a file, and what lies between them."""
    at = 0
    while (at := _end(_BLANK, text, at)) < len(text):
        keyword = _KEYWORD.match(text, at)
        if not keyword:
            yield Statement("", at, None, at, is_header=bool(_HEADER.match(text, at)))
            at = max(_end(_UNKNOWN, text, at), at + 1)
            continue
        form = _FORM[keyword[0]]
        whole = form.whole.match(text, at)
        if whole:
            yield Statement(keyword[0], at, whole)
            at = whole.end()
        else:
            part = form.as_far_as_it_goes(text, at)
            yield Statement(keyword[0], at, part, _end(_BLANK, text, part.end()))
            at = _end(_SKIPPED, text, keyword.end())


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where a pattern that always matches ends."""
    found = pattern.match(text, at)
    return found.end() if found else at


def unquoted(text: str) -> str:
    """A text without its quotation marks."""
    return text[1:-1].replace('\\"', '"')
