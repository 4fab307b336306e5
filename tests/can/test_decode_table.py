from __future__ import annotations

import cantools
import numpy as np
import pytest
from decode_oracle import assert_physical_equal, by_cantools, by_table, catalogue, frames
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can.catalogue import CatalogueError
from bordnetz.can.j1939 import parameter_group
from bordnetz.can.table import DecodeTable, Matches
from bordnetz.series import EXTENDED, Samples

PLAIN = """VERSION ""
BU_: X
BO_ 256 A: 8 X
 SG_ First : 0|8@1+ (1,0) [0|0] "" X
 SG_ Second : 8|16@1- (0.5,1) [0|0] "" X
 SG_ Last : 56|8@1+ (1,0) [0|0] "" X
BO_ 257 B: 2 X
 SG_ Only : 0|12@1+ (1,0) [0|0] "" X
"""
MUX = """VERSION ""
BU_: X
BO_ 256 M: 8 X
 SG_ Selector M : 8|8@1+ (1,0) [0|0] "" X
 SG_ Plain : 0|8@1+ (1,0) [0|0] "" X
 SG_ One m1 : 16|8@1+ (1,0) [0|0] "" X
 SG_ AlsoOne m1 : 24|8@1+ (1,0) [0|0] "" X
 SG_ Two m2 : 16|16@1+ (1,0) [0|0] "" X
"""
J1939 = """VERSION ""
BU_: X
BO_ 2364540158 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|0] "rpm" X
BO_ 2365194494 Directed: 8 X
 SG_ Torque : 0|8@1+ (1,0) [0|0] "" X
BA_DEF_ BO_  "VFrameFormat" ENUM  "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_  "VFrameFormat" "J1939PG";
"""


def table(*texts: str, wanted: dict[str, int] | None = None) -> DecodeTable:
    return DecodeTable.compile(catalogue(*texts), wanted)


def books(matches: Matches, bus: int = 0) -> dict[str, int]:
    return {
        "decoded": int(matches.decoded[bus]),
        "unknown": int(matches.unknown[bus]),
        "unwanted": int(matches.unwanted[bus]),
        "short": int(matches.unusable["short"][bus]),
        "selector": int(matches.unusable["selector"][bus]),
    }


def series(samples: Samples) -> list[tuple[str, int, int, int]]:
    return [
        (samples.groups[group].message, int(frame_id), int(width), int(count))
        for group, frame_id, width, count in zip(
            samples.group, samples.id, samples.width, samples.count, strict=True
        )
    ]


def test_no_frames_and_no_wanted_signals_are_no_samples() -> None:
    for decode in (table(PLAIN, MUX), table(PLAIN, wanted={}), table('VERSION ""\nBU_: X\n')):
        assert len(decode.decode(frames([]))) == 0
        assert len(decode.physical(decode.decode(frames([])))) == 0
    samples = table(PLAIN, wanted={}).decode(frames([(0, 256, bytes(8))]))
    assert len(samples) == len(samples.group) == 0


def test_series_carry_time_and_order_of_arrival() -> None:
    block = frames([(0, 257, b"\x02\x00"), (0, 256, bytes(8)), (0, 257, b"\x01\x00")])
    samples = table(PLAIN).decode(block)
    assert series(samples) == [("A", 256, 3, 1), ("B", 257, 1, 2)]
    assert samples.order.tolist() == [1, 0, 2]
    assert samples.time.tolist() == [1_000_000, 0, 2_000_000]
    assert samples.values.tolist() == [0, 0, 0, 2, 1]


def test_columns_have_the_promised_types() -> None:
    samples = table(PLAIN).decode(frames([(0, 256, bytes(8))]))
    assert samples.group.dtype == samples.width.dtype == np.int32
    assert samples.id.dtype == np.uint32
    for column in (samples.count, samples.time, samples.order, samples.values):
        assert column.dtype == np.int64


def test_the_bus_tells_equal_ids_apart() -> None:
    other = PLAIN.replace("A: 8 X", "Other: 8 X").replace("0|8@1+ (1,0)", "8|8@1+ (1,0)")
    samples = table(PLAIN, other).decode(frames([(1, 256, b"\1\2" + bytes(6)), (0, 256, bytes(8))]))
    assert series(samples) == [("A", 256, 3, 1), ("Other", 256, 3, 1)]


def test_11_and_29_bit_ids_of_equal_value_are_different() -> None:
    decode = table(PLAIN)
    block = frames([(0, 256 | EXTENDED, bytes(8)), (0, 256, bytes(8))])
    assert books(decode.match(block)) == {
        "decoded": 1, "unknown": 1, "unwanted": 0, "short": 0, "selector": 0
    }  # fmt: skip


def test_an_11_bit_id_out_of_range_reaches_no_other_bus() -> None:
    decode = table(PLAIN, PLAIN)
    assert books(decode.match(frames([(0, 2049 + 256, bytes(8))])))["unknown"] == 1


