"""An hour without a hub, for the machine that test_telemetry_hour.py runs this in.

The module gets its configuration, is started again without a hub, hears a frame every ten
seconds for an hour, and then the hub comes.  The last line is what ``status`` says then.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.control import Control

FRAMES, EVERY = 360, 10.0
PROJECT = Path(__file__).parents[2]
DATABASE = """VERSION ""
BU_: Unit
BO_ 256 Motor: 8 Unit
 SG_ Count : 0|32@1+ (1,0) [0|0] "" Unit
"""
VEHICLE = """name = "hour"
[[bus]]
name = "drive"
interface = "socketcan"
channel = "vcan0"
dbc = ["drive.dbc"]
"""


def until(answer):
    """What ``answer`` returns once it is something."""
    while True:
        try:
            if found := answer():
                return found
        except BordnetzError:
            pass
        time.sleep(0.1)


class Trial:
    def __init__(self, home):
        self.home = home
        (home / "drive.dbc").write_text(DATABASE)
        (home / "vehicle.toml").write_text(VEHICLE)

    def start(self, *arguments, environment=None):
        with (self.home / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bordnetz", *map(str, arguments)],
                env=os.environ | (environment or {}),
                stdout=log,
                stderr=log,
            )

    def hub(self):
        manifest = PROJECT / "deployment.template.json"
        hub = self.start("hub", "run", "--manifest", manifest, "--state", self.home / "hub")
        return hub, until(lambda: Control(self.home / "hub"))

    def module(self, environment):
        own = {
            "BORDNETZ_VEHICLE": str(self.home / "vehicle.toml"),
            "BORDNETZ_STATE": str(self.home / "state"),
            "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
        }
        return self.start("telemetry", environment=environment | own)

    def run(self):
        hub, control = self.hub()
        environment = control.env("telemetry")
        module = self.module(environment)
        until((self.home / "state" / "desired.json").exists)
        for process in (module, hub):
            process.terminate()
            process.wait()

        module = self.module(environment)
        # Reads the vehicle's frames as soon as it shows its figures.
        until(lambda: (self.home / "log").read_text().count("collecting 1 of 1") == 2)
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as bus:
            bus.bind(("vcan0",))
            for count in range(FRAMES):
                bus.send(struct.pack("=IB3xI4x", 256, 8, count))
                time.sleep(EVERY)

        hub, control = self.hub()

        def all_arrived():
            code, status = control.call("telemetry", "status")
            done = code == 200 and status["frames"]["received"] >= FRAMES
            control.call("telemetry", "flush")
            return status if done and not status["outbox"]["messages"] else None

        status = until(all_arrived)
        module.terminate()
        ended = module.wait()
        hub.terminate()
        hub.wait()
        return {"status": status, "exit": ended, "arrived": control.upstream.messages()}


def main():
    began = time.time()
    with tempfile.TemporaryDirectory() as home:
        outcome = Trial(Path(home)).run()
        outcome["arrived"] = [arrival.properties["schema"] for arrival in outcome["arrived"]]
        outcome["seconds"] = time.time() - began
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
