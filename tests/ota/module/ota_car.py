"""A fleet's release and one car of it: the module ota as its process, a hub, a store over HTTPS."""

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bordnetz.laptop.hub.control import ControlError
from bordnetz.laptop.store.command import signed_url
from bordnetz.release.command import release

PATIENCE = 90
TELLS = 10
"""Seconds between two messages of telemetry; what they say is forgotten after 30."""

CAR = "vehicle"
ROUTES = {
    "events": "FROM /messages/modules/ota/outputs/events INTO $upstream",
    "manifests": "FROM /messages/modules/ota/outputs/manifest INTO $upstream",
}
VEHICLE = """
name = "test"
[[bus]]
name = "drive"
interface = "unix"
channel = "/nowhere"

[ota]
director_root = "{fleet}/director-root.json"
image_root = "{fleet}/image-root.json"
key = "{folder}/primary.pem"
primary = "maps"
ca = "{folder}/store/ca.pem"
offline = "{folder}/stick"
workshop_consent = {workshop}

[ota.conditions.parked]
signal = "drive.Motor.Speed"
max = 0.5

[[ota.ecu]]
id = "maps"
hardware_id = "maps-1"
installer = "file"
folder = "{folder}/maps"
{health}
"""


class Fleet:
    """A release folder with one car, and a folder that a store can serve."""

    def __init__(self, folder):
        self.folder, self.release = folder, folder / "release"
        self.published = folder / "published"
        key = Ed25519PrivateKey.generate()
        self.key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        public = key.public_key().public_bytes_raw().hex()
        self.do("init", "--keys", folder / "keys")
        self.do("vehicle", "add", CAR, "--ecu", "maps:maps-1", "--public-key", public)
        self.campaigns = 0

    def do(self, verb, *arguments):
        words = [verb, *([arguments[0]] if verb == "vehicle" else [])]
        rest = arguments[1:] if verb == "vehicle" else arguments
        arguments = [*words, *map(str, (self.release, *rest))]
        with contextlib.redirect_stdout(io.StringIO()):
            release.main(arguments, standalone_mode=False)

    def give(self, payload, name, *settings):
        """Releases a payload to the car; the campaign's id."""
        self.campaigns += 1
        campaign = f"campaign-{self.campaigns}"
        name = f"{name}-{self.campaigns}"
        self.do("add", payload, "--name", name, "--hardware", "maps-1", "--deltas", "0")
        self.do("assign", name, "--campaign", campaign, "--vehicle", CAR, *settings)
        self.do("sign")
        self.do("publish", "--to", self.published)
        return campaign


class Store:
    """The published folder over HTTPS."""

    def __init__(self, fleet, state, *options):
        self.state = state
        command = [sys.executable, "-m", "bordnetz", "store", "run", str(fleet.published)]
        self.process = subprocess.Popen(
            [*command, "--state", str(state), *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout.readline().startswith("store at")

    def reference(self, campaign, seconds=600):
        parts = {"director": f"director/{CAR}", "image": "image", "targets": "targets"}
        urls = {name: signed_url(self.state, path, seconds) for name, path in parts.items()}
        return {"id": campaign, **urls}

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Car:
    """The module, its folder and what the cloud sees of it."""

    def __init__(self, fleet, folder, hub, *, workshop=False, health=""):
        self.folder, self.hub = folder, hub
        self.log = folder / "ota.log"
        key = folder / "primary.pem"
        key.touch(mode=0o600)
        key.write_bytes(fleet.key)
        values = {"fleet": fleet.release, "folder": folder, "health": health}
        text = VEHICLE.format(workshop=str(workshop).lower(), **values)
        (folder / "vehicle.toml").write_text(text)
        self._signals, self._said = {}, 0.0
        self.process = None
        self.start()

    def start(self):
        environment = {
            **os.environ,
            **self.hub.control.env("ota"),
            "BORDNETZ_VEHICLE": str(self.folder / "vehicle.toml"),
            "BORDNETZ_STATE": str(self.folder / "state"),
            "BORDNETZ_BUNDLES": str(self.folder / "bundles"),
            "BORDNETZ_METRICS_ADDRESS": f"{self.hub.control.place.address}:0",
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("ota_quick.py"))],
                stdout=log,
                stderr=log,
                env=environment,
            )

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.terminate()
        return self.process.wait(PATIENCE)

    # -- what the cloud sees

    @property
    def reported(self):
        return self.hub.control.twin("ota")["reported"]

    @property
    def state(self):
        return (self.reported.get("update") or {}).get("state")

    @property
    def reasons(self):
        return " ".join((self.reported.get("update") or {}).get("reasons") or ())

    @property
    def events(self):
        upstream = self.hub.control.upstream
        return [
            json.loads(upstream.body(one)) for one in upstream.messages() if one.output == "events"
        ]

    @property
    def manifests(self):
        upstream = self.hub.control.upstream
        return [upstream.body(one) for one in upstream.messages() if one.output == "manifest"]

    @property
    def finals(self):
        return [event for event in self.events if event["event"] == "final"]

    @property
    def active(self):
        return (self.folder / "maps" / "current").resolve()

    def until(self, holds, what):
        end = time.monotonic() + PATIENCE
        while not holds():
            if self._signals and time.monotonic() - self._said > TELLS:
                self.says(**self._signals)
            assert time.monotonic() < end, f"not within {PATIENCE} s: {what}\n{self.tail()}"
            assert self.process.poll() is None, f"ended with {self.process.poll()}\n{self.tail()}"
            time.sleep(0.05)

    def until_state(self, word):
        self.until(lambda: self.state == word, f"{word}, but {self.reported.get('update')}")

    def until_final(self, result, count=1):
        self.until(lambda: len(self.finals) >= count, "a final report")
        assert [one["result"] for one in self.finals][-1] == result, self.finals

    def tail(self):
        return "\n".join(self.log.read_text().splitlines()[-20:])

    def call(self, method, payload=None):
        """Calls a direct method, once the module is up."""
        answers = []

        def answered():
            with contextlib.suppress(ControlError):
                answers.append(self.hub.control.call("ota", method, payload, timeout=PATIENCE))
            return answers and answers[-1][0] != 503

        self.until(answered, f"an answer to {method}")
        return answers[-1]

    def says(self, **signals):
        """What telemetry tells of the car's signals, from here on again and again as it does."""
        self._signals, self._said = signals, time.monotonic()
        body = {"time": time.time(), "signals": signals, "ages": dict.fromkeys(signals, 0)}
        self.hub.control.send("ota", "state", body)

    def parks(self):
        self.says(**{"drive.Motor.Speed": 0.0})

    def drives(self):
        self.says(**{"drive.Motor.Speed": 50.0})

    def metrics(self):
        line = next(one for one in self.log.read_text().splitlines() if "metrics at" in one)
        with urllib.request.urlopen(line.split("metrics at ")[1]) as page:
            return page.read().decode()
