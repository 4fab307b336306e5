"""What the desired section of a twin can hold.

Source: IoT Hub, "Understand and use device twins", tags and properties format, twin size.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from bordnetz.laptop.manifest.document import Problem, pointer

SECTION_BYTES = 32_768
DEPTH = 10
KEY_BYTES = 1024
STRING_BYTES = 4096
INTEGERS = range(-4_503_599_627_370_496, 4_503_599_627_370_496)

_FORBIDDEN = re.compile(r"[.$# \x00-\x1f\x7f-\x9f]")


def section_size(section: dict[str, Any]) -> int:
    """Bytes a section counts for.

    IoT Hub adds up keys and values, 8 bytes a number and 4 a boolean; the answer is this or the
    length of the compact JSON, whichever is larger, so that no way of counting is exceeded.
    """
    text = json.dumps(section, separators=(",", ":"), ensure_ascii=False)
    return max(_counted(section), len(text.encode("utf-8", "surrogatepass")))


def _counted(value: Any) -> int:
    if isinstance(value, dict):
        return sum(_bytes(key) + _counted(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(_counted, value))
    if isinstance(value, str):
        return _bytes(value)
    if isinstance(value, bool):
        return 4
    return 8 if isinstance(value, int | float) else 0


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def check_section(section: dict[str, Any], *steps: str | int) -> Iterator[Problem]:
    """Everything in a section that IoT Hub would refuse.

    Args:
        section: The desired (or reported) properties, variables filled in.
        steps: Where the section stands.
    """
    size = section_size(section)
    if size > SECTION_BYTES:
        largest = max(section, key=lambda key: section_size({key: section[key]}))
        yield Problem(
            pointer(*steps),
            f"{size} bytes, but a twin holds {SECTION_BYTES} in one section; "
            f"the largest part is '{largest}'",
        )
    yield from _check(section, 0, steps)


def _check(value: Any, depth: int, steps: tuple[str | int, ...]) -> Iterator[Problem]:
    if depth > DEPTH:
        yield Problem(pointer(*steps), f"nested deeper than the {DEPTH} levels a twin holds")
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _check_key(key, steps)
            yield from _check(item, depth + _opens(item), (*steps, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _check(item, depth + _opens(item), (*steps, index))
    elif isinstance(value, str) and _bytes(value) > STRING_BYTES:
        yield Problem(
            pointer(*steps),
            f"a string of {_bytes(value)} bytes, but a twin holds {STRING_BYTES} in one",
        )
    elif isinstance(value, int) and value not in INTEGERS:
        yield Problem(pointer(*steps), f"{value} is not between {INTEGERS[0]} and {INTEGERS[-1]}")


def _opens(value: Any) -> int:
    return isinstance(value, dict | list)


def _check_key(key: str, steps: tuple[str | int, ...]) -> Iterator[Problem]:
    if _FORBIDDEN.search(key) or not key:
        yield Problem(
            pointer(*steps, key),
            f"the key '{key}' must have a character and none of '.', '$', '#', space and control "
            "characters",
        )
    if _bytes(key) > KEY_BYTES:
        yield Problem(pointer(*steps), f"a key of {_bytes(key)} bytes; a twin takes {KEY_BYTES}")
