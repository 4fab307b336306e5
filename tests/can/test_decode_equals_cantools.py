from __future__ import annotations

import gzip
import random
from pathlib import Path

import cantools
import pytest
from cantools.database.can import Database, Message
from cantools.database.errors import DecodeError
from decode_oracle import (
    arbitration_id,
    assert_physical_equal,
    assert_raw_equal,
    by_cantools,
    by_table,
    catalogue,
    frames,
    vehicle,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.table import DecodeTable
from bordnetz.series import EXTENDED

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data" / "dbc"


def bits_of(start: int, length: int, big: bool) -> set[int]:
    """Positions in the frame, each byte's bits from the least significant one."""
    if not big:
        return set(range(start, start + length))
    first = start ^ 7
    return {bit ^ 7 for bit in range(first, first + length)}


class Writer:
    """Writes the DBC text of one message as hypothesis draws it."""

    def __init__(self, draw: st.DrawFn, frame_id: int, name: str, size: int) -> None:
        self.draw, self.frame_id, self.name, self.size = draw, frame_id, name, size
        self.lines = [f"BO_ {frame_id} {name}: {size} X"]
        self.tail: list[str] = []
        self.count = 0

    def signal(
        self, taken: set[int], branch: tuple[str, list[int]] | None, selects: bool
    ) -> tuple[str, int] | None:
        """Draw a signal that overlaps none of ``taken``; its name and length."""
        draw = self.draw
        kind = draw(st.sampled_from(["u", "u", "s", "f"])) if not selects else "u"
        if kind == "f":
            length = draw(st.sampled_from([16, 32, 64]))
        else:
            length = draw(st.integers(1, 8 if selects else 64))
        big = draw(st.booleans())
        start = draw(st.integers(0, 8 * self.size - 1))
        bits = bits_of(start, length, big)
        if bits & taken or max(bits) >= 8 * self.size:
            return None
        taken |= bits
        name = f"S{self.count}"
        self.count += 1
        marker = f"m{branch[1][0]}" if branch else ""
        marker += "M" if selects else ""
        factor = draw(st.sampled_from(["1", "1", "2", "0.5", "-0.1"])) if not selects else "1"
        offset = draw(st.sampled_from(["0", "0", "-40", "1.5"])) if not selects else "0"
        self.lines.append(
            f" SG_ {name} {marker} : {start}|{length}@{'0' if big else '1'}"
            f'{"-" if kind == "s" else "+"} ({factor},{offset}) [0|0] "" X'
        )
        if kind == "f":
            self.tail.append(f"SIG_VALTYPE_ {self.frame_id} {name} : {2 if length == 64 else 1};")
        if branch:
            ranges = ",".join(f"{value}-{value}" for value in branch[1])
            self.tail.append(f"SG_MUL_VAL_ {self.frame_id} {name} {branch[0]} {ranges};")
        return name, length

    def tree(self, taken: set[int], branch: tuple[str, list[int]] | None, depth: int) -> None:
        for _ in range(self.draw(st.integers(1, 5))):
            self.signal(taken, branch, False)
        for _ in range(self.draw(st.integers(0, 2)) if depth else 0):
            selector = self.signal(taken, branch, True)
            if selector is None:
                continue
            name, length = selector
            values = st.integers(0, min((1 << length) - 1, 5))
            used: dict[int, set[int]] = {}
            for _ in range(self.draw(st.integers(0, 3))):
                ids = sorted(self.draw(st.sets(values, min_size=1, max_size=3)))
                # Branches may share values; their signals are then there together.
                inside = set(taken).union(*(used.get(value, set()) for value in ids))
                self.tree(inside, (name, ids), depth - 1)
                for value in ids:
                    used.setdefault(value, set()).update(inside)


@st.composite
def databases(draw: st.DrawFn, size: int) -> str:
    lines, tail = ['VERSION ""', "BU_: X"], []
    ids = draw(
        st.lists(
            st.one_of(
                st.integers(0, 0x7FF), st.integers(0, 0x1FFF_FFFF).map(lambda i: i | EXTENDED)
            ),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    for number, frame_id in enumerate(ids):
        writer = Writer(draw, frame_id, f"M{number}", draw(st.integers(1, size)))
        writer.tree(set(), None, draw(st.integers(0, 2)))
        lines += writer.lines
        tail += writer.tail
    return "\n".join(lines + tail) + "\n"


def payload(message: Message, random_: random.Random, limit: int) -> bytes:
    """Random data; selectors often at a known value; at times cut short or too long."""
    data = random_.choice([random_.randbytes, lambda n: b"\0" * n, lambda n: b"\xff" * n])(
        message.length
    )
    if message.is_multiplexed() and random_.random() < 0.8:
        bits = int.from_bytes(data, "little")
        for signal in message.signals:
            values = [
                value
                for other in message.signals
                if other.multiplexer_signal == signal.name
                for value in other.multiplexer_ids or ()
            ]
            if values:
                value = random_.choice(values)
                places = sorted(
                    bits_of(signal.start, signal.length, signal.byte_order == "big_endian"),
                    key=lambda bit, s=signal: bit ^ 7 if s.byte_order == "big_endian" else -bit,
                )
                for place in reversed(places):
                    bits = bits & ~(1 << place) | (value & 1) << place
                    value >>= 1
        data = bits.to_bytes(len(data), "little")
    if random_.random() < 0.3:
        data = data[: random_.randint(0, len(data))]
    elif random_.random() < 0.1:
        data += random_.randbytes(2)
    return data[:limit]


def check(database: Database, table: DecodeTable, width: int, seed: int, each: int) -> int:
    """Compare ``each`` frames of every message on bus 0; returns the number of values."""
    random_ = random.Random(seed)
    rows, messages = [], []
    for message in database.messages:
        if table_knows(message):
            for _ in range(each):
                rows.append((0, arbitration_id(message), payload(message, random_, width)))
                messages.append(message)
    together = list(zip(rows, messages, strict=True))
    random_.shuffle(together)
    rows = [row for row, _ in together]
    block = frames(rows, width)
    matches = table.match(block)
    samples = table.gather(block, matches)
    ours = by_table(samples, len(rows))
    scaled = by_table(samples, len(rows), table.physical(samples))
    for (row, message), raw, physical in zip(together, ours, scaled, strict=True):
        assert_raw_equal(raw, by_cantools(message, row[2]))
        assert_physical_equal(physical, raw, message)
    assert matches.decoded[0] == sum(bool(decoded) for decoded in ours)
    assert (
        len(rows)
        == (matches.decoded + matches.unknown + matches.unwanted + sum(matches.unusable.values()))[
            0
        ]
    )
    return len(samples)


def table_knows(message: Message) -> bool:
    """Leaves out what cantools cannot read at all: overlapping or overlong signals."""
    try:
        by_cantools(message, bytes(message.length))
    except (DecodeError, ValueError):
        return False
    return True


@given(databases(8), st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_every_value_of_a_classic_frame_equals_cantools(text: str, seed: int) -> None:
    database = cantools.database.load_string(text, "dbc", strict=False)
    check(database, DecodeTable.compile(catalogue(text)), 8, seed, 12)


@given(databases(64), st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_every_value_of_a_can_fd_frame_equals_cantools(text: str, seed: int) -> None:
    database = cantools.database.load_string(text, "dbc", strict=False)
    check(database, DecodeTable.compile(catalogue(text)), 64, seed, 12)
    # A message may come in a classic frame, too, which is then a short one.
    check(database, DecodeTable.compile(catalogue(text)), 8, seed, 4)


def check_file(file: Path, each: int) -> int:
    database = cantools.database.load_file(file, strict=False)
    loaded = Catalogue.load(vehicle({"bus": [file]}))
    return check(database, DecodeTable.compile(loaded), 64, 1, each)


def test_every_value_of_the_demo_vehicle_equals_cantools() -> None:
    files = sorted((ROOT / "dbc").glob("*.dbc"))
    assert files
    for file in files:
        assert check_file(file, 40) > 100


@pytest.mark.shared
@pytest.mark.slow
def test_every_value_of_real_databases_equals_cantools() -> None:
    if not SHARED.is_dir():
        pytest.skip("../shared/data/dbc is not here")
    files = [file for file in sorted(SHARED.glob("*/*.dbc")) if opens(file)]
    assert len(files) > 50
    assert sum(check_file(file, 4) for file in files) > 50_000


def opens(file: Path) -> bool:
    try:
        cantools.database.load_file(file, strict=False)
    except cantools.database.UnsupportedDatabaseFormatError:
        return False
    return True


@pytest.mark.shared
def test_a_recording_of_a_truck_equals_cantools() -> None:
    log = SHARED.parent / "logs" / "truck-j1939-400s.log.gz"
    if not log.is_file():
        pytest.skip("../shared/data/logs is not here")
    dbc = SHARED / "css" / "CSS-Electronics-SAE-J1939-DEMO.dbc"
    rows = []
    with gzip.open(log, "rt") as lines:
        for line in lines:
            name, _, data = line.split()[2].partition("#")
            rows.append((0, int(name, 16) | EXTENDED, bytes.fromhex(data)))
    assert len(rows) == 139_136
    table = DecodeTable.compile(Catalogue.load(vehicle({"bus": [dbc]})))
    # As in the database, of all sources: the log's engine is 0x00, the database says 0xFE.
    messages = {m.frame_id >> 8 & 0x3FFFF: m for m in cantools.database.load_file(dbc).messages}
    decoded = 0
    for at in range(0, len(rows), 3000):
        part = rows[at : at + 3000]
        ours = by_table(table.decode(frames(part)), len(part))
        for (_, frame_id, data), values in zip(part, ours, strict=True):
            message = messages.get(frame_id >> 8 & 0x3FFFF)
            assert_raw_equal(values, by_cantools(message, data) if message else {})
            decoded += bool(values)
    assert decoded > 1000
