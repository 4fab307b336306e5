"""Frames of the simulated vehicle, against cantools' encoding."""

from pathlib import Path

import cantools
import numpy as np
import pytest
from cantools.database.can import Message as CantoolsMessage
from cantools.database.can import Signal as CantoolsSignal
from cantools.database.conversion import BaseConversion
from hypothesis import given, settings
from hypothesis import strategies as st

from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.vehicle import network
from bordnetz.laptop.vehicle.network import NetworkError
from bordnetz.laptop.vehicle.packing import TICKS, Packer

FOLDER = Path(__file__).parents[2] / "dbc"


@pytest.fixture(scope="module")
def vehicle():
    return Vehicle.load(FOLDER / "vehicle.toml")


def raw_value(signal, value):
    return value if not signal.is_float else np.uint32(value).view(np.float32).item()


def test_random_values_of_all_demo_messages_are_encoded_as_cantools_does(vehicle):
    databases = [cantools.database.load_file(vehicle.databases(bus)[0]) for bus in vehicle.buses]
    messages = network.load(vehicle)
    packer = Packer(messages)
    rng = np.random.default_rng(3)
    low = np.array([[s.low] for s in packer.signals])
    high = np.array([[s.high] for s in packer.signals])
    raw = rng.integers(low, high, (len(packer.signals), TICKS), endpoint=True)
    floats = [row for row, signal in enumerate(packer.signals) if signal.is_float]
    raw[floats] = rng.uniform(0, 9e3, (len(floats), TICKS)).astype(np.float32).view(np.uint32)
    rows = {signal.name: row for row, signal in enumerate(packer.signals)}
    seen = set()
    for frames in packer.pack(raw, 0):
        for time, bus, identity, length, data in zip(
            frames.time, frames.bus, frames.id, frames.length, frames.data, strict=True
        ):
            theirs = databases[bus].get_message_by_frame_id(int(identity) & 0x1FFFFFFF)
            mine = next(m for m in messages if m.bus == bus and m.id == identity)
            tick = time // 10_000_000
            values = {s.name: raw_value(s, int(raw[rows[s.name], tick])) for s in mine.signals}
            if mine.profile != "None":
                values[f"{mine.name}_CRC"] = int(data[0])
                values[f"{mine.name}_Counter"] = int(data[1] & 15)
            expected = theirs.encode(values, scaling=False, strict=False)
            assert bytes(data[:length]) == bytes(expected), mine.name
            assert not data[length:].any()
            seen.add(mine.name)
    assert seen == {message.name for message in messages}


@st.composite
def layouts(draw):
    """A message of eight or 64 bytes with signals of random place, length and byte order."""
    size = draw(st.sampled_from((8, 64)))
    free = set(range(8 * size))
    signals = []
    for number in range(draw(st.integers(1, 12))):
        length = draw(st.integers(1, 63))
        big = draw(st.booleans())
        first = draw(st.integers(0, 8 * size - 1))
        numbers = range(first, first + length)
        taken = {bit ^ 7 if big else bit for bit in numbers}
        if not taken <= free:
            continue
        free -= taken
        signals.append(
            CantoolsSignal(
                f"S{number}",
                first ^ 7 if big else first,
                length,
                "big_endian" if big else "little_endian",
                draw(st.booleans()),
                conversion=BaseConversion.factory(),
            )
        )
    return CantoolsMessage(5, "M", size, signals, is_fd=size == 64, cycle_time=500)


@settings(max_examples=150)
@given(layouts(), st.data())
def test_signals_anywhere_in_a_frame_are_encoded_as_cantools_does(theirs, data):
    mine = network._message(0, theirs, Path("x.dbc"))
    packer = Packer([mine])
    rows = [[data.draw(st.integers(s.low, s.high)) for _ in range(2)] for s in packer.signals]
    raw = np.zeros((len(rows), TICKS), np.int64)
    if rows:
        raw[:, [0, 50]] = rows
    (frames,) = [f for f in packer.pack(raw, 7) if len(f)]
    assert frames.time.tolist() == [7, 500_000_007]
    assert frames.flags.tolist() == [5, 5] if mine.fd else [0, 0]
    for nth, row in enumerate(frames.data):
        values = {s.name: rows[k][nth] for k, s in enumerate(packer.signals)}
        assert bytes(row) == bytes(theirs.encode(values, scaling=False, strict=False))


def test_physical_values_are_rounded_and_kept_in_range(vehicle):
    packer = Packer(network.load(vehicle))
    columns = dict.fromkeys((s.name for s in packer.signals), 0.0)
    columns |= {"PackVoltage": 396.26, "PackCurrent": np.full(TICKS, -812.0), "StateOfCharge": 1e9}
    columns |= {"Altitude": 1.1}
    raw = packer.raw(columns)
    found = {s.name: int(raw[row, 0]) for row, s in enumerate(packer.signals)}
    assert found["PackVoltage"] == 3963
    assert found["PackCurrent"] == -8000
    assert found["StateOfCharge"] == 1000
    assert found["Altitude"] == int(np.float32(1.1).view(np.uint32))
    assert found["CellNumberMin"] == 1


DBC = """VERSION ""
BS_:
BU_: A
BO_ 1 First: 8 A
 SG_ One : 0|8@1+ (1,0) [0|255] "" A
 SG_ Two : 8|4@1+ (1,0) [0|15] "" A
BO_ 2 Second: 8 A
 SG_ {name} : 0|8@1+ (1,0) [0|255] "" A
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 10000;
BA_DEF_ BO_ "E2EProfile" ENUM "None","P01","P02";
BA_DEF_ BO_ "E2EDataIdList" STRING ;
BA_DEF_DEF_ "GenMsgCycleTime" {cycle};
BA_DEF_DEF_ "E2EProfile" "None";
BA_DEF_DEF_ "E2EDataIdList" "";
{more}
"""


def network_of(folder, name="Three", cycle=100, more=""):
    (folder / "a.dbc").write_text(DBC.format(name=name, cycle=cycle, more=more))
    bus = {"name": "a", "interface": "unix", "channel": "a", "dbc": ["a.dbc"]}
    return Vehicle.parse({"name": "v", "bus": [bus]}, folder / "vehicle.toml")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cycle": 70}, "message 'First': cycle 70 ms"),
        ({"more": 'BA_ "E2EProfile" BO_ 2 1;'}, "message 'Second': profile P01 needs a checksum"),
        ({"more": 'BA_ "E2EProfile" BO_ 1 2;'}, "E2EDataIdList should be sixteen"),
        ({"more": "BO_ nonsense"}, "a.dbc: cannot be used for sending"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(tmp_path, change, text):
    with pytest.raises(NetworkError, match=text):
        network.load(network_of(tmp_path, **change))


def test_signals_of_one_name_are_refused(tmp_path):
    with pytest.raises(NetworkError, match="'Two' is in two messages"):
        Packer(network.load(network_of(tmp_path, name="Two")))


def test_messages_without_a_cycle_are_not_sent(tmp_path):
    assert network.load(network_of(tmp_path, cycle=0)) == ()
