"""What is expected of an update on this machine, step by step, and whether it has happened."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.hub.control import Control, ControlError
from bordnetz.laptop.hub.identities import DEVICE
from bordnetz.laptop.store.command import signed_url
from bordnetz.laptop.update.attacks import ATTACKS, OTHER
from bordnetz.laptop.update.release import BUNDLE, CAMPAIGN, MAPS, NEW_SIGNAL, Release

MODULE = "ota"

_ANSWER = 5.0
"""Seconds for the module's answer to a method."""

TRIP = 30.0
"""Seconds: long enough to see that nothing is installed meanwhile."""

_SIGNED = 3600
"""Seconds that the store's URLs hold."""


@dataclass
class Seen:
    """What the cloud's side has seen so far.

    Attributes:
        states: Words of the campaign's state, as they came.
        refused_driving: Why the car would not install while it was driven.
        consented: Whether the driver was asked, and has said "now".
        final: The final reports, by attempt; how often each came.
        events: What was refused, by kind.
        active: What is active, by ECU, as reported.
        answered: Whether the time server has answered the car.
        signal: Whether the new bundle's signal has arrived.
        manifest: What the release tool says of the car after the last manifest.
    """

    states: list[str] = field(default_factory=list)
    refused_driving: str = ""
    consented: bool = False
    final: dict[str, dict[str, Any]] = field(default_factory=dict)
    finals: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    active: dict[str, Any] = field(default_factory=dict)
    answered: bool = False
    signal: bool = False
    manifests: int = 0