def test_only_wanted_signals_are_gathered_and_other_frames_are_counted() -> None:
    decode = table(PLAIN, wanted={"b0.A.Second": 5})
    block = frames([(0, 256, b"\x01\xfe\xff" + bytes(5)), (0, 257, bytes(2)), (0, 1, b"")])
    matches = decode.match(block)
    assert [group.names() for group in decode.groups] == [("b0.A.Second",)]
    assert decode.gather(block, matches).values.tolist() == [-2]
    assert books(matches) == {
        "decoded": 1, "unknown": 1, "unwanted": 1, "short": 0, "selector": 0
    }  # fmt: skip


def test_an_unknown_wanted_signal_is_named_with_near_ones() -> None:
    with pytest.raises(CatalogueError, match=r"'b0\.A\.Frist'.*did you mean b0\.A\.First"):
        table(PLAIN, wanted={"b0.A.Frist": 0})


def test_signals_of_different_intervals_are_in_different_groups() -> None:
    decode = table(PLAIN, wanted={"b0.A.First": 0, "b0.A.Last": 0, "b0.A.Second": 10})
    assert [(group.interval, group.names()) for group in decode.groups] == [
        (0, ("b0.A.First", "b0.A.Last")),
        (10, ("b0.A.Second",)),
    ]
    block = frames([(0, 256, bytes(range(8)))])
    assert by_table(decode.decode(block), 1) == [{"First": 0, "Last": 7, "Second": 0x0201}]
    assert books(decode.match(block))["decoded"] == 1


def test_rows_of_a_match_can_be_left_out() -> None:
    decode = table(PLAIN)
    block = frames([(0, 257, bytes([n, 0])) for n in range(5)])
    matches = decode.match(block)
    some = matches.keep(matches.frame % 2 == 0)
    assert decode.gather(block, some).values.tolist() == [0, 2, 4]
    assert len(some) == 3
    assert books(some)["decoded"] == 5


def test_a_frame_cut_short_carries_the_signals_before_the_cut() -> None:
    decode = table(PLAIN)
    data = bytes(range(1, 9))
    block = frames([(0, 256, data[:n]) for n in (8, 0, 3, 1, 8, 2)])
    matches = decode.match(block)
    samples = decode.gather(block, matches)
    assert series(samples) == [("A", 256, 1, 2), ("A", 256, 2, 1), ("A", 256, 3, 2)]
    assert samples.order.tolist() == [3, 5, 2, 0, 4]
    assert books(matches) == {
        "decoded": 5, "unknown": 0, "unwanted": 0, "short": 1, "selector": 0
    }  # fmt: skip


def test_an_unknown_selector_value_costs_its_branches_only() -> None:
    decode = table(MUX)
    block = frames([(0, 256, bytes([9, 7, 1, 2, 3, 4, 5, 6]))])
    matches = decode.match(block)
    assert by_table(decode.gather(block, matches), 1) == [{"Selector": 7, "Plain": 9}]
    assert matches.lost_branches.tolist() == [1]
    assert books(matches)["decoded"] == 1


def test_a_selector_cut_off_selects_nothing() -> None:
    # Selector value 0 would be read from the padding.
    decode = table(MUX.replace("m1", "m0"))
    block = frames([(0, 256, b"\x09")])
    matches = decode.match(block)
    assert by_table(decode.gather(block, matches), 1) == [{"Plain": 9}]
    assert matches.lost_branches.tolist() == [1]


def test_frames_without_a_wanted_branch_are_counted_by_reason() -> None:
    decode = table(MUX, wanted={"b0.M.One": 0})
    selected = [1, 2, 3]  # wanted, another branch, unknown
    block = frames(
        [(0, 256, bytes([0, value, 5, 0, 0, 0, 0, 0])) for value in selected]
        + [(0, 256, b"\0"), (0, 256, b"\0\1")]  # before the selector, after it
    )
    matches = decode.match(block)
    assert books(matches) == {
        "decoded": 1, "unknown": 0, "unwanted": 1, "short": 2, "selector": 1
    }  # fmt: skip
    assert matches.lost_branches.tolist() == [2]
    assert decode.gather(block, matches).values.tolist() == [5]


def test_signals_with_equal_selector_values_share_a_group() -> None:
    assert [(group.branch, len(group.signals)) for group in table(MUX).groups] == [
        ((), 2),
        ((("Selector", (1,)),), 2),
        ((("Selector", (2,)),), 1),
    ]


def test_a_selector_value_of_the_value_table_is_known_without_signals() -> None:
    decode = table(MUX + 'VAL_ 256 Selector 7 "empty" ;\n', wanted={"b0.M.One": 0})
    matches = decode.match(frames([(0, 256, bytes([0, 7, 0, 0]))]))
    assert books(matches)["unwanted"] == 1
    assert matches.lost_branches.tolist() == [0]


