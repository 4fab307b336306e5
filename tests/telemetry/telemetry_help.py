"""A small vehicle, the telemetry module as its process, and the cloud's end, for tests."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from hashlib import sha256
from pathlib import Path

import numpy as np

from bordnetz.batch.reader import Reader
from bordnetz.can.errors import BusError
from bordnetz.can.frames import CLASSIC_BYTES, FD_BYTES, FDF, Frames
from bordnetz.can.sender import FrameSender
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.environment import IOT_EDGE
from bordnetz.laptop.hub.control import ControlError
from bordnetz.telemetry.messages import OUTPUT

PATIENCE = 60
NOWHERE = dict.fromkeys(IOT_EDGE, "nowhere")
ROUTES = {
    output: f"FROM /messages/modules/telemetry/outputs/{output} INTO $upstream"
    for output in ("batches", "state", "bundleAck")
}

MOTOR, SERIAL, HEAT, WIDE = 0x100, 0x200, 0x300, 0x400
EEC1 = 0x8CF00400
DRIVE = """VERSION ""
BS_:
BU_: X
BO_ 256 Motor: 8 X
 SG_ Count : 0|32@1+ (1,0) [0|0] "" X
 SG_ Speed : 32|16@1+ (0.5,0) [0|0] "km/h" X
 SG_ Gear : 48|8@1+ (1,0) [0|0] "" X
BO_ 512 Plate: 8 X
 SG_ Serial : 0|64@1+ (1,0) [0|0] "" X
BO_ 768 Heat: 8 X
 SG_ Inner : 0|32@1- (1,0) [0|0] "degC" X
 SG_ Outer : 32|32@1- (1,0) [0|0] "degC" X
BO_ 1024 Wide: 64 X
 SG_ First : 0|64@1+ (1,0) [0|0] "" X
 SG_ Last : 448|64@1+ (1,0) [0|0] "" X
VAL_ 256 Gear 0 "Park" 1 "Drive" ;
SIG_VALTYPE_ 768 Inner : 1;
SIG_VALTYPE_ 768 Outer : 1;
"""
TRUCK = """VERSION ""
BS_:
BU_: X
BO_ 2364539904 EEC1: 8 X
 SG_ EngineSpeed : 24|16@1+ (0.125,0) [0|0] "rpm" X
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ 2364539904 3;
"""
SIGNALS = 9
NO_BUNDLES = Path("/nowhere/bundles")
VEHICLE = """
name = "test"
[[bus]]
name = "drive"
interface = "unix"
channel = "{folder}/drive"
dbc = ["drive.dbc"]
[[bus]]
name = "truck"
interface = "unix"
channel = "{folder}/truck"
dbc = ["truck.dbc"]
"""


def frames(arbitration_id, data, time_ns=0, bus=0, width=CLASSIC_BYTES):
    """Frames of one id: bytes of each, times (or one for all)."""
    table = np.zeros((len(data), width), np.uint8)
    for row, one in enumerate(data):
        table[row, : len(one)] = np.frombuffer(one, np.uint8)
    n = len(data)
    return Frames(
        time=np.broadcast_to(np.asarray(time_ns, np.int64), n).copy(),
        bus=np.full(n, bus, np.uint8),
        id=np.full(n, arbitration_id, np.uint32),
        flags=np.full(n, FDF if width == FD_BYTES else 0, np.uint8),
        length=np.array([len(one) for one in data], np.uint8),
        data=table,
    )


def motor(numbers, speed=100, gear=1):
    """Data of the message Motor, each with its number in ``Count``."""
    tail = speed.to_bytes(2, "little") + bytes([gear, 0])
    return [int(n).to_bytes(4, "little") + tail for n in numbers]


class Car:
    """The vehicle's files, and the other end of its buses."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.file = folder / "vehicle.toml"
        (folder / "drive.dbc").write_text(DRIVE)
        (folder / "truck.dbc").write_text(TRUCK)
        self.file.write_text(VEHICLE.format(folder=folder))
        self.vehicle = Vehicle.load(self.file)
        self.sent = 0
        self._senders = {}

    def send(self, some: Frames, bus="drive"):
        if bus not in self._senders:
            eventually(lambda: self._connect(bus), bool)
        self._senders[bus].send(some)
        self.sent += len(some)

    def _connect(self, bus):
        """Connects to the module's end of a bus; False if it is not open yet."""
        try:
            self._senders[bus] = FrameSender.to_unix(str(self.folder / bus))
        except BusError:
            return False
        return True

    def count(self, numbers):
        """Sends Motor frames with these numbers."""
        self.send(frames(MOTOR, motor(numbers)))

    @property
    def bundles(self):
        """The folder of bundles, which is not there before the first one."""
        return self.folder / "bundles"

    def bundle(self, name, **files):
        """Makes a bundle: the car's own files, but for those given (``drive_dbc="..."``)."""
        digest = sha256(name.encode()).hexdigest()
        folder = self.bundles / digest
        folder.mkdir(parents=True)
        own = {"vehicle_toml": self.file.read_text(), "drive_dbc": DRIVE, "truck_dbc": TRUCK}
        for file, text in {**own, **files}.items():
            (folder / file.replace("_", ".")).write_text(text)
        return digest

    def choose(self, digest):
        """Lets ``current`` be a bundle, as the update module does."""
        self.bundles.mkdir(exist_ok=True)
        link = self.bundles / "current"
        link.unlink(missing_ok=True)
        link.symlink_to(f"{digest}/")

    def hang_up(self):
        """Lets go of the sockets, as their other end was or will be made anew."""
        for sender in self._senders.values():
            sender.close()
        self._senders.clear()

    close = hang_up


