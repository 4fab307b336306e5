"""One life of a vehicle's machine, from the mount to the power cut; runs inside it.

The disk is mounted, a hub starts if there is one, telemetry starts, and frames come until the power
goes: telemetry cuts it itself (`machine_telemetry`), or whoever has started the machine does.

What is not on the disk lies in a folder of the world outside.  User-mode Linux writes there at once
(hostfs), so all that was written survives the cut, and the hub keeps what it has acknowledged.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_BUS, _ID = "vcan0", 0x100
_TICK = 0.02
_FRAMES = 20


@dataclass(frozen=True, slots=True)
class Life:
    """What happens in it.

    Attributes:
        outside: The folder there.
        mount: What mounts the disk.
        neighbour: A file on it, of somebody else.
        hub: Runs one; None: there is none.
        telemetry: Runs it.
        variables: Its environment.
        first: The number that the first frame carries.
    """

    outside: str
    mount: Sequence[str]
    neighbour: str
    hub: Sequence[str] | None
    telemetry: Sequence[str]
    variables: Mapping[str, str]
    first: int

    def command(self) -> list[str]:
        """Lives it, in the machine, where each import takes its time."""
        return [sys.executable, "-S", __file__, json.dumps(asdict(self))]

    def live(self) -> int:
        """Until the power goes; telemetry's exit code if it ends before."""
        outside = Path(self.outside)
        subprocess.run(["mount", *self.mount], check=True)
        if self.hub is not None:
            with (outside / "hub.log").open("ab") as log:
                hub = subprocess.Popen(self.hub, stdout=subprocess.PIPE, stderr=log)
            if hub.stdout is None or not hub.stdout.readline():
                raise RuntimeError(f"the hub has not started: exit code {hub.wait()}")
        with (outside / "telemetry.log").open("ab") as log:
            module = subprocess.Popen(
                self.telemetry, stdout=log, stderr=log, env={**os.environ, **self.variables}
            )
        number = self.first
        neighbour = os.open(self.neighbour, os.O_WRONLY | os.O_CREAT, 0o600)
        with socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW) as bus:
            bus.bind((_BUS,))
            while (code := module.poll()) is None:
                for _ in range(_FRAMES):
                    bus.send(struct.pack("=IB3xI4x", _ID, 8, number))
                    number += 1
                # As the rest of a vehicle does: what was renamed is safe before what was written.
                os.pwrite(neighbour, b"%d" % number, 0)
                os.fsync(neighbour)
                time.sleep(_TICK)
        return code


if __name__ == "__main__":
    sys.exit(Life(**json.loads(sys.argv[1])).live())
