"""The telemetry module on real SocketCAN interfaces."""

import socket
import struct
import subprocess

import pytest
from telemetry_help import EEC1, HEAT, MOTOR, Cloud, call, eventually, frames, motor

from bordnetz.can.frames import ERROR
from bordnetz.can.sender import FrameSender
from bordnetz.series import Cause

pytestmark = pytest.mark.vcan


@pytest.fixture
def on_vcan(car):
    """The car, its buses on vcan0 and vcan1."""
    text = car.file.read_text()
    for name, interface in (("drive", "vcan0"), ("truck", "vcan1")):
        old = f'interface = "unix"\nchannel = "{car.folder}/{name}"'
        assert old in text
        text = text.replace(old, f'interface = "socketcan"\nchannel = "{interface}"')
    car.file.write_text(text)
    yield car
    ip("vcan0", "up")


def ip(interface, state):
    subprocess.run(["ip", "link", "set", interface, state], check=True)


def send(interface, *some):
    with FrameSender.to_can(interface) as sender:
        for one in some:
            sender.send(one)


def error(interface, classes, detail):
    end = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
    end.bind((interface,))
    end.send(struct.pack("=IB3x8s", ERROR | classes, 8, bytes([0, detail]) + bytes(6)))
    end.close()


def test_only_frames_that_are_needed_come_and_the_condition_of_the_buses_is_seen(
    deploy, start, on_vcan
):
    hub = deploy(collect=[{"match": "*.Motor.*"}], batchWindow=1, priority=0)
    module = start(hub).collecting(3)
    eventually(
        lambda: call(hub, "status")["capture"]["truck"]["filter"], lambda kind: kind == "none"
    )
    truck = frames(EEC1, [bytes(8)] * 5)
    send("vcan1", truck)
    send("vcan0", frames(HEAT, [bytes(8)] * 7), frames(MOTOR, motor(range(100))))
    status = eventually(lambda: call(hub, "status"), lambda s: s["frames"]["received"] >= 100)
    assert status["frames"]["received"] == status["frames"]["decoded"] == 100
    drive, other = status["capture"]["drive"], status["capture"]["truck"]
    assert (drive["filter"], drive["filters"], other["filter"]) == ("exact", 1, "none")
    assert drive["bufferGot"] >= drive["bufferAsked"] == 8 << 20
    assert (drive["state"], other["state"]) == ("active", "unknown")

    # A change of configuration reaches the kernel.
    hub.control.set("telemetry", {"collect": [{"match": "*.Motor.*"}, {"match": "truck.*"}]})
    module.collecting(4)
    eventually(
        lambda: call(hub, "status")["capture"]["truck"]["filter"], lambda kind: kind == "exact"
    )
    send("vcan1", truck)
    eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n == 105)

    # What error frames tell.
    error("vcan1", 0x04, 0x10)
    error("vcan1", 0x04, 0x01)
    truck_now = eventually(
        lambda: call(hub, "status")["capture"]["truck"], lambda bus: bus["overflows"]
    )
    assert (truck_now["state"], truck_now["passive"], truck_now["overflows"]) == ("passive", 1, 1)

    # An interface that goes down and comes back.
    ip("vcan0", "down")
    shown = eventually(
        lambda: hub.control.twin("telemetry")["reported"]["capture"]["buses"],
        lambda buses: not buses["drive"]["listening"],
    )
    assert shown == {
        "drive": {"listening": False, "state": "active"},
        "truck": {"listening": True, "state": "passive"},
    }
    assert module.figure("bordnetz_bus_listening") == 1
    ip("vcan0", "up")
    eventually(lambda: call(hub, "status")["capture"]["drive"]["listening"], bool)
    send("vcan0", frames(MOTOR, motor(range(100, 150))))
    eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n == 155)
    assert module.end() == 0
    cloud = eventually(
        lambda: Cloud(hub), lambda cloud: len(cloud.values("drive.Motor.Count")[0]) >= 150
    )
    assert cloud.values("drive.Motor.Count")[0] == list(range(150))
    gaps = [gap for batch in cloud.batches.values() for gap in batch.gaps]
    begun = [gap for gap in gaps if gap.end is None]
    over = [gap for gap in gaps if gap.end is not None]
    assert [gap.bus for gap in gaps] == ["drive", "drive"]
    assert [gap.cause for gap in gaps] == [Cause.DOWN] * 2
    assert [gap.start for gap in begun] == [gap.start for gap in over]
    # No sample of the bus lies in its gap.
    times = cloud.values("drive.Motor.Count")[1]
    assert not [time for time in times if over[0].start < time < over[0].end]
