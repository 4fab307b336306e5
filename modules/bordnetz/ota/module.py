"""The update module: what lives on the event loop, around the thread of updates."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from securesystemslib.signer import Signer

from bordnetz.edge.message import Message
from bordnetz.edge.methods import Method, MethodError, NoPayload
from bordnetz.edge.module import Edge, Module
from bordnetz.edge.outbox import Uptime
from bordnetz.edge.thread import in_thread
from bordnetz.errors import BordnetzError
from bordnetz.ota.bundles import Telemetry
from bordnetz.ota.conditions import Conditions
from bordnetz.ota.config import Desired
from bordnetz.ota.consent import Answer, ConsentError, Consents, Source
from bordnetz.ota.engine import Surroundings
from bordnetz.ota.figures import Figures
from bordnetz.ota.fittings import Fittings, command
from bordnetz.ota.gate import Gate
from bordnetz.ota.journal import Journal
from bordnetz.ota.manifests import Manifests
from bordnetz.ota.origins import Origins
from bordnetz.ota.outgoing import Outgoing
from bordnetz.ota.payloads import StagedPayloads
from bordnetz.ota.refresh import Refresh
from bordnetz.ota.states import State
from bordnetz.ota.supply import Supply, sleeper
from bordnetz.ota.updates import Place, Updates
from bordnetz.ota.vehicle import OtaSettings
from bordnetz.uptane.time import Reading, TimeLimits
from bordnetz.uptane.trust import Roots

log = logging.getLogger(__name__)

TELEMETRY = 60.0
"""Seconds that telemetry has to take up a bundle."""

CONSENT = 5.0
"""Seconds between two looks whether the driver is asked something else."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_DAY = 86_400


class WorkshopAnswer(BaseModel):
    """Payload of the method ``consent``."""

    model_config = ConfigDict(extra="forbid")

    answer: Literal["now", "tonight", "postpone"]


