"""What the demo car sends passes the checks of its vehicle file, and what is broken does not."""

import itertools
from pathlib import Path

import pytest

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, Frames
from bordnetz.can.table import DecodeTable
from bordnetz.can.validity import Count, Validity, watch
from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.vehicle.network import load
from bordnetz.laptop.vehicle.traffic import Traffic

FILE = Path(__file__).parents[2] / "dbc" / "vehicle.toml"
VEHICLE = Vehicle.load(FILE)
START = 1_785_715_200_000_000_000
BLOCK = 600


def found(traffic: Traffic, frames: int) -> dict[str, int]:
    """What the checks find in the first frames of the traffic, all messages together."""
    catalogue = Catalogue.load(VEHICLE)
    table = DecodeTable.compile(catalogue)
    validity = Validity(catalogue, watch(catalogue, VEHICLE.checks), table.groups)
    bursts = traffic.bursts(START)
    sent = 0
    while sent < frames:
        some = [burst.frames for burst in itertools.islice(bursts, BLOCK)]
        sent += sum(map(len, some))
        for width in (CLASSIC_BYTES, FD_BYTES):
            parts = [part for part in some if part.data.shape[1] == width]
            validity.look(Frames.concat(parts, width))
    total = validity.counts.sum(axis=1)
    return {Count(n).name: int(count) for n, count in enumerate(total) if count}


def test_the_vehicle_file_protects_what_the_dbc_files_say_is_protected() -> None:
    said = {
        f"{VEHICLE.buses[message.bus].name}.{message.name}": (message.profile, message.data_ids)
        for message in load(VEHICLE)
        if message.profile != "None"
    }
    checks = VEHICLE.checks.messages
    assert {check.profile for check in checks} == {"P01", "P02"}
    assert said == {
        check.name: (
            check.profile,
            (check.data_id,) if check.profile == "P01" else check.data_ids,
        )
        for check in checks
        if check.profile != "counter"
    }


def test_all_frames_of_the_car_are_right_and_in_time() -> None:
    assert set(found(Traffic(VEHICLE, seed=1), 12_000)) == {"FRAMES"}


@pytest.mark.parametrize("share", [0.01, 0.3])
def test_each_frame_with_a_flipped_bit_has_a_wrong_crc(share: float) -> None:
    traffic = Traffic(VEHICLE, seed=1, corrupt=share)
    counts = found(traffic, 6_000)
    # The traffic is made a second ahead of what was looked at.
    assert 0 < counts["WRONG_CRC"] <= traffic.corrupted
    assert counts["WRONG_CRC"] >= traffic.corrupted / 2
    # A frame that counts for nothing is missing to its sender's counter.
    assert counts["MISSING"] > 0
    assert "REPEATED" not in counts
