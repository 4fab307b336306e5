"""Id filters: what is wanted passes, whatever becomes of it on the way to the kernel."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from canhelp import vehicle_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.filters import ALL, MOST_FILTERS, WIDEST, Filters, Interest, by_bus, interests
from bordnetz.can.frames import REMOTE, Frames
from bordnetz.can.j1939 import Match
from bordnetz.can.table import DecodeTable
from bordnetz.series import EXTENDED

DBC = """VERSION ""
BU_: X
BO_ 256 Motor: 8 X
 SG_ Speed : 0|16@1+ (1,0) [0|0] "" X
BO_ 512 Plate: 8 X
 SG_ Serial : 0|64@1+ (1,0) [0|0] "" X
BO_ 2147483904 MotorToo: 8 X
 SG_ Speed : 0|16@1+ (1,0) [0|0] "" X
BO_ 2364539904 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|0] "" X
BO_ 2565865472 Directed: 8 X
 SG_ Mode : 0|8@1+ (1,0) [0|0] "" X
BO_ 2565904641 FromOne: 8 X
 SG_ A : 0|8@1+ (1,0) [0|0] "" X
BO_ 2565904642 FromTwo: 8 X
 SG_ A : 0|8@1+ (1,0) [0|0] "" X
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364539904 3;
BA_ "VFrameFormat" BO_ 2565865472 3;
BA_ "VFrameFormat" BO_ 2565904641 3;
BA_ "VFrameFormat" BO_ 2565904642 3;
"""


def passes(filters: Filters, ids: np.ndarray) -> np.ndarray:
    """As the kernel decides: any filter whose masked id is the frame's."""
    pairs = np.array(filters.pairs, np.int64).reshape(-1, 2)
    wide = ids.astype(np.int64)[:, None]
    return ((wide & pairs[:, 1]) == (pairs[:, 0] & pairs[:, 1])).any(axis=1)


@pytest.fixture(scope="module")
def catalogue():
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "net.dbc")
        file.write_text(DBC)
        yield Catalogue.load(vehicle_of({"interface": "unix", "channel": "0", "dbc": [str(file)]}))


@settings(max_examples=200)
@given(chosen=st.sets(st.integers(0, 6)), seed=st.integers(0, 2**32 - 1))
def test_every_frame_that_is_decoded_passes(catalogue, chosen, seed) -> None:
    names = [catalogue.names[n] for n in sorted(chosen)]
    table = DecodeTable.compile(catalogue, dict.fromkeys(names, 0))
    filters = Filters.of(interests(catalogue, table.groups))
    random = np.random.default_rng(seed)
    # Ids of the file, with some bits turned over: near misses, other sources and destinations.
    known = np.array([message.id for message in catalogue.messages[0]], np.uint32)
    turned = np.uint32(1) << random.integers(0, 29, 600).astype(np.uint32)
    ids = random.choice(known, 600) ^ np.where(random.random(600) < 0.7, turned, 0)
    ids = np.where(ids & EXTENDED, ids, ids & 0x7FF).astype(np.uint32)
    n = len(ids)
    frames = Frames(
        time=np.zeros(n, np.int64),
        bus=np.zeros(n, np.uint8),
        id=ids,
        flags=np.zeros(n, np.uint8),
        length=np.full(n, 8, np.uint8),
        data=np.zeros((n, 8), np.uint8),
    )
    decoded = np.zeros(n, bool)
    decoded[table.match(frames).frame] = True
    let_through = passes(filters, ids)
    assert not (decoded & ~let_through).any()
    # What passes without being decoded is of a message that has a closer match than its group.
    assert filters.kind == ("exact" if names else "none")
    unknown = let_through & ~decoded
    assert set(ids[unknown].tolist()) <= set(known.tolist()) | {
        int(one) for one in ids if _shares_group(int(one), known)
    }


def _shares_group(one: int, known: np.ndarray) -> bool:
    keys = Match.PGN.key(np.array([one, *known.tolist()], np.uint32))
    return bool(one & EXTENDED) and bool((keys[1:] == keys[0]).any())


def test_an_id_of_11_bits_is_another_than_that_of_29_and_a_request_is_neither() -> None:
    filters = Filters.of([Interest.of(0, 0x100)])
    ids = np.array([0x100, 0x100 | EXTENDED, 0x100 | REMOTE, 0x101], np.uint32)
    assert passes(filters, ids).tolist() == [True, False, False, False]


def test_a_parameter_group_passes_from_every_source_and_to_every_destination() -> None:
    broadcast = Interest.of(0, 0x0CF00400 | EXTENDED, Match.PGN)
    directed = Interest.of(0, 0x18EF0000 | EXTENDED, Match.PGN)
    ids = np.array([0x18F00403, 0x0CF00500, 0x18EF2103, 0x18EE2103], np.uint32) | EXTENDED
    assert passes(Filters.of([broadcast, directed]), ids).tolist() == [True, False, True, False]


def test_of_nothing_nothing_passes_and_of_everything_all() -> None:
    ids = np.array([0, 0x7FF, EXTENDED, EXTENDED | 0x1FFFFFFF], np.uint32)
    assert Filters.of([]) == Filters("none")
    assert not passes(Filters.of([]), ids).any()
    assert Filters.of([]).packed() == b""
    assert passes(ALL, ids).all()
    assert by_bus(None, 2) == [ALL, ALL]
    assert [one.kind for one in by_bus([Interest.of(1, 5)], 2)] == ["none", "exact"]


_ids = st.sets(st.integers(0, 0x7FF), max_size=2048) | st.integers(0, 2**32 - 1).map(
    lambda seed: {
        int(one) | EXTENDED
        for one in np.random.default_rng(seed).integers(0, 1 << 14, 1500) << (seed % 15)
    }
)


@settings(max_examples=60)
@given(_ids)
def test_however_many_are_wanted_all_of_them_pass_and_the_kernel_takes_the_filters(ids) -> None:
    filters = Filters.of(Interest.of(0, one) for one in ids)
    assert len(filters.pairs) <= MOST_FILTERS
    assert len(filters.packed()) == 8 * len(filters.pairs)
    assert passes(filters, np.array(sorted(ids), np.uint32)).all() or not ids
    if filters.kind == "exact":
        others = np.array([one for one in range(0x800) if one not in ids], np.uint32)
        assert not passes(filters, others).any()
    elif filters.kind == "merged":
        let_through = sum(
            1 << (29 if number & EXTENDED else 11).__sub__((mask & 0x1FFFFFFF).bit_count())
            for number, mask in filters.pairs
        )
        assert let_through <= (1 << WIDEST) * len(ids)


def test_neighbours_are_joined_without_letting_others_through() -> None:
    wanted = range(0x100, 0x500)
    filters = Filters.of(Interest.of(0, one) for one in wanted)
    assert filters.kind == "exact"
    assert len(filters.pairs) <= 3
    ids = np.arange(0x800, dtype=np.uint32)
    assert np.flatnonzero(passes(filters, ids)).tolist() == list(wanted)


def test_too_many_scattered_ids_are_not_filtered_at_all() -> None:
    random = np.random.default_rng(1)
    ids = random.choice(1 << 28, 20_000, replace=False)
    assert Filters.of(Interest.of(0, int(one) | EXTENDED) for one in ids) is ALL
