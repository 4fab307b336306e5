"""Sizes of a twin's section, against IoT Hub's rule written a second time."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bordnetz.laptop.manifest.limits import SECTION_BYTES, check_section, section_size

# A loaded machine is no failure.

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**52), 2**52 - 1) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abcä", min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=15,
)


@given(st.dictionaries(st.text("abcä", min_size=1, max_size=5), values, max_size=5))
def test_no_way_of_counting_a_section_exceeds_its_size(section: dict[str, Any]) -> None:
    def count(value: Any) -> int:
        match value:
            case dict():
                return sum(len(key.encode()) + count(item) for key, item in value.items())
            case list():
                return sum(count(item) for item in value)
            case bool():
                return 4
            case int():
                return 8
            case str():
                return len(value.encode())
            case _:
                return 0

    assert section_size(section) >= count(section)
    compact = json.dumps(section, separators=(",", ":"), ensure_ascii=False)
    assert section_size(section) >= len(compact.encode())


@given(st.integers(0, 3), st.integers(SECTION_BYTES - 40, SECTION_BYTES + 40))
def test_a_section_is_refused_from_the_first_byte_too_many(parts: int, size: int) -> None:
    section: dict[str, Any] = {f"k{number}": "x" * 4000 for number in range(parts)}
    section["rest"] = ["x" * 1000] * 0
    missing = size - section_size(section)
    full = [1000] * (missing // 1003 - 1)
    section["rest"] = ["x" * length for length in full]
    section["rest"].append("x" * (size - section_size(section) - (3 if full else 2)))
    assert section_size(section) == size
    assert bool(list(check_section(section, "twin"))) is (size > SECTION_BYTES)