class Ota(Module[Desired]):
    """Verified metadata in, installed and reported versions out.

    Args:
        settings: The vehicle file's table ``[ota]``.
        vehicle_id: Whose metadata it takes.
        roots: What the vehicle left the factory with.
        signer: The primary's key.
        folder: Of the vehicle file; its paths are relative to this.
        bundles: Where telemetry's bundles lie.
    """

    name = "ota"
    desired = Desired

    def __init__(
        self,
        settings: OtaSettings,
        vehicle_id: str,
        roots: Roots,
        signer: Signer,
        folder: Path,
        bundles: Path,
    ) -> None:
        self._settings = settings
        self._vehicle_id = vehicle_id
        self._roots = roots
        self._signer = signer
        self._folder = folder
        self._bundles = bundles
        self._stopping = threading.Event()
        # Asleep a car may have been towed: what is known of it grows old meanwhile.
        self._conditions = Conditions(
            settings.conditions, steady=Uptime.of_the_machine().now, wall=time.time
        )
        self._telemetry: Telemetry | None = None
        self._updates: Updates | None = None
        self._consents: Consents | None = None
        self._journal: Journal | None = None

    # -- life

    async def run(self, edge: Edge[Desired]) -> None:
        """Have the thread of updates run until `stop`."""
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            updates = await in_thread(partial(self._assemble, edge, loop, stack))
            work = in_thread(updates.run)
            others = [
                asyncio.create_task(one)
                for one in (self._follow(edge, updates), self._question(edge))
            ]
            try:
                await work
            finally:
                for task in others:
                    task.cancel()

    async def stop(self) -> None:
        """Let the thread come to rest."""
        self._stopping.set()
        if self._updates is not None:
            self._updates.stop()

    def _assemble(
        self, edge: Edge[Desired], loop: asyncio.AbstractEventLoop, stack: ExitStack
    ) -> Updates:
        settings, state = self._settings, edge.state / "updates"
        limits = TimeLimits(settings.clock_days * _DAY, settings.stale_days * _DAY)
        refresh = stack.enter_context(Refresh(state / "trust", self._roots, limits))
        journal = Journal.open(state / "journal.db")
        stack.callback(journal.close)

        def reading() -> Reading:
            return refresh.read(int(time.time()))

        clock = _Clock(reading)
        chance = random.SystemRandom().random
        outgoing = Outgoing(edge, loop, lambda report: updates.attempted(report))
        self._telemetry = Telemetry(outgoing.bundle, TELEMETRY, self._stopping)
        consents = Consents(
            journal,
            clock.now,
            settings.tonight,
            lambda: time.localtime().tm_gmtoff,
            settings.postpone_hours * 3600,
        )

        def stale() -> str | None:
            if not reading().stale:
                return None
            return (
                f"the newest signed time is older than {settings.stale_days} days, or the system "
                "clock is wrong; the car needs a network, or a stick with fresh metadata"
            )

        fittings = Fittings(settings, self._folder, state, self._bundles, self._telemetry)
        origins = Origins(
            self._vehicle_id,
            self._folder / settings.offline if settings.offline else None,
            self._folder / settings.ca if settings.ca else None,
        )
        figures = Figures(edge.metrics)
        supply = Supply(
            origins,
            lambda: edge.config,
            lambda: _received(journal, updates),
            figures,
            sleeper(self._stopping.is_set, self._stopping.wait),
            chance,
        )
        surroundings = Surroundings(
            journal=journal,
            installers=fittings.installers(),
            payloads=StagedPayloads(state / "payloads", lambda: supply),
            gate=Gate(self._conditions, consents, clock.now, stale, settings.always),
            reporter=outgoing,
            clock=clock,
            raise_counters=refresh.record.raise_counters,
            recheck=lambda: updates.recheck(),
            boot=_BOOT.read_text().strip(),
            draw=secrets.randbits,
            stop=self._stopping,
        )
        hardware = {ecu.id: ecu.hardware_id for ecu in settings.ecus}
        manifests = Manifests(
            state,
            self._vehicle_id,
            settings.primary,
            hardware,
            self._signer,
            clock.now,
            lambda: refresh.record.floor.time,
        )
        place = Place(self._vehicle_id, hardware, origins, command(settings.reboot))
        updates = Updates(
            place,
            refresh,
            surroundings,
            manifests,
            outgoing,
            figures,
            lambda: edge.config,
            chance,
        )
        self._journal, self._consents, self._updates = journal, consents, updates
        return updates

    async def _follow(self, edge: Edge[Desired], updates: Updates) -> None:
        async for _ in edge.configs():
            updates.wake()

    async def _question(self, edge: Edge[Desired]) -> None:
        """Show what the driver is asked, for whoever has a page to ask it on."""
        while True:
            await asyncio.sleep(CONSENT)
            edge.report("driver", await in_thread(self._ask))

    def _ask(self) -> dict[str, Any] | None:
        updates, consents = self._running()
        try:
            campaign = updates.engine.campaign()
            return None if campaign is None else consents.question(campaign)
        except BordnetzError as error:
            log.warning("what the driver is asked cannot be told: %s", error)
            return None

    def _running(self) -> tuple[Updates, Consents]:
        if self._updates is None or self._consents is None:
            raise MethodError("the module is still starting; try again", 503)
        return self._updates, self._consents

    # -- inputs

    def inputs(self) -> Mapping[str, Callable[[Message], Any]]:
        """``state`` and ``bundleAck`` of telemetry, ``driver`` of the head unit's page."""
        return {"state": self._state, "driver": self._driver, "bundleAck": self._bundle_ack}

    async def _state(self, message: Message) -> None:
        self._conditions.take(message.body)
        updates = self._updates
        if updates is not None and updates.engine.status()["state"] in (
            State.WAITING.value,
            State.WAITING_FOR_REBOOT.value,
        ):
            updates.wake()

    async def _driver(self, message: Message) -> None:
        await in_thread(partial(self._answer, Answer.parse(message.body), "driver"))

    async def _bundle_ack(self, message: Message) -> None:
        if self._telemetry is not None:
            self._telemetry.hear(message.body)

    def _answer(self, answer: Answer, source: Source) -> None:
        updates, consents = self._running()
        campaign = updates.engine.campaign()
        if campaign is None:
            raise ConsentError("an answer came, but there is nothing that the driver is asked")
        consents.answer(campaign, answer, source)
        log.info("campaign %s: %s says %s", campaign.id, source, answer.answer)
        updates.wake()

    # -- what an operator may ask

    def methods(self) -> Iterable[Method[Any]]:
        """``check``, ``cancel``, ``history``, ``manifest`` and ``consent``."""
        return (
            Method("check", NoPayload, self._check),
            Method("cancel", NoPayload, self._cancel),
            Method("history", NoPayload, self._history),
            Method("manifest", NoPayload, self._manifest),
            Method("consent", WorkshopAnswer, self._consent),
        )

    def status(self) -> Mapping[str, Any]:
        """What goes on, and where."""
        status: dict[str, Any] = {"vehicle": {"ecus": [ecu.id for ecu in self._settings.ecus]}}
        if self._updates is not None:
            status["update"] = self._updates.engine.status()
        return status

    async def _check(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        updates, _ = self._running()
        updates.wake(look=True)
        return {"looking": True}

    async def _cancel(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        updates, _ = self._running()
        words = await in_thread(updates.engine.cancel)
        updates.wake()
        return {"said": words}

    async def _history(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        updates, _ = self._running()
        return {"attempts": await in_thread(updates.engine.history)}

    async def _manifest(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        updates, _ = self._running()
        return {"manifest": json.loads(await in_thread(updates.manifest))}

    async def _consent(self, payload: WorkshopAnswer) -> dict[str, Any]:
        if not self._settings.workshop_consent:
            raise MethodError("the vehicle file does not allow this; see workshop_consent", 403)
        updates, _ = self._running()
        campaign = await in_thread(updates.engine.campaign)
        if campaign is None:
            raise MethodError("there is nothing that the driver is asked", 409)
        answer = Answer(campaign=campaign.id, answer=payload.answer)
        try:
            await in_thread(partial(self._answer, answer, "workshop"))
        except ConsentError as error:
            raise MethodError(str(error), 409) from error
        return {"campaign": campaign.id, "answer": payload.answer}


def _received(journal: Journal, updates: Updates) -> int:
    """Bytes that have come for the campaign that payloads are fetched for."""
    campaign = updates.engine.campaign()
    return 0 if campaign is None else journal.received(campaign.id)


class _Clock:
    """The engine's two clocks."""

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading

    def now(self) -> int:
        return self._reading().now

    def monotonic(self) -> float:
        return time.monotonic()
