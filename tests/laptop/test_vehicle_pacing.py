"""Bursts go out when they are due; receivers come and go, and nothing is lost silently."""

import itertools
import socket
import threading

import numpy as np
import pytest

from bordnetz.can.errors import BusError
from bordnetz.can.frames import Frames
from bordnetz.can.vehicle import Bus
from bordnetz.laptop.vehicle.pacing import Outlet, Pace, open_all
from bordnetz.laptop.vehicle.traffic import Burst

SECOND = 1_000_000_000


def frames(count, first=0):
    return Frames(
        time=np.zeros(count, np.int64),
        bus=np.zeros(count, np.uint8),
        id=np.arange(first, first + count, dtype=np.uint32),
        flags=np.zeros(count, np.uint8),
        length=np.full(count, 8, np.uint8),
        data=np.zeros((count, 8), np.uint8),
    )


def bus(path, interface="unix"):
    return Bus(name="a", interface=interface, channel=str(path))


def listen(path):
    path.unlink(missing_ok=True)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    return receiver


def ids(receiver, count):
    return [int.from_bytes(receiver.recv(100)[:4], "little") for _ in range(count)]


class Clock:
    """Time that passes only where somebody waits, or where a test lets it."""

    def __init__(self):
        self.now = 5 * SECOND

    def __call__(self):
        return self.now


class Waiting(threading.Event):
    """A stop event whose waiting moves the clock."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.waits = []

    def wait(self, timeout=None):
        self.waits.append(timeout)
        self.clock.now += round(timeout * 1e9)
        return self.is_set()


class Recorder:
    """Stands where an outlet does and notes when it was sent to."""

    def __init__(self, clock, costs=()):
        self.clock = clock
        self.costs = dict(costs)
        self.times = []

    def send(self, _):
        self.times.append(self.clock.now)
        self.clock.now += self.costs.get(len(self.times) - 1, 0)


def paced(costs=(), seconds=1.0, every=100_000_000):
    clock = Clock()
    outlet, stop, pace = Recorder(clock, costs), Waiting(clock), Pace(clock)
    bursts = (Burst(n * every, 0, frames(1)) for n in itertools.count())
    pace.run(bursts, [outlet], stop, seconds)
    return pace, [round((time - 5 * SECOND) / 1e6) for time in outlet.times], clock


def test_bursts_go_out_when_they_are_due():
    pace, times, clock = paced()
    assert times == [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]
    assert pace.elapsed == SECOND
    assert pace.waited == 0
    assert clock.now == 6 * SECOND


def test_a_short_delay_is_made_up_for():
    pace, times, _ = paced({2: 350_000_000})
    assert times == [0, 100, 200, 550, 550, 550, 600, 700, 800, 900]
    assert pace.waited == 0


def test_after_a_long_delay_the_car_goes_on_from_where_it_stood():
    pace, times, _ = paced({2: 60 * SECOND})
    assert times[:5] == [0, 100, 200, 60_200, 60_300]
    assert len(times) == 10
    assert pace.waited == pytest.approx(59.9 * SECOND)


def test_a_stop_ends_it():
    clock = Clock()
    stop = Waiting(clock)
    stop.set()
    outlet = Recorder(clock)
    Pace(clock).run([Burst(0, 0, frames(1))], [outlet], stop)
    assert outlet.times == []


def test_a_slow_receiver_is_waited_for_and_loses_nothing(tmp_path):
    receiver = listen(tmp_path / "s")
    outlet = Outlet(bus(tmp_path / "s"), print)
    sending = threading.Thread(target=outlet.send, args=(frames(3000),))
    sending.start()
    assert ids(receiver, 3000) == list(range(3000))
    sending.join()
    assert (outlet.sent, outlet.unheard) == (3000, 0)
    outlet.close()
    receiver.close()


def test_frames_without_a_receiver_are_counted_and_a_new_one_is_found(tmp_path):
    clock, said = Clock(), []
    outlet = Outlet(bus(tmp_path / "s"), said.append, clock)
    receiver = listen(tmp_path / "s")
    outlet.send(frames(4))
    assert ids(receiver, 4) == [0, 1, 2, 3]
    receiver.close()
    outlet.send(frames(5))
    assert (outlet.sent, outlet.unheard) == (4, 5)
    receiver = listen(tmp_path / "s")
    outlet.send(frames(6))
    assert outlet.unheard == 11, "it is not tried again with every burst"
    clock.now += SECOND
    outlet.send(frames(2, first=20))
    assert ids(receiver, 2) == [20, 21]
    assert (outlet.sent, outlet.unheard) == (6, 11)
    assert len(said) == 2
    assert "its frames go unheard until it is back" in said[0]
    assert said[1] == "bus 'a': heard again"
    outlet.close()
    receiver.close()


def test_closing_ends_a_send_that_waits(tmp_path):
    receiver = listen(tmp_path / "s")
    outlet = Outlet(bus(tmp_path / "s"), print)
    outlet.open()
    sending = threading.Thread(target=outlet.send, args=(frames(1000),))
    sending.start()
    ids(receiver, 5)
    outlet.close()
    sending.join()
    assert outlet.unheard == 1000
    receiver.close()


def test_receivers_are_waited_for(tmp_path):
    said = []
    receivers = []

    def say(text):
        said.append(text)
        receivers.append(listen(tmp_path / "s"))

    outlet = Outlet(bus(tmp_path / "s"), say)
    open_all([outlet], threading.Event())
    assert len(said) == 1
    assert str(tmp_path / "s") in said[0]
    assert "waiting up to 30 s" in said[0]
    outlet.close()
    receivers[0].close()


def test_a_receiver_that_never_comes_is_an_error(tmp_path):
    with pytest.raises(BusError, match="start the receiver first"):
        open_all([Outlet(bus(tmp_path / "s"), print)], threading.Event(), patience=0.0)


def test_interfaces_of_python_can_are_refused():
    with pytest.raises(BusError, match="'socketcan' or 'unix', not 'virtual'"):
        Outlet(bus("x", "virtual"), print)
