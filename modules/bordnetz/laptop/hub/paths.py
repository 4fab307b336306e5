"""``path=value`` arguments, made into a patch of desired properties."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.jsontext import JsonError, parse
from bordnetz.laptop.hub.twin import Json


class PathError(BordnetzError):
    """An argument that is not ``path=value``, or two that contradict each other."""


def parse_patch(changes: Iterable[str]) -> Json:
    """The patch that several ``path=value`` make together.

    Raises:
        PathError: No "=", an empty key, an unreadable file, or a path inside another's value.
    """
    patch: Json = {}
    for change in changes:
        path, found, text = change.partition("=")
        if not found:
            raise PathError(f"'{change}' is not path=value")
        value = _value(text)
        if path:
            _put(patch, path, value)
        elif isinstance(value, dict):
            patch.update(value)
        else:
            raise PathError(f"'{change}': without a path, the value has to be a JSON object")
    return patch


def _put(patch: Json, path: str, value: Any) -> None:
    *above, last = path.split(".")
    if not all((*above, last)):
        raise PathError(f"'{path}' has an empty key")
    section = patch
    for key in above:
        below = section.setdefault(key, {})
        if not isinstance(below, dict):
            raise PathError(f"'{path}' leads into the value that another argument gives '{key}'")
        section = below
    section[last] = value


def _value(text: str) -> Any:
    if text.startswith("@"):
        file = Path(text[1:])
        try:
            return parse(file.read_bytes())
        except OSError as error:
            raise PathError(f"{file}: {error.strerror}") from error
        except JsonError as error:
            raise PathError(f"{file}: not JSON: {error}") from error
    try:
        return parse(text)
    except JsonError:
        return text
