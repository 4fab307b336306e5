"""Days without the cloud, for the machine that test_days_without_cloud.py runs this in.

Edge hub is there and takes what it gets, but does not get rid of it.  The module makes a message
every half minute; it knows Edge hub's metrics.  The last line tells what became of them all.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hub_fixtures import template

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.control import Control

PERIOD = 30.0
HOUR = 3600.0
ROUTES = {"up": "FROM /messages/modules/probe/outputs/batches INTO $upstream"}
MONTH = 30 * 86_400


def until(answer):
    """What ``answer`` returns once it is something."""
    while True:
        try:
            if found := answer():
                return found
        except BordnetzError:
            pass
        time.sleep(1)


def main():
    home, hours = Path(tempfile.mkdtemp()), int(sys.argv[1])
    manifest = template(home / "deployment.json", {"probe": {"period": PERIOD}}, ROUTES, MONTH)
    log = (home / "log").open("ab")
    hub = subprocess.Popen(
        [
            *(sys.executable, "-m", "bordnetz", "hub", "run"),
            *("--manifest", str(manifest), "--state", str(home / "hub")),
        ],
        stdout=log,
        stderr=log,
    )
    control = until(lambda: Control(home / "hub"))
    control.fault("upstream-offline")
    own = {
        "BORDNETZ_STATE": str(home / "state"),
        "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
        "BORDNETZ_HUB_METRICS": control.place.metrics,
        "BORDNETZ_HUB_FLOOR": "64",
    }
    probe = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("edge_module.py"))],
        env=os.environ | control.env("probe") | own,
        stdout=(home / "told").open("wb"),
        stderr=log,
    )
    until(lambda: control.call("probe", "status")[1]["edgeHub"]["readable"])

    def look():
        (waiting,) = control.status()["queues"].values()
        status = control.call("probe", "status")[1]
        return [waiting, status["outbox"]["messages"], status["edgeHub"]["slowed"]]

    began = time.time()
    looks = []
    for hour in range(1, hours + 1):
        time.sleep(began + hour * HOUR - time.time())
        looks.append(look())
    control.fault("upstream-offline", off=True)
    came_back = time.time()
    until(lambda: control.call("probe", "status")[1]["outbox"]["messages"] <= 1)
    drained = time.time() - came_back
    status = control.call("probe", "status")[1]
    probe.terminate()
    ended = probe.wait()
    put = (home / "told").read_text().count("put ")
    until(lambda: not control.status()["queues"])
    hub.terminate()
    hub.wait()
    arrived = [arrival.properties["n"] for arrival in control.upstream.messages()]
    outcome = {
        "hours": (came_back - began) / HOUR,
        "looks": looks,
        "drained": drained,
        "status": status,
        "exit": ended,
        "put": put,
        "arrived": len(arrived),
        "different": len(set(arrived)),
        "log": (home / "log").read_text()[-2000:],
    }
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
