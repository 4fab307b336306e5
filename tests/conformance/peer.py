"""cantools' model of a DBC file; where it does not load, of the file mended line by line.

The mending is a second one on purpose, simpler than the loader's: what of a file carries frames is
kept, so that both have to come to the same messages and signals by different ways.
"""

from __future__ import annotations

import logging
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cantools
from cantools.database.can import Database

EXTENDED = 1 << 31
_HEADER = re.compile(r"^(BO_|SG_MUL_VAL_|SIG_VALTYPE_)(\s+)(\d+)(\s+)(\w+)")
_SIGNAL = re.compile(r"^(\s*SG_\s+)(\w+)(.*)$")
_POINT = re.compile(r"([(,\[|][-+]?)\.(\d)")
_UNMARKED = re.compile(r"^(\s*SG_\s+\w+\s+)m(\s*:.*)$")


class Peer(NamedTuple):
    """cantools' model of a file, and whether the file had to be mended for it."""

    database: Database
    mended: bool


def load(file: Path) -> Peer:
    """cantools' model of a file."""
    logging.getLogger("cantools").setLevel(logging.ERROR)  # two messages of one name
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        text = file.read_text("cp1252")
    marked = mark_multiplexers(text)
    if marked == text:
        try:
            return Peer(cantools.database.load_string(text, "dbc", strict=False), False)
        except (cantools.database.UnsupportedDatabaseFormatError, cantools.Error):
            pass
    return Peer(cantools.database.load_string(mend(marked), "dbc", strict=False), True)


def mark_multiplexers(text: str) -> str:
    """Let a lone ``m`` be an ``M`` in messages that have no ``M``."""
    lines = text.split("\n")
    starts = [n for n, line in enumerate(lines) if line.startswith("BO_ ")] + [len(lines)]
    for first, behind in pairwise(starts):
        marks = [re.match(r"\s*SG_\s+\w+\s+(m\d*M?|M)\s*:", line) for line in lines[first:behind]]
        said = [mark[1] for mark in marks if mark]
        if said.count("m") == 1 and len(said) > 1 and not any(mark[-1] == "M" for mark in said):
            for n in range(first, behind):
                lines[n] = _UNMARKED.sub(r"\1M\2", lines[n])
    return "\n".join(lines)


def mend(text: str) -> str:
    """Only what carries frames, written so that cantools takes it."""
    kept = ['VERSION ""']
    message = False
    for line in text.split("\n"):
        if header := _HEADER.match(line):
            number = int(header[3])
            if number >> 11 and not number & EXTENDED:
                number |= EXTENDED
            exists = not (number & ~EXTENDED) >> 29
            message = exists if header[1] == "BO_" else message
            if not exists:
                continue
            line = f"{header[1]} {number} {name(header[5])}{line[header.end() :]}"
        elif message and (signal := _SIGNAL.match(line)):
            line = f"{signal[1]}{name(signal[2])}{signal[3]}"
        else:
            continue
        kept.append(_POINT.sub(r"\g<1>0.\2", line))
    return "\n".join(kept) + "\n"


def name(written: str) -> str:
    """A name as cantools takes it."""
    return f"_{written}" if written[0].isdigit() else written
