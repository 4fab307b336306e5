"""The telemetry module: what runs at once, how it ends, and what an operator can ask of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.sources.source import Source
from bordnetz.can.vehicle import Vehicle
from bordnetz.edge.methods import Method, MethodError, NoPayload
from bordnetz.edge.module import Edge, Module
from bordnetz.edge.twin import Refusal
from bordnetz.series import EXTENDED
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired, unmatched
from bordnetz.telemetry.figures import Figures
from bordnetz.telemetry.latest import Reading

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between decodings while frames come slowly."""

SHOWN = 500
"""Signals in one answer of ``snapshot``; an answer has at most 128 KB."""

_PROBLEMS_SHOWN = 10


class Snapshot(BaseModel):
    """Payload of the method ``snapshot``."""

    model_config = ConfigDict(extra="forbid")

    signals: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=100)
    ] = ["*"]


class Telemetry(Module[Desired]):
    """CAN frames in, acknowledged batches out.

    Args:
        vehicle: Its buses.
        source: Where their frames come from.
        recorded: Whether that is a recording: it is read once, begins when there is something to
            collect, and waits when the outbox is full.
    """

    name = "telemetry"
    desired = Desired

    def __init__(self, vehicle: Vehicle, source: Source, *, recorded: bool = False) -> None:
        self._vehicle = vehicle
        self._source = source
        self._recorded = recorded
        self._catalogue = Catalogue.load(vehicle)
        for problem in self._catalogue.problems:
            log.warning("%s", problem)
        self._books = Books(self._catalogue.buses)
        self._stopping = asyncio.Event()
        self._ended = False
        self._collection: Collection | None = None
        self._backlog: Backlog | None = None

    # -- life

    async def run(self, edge: Edge[Desired]) -> None:
        """Capture until `stop`, then hand over what there is."""
        backlog = self._backlog = Backlog(edge, waits=self._recorded)
        collection = self._collection = Collection(
            self._catalogue, self._vehicle.digest, self._books, backlog, recorded=self._recorded
        )
        edge.metrics.registry.register(Figures(self._books, self._samples))
        edge.report("vehicle", self._about_vehicle())
        async with asyncio.TaskGroup() as group:
            others = [
                group.create_task(backlog.run()),
                group.create_task(self._follow(edge, collection)),
                group.create_task(collection.repeat_dictionary()),
                group.create_task(collection.advance(TICK)),
            ]
            await self._capture(collection)
            await collection.flush()
            await backlog.stored_all()
            for task in others:
                task.cancel()

    async def stop(self) -> None:
        """Close the source; `run` ends when everything is in the outbox."""
        self._stopping.set()
        await self._source.close()

    async def _follow(self, edge: Edge[Desired], collection: Collection) -> None:
        async for desired in edge.configs():
            await collection.apply(desired, edge.version)
            edge.report("collecting", {"signals": collection.signals})

    async def _capture(self, collection: Collection) -> None:
        if self._recorded:
            # Nothing is missed by waiting.
            active = asyncio.create_task(collection.active())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({active, stopping}, return_when=asyncio.FIRST_COMPLETED)
            active.cancel()
            stopping.cancel()
        if self._stopping.is_set():
            return
        async with self._source:
            async for block in self._source:
                for problem in block.problems:
                    log.warning("%s", problem)
                await collection.take(block)
        if not self._stopping.is_set():
            log.info("the recording is over")
            await collection.flush()
            self._ended = True
            await self._stopping.wait()

    # -- what an operator may ask

    def check(self, config: Desired) -> Iterable[Refusal]:
        """Rules that match no signal of this vehicle."""
        for index, rule in enumerate(config.collect):
            reason = unmatched(rule, self._catalogue.names)
            if reason is not None:
                yield Refusal(("collect", index), reason)

    def methods(self) -> Iterable[Method[Any]]:
        """``flush``, ``snapshot`` and ``dictionary``."""
        return (
            Method("flush", NoPayload, self._flush),
            Method("snapshot", Snapshot, self._snapshot),
            Method("dictionary", NoPayload, self._dictionary),
        )

    def status(self) -> Mapping[str, Any]:
        """Frames, samples and what they are read with."""
        status: dict[str, Any] = {
            "vehicle": self._about_vehicle(),
            "source": {"recorded": self._recorded, "ended": self._ended},
            "frames": self._books.totals(),
            "buses": self._books.by_bus(),
        }
        if self._collection is not None and self._backlog is not None:
            status["collecting"] = {
                "signals": self._collection.signals,
                "dictionary": self._collection.dictionary.digest.hex(),
            }
            status["samples"] = self._samples()
            status["batches"] = self._backlog.batches
        return status

    async def _flush(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        collection, backlog = self._running()
        before = backlog.batches, backlog.stored
        await collection.flush()
        await backlog.stored_all()
        return {"batches": backlog.batches - before[0], "samples": backlog.stored - before[1]}

    async def _snapshot(self, payload: Snapshot) -> dict[str, Any]:
        collection, _ = self._running()
        now = time.monotonic()
        found = self._matching(collection, payload.signals)
        shown = [_shown(reading, now) for reading in islice(found, SHOWN)]
        return {"signals": shown, "more": sum(1 for _ in found)}

    async def _dictionary(self, payload: NoPayload) -> dict[str, Any]:
        del payload
        collection, backlog = self._running()
        await collection.send_dictionary()
        await backlog.stored_all()
        return {"dictionary": collection.dictionary.digest.hex(), "signals": collection.signals}

    def _matching(self, collection: Collection, patterns: list[str]) -> Iterator[Reading]:
        for reading in collection.pipeline.latest.readings():
            if any(fnmatchcase(reading.name, pattern) for pattern in patterns):
                yield reading

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
        }

    def _about_vehicle(self) -> dict[str, Any]:
        problems = [str(problem) for problem in self._catalogue.problems]
        return {
            "name": self._vehicle.name,
            "digest": self._vehicle.digest.hex(),
            "catalogue": self._catalogue.digest.hex(),
            "signals": len(self._catalogue.names),
            "problems": len(problems),
        }


def _shown(reading: Reading, now: float) -> dict[str, Any]:
    return {
        "name": reading.name,
        "id": f"{reading.arbitration_id & ~EXTENDED:X}",
        "value": reading.value,
        "text": reading.text,
        "unit": reading.signal.unit,
        "age": round(now - reading.seen, 1),
    }
