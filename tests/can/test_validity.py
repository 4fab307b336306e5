"""All checks together, over blocks of frames of several buses."""

from __future__ import annotations

import numpy as np
from decode_oracle import catalogue
from e2e_oracle import p02_crc

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.checks import Checks
from bordnetz.can.e2e import Verdict
from bordnetz.can.frames import Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.validity import Count, Validity, watch
from bordnetz.series import EXTENDED

MS = 1_000_000
DBC = """VERSION ""
BU_: X
BO_ 1 Counted: 2 X
 SG_ Count : 0|4@1+ (1,0) [0|15] "" X
BO_ 2 Protected: 4 X
 SG_ S : 16|8@1+ (1,0) [0|0] "" X
BO_ 3 Cyclic: 8 X
 SG_ T : 0|8@1+ (1,0) [0|0] "" X
BO_ 4 Plain: 8 X
 SG_ U : 0|8@1+ (1,0) [0|0] "" X
BO_ 2566844926 Engine: 8 X
 SG_ EngineCount : 0|4@1+ (1,0) [0|15] "" X
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "GenMsgCycleTime" BO_ 3 10;
BA_ "VFrameFormat" BO_ 2566844926 3;
"""
IDS = tuple(range(16))
CHECKS = Checks.model_validate(
    {
        "cycles": True,
        "message": [
            {"name": "b0.Counted", "profile": "counter", "counter": "Count"},
            {"name": "b0.Protected", "profile": "P02", "data_ids": IDS},
            {"name": "b0.Engine", "profile": "counter", "counter": "EngineCount"},
        ],
    }
)
ENGINE = 2566844926


def validity(loaded: Catalogue, wanted: list[str] | None = None) -> Validity:
    table = DecodeTable.compile(loaded, None if wanted is None else dict.fromkeys(wanted, 0))
    return Validity(loaded, watch(loaded, CHECKS), table.groups)


def frames(*rows: tuple[float, int, bytes]) -> Frames:
    """Frames of bus 0: milliseconds, id, data."""
    return Frames(
        time=np.array([round(time * MS) for time, _, _ in rows], np.int64),
        bus=np.zeros(len(rows), np.uint8),
        id=np.array([frame_id for _, frame_id, _ in rows], np.uint32),
        flags=np.zeros(len(rows), np.uint8),
        length=np.array([len(data) for _, _, data in rows], np.uint8),
        data=np.frombuffer(b"".join(data.ljust(8, b"\0") for _, _, data in rows), np.uint8).reshape(
            -1, 8
        ),
    )


def protected(counter: int, value: int = 0) -> bytes:
    data = bytes([0, counter, value, 0])
    return bytes([p02_crc(data, list(IDS))]) + data[1:]


def verdicts(one: Validity, some: Frames) -> dict[int, str]:
    frame, verdict = one.look(some)
    pairs = zip(frame.tolist(), verdict.tolist(), strict=True)
    return {frame: Verdict(verdict).name for frame, verdict in pairs}


def counts(one: Validity) -> dict[str, dict[str, int]]:
    """What is found so far of the messages that have come."""
    table = {
        message.name: {Count(n).name: int(count) for n, count in enumerate(row) if count}
        for message, row in zip(one.messages, one.counts.T, strict=True)
    }
    return {name: found for name, found in table.items() if found}


def test_frames_of_all_messages_are_judged_and_counted_together() -> None:
    one = validity(catalogue(DBC))
    found = verdicts(
        one,
        frames(
            (0, 2, protected(1)),
            (0, 1, b"\x03\x00"),
            (0, 3, b""),
            (1, 4, b"\x00"),
            (2, 7, b"\x00"),
            (3, 1, b"\x06\x00"),
            (4, 2, protected(2)[:3] + b"\x01"),
            (30, 3, b""),
            (31, 3, b""),
            (33, 1, b"\x06\x00"),
            (34, 2, protected(2)),
        ),
    )
    assert found == {
        0: "FIRST",
        1: "FIRST",
        5: "LOST",
        6: "WRONG_CRC",
        9: "REPEATED",
        10: "OK",
    }
    assert counts(one) == {
        "b0.Counted": {"FRAMES": 3, "MISSING": 2, "REPEATED": 1},
        "b0.Protected": {"FRAMES": 3, "WRONG_CRC": 1},
        "b0.Cyclic": {"FRAMES": 3, "MISSED": 2, "DUPLICATE": 1},
    }


def test_what_is_known_of_a_message_goes_on_from_block_to_block() -> None:
    one = validity(catalogue(DBC))
    one.look(frames((0, 2, protected(1)), (0, 3, b"")))
    one.look(frames((1, 1, b"\x00\x00")))
    assert verdicts(one, frames((40, 2, protected(4)), (40, 3, b""))) == {0: "LOST"}
    assert counts(one) == {
        "b0.Counted": {"FRAMES": 1},
        "b0.Protected": {"FRAMES": 2, "MISSING": 2},
        "b0.Cyclic": {"FRAMES": 2, "MISSED": 3},
    }


def test_only_collected_messages_are_looked_at() -> None:
    one = validity(catalogue(DBC), ["b0.Plain.U", "b0.Counted.Count"])
    assert [message.name for message in one.messages] == ["b0.Counted"]
    assert verdicts(one, frames((0, 2, b"\x00\x00"), (0, 1, b"\x00"))) == {1: "FIRST"}
    assert not validity(catalogue(DBC), ["b0.Plain.U"])


def test_each_sender_of_a_j1939_message_counts_for_itself() -> None:
    one = validity(catalogue(DBC))
    first, second = ENGINE, (ENGINE & ~0xFF) | 0x11
    assert first & EXTENDED
    one.look(frames((0, first, b"\x01"), (0, second, b"\x09")))
    found = verdicts(
        one,
        frames(
            (1, first, b"\x02"), (1, second, b"\x0a"), (2, first, b"\x03"), (2, second, b"\x0c")
        ),
    )
    assert found == {0: "OK", 1: "OK", 2: "OK", 3: "LOST"}
    assert counts(one) == {"b0.Engine": {"FRAMES": 6, "MISSING": 1}}


def test_made_up_senders_take_no_more_memory_than_there_are_slots() -> None:
    one = validity(catalogue(DBC))
    for at in range(0, 1 << 15, 1 << 12):
        ids = (np.arange(at, at + (1 << 12)) & 0xFF) | (np.arange(at, at + (1 << 12)) >> 8 << 26)
        base = ENGINE & ~(0xFF | 7 << 26)
        one.look(frames(*((0, int(base | n) & 0xFFFFFFFF, b"\x01") for n in ids.tolist())))
    assert one.silent() == []
    assert counts(one)["b0.Engine"]["FRAMES"] == 1 << 15


def test_a_message_falls_silent_when_its_bus_goes_on_without_it() -> None:
    loaded = catalogue(DBC.replace("BO_ 3 10;", 'BO_ 3 10;\nBA_ "GenMsgCycleTime" BO_ 1 10;'))
    one = validity(loaded)
    one.look(frames((0, 3, b""), (0, 1, b"\x00\x00")))
    assert one.silent() == []
    one.look(frames((500, 1, b"\x01\x00")))
    assert one.silent() == ["b0.Cyclic"]


def test_no_frames_are_no_findings() -> None:
    one = validity(catalogue(DBC))
    assert verdicts(one, Frames.empty(64)) == {}
    assert counts(one) == {}
