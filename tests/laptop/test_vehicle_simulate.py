"""`bordnetz simulate` as a process, its frames received over real sockets."""

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "dbc"
BUSES = ("powertrain", "chassis", "body")
RATES = {"powertrain": 948, "chassis": 899, "body": 742}
FD_ID = 0x0CA
PATIENCE = 60


class Listener(threading.Thread):
    """Keeps all datagrams of a Unix socket until it is closed."""

    def __init__(self, path):
        super().__init__(daemon=True)
        path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.got = []
        self.some = threading.Event()
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while datagram := self.socket.recv(100):
                self.got.append(datagram)
                if len(self.got) > 20:
                    self.some.set()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self.socket.close()


@pytest.fixture
def vehicle(tmp_path):
    text = 'name = "demo"\n'
    for name in BUSES:
        text += f'[[bus]]\nname = "{name}"\ninterface = "unix"\nchannel = "{tmp_path / name}"\n'
        text += f'dbc = ["{FOLDER / name}.dbc"]\n'
    (tmp_path / "vehicle.toml").write_text(text)
    return tmp_path / "vehicle.toml"


def simulate(vehicle, *arguments):
    command = [sys.executable, "-m", "bordnetz", "simulate", "--vehicle", str(vehicle), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ids(datagrams):
    return [int.from_bytes(one[:4], "little") for one in datagrams]


def test_every_frame_arrives_and_the_last_line_tells_how_many(vehicle, tmp_path):
    listeners = {name: Listener(tmp_path / name) for name in BUSES}
    output, errors = simulate(vehicle, "--seconds", "2").communicate(timeout=PATIENCE)
    report = json.loads(output.splitlines()[-1])
    for name, listener in listeners.items():
        listener.close()
        assert len(listener.got) == 2 * RATES[name]
        assert report["buses"][name] == {"sent": 2 * RATES[name], "undelivered": 0}
    assert (report["seconds"], report["undelivered"]) == (2.0, 0)
    assert report["sent"] == 2 * sum(RATES.values())
    assert errors == ""
    long = [datagram for datagram in listeners["powertrain"].got if len(datagram) == 72]
    assert ids(long) == [FD_ID] * 20


def test_load_fills_the_buses_with_ids_that_no_dbc_file_knows(vehicle, tmp_path):
    listeners = {name: Listener(tmp_path / name) for name in BUSES}
    simulate(vehicle, "--seconds", "1", "--load", "1500").communicate(timeout=PATIENCE)
    for name, listener in listeners.items():
        listener.close()
        assert len(listener.got) == 1500
        unknown = [one for one in ids(listener.got) if 0x600 <= one < 0x700]
        assert len(unknown) == 1500 - RATES[name]


def test_sigterm_ends_it_with_the_report(vehicle, tmp_path):
    listeners = {name: Listener(tmp_path / name) for name in BUSES}
    process = simulate(vehicle)
    assert listeners["body"].some.wait(PATIENCE)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    report = json.loads(output.splitlines()[-1])
    for name, listener in listeners.items():
        listener.close()
        assert report["buses"][name]["sent"] == len(listener.got)


def test_sigterm_ends_it_while_a_receiver_does_not_read(vehicle, tmp_path):
    listeners = {name: Listener(tmp_path / name) for name in BUSES[1:]}
    asleep = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    asleep.bind(str(tmp_path / "powertrain"))
    process = simulate(vehicle)
    asleep.recv(100)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert json.loads(output.splitlines()[-1])["sent"] > 0
    for listener in listeners.values():
        listener.close()


def test_a_receiver_may_be_killed_and_come_back(vehicle, tmp_path):
    listeners = {name: Listener(tmp_path / name) for name in BUSES}
    process = simulate(vehicle)
    assert listeners["body"].some.wait(PATIENCE)
    listeners["body"].close()
    first = len(listeners["body"].got)
    listeners["body"] = Listener(tmp_path / "body")
    assert listeners["body"].some.wait(PATIENCE)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE)
    report = json.loads(output.splitlines()[-1])
    for listener in listeners.values():
        listener.close()
    # The burst in which the receiver went counts as undelivered, whatever part it still took; what
    # it had in its queue is lost as it would be in a vehicle.
    most_a_burst = 5
    assert report["buses"]["body"]["sent"] >= first + len(listeners["body"].got) - most_a_burst
    assert report["buses"]["body"]["undelivered"] > 0
    assert report["buses"]["chassis"]["sent"] == len(listeners["chassis"].got)
    assert report["buses"]["chassis"]["undelivered"] == 0


def test_it_says_for_whom_it_waits(vehicle):
    process = simulate(vehicle)
    assert "bus 'powertrain': unix" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert json.loads(output.splitlines()[-1])["sent"] == 0


def test_other_networks_are_refused_with_the_first_signal_that_the_car_lacks(vehicle, tmp_path):
    text = (FOLDER / "body.dbc").read_text().replace("RainIntensity", "HailIntensity")
    (tmp_path / "other.dbc").write_text(text)
    vehicle.write_text(vehicle.read_text().replace(f"{FOLDER / 'body'}.dbc", "other.dbc"))
    process = simulate(vehicle)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "bus 'body'" in errors
    assert "BCM_Wipers_01.HailIntensity" in errors


@pytest.mark.vcan
def test_it_sends_to_the_vcan_interfaces_of_the_demo_vehicle():
    sockets = []
    for interface in ("vcan0", "vcan1", "vcan2"):
        receiver = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        receiver.setsockopt(socket.SOL_CAN_RAW, socket.CAN_RAW_FD_FRAMES, 1)
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind((interface,))
        receiver.setblocking(False)
        sockets.append(receiver)
    counts = dict.fromkeys(BUSES, 0)
    process = simulate(FOLDER / "vehicle.toml", "--seconds", "1")
    ended = False
    while not ended:
        ended = process.poll() is not None
        select.select(sockets, [], [], 0.1)
        for name, receiver in zip(BUSES, sockets, strict=True):
            with contextlib.suppress(BlockingIOError):
                while receiver.recv(100):
                    counts[name] += 1
    assert counts == RATES
    report = json.loads(process.communicate()[0].splitlines()[-1])
    assert {name: report["buses"][name]["sent"] for name in BUSES} == RATES
    for receiver in sockets:
        receiver.close()
