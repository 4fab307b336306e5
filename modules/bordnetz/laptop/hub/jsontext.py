"""JSON from strangers: what json.loads takes beyond the standard is refused."""

from __future__ import annotations

import json
import math
from typing import Any


class JsonError(ValueError):
    """Not JSON (RFC 8259), or nested deeper than anything a hub handles."""


def parse(text: bytes | str) -> Any:
    """What a text says.

    Raises:
        JsonError: Not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except ValueError as error:
        raise JsonError(str(error)) from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
