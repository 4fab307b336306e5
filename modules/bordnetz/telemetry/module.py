"""The telemetry module: what runs at once, how it ends, and what an operator can ask of it."""

from __future__ import annotations

import asyncio
import fnmatch
import json
import logging
import math
import operator
import re
from collections.abc import Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bordnetz.can.cache import Cache
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.clock import boot_seconds
from bordnetz.can.dbc import show_id
from bordnetz.can.sources.source import Source
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.inbound import Input
from bordnetz.edge.methods import LARGEST, Method, MethodError, NoPayload
from bordnetz.edge.module import Edge, Module
from bordnetz.edge.twin import Refusal
from bordnetz.errors import BordnetzError
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.bundle import Bundle, Bundles
from bordnetz.telemetry.buses import Buses
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.figures import BusFigures, Figures
from bordnetz.telemetry.latest import Reading
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.messages import ack_parcel, state_message
from bordnetz.telemetry.state import EACH
from bordnetz.telemetry.switch import Switch
from bordnetz.telemetry.tally import Tally

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between decodings of a recording while its frames come slowly; buses bring blocks that
are worth decoding at once."""

SHOWN = 500
"""Signals in one answer of ``snapshot``, if they fit one."""

_ROOM = LARGEST - 1024
"""Bytes for them."""

_PROBLEMS_SHOWN = 50
"""Lines of the log about what of the DBC files is not used."""

_EXACT = 2**53
"""From here on a double, which is what JSON numbers are to most readers, skips integers."""

_LAST_WORD = 2.0
"""Seconds to store what a bus brought before it failed."""


class Snapshot(BaseModel):
    """Payload of the method ``snapshot``."""

    model_config = ConfigDict(extra="forbid")

    signals: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=100)
    ] = ["*"]


class Telemetry(Module[Desired]):
    """CAN frames in, acknowledged batches out.

    Args:
        vehicle: The vehicle's own file; its buses are those of all bundles.
        source: Where their frames come from.
        bundles: The folder of bundles, any of which may be used in the place of the vehicle's own
            file; it need not be there.
        recorded: Whether that is a recording: it is read once, begins when there is something to
            collect, and waits when the outbox is full.
        cache: Keeps parsed DBC files for the next start.
    """

    name = "telemetry"
    desired = Desired

    def __init__(
        self,
        vehicle: Vehicle,
        source: Source,
        bundles: Path,
        *,
        recorded: bool = False,
        cache: Cache | None = None,
    ) -> None:
        self._source = source
        self._recorded = recorded
        self._cache = cache
        self._switch = Switch(
            Bundles(bundles, vehicle, cache.parse) if cache else Bundles(bundles, vehicle)
        )
        _tell_problems(self._switch.bundle.catalogue)
        names = [bus.name for bus in vehicle.buses]
        self._books = Books(names)
        self._buses = Buses(names, lambda: self._source.listening())
        self._tally = Tally()
        self._losses = Losses()
        self._stopping = asyncio.Event()
        self._ended = False
        self._collection: Collection | None = None
        self._backlog: Backlog | None = None
        # What is at work, and whose turn it is to change it.
        self._applied: tuple[Desired, Bundle] | None = None
        self._turn = asyncio.Lock()

    # -- life

    async def run(self, edge: Edge[Desired]) -> None:
        """Capture until `stop`, then hand over what there is."""
        backlog = self._backlog = Backlog(edge, waits=self._recorded, lost=self._losses.refused)
        collection = self._collection = Collection(
            self._switch.bundle.planner,
            self._books,
            backlog,
            recorded=self._recorded,
            tally=self._tally,
            want=self._source.want,
        )
        edge.metrics.registry.register(Figures(self._books, self._samples, self._tally))
        edge.metrics.registry.register(BusFigures(self._buses))
        edge.report("vehicle", self._about_vehicle())
        try:
            async with asyncio.TaskGroup() as group:
                others = [
                    group.create_task(backlog.run()),
                    group.create_task(self._follow(edge, collection)),
                    group.create_task(self._exchange(edge, collection, backlog)),
                    group.create_task(collection.repeat_dictionary()),
                    group.create_task(collection.advance(TICK if self._recorded else 0)),
                    group.create_task(_tell_state(edge, collection)),
                    group.create_task(self._buses.tell(edge.report)),
                ]
                try:
                    await self._capture(collection)
                except BordnetzError:
                    # The process ends, but with what came before the bus failed in the outbox.
                    collection.end()
                    await asyncio.wait(
                        [group.create_task(backlog.stored_all())], timeout=_LAST_WORD
                    )
                    raise
                collection.end()
                await backlog.stored_all()
                for task in others:
                    task.cancel()
        finally:
            if lost := collection.pipeline.held + backlog.samples:
                log.error("%d samples did not reach the outbox in time and are lost", lost)

    async def stop(self) -> None:
        """Close the source; `run` ends when everything is in the outbox."""
        self._stopping.set()
        await self._source.close()

    async def _follow(self, edge: Edge[Desired], collection: Collection) -> None:
        async for _ in edge.configs():
            await self._apply(edge, collection)

    async def _exchange(
        self, edge: Edge[Desired], collection: Collection, backlog: Backlog
    ) -> None:
        def check(bundle: Bundle) -> str | None:
            return bundle.planner.plan(edge.config.over(bundle.defaults)).excess()

        async def adopt(bundle: Bundle) -> None:
            # `check` asks the new bundle from here on, the frames the old one until all is judged.
            edge.recheck()
            await edge.settled()
            await self._apply(edge, collection)
            edge.report("vehicle", self._about_vehicle())
            log.info("bundle %s is in use", bundle.hash or "(none)")
            _tell_problems(bundle.catalogue)

        await self._switch.run(check, adopt, lambda one: backlog.add([ack_parcel(one)]))

    async def _apply(self, edge: Edge[Desired], collection: Collection) -> None:
        """Put to work what is configured now, with the bundle that is chosen now."""
        async with self._turn:
            wanted = edge.config, self._switch.bundle
            if self._applied is not None and all(map(operator.is_, wanted, self._applied)):
                return
            desired, bundle = self._applied = wanted
            await collection.apply(desired.over(bundle.defaults), edge.version, bundle.planner)
            edge.report("collecting", {"signals": collection.signals})

    async def _capture(self, collection: Collection) -> None:
        if self._recorded:
            # Nothing is missed by waiting.
            await _first_of(collection.active(), self._stopping.wait())
        if self._stopping.is_set():
            return
        async with self._source:
            async for block in self._source:
                for problem in block.problems:
                    log.warning("%s", problem)
                self._buses.take(block)
                await collection.take(block)
        if not self._stopping.is_set():
            log.info("the recording is over")
            collection.end()
            self._ended = True
            await self._stopping.wait()

    # -- what an operator may ask

    def check(self, config: Desired) -> Iterable[Refusal]:
        """What makes no sense with the bundle that is chosen now."""
        return self._switch.bundle.planner.judge(config)

    def methods(self) -> Iterable[Method[Any]]:
        """``flush``, ``snapshot`` and ``dictionary``."""
        return (
            Method("flush", NoPayload, self._flush),
            Method("snapshot", Snapshot, self._snapshot),
            Method("dictionary", NoPayload, self._dictionary),
        )

    def inputs(self) -> Mapping[str, Input]:
        """``bundle``: announcements of the update module."""
        return {"bundle": self._switch.hear}

    def losses(self) -> Losses:
        """They tell of batches that will not come."""
        return self._losses

    def status(self) -> Mapping[str, Any]:
        """Frames, samples and what they are read with."""
        status: dict[str, Any] = {
            "vehicle": self._about_vehicle(),
            "source": {"recorded": self._recorded, "ended": self._ended},
            "frames": self._books.totals(),
            "buses": self._books.by_bus(),
            "capture": self._buses.page(),
        }
        if (cache := self._cache) is not None:
            status["dbc"] = {
                "kept": cache.used,
                "parsed": cache.parsed,
                "damaged": cache.damaged,
                "failed": cache.failed,
            }
        if self._collection is not None and self._backlog is not None:
            status["collecting"] = {
                "signals": self._collection.signals,
                "dictionary": self._collection.dictionary.digest.hex(),
            }
            status["samples"] = self._samples()
            status["batches"] = self._backlog.batches
            status["answers"] = self._backlog.answers
            status["checks"] = self._collection.checked
        return status

    async def _flush(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        collection, backlog = self._running()
        before = backlog.batches, backlog.stored
        collection.flush()
        await backlog.stored_all()
        return {"batches": backlog.batches - before[0], "samples": backlog.stored - before[1]}

    async def _snapshot(self, payload: Snapshot) -> dict[str, Any]:
        collection, _ = self._running()
        pattern = re.compile("|".join(map(fnmatch.translate, payload.signals)))
        readings, more = collection.pipeline.latest.readings(pattern.match, SHOWN)
        now = boot_seconds()
        shown: list[dict[str, Any]] = []
        room = _ROOM
        for reading in readings:
            one = _shown(reading, now)
            room -= len(json.dumps(one)) + 2
            if room < 0:
                break
            shown.append(one)
        return {"signals": shown, "more": more + len(readings) - len(shown)}

    async def _dictionary(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        collection, backlog = self._running()
        if not collection.signals:
            raise MethodError("nothing is collected, so there is nothing to read; set 'collect'")
        collection.send_dictionary()
        digest, signals = collection.dictionary.digest.hex(), collection.signals
        await backlog.stored_all()
        return {"dictionary": digest, "signals": signals}

    def _running(self) -> tuple[Collection, Backlog]:
        if self._collection is None or self._backlog is None:
            raise MethodError("the module is still starting; try again", 503)
        return self._collection, self._backlog

    def _samples(self) -> dict[str, Any]:
        collection, backlog = self._running()
        return {
            "decoded": collection.decoded,
            "stored": backlog.stored,
            "held": collection.pipeline.held + backlog.samples,
            "dropped": dict(backlog.dropped),
            "givenUp": dict(self._losses.samples),
        }

    def _about_vehicle(self) -> dict[str, Any]:
        bundle = self._switch.bundle
        return {
            "name": bundle.vehicle.name,
            "bundle": bundle.hash,
            "digest": bundle.vehicle.digest.hex(),
            "catalogue": bundle.catalogue.digest.hex(),
            "signals": len(bundle.catalogue.names),
            "problems": len(bundle.catalogue.lost),
        }


def _tell_problems(catalogue: Catalogue) -> None:
    """Log what of the DBC files is not used."""
    lost = catalogue.lost
    for problem in lost[:_PROBLEMS_SHOWN]:
        log.warning("%s", problem)
    if len(lost) > _PROBLEMS_SHOWN:
        log.warning("and %d more of the kind", len(lost) - _PROBLEMS_SHOWN)
    if mended := len(catalogue.problems) - len(lost):
        log.info("DBC files: %d mended at no cost; 'bordnetz dbc check' tells what", mended)


async def _tell_state(edge: Edge[Desired], collection: Collection) -> None:
    """Tell other modules the state, for ever: once a second at most, later ones wait."""
    while True:
        if collection.state is None:
            await collection.changed()
            continue
        await asyncio.sleep(EACH)
        state = collection.state
        told = None if state is None else state.tell(boot_seconds())
        if state is not None and told is not None and not await edge.send(state_message(told)):
            state.untold()


async def _first_of(*events: Coroutine[Any, Any, Any]) -> None:
    """Wait until one of them has happened."""
    tasks = [asyncio.create_task(event) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _shown(reading: Reading, now: float) -> dict[str, Any]:
    """A reading for JSON; where no JSON number is the value, ``text`` says what it is."""
    value: float | int | None = reading.value
    text = reading.text
    if isinstance(value, float):
        # 5012 x 0.01 is 50.12 to whoever reads it, not 50.120000000000005.
        value = float(f"{value:.15g}")
        if not math.isfinite(value):
            text = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            value = None
    elif abs(reading.value) >= _EXACT:
        value, text = float(reading.value), text or str(reading.value)
    return {
        "name": reading.name,
        "id": show_id(reading.arbitration_id),
        "value": value,
        "text": text,
        "unit": reading.signal.unit,
        "quality": None if reading.quality is None else reading.quality.words(),
        "age": round(now - reading.seen, 1),
    }
