"""The comparison: what a decode table reads from frames, beside what cantools reads."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import cantools
from cantools.database.can import Database, Message
from cantools.database.errors import DecodeError
from decode_oracle import (
    Decoded,
    arbitration_id,
    assert_physical_equal,
    assert_raw_equal,
    by_cantools,
    by_table,
    catalogue,
    frames,
    vehicle,
)

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.dbc import Message as OurMessage
from bordnetz.can.table import DecodeTable

from .bits import by_bits
from .payloads import SAMPLE, Depth, payloads
from .peer import load, name

_BLOCK = 3000
_MOST = 20
"""Mismatches that are told."""


@dataclass
class Tally:
    """What was compared.

    Attributes:
        files: DBC files.
        mended: Those that cantools reads only when mended.
        messages: With signals.
        by_bits: Those that cantools loads, but cannot decode.
        frames: Compared.
        values: That both have.
        mismatches: Frames in which they differ.
        told: The first mismatches, as text.
    """

    files: int = 0
    mended: int = 0
    messages: int = 0
    by_bits: int = 0
    frames: int = 0
    values: int = 0
    mismatches: int = 0
    told: list[str] = field(default_factory=list)

    def __iadd__(self, other: Tally) -> Tally:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        del self.told[_MOST:]
        return self

    def differ(self, what: str) -> None:
        self.mismatches += 1
        if len(self.told) < _MOST:
            self.told.append(what)


def compare_file(file: Path, depth: Depth, seed: int = 1) -> Tally:
    """Compare all messages of a DBC file."""
    peer = load(file)
    loaded = Catalogue.load(vehicle({"bus": [file.resolve()]}))
    tally = compare(peer.database, DecodeTable.compile(loaded), 64, depth, seed)
    theirs = {arbitration_id(m): m for m in peer.database.messages}
    ours = {message.id: message for message in loaded.messages[0]}
    for frame_id in theirs.keys() - ours.keys():
        if theirs[frame_id].name != "VECTOR__INDEPENDENT_SIG_MSG":
            tally.differ(f"cantools alone has message {theirs[frame_id].name}")
    for frame_id in ours.keys() - theirs.keys():
        tally.differ(f"cantools has no message {ours[frame_id].name}")
    if not peer.mended:
        for message in loaded.messages[0]:
            for difference in said_differently(message, theirs[message.id]):
                tally.differ(f"{message.name}: {difference}")
    tally.told = [f"{file.name}: {words}" for words in tally.told]
    tally.files, tally.mended = 1, int(peer.mended)
    return tally


def said_differently(ours: OurMessage, theirs: Message) -> Iterator[str]:
    """Where unit, texts, limits or cycle are not what cantools reads in the same file."""
    if ours.cycle != (theirs.cycle_time or 0):
        yield f"cycle {ours.cycle} instead of {theirs.cycle_time}"
    for place in ours.fields:
        signal = theirs.get_signal_by_name(place.signal.name)
        texts = {int(raw): str(text) for raw, text in (signal.choices or {}).items()}
        if dict(place.signal.choices) != texts:
            yield f"{signal.name} has the texts {place.signal.choices} instead of {texts}"
        if place.signal.unit != (signal.unit or ""):
            yield f"{signal.name} has the unit {place.signal.unit} instead of {signal.unit}"
        if place.limits and place.limits != (float(signal.minimum), float(signal.maximum)):
            yield f"{signal.name} has the limits {place.limits}"


def compare_text(text: str, width: int, depth: Depth, seed: int) -> Tally:
    """Compare all messages of a DBC file's text, which cantools can load."""
    database = cantools.database.load_string(text, "dbc", strict=False)
    return compare(database, DecodeTable.compile(catalogue(text)), width, depth, seed)


def compare(database: Database, table: DecodeTable, width: int, depth: Depth, seed: int) -> Tally:
    """Compare frames of every message, in blocks in which all are mixed.

    Args:
        database: cantools' model.
        table: Of the same file, on bus 0.
        width: Of the block's data in bytes; longer frames are cut there.
        depth: How many frames.
        seed: Of all that is random.
    """
    chance = random.Random(seed)
    tally = Tally()
    rows = []
    for message in database.messages:
        if not message.signals or message.name == "VECTOR__INDEPENDENT_SIG_MSG":
            continue
        tally.messages += 1
        tally.by_bits += (decodes := cantools_decodes(message)) is False
        rows += [(message, decodes, data[:width]) for data in payloads(message, depth, chance)]
    chance.shuffle(rows)
    for at in range(0, len(rows), _BLOCK):
        _compare_block(rows[at : at + _BLOCK], table, width, tally)
    return tally


def cantools_decodes(message: Message) -> bool:
    """Whether cantools can decode a message: not where signals overlap, or end behind it."""
    try:
        for data in payloads(message, SAMPLE, random.Random(1)):
            by_cantools(message, data.ljust(message.length, b"\0"))
    except (DecodeError, ValueError):
        return False
    return True


def _compare_block(
    rows: Sequence[tuple[Message, bool, bytes]], table: DecodeTable, width: int, tally: Tally
) -> None:
    block = frames([(0, arbitration_id(message), data) for message, _, data in rows], width)
    matches = table.match(block)
    samples = table.gather(block, matches)
    raws = by_table(samples, len(rows))
    physicals = by_table(samples, len(rows), table.physical(samples))
    for (message, decodes, data), raw, physical in zip(rows, raws, physicals, strict=True):
        expected = by_cantools(message, data) if decodes else by_bits(message, data)
        tally.frames += 1
        tally.values += len(expected)
        for difference in _differences(message, expected, _renamed(raw), _renamed(physical)):
            tally.differ(f"{message.name} {data.hex(' ')}: {difference}")
    books = matches.decoded + matches.unknown + matches.unwanted + sum(matches.unusable.values())
    if books[0] != len(rows) or matches.decoded[0] != sum(map(bool, raws)):
        tally.differ(f"the books of a block of {len(rows)} frames do not balance")


def _renamed(decoded: Decoded) -> Decoded:
    return {name(written): value for written, value in decoded.items()}


def _differences(
    message: Message, expected: Decoded, raw: Decoded, physical: Decoded
) -> Iterator[str]:
    try:
        assert_raw_equal(raw, expected)
    except AssertionError:
        missing, more = expected.keys() - raw.keys(), raw.keys() - expected.keys()
        wrong = [name for name in raw.keys() & expected.keys() if raw[name] != expected[name]]
        yield f"missing {sorted(missing)}, too many {sorted(more)}, different {sorted(wrong)}"
        return
    try:
        assert_physical_equal(physical, raw, message)
    except AssertionError as error:
        yield f"the physical value of {error}"