class Process:
    """``bordnetz telemetry`` as the container runs it."""

    program = (sys.executable, str(Path(__file__).with_name("telemetry_quick.py")))

    def __init__(self, state, vehicle, arguments, variables):
        self.state = state
        self.log = state.with_name("telemetry.log")
        settings = {
            "BORDNETZ_STATE": str(state),
            "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
            "BORDNETZ_VEHICLE": str(vehicle),
            "BORDNETZ_BUNDLES": str(vehicle.with_name("bundles")),
        }
        with self.log.open("ab") as log:
            self._before = log.tell()
            self.process = subprocess.Popen(
                [*self.program, *arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, **NOWHERE, **settings, **variables},
            )

    @property
    def text(self):
        """What it has logged."""
        return self.log.read_bytes()[self._before :].decode()

    def logged(self, pattern):
        """Waits for a line of the log; the match."""
        end = time.monotonic() + PATIENCE
        while True:
            ended = self.process.poll()
            if found := re.search(pattern, self.text):
                return found
            assert ended is None, f"ended with {ended}, no '{pattern}' in:\n{self.text}"
            assert time.monotonic() < end, f"no '{pattern}' in:\n{self.text}"
            time.sleep(0.02)

    def collecting(self, signals=SIGNALS):
        """Waits until so many signals are collected and the buses are open."""
        self.logged(rf"collecting {signals} of {SIGNALS} signals")
        return self

    def remembering(self):
        """Waits until its configuration would be in force after a restart without a hub."""
        eventually((self.state / "desired.json").exists, bool)
        return self

    def figure(self, name):
        """Sum of a metric over its labels."""
        page = self.logged(r"metrics at (\S+)")[1]
        text = urllib.request.urlopen(page).read().decode()
        found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def end(self, number=signal.SIGTERM):
        """Sends a signal; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """The exit code, once it has ended by itself."""
        return self.process.wait(PATIENCE)


def eventually(ask, wanted):
    """Asks until the answer is as wanted; the answer."""
    end = time.monotonic() + PATIENCE
    while not wanted(answer := ask()):
        assert time.monotonic() < end, f"still {answer!r}"
        time.sleep(0.05)
    return answer


def ask(hub, method, payload=None):
    """Calls a method, once the module is connected; status and answer."""

    def once():
        try:
            return hub.control.call("telemetry", method, payload)
        except ControlError as error:
            if "not connected" in str(error):
                return None
            raise

    return eventually(once, bool)


def call(hub, method, payload=None):
    """Calls a method that works; the answer."""
    status, answer = ask(hub, method, payload)
    assert status == 200, answer
    return answer


def balanced(page):
    """Whether a page of the books adds up."""
    known = page["decoded"] + page["notAsked"] + page["notData"] + sum(page["dropped"].values())
    return page["received"] == known


class Cloud:
    """What reached ``$upstream`` of samples: each message once, by (outbox, sequence).

    A batch that has overtaken its dictionary is one of `arrivals`, but not yet of `batches`.
    """

    def __init__(self, hub):
        self.arrivals = {}
        self.batches = {}
        self.dictionaries = {}
        upstream = hub.control.upstream
        reader = Reader()
        for arrival in upstream.messages():
            if arrival.output != OUTPUT:
                continue
            name = arrival.properties["batch"]
            if name in self.arrivals:
                continue
            self.arrivals[name] = arrival
            body = upstream.body(arrival)
            if arrival.properties["schema"] == "dictionary.1":
                self.dictionaries[name] = arrival
            for batch in reader.read(body):
                key = f"{batch.header.outbox:016x}-{batch.header.sequence}"
                self.batches[key] = batch

    @property
    def samples(self):
        """Samples of all batches."""
        return sum(len(batch.samples) for batch in self.batches.values())

    def values(self, name):
        """Physical values of a signal, by sequence, in a batch by row; and their times."""
        found, times = [], []
        for key in sorted(self.batches, key=lambda key: int(key.split("-")[1])):
            samples = self.batches[key].samples
            row = value = 0
            for g, width, count in zip(samples.group, samples.width, samples.count, strict=True):
                group = samples.groups[g]
                for one, full in zip(group.signals[:width], group.names(), strict=False):
                    if full == name:
                        found += one.physical(samples.values[value : value + count]).tolist()
                        times += samples.time[row : row + count].tolist()
                    value += count
                row += count
        return found, times


def heard(hub, output):
    """What reached ``$upstream`` from an output that speaks JSON: arrivals and contents."""
    upstream = hub.control.upstream
    return [
        (arrival, json.loads(upstream.body(arrival)))
        for arrival in upstream.messages()
        if arrival.output == output
    ]


def candump(path: Path, rows):
    """Writes a recording: rows of time in us, channel, id and data."""
    with path.open("w") as file:
        for time_us, channel, arbitration_id, data in rows:
            digits = f"{arbitration_id & 0x7FFFFFFF:0{8 if arbitration_id >> 31 else 3}X}"
            seconds = f"{time_us // 1_000_000}.{time_us % 1_000_000:06d}"
            file.write(f"({seconds}) {channel} {digits}#{data.hex().upper()}\n")
    return path