def test_selectors_of_64_bits_are_compared_exactly() -> None:
    text = (
        'VERSION ""\nBU_: X\nBO_ 1 M: 16 X\n SG_ S M : 0|64@1+ (1,0) [0|0] "" X\n'
        f' SG_ A m{2**63 - 1} : 64|8@1+ (1,0) [0|0] "" X\n'
        f' SG_ B m{2**53} : 64|8@1+ (1,0) [0|0] "" X\n'
    )
    decode = table(text)
    values = [2**63 - 1, 2**53, 2**53 + 1]
    block = frames([(0, 1, v.to_bytes(8, "little") + b"\7" * 8) for v in values], 64)
    assert [set(d) for d in by_table(decode.decode(block), 3)] == [{"S", "A"}, {"S", "B"}, {"S"}]


def j1939(priority: int, pf: int, ps: int, source: int) -> int:
    return EXTENDED | priority << 26 | pf << 16 | ps << 8 | source


def test_j1939_is_matched_whatever_the_priority_and_the_source() -> None:
    decode = table(J1939)
    ids = [j1939(3, 0xF0, 4, 0), j1939(6, 0xF0, 4, 0x21), j1939(3, 0xF0, 4, 0)]
    others = [j1939(3, 0xF0, 5, 0), j1939(3, 0xF0, 4, 0) | 1 << 24, 0x7FF]
    block = frames([(0, i, bytes([0, 0, 0, n, 0, 0, 0, 0])) for n, i in enumerate(ids + others)])
    matches = decode.match(block)
    samples = decode.gather(block, matches)
    # Two sources are two series.
    assert series(samples) == [("EEC1", ids[0], 1, 2), ("EEC1", ids[1], 1, 1)]
    assert samples.values.tolist() == [0, 2, 1]
    assert books(matches)["unknown"] == 3
    assert decode.groups[0].by_pgn
    assert decode.groups[0].id == 0x8CF004FE


def test_a_directed_group_is_matched_whatever_the_destination() -> None:
    # PF 0 is TSC1, a PDU1 group: the byte after it is the destination.
    decode = table(J1939.replace("2365194494", str(j1939(3, 0, 0xFE, 0xFE))))
    ids = [j1939(3, 0, destination, 5) for destination in (0, 3, 0xFF)]
    samples = decode.decode(frames([(0, i, b"\1") for i in ids]))
    assert series(samples) == [("Directed", i, 1, 1) for i in ids]


def test_a_message_with_the_whole_id_comes_before_the_parameter_group() -> None:
    exact = j1939(3, 0xF0, 4, 0x55)
    text = J1939 + f'BA_ "VFrameFormat" BO_ {exact} 1;\n'
    text = text.replace("BO_ 2365194494 Directed", f"BO_ {exact} Exact")
    samples = table(text).decode(
        frames([(0, exact, b"\1" * 8), (0, j1939(3, 0xF0, 4, 0x56), b"\1" * 8)])
    )
    assert [message for message, *_ in series(samples)] == ["EEC1", "Exact"]


@pytest.mark.parametrize(
    ("pdu_format", "known", "unknown"),
    [
        # PDU2: the source tells; what stands before it belongs to the group's number.
        (0xFF, [(0x10, 0x21), (0x10, 0x22)], [(0x10, 0x23), (0x11, 0x21)]),
        # PDU1: the destination tells, too.
        (0xEF, [(0x10, 0x21), (0x11, 0x21)], [(0x12, 0x21), (0x10, 0x22)]),
    ],
)
def test_messages_of_one_parameter_group_are_told_by_their_addresses_whatever_the_priority(
    pdu_format: int, known: list[tuple[int, int]], unknown: list[tuple[int, int]]
) -> None:
    first, second = (j1939(6, pdu_format, *addresses) for addresses in known)
    text = J1939.replace("2364540158", str(first)).replace("2365194494", str(second))
    decode = table(text)
    rows = [(p, a) for p in (7, 6, 3) for a in known]
    ids = [j1939(p, pdu_format, *a) for p, a in [*rows, *((6, a) for a in unknown)]]
    block = frames([(0, i, bytes([0, 0, 0, n, 0, 0, 0, 0])) for n, i in enumerate(ids)])
    matches = decode.match(block)
    assert books(matches)["unknown"] == len(unknown)
    samples = decode.gather(block, matches)
    assert sorted(zip(samples.id.tolist(), samples.group.tolist(), strict=True)) == sorted(
        (frame_id, n % 2) for n, frame_id in enumerate(ids[: len(rows)])
    )
    assert samples.order.tolist() == sorted(range(6), key=lambda n: (n % 2, ids[n]))


