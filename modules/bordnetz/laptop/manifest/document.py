"""Reads a template: JSON with ``${VARIABLE}`` in its strings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bordnetz.errors import BordnetzError

MAX_BYTES = 1_048_576
"""Largest template: a deployment of 51 twins of 32 KB would be larger, but none can be real."""

_MAX_SHOWN = 50
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend.

    Attributes:
        place: JSON pointer into the template, or "line L, column C" where it is not JSON.
        text: What is wrong and what to do.
    """

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class ManifestError(BordnetzError):
    """A template that must not be deployed; ``problems`` holds every reason, in file order."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = problems
        shown = [str(problem).replace("\n", "\n  ") for problem in problems[:_MAX_SHOWN]]
        if len(problems) > len(shown):
            shown.append(f"... and {len(problems) - len(shown)} more")
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n  ".join([f"{path} has {count}:", *shown]))


def pointer(*steps: str | int) -> str:
    """A JSON pointer (RFC 6901); "/" alone for the whole document, to have something to show."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps) or "/"


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object.

    Raises:
        ManifestError: Not readable, too large, not JSON, or a key is there twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            double = next(name for name in names if names.count(name) > 1)
            raise ManifestError(
                path,
                [Problem("/", f"the key '{double}' is twice in one object; only one would count")],
            )
        return found

    def refuse(constant: str) -> float:
        raise ManifestError(
            path, [Problem("/", f"{constant} is no number in JSON; write another value")]
        )

    def finite(text: str) -> float:
        number = float(text)
        return number if math.isfinite(number) else refuse(text)

    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(path, [Problem("/", f"cannot be read: {error.strerror}")]) from error
    if len(content) > MAX_BYTES:
        raise ManifestError(path, [Problem("/", f"larger than {MAX_BYTES} bytes")])
    try:
        tree = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=once,
            parse_constant=refuse,
            parse_float=finite,
        )
    except json.JSONDecodeError as error:
        raise ManifestError(path, [_not_json(error)]) from None
    except UnicodeDecodeError as error:
        raise ManifestError(path, [Problem("/", f"not UTF-8 at byte {error.start}")]) from None
    except (RecursionError, ValueError):
        raise ManifestError(
            path, [Problem("/", "nested too deeply, or a number too long, for any twin")]
        ) from None
    if not isinstance(tree, dict):
        raise ManifestError(path, [Problem("/", "must be a JSON object")])
    return tree


def _not_json(error: json.JSONDecodeError) -> Problem:
    text, position, problem = error.doc, error.pos, f"not JSON: {error.msg}"
    before = text[: position + 1].rstrip(" \t\r\n}]")
    rest = text[position:].lstrip(" \t\r\n,")
    if rest.startswith(("}", "]")) and before.endswith(","):
        position, problem = len(before) - 1, "a comma before a closing bracket; take it out"
    elif text.startswith(("//", "/*", "#"), position):
        problem = "JSON has no comments; take this one out"
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Problem(f"line {line}, column {column}", problem)


def expand(tree: Any, variables: Mapping[str, str], *steps: str | int) -> tuple[Any, list[Problem]]:
    """Fill in the variables of every string below ``tree``; keys stay as they are.

    Returns:
        The same tree with strings filled in, and a problem for each string with an unknown one.
    """
    problems: list[Problem] = []
    if isinstance(tree, str):
        return _filled(tree, variables, steps, problems), problems
    if isinstance(tree, list):
        items = []
        for index, item in enumerate(tree):
            new, found = expand(item, variables, *steps, index)
            items.append(new)
            problems += found
        return items, problems
    if isinstance(tree, dict):
        fields = {}
        for key, item in tree.items():
            fields[key], found = expand(item, variables, *steps, key)
            problems += found
        return fields, problems
    return tree, problems


def _filled(
    text: str,
    variables: Mapping[str, str],
    steps: tuple[str | int, ...],
    problems: list[Problem],
) -> str:
    unknown = [name for name in _VARIABLE.findall(text) if name not in variables]
    for name in dict.fromkeys(unknown):
        if name.startswith("MODULES."):
            problem = f"'${{{name}}}' names no image; there are " + ", ".join(
                sorted(f"${{{known}}}" for known in variables if known.startswith("MODULES."))
            )
        else:
            problem = (
                f"the variable '{name}' has no value; set it in the environment, "
                f"or give --variable {name}=VALUE"
            )
        problems.append(Problem(pointer(*steps), problem))
    if unknown:
        return text
    return _VARIABLE.sub(lambda match: variables[match.group(1)], text)
