"""docs/licences.md against the pins and against what the installed packages say of themselves."""

import re
from importlib.metadata import metadata

import pytest
from image import ROOT, blocks

PINS = {
    name: re.split(r"[ ;\\]", block.split("==", 1)[1])[0]
    for name, block in blocks((ROOT / "requirements/run.txt").read_text()).items()
}
ROWS = {
    cells[0]: (cells[1], cells[2])
    for line in (ROOT / "docs/licences.md").read_text().splitlines()
    if line.startswith("| ") and (cells := [cell.strip() for cell in line.strip("|").split("|")])
}
SPELLINGS = {
    "MIT License": "MIT",
    "Apache 2": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "Eclipse Public License v2.0 / Eclipse Distribution License v1.0": "EPL-2.0 OR BSD-3-Clause",
}


def test_the_table_names_every_pin_and_no_other() -> None:
    named = {name: version for name, (version, _) in ROWS.items()}
    del named["package"], named["---"]
    assert named == PINS


@pytest.mark.parametrize("name", sorted(PINS))
def test_a_licence_is_the_one_the_package_states(name: str) -> None:
    stated = metadata(name).get("License-Expression") or metadata(name).get("License")
    licence = ROWS[name][1]
    if stated == "BSD":
        # Which of its variants is in the licence file alone.
        assert re.fullmatch(r"BSD-[23]-Clause", licence)
    else:
        assert SPELLINGS.get(stated, stated) == licence