class Story:
    """An update from release to report; one `look` after the other takes it on.

    Args:
        folder: For all of it, new.
        vehicle: The car's buses in this drive.
        vehicle_file: Its file; gets a table ``[ota]``.
        attack: A key of `ATTACKS`; "" for none.
        say: Gets a line when something happens.

    Attributes:
        seen: So far.
        faults: What the store is to do wrong.
    """

    def __init__(
        self,
        folder: Path,
        vehicle: Vehicle,
        vehicle_file: Path,
        attack: str,
        say: Callable[[str], None],
    ) -> None:
        self.seen = Seen()
        self.faults = ATTACKS[attack].faults if attack else ()
        self.state = folder / "store-state"
        self.bundles = folder / "bundles"
        self._attack = ATTACKS[attack] if attack else None
        self._replays = attack == "rollback"
        self._vehicle_file = vehicle_file
        self._folder = folder
        self._say = say
        self._release = Release(folder, vehicle, DEVICE)
        self._referred = False
        self._tampered = False
        self._last = 0
        self._manifest = folder / "manifest.json"

    # -- before the car starts

    def prepare(self) -> None:
        """Make the release, and have the vehicle file know of it.

        Raises:
            ReleaseError: The release tool fails.
        """
        release = self._release
        self.bundles.mkdir(parents=True)
        self._say("the cloud makes keys and a release: a bundle for telemetry, and maps")
        release.begin(*([OTHER] if self._attack else []))
        vehicles = (DEVICE, OTHER) if self._attack else (DEVICE,)
        release.add(1)
        release.publish(1, "before" if self._attack else CAMPAIGN, *vehicles)
        if self._attack:
            shutil.copytree(release.store, self._folder / "store-before")
            release.add(2)
            release.publish(2, CAMPAIGN, *vehicles)
        with self._vehicle_file.open("a", encoding="utf-8") as file:
            file.write(self._table())

    @property
    def store_command(self) -> list[str]:
        """Arguments of ``bordnetz`` that serve what was published."""
        arguments = ["store", "run", str(self._release.store), "--state", str(self.state)]
        arguments += ["--time-key", str(self._release.time_key)]
        arguments += ["--time-ahead", str(self._attack.held if self._attack else 0)]
        return arguments + [f"--fault={fault}" for fault in self.faults]

    @property
    def trip(self) -> float:
        """Seconds that the car is driven before it is parked."""
        return TRIP

    def _table(self) -> str:
        director, image = map(str, self._release.roots)
        names: dict[str, Any] = {
            "director_root": director,
            "image_root": image,
            "key": str(self._release.key),
            "primary": MAPS,
            "ca": str(self.state / "ca.pem"),
        }
        lines = ["", "[ota]", *(f"{name} = {json.dumps(value)}" for name, value in names.items())]
        for name, test in _CONDITIONS.items():
            lines += ["", f"[ota.conditions.{name}]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in test.items()]
        for ecu in (
            {"id": BUNDLE, "hardware_id": "bundle-1", "installer": "data"},
            {
                "id": MAPS,
                "hardware_id": "maps-1",
                "installer": "file",
                "folder": str(self._folder / "maps"),
            },
        ):
            lines += ["", "[[ota.ecu]]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in ecu.items()]
        return "\n".join(lines) + "\n"

    # -- on the way

    def look(self, control: Control, signals: Collection[str]) -> None:
        """See what has happened, and do what is next.

        Args:
            control: The hub.
            signals: Names of the signals that have arrived in the cloud so far.
        """
        self._read_events(control)
        try:
            reported = control.twin(MODULE)["reported"]
        except ControlError:
            return
        self.seen.active = dict(reported.get("targets") or {})
        self.seen.signal |= NEW_SIGNAL in signals
        trust = reported.get("trust") or {}
        self.seen.answered |= trust.get("timeServer") == "answers"
        campaign = reported.get("update") or {}
        self._note(campaign)
        if not self._referred and not trust and not campaign:
            # The module has not come up yet.
            return
        if not self._referred:
            self._refer(control)
        elif self._replays and trust.get("director"):
            self._tamper(control)
        question = reported.get("driver") or {}
        if self.seen.refused_driving and question.get("asked") and not self._attack:
            self._consent(control, campaign)

    def _refer(self, control: Control) -> None:
        if self._attack is not None and not self._replays:
            self._tamper(control)
        where = {
            "director": f"director/{DEVICE}",
            "image": "image",
            "targets": "targets",
            "time": "time",
        }
        urls = {name: signed_url(self.state, path, _SIGNED) for name, path in where.items()}
        control.set(MODULE, {"campaign": {"id": CAMPAIGN, **urls}})
        self._referred = True
        self._say("the portal gives the car a reference to the update")

    def _tamper(self, control: Control) -> None:
        attack = self._attack
        if attack is None or self._tampered:
            return
        self._say(f"an attacker {attack.text}")
        if attack.tamper is not None:
            attack.tamper(self._release)
        self._tampered = True
        if self._referred:
            with suppress(ControlError):
                control.call(MODULE, "check", timeout=_ANSWER)

    def _note(self, campaign: Mapping[str, Any]) -> None:
        word = str(campaign.get("state", ""))
        reasons = "; ".join(campaign.get("reasons") or ())
        if word and (not self.seen.states or self.seen.states[-1] != word):
            self.seen.states.append(word)
            self._say(f"the car: {word}{': ' if reasons else ''}{reasons}")
        if word == "waiting" and "parked" in reasons and not self.seen.refused_driving:
            self.seen.refused_driving = reasons
            self._say(f"the car is driven, and does not install: {reasons}")

    def _consent(self, control: Control, campaign: Mapping[str, Any]) -> None:
        reasons = "; ".join(campaign.get("reasons") or ())
        if self.seen.consented or campaign.get("state") != "waiting" or "parked" in reasons:
            return
        control.send(MODULE, "driver", {"campaign": CAMPAIGN, "answer": "now"})
        self.seen.consented = True
        self._say("the car is parked; the driver is asked and says: now")

    def _read_events(self, control: Control) -> None:
        for arrival in control.upstream.messages(self._last):
            self._last = arrival.n
            if arrival.module != MODULE:
                continue
            body = control.upstream.body(arrival)
            if arrival.output == "manifest":
                self.seen.manifests += 1
                self._manifest.write_bytes(body)
                continue
            event = json.loads(body)
            if event["event"] == "final":
                self.seen.finals += 1
                self.seen.final[event["attempt"]] = event
                error = event.get("error") or {}
                words = f": {error['kind']}: {error['words']}" if error else ""
                self._say(f"final report: {event['result']}{words}")
            elif event["event"] == "refused":
                self.seen.refused[event["kind"]] = event["words"]
                self._say(f"the car refuses: {event['kind']}: {event['words']}")

    # -- the end

    @property
    def over(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return not self.wrong()

    def wrong(self) -> list[str]:
        """What has not happened that should have, or has and should not; a line each."""
        return self._attack_wrong() if self._attack else self._update_wrong()

    def _update_wrong(self) -> list[str]:
        seen = self.seen
        wrong = []
        if not seen.refused_driving:
            wrong.append("the car has not refused to install while it was driven")
        if not seen.answered:
            wrong.append("the time server has not answered the car")
        if not seen.consented:
            wrong.append("the driver was not asked")
        results = [report["result"] for report in seen.final.values()]
        if results != ["succeeded"]:
            wrong.append(f"the final reports say {', '.join(results) or 'nothing'}, not succeeded")
        if seen.finals > len(seen.final):
            wrong.append(f"{seen.finals} final reports came of {len(seen.final)} attempts")
        for ecu, name in ((BUNDLE, "bundle-1"), (MAPS, "maps-1")):
            active = (seen.active.get(ecu) or {}).get("name")
            if active != name:
                wrong.append(f"{ecu}: {active or 'nothing'} is reported to be active, not {name}")
        if not seen.signal:
            wrong.append(f"the new signal {NEW_SIGNAL} has not arrived in the cloud")
        return wrong

    def _attack_wrong(self) -> list[str]:
        attack, seen = self._attack, self.seen
        if attack is None:
            return []
        told = {
            *seen.refused,
            *((report.get("error") or {}).get("kind", "") for report in seen.final.values()),
        }
        wrong = []
        if not told & set(attack.kinds):
            wanted = " or ".join(attack.kinds)
            wrong.append(
                f"the car has reported {', '.join(sorted(told - {''})) or 'nothing'}, not {wanted}"
            )
        wrong += [
            f"{ecu}: {found.get('name')} is active"
            for ecu, found in seen.active.items()
            if found is not None
        ]
        return wrong

    def end(self) -> list[str]:
        """Have the release tool verify the car's last manifest, and say what is wrong, if anything.

        Raises:
            ReleaseError: The release tool fails.
        """
        if not self._manifest.exists():
            return [*self.wrong(), "no manifest has arrived"]
        self._release.intake(self._manifest)
        self._say("the release tool takes in the car's manifest: its signatures hold")
        return self.wrong()

    def report(self) -> dict[str, Any]:
        """For JSON."""
        seen = self.seen
        return {
            "attack": next((name for name, one in ATTACKS.items() if one is self._attack), None),
            "states": seen.states,
            "refused_while_driving": seen.refused_driving or None,
            "refused": seen.refused,
            "final": list(seen.final.values()),
            "active": seen.active,
            "new_signal": seen.signal,
            "manifests": seen.manifests,
        }


_CONDITIONS: dict[str, dict[str, Any]] = {
    "parked": {"signal": "powertrain.VCU_Speed_01.RoadSpeed", "max": 0.5},
    "ignitionOff": {"signal": "body.BCM_Access_01.Terminal", "equals": "Off"},
    "charged": {"signal": "powertrain.BMS_State_01.StateOfCharge", "min": 20},
}