def test_sources_that_alternate_stay_in_order_of_arrival() -> None:
    decode = table(J1939)
    ids = [j1939(3, 0xF0, 4, source) for source in (9, 1, 9, 1, 5, 9)]
    samples = decode.decode(frames([(0, i, bytes(8)) for i in ids]))
    assert samples.id.tolist() == sorted(set(ids))
    assert samples.order.tolist() == [1, 3, 4, 0, 2, 5]


@given(st.lists(st.integers(0, (1 << 29) - 1), min_size=1))
def test_parameter_groups_are_those_of_cantools(ids: list[int]) -> None:
    expected = [
        cantools.j1939.pgn_pack(
            u.reserved, u.data_page, u.pdu_format, u.pdu_specific if u.pdu_format >= 240 else 0
        )
        for u in map(cantools.j1939.frame_id_unpack, ids)
    ]
    assert parameter_group(np.array(ids, np.uint32) | np.uint32(EXTENDED)).tolist() == expected


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.sampled_from([256, 257, 256 | EXTENDED, 2047]),
            st.binary(max_size=8),
        ),
        max_size=40,
    )
)
@settings(deadline=None)
def test_every_frame_is_counted_exactly_once(rows: list[tuple[int, int, bytes]]) -> None:
    block = frames(rows)
    for wanted in (None, {"b0.M.One": 0, "b1.B.Only": 3}, {"b0.M.Two": 0, "b0.M.One": 9}):
        matches = table(MUX, PLAIN, wanted=wanted).match(block)
        for bus in (0, 1):
            assert sum(books(matches, bus).values()) == sum(row[0] == bus for row in rows)
        assert sum(matches.decoded) == len(set(matches.frame.tolist()))


def test_a_large_block_is_read_like_small_ones() -> None:
    text = PLAIN.replace("A: 8 X", "A: 8 X\n" + "\n".join(
        f' SG_ S{n} : {n}|9@1- (1,0) [0|0] "" X' for n in range(55)
    ))  # fmt: skip
    decode = table(text)
    random = np.random.default_rng(3)
    block = frames([(0, (256, 257)[n % 3 == 0], random.bytes(8)) for n in range(4000)])
    whole = by_table(decode.decode(block), len(block))
    parts = [by_table(decode.decode(block[at : at + 50]), 50) for at in range(0, 4000, 50)]
    assert whole == [decoded for part in parts for decoded in part]


def test_signal_and_table_scale_alike() -> None:
    decode = table(PLAIN)
    block = frames([(0, 256, bytes(range(n, n + 8))) for n in range(90, 130)])
    samples = decode.decode(block)
    group, count = samples.groups[0], len(block)
    columns = samples.values.reshape(-1, count)
    expected = [s.physical(column) for s, column in zip(group.signals, columns, strict=True)]
    assert np.concatenate(expected).tolist() == decode.physical(samples).tolist()


def test_overlapping_signals_that_cantools_refuses_are_read() -> None:
    text = (
        'VERSION ""\nBU_: X\nBO_ 1 M: 2 X\n SG_ A : 0|12@1+ (1,0) [0|0] "" X\n'
        ' SG_ B : 4|12@1+ (1,0) [0|0] "" X\n'
    )
    samples = table(text).decode(frames([(0, 1, b"\x34\x12")]))
    assert by_table(samples, 1) == [{"A": 0x234, "B": 0x123}]
    with pytest.raises(cantools.database.DecodeError):
        by_cantools(
            cantools.database.load_string(text, "dbc", strict=False).messages[0], b"\x34\x12"
        )


def test_special_floats_of_a_bus_are_no_warning() -> None:
    text = (
        'VERSION ""\nBU_: X\nBO_ 1 M: 8 X\n SG_ F : 0|32@1- (0,1) [0|0] "" X\n'
        "SIG_VALTYPE_ 1 F : 1;\n"
    )
    decode = table(text)
    bits = [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x00000001]
    samples = decode.decode(frames([(0, 1, b.to_bytes(4, "little")) for b in bits]))
    assert samples.values.tolist() == bits
    with np.errstate(all="raise"):
        physical = decode.physical(samples)
    assert physical[-1] == 1.0
    message = cantools.database.load_string(text, "dbc").messages[0]
    assert_physical_equal({"F": float(physical[0])}, {"F": float("inf")}, message)


def test_blocks_are_scaled_in_any_order() -> None:
    decode = table(PLAIN)
    rows = [(0, 257, b"\x02\x00"), (0, 256, b"\x01\x06" + bytes(6)), (0, 257, b"\x01\x00")]
    one, other = (decode.decode(frames(some)) for some in (rows, rows[1:]))
    assert decode.physical(other).tolist() == [1, 4, 0, 1]
    assert decode.physical(one).tolist() == [1, 4, 0, 2, 1]
    assert decode.physical(other).tolist() == [1, 4, 0, 1]
