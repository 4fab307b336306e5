"""What is collected now: the configuration at work, and its change without losing a frame."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Clock, Draft, Resolution, Stamp
from bordnetz.can.clock import Wall, boot_seconds
from bordnetz.can.filters import Interest
from bordnetz.can.frames import Block
from bordnetz.can.quality import Assessor
from bordnetz.can.transport.assembler import Assembler
from bordnetz.can.validity import Validity
from bordnetz.edge.clock import ClockQuality, boot_id, clock_quality
from bordnetz.edge.thread import in_thread
from bordnetz.series import Gap
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.messages import batch_parcel, dictionary_parcel, properties_size
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.plan import Plan, Planner
from bordnetz.telemetry.state import State
from bordnetz.telemetry.tally import Tally

log = logging.getLogger(__name__)

_CLOCKS = {
    ClockQuality.UNKNOWN: Clock.UNKNOWN,
    ClockQuality.FREE: Clock.UNSYNCHRONISED,
    ClockQuality.SYNCHRONISED: Clock.SYNCHRONISED,
}
_RESOLUTIONS = {"ms": Resolution.MILLISECOND, "us": Resolution.MICROSECOND}


@dataclass(frozen=True, slots=True)
class _Work:
    """One configuration at work."""

    planner: Planner
    desired: Desired
    plan: Plan
    excess: str | None
    pipeline: Pipeline
    interests: frozenset[Interest]
    state: State | None
    validity: Validity | None


class Collection:
    """Collects what the configuration asks for; nothing before the first one.

    Samples are handed from pipeline to backlog without giving up control in between, so that
    neither a cancelled task nor a change of configuration can come between them.

    Args:
        planner: Compiles configurations until `apply` brings another one.
        books: Where frames are counted.
        backlog: Takes what is ready.
        recorded: Whether the frames' times come from a recording, not from this machine's clock.
        tally: Where findings of the checks are counted.
        want: Told which frames are needed, before the first of them is missed; from any thread.
    """

    def __init__(
        self,
        planner: Planner,
        books: Books,
        backlog: Backlog,
        *,
        recorded: bool,
        tally: Tally | None = None,
        want: Callable[[frozenset[Interest]], None] = lambda _: None,
    ) -> None:
        self._tally = tally or Tally()
        self._books = books
        self._backlog = backlog
        self._recorded = recorded
        self._boot = boot_id()
        self._wall = Wall()
        self._decoded = 0
        self._work = self._compile(planner, Desired(), 0, None)
        self._want = want
        self._gaps: dict[str, Gap] = {}
        self._want(self._work.interests)
        self._active = asyncio.Event()
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()

    # -- frames

    async def take(self, block: Block) -> None:
        """Take a block of frames; waits for room in the outbox if the frames are recorded."""
        work = self._work
        for gap in block.gaps:
            if gap.end is None:
                self._gaps[gap.bus] = gap
            else:
                self._gaps.pop(gap.bus, None)
        self._look()
        self._hand_over(work, work.pipeline.take(block, boot_seconds()))
        if work.pipeline.waiting:
            self._arrived.set()
        await self._backlog.room()

    async def advance(self, seconds: float) -> None:
        """Move on what only time moves on, for ever.

        Args:
            seconds: What has come is decoded so much later; without it, nothing happens until the
                end of the window.
        """
        while True:
            try:
                async with asyncio.timeout(self._work.pipeline.rest(boot_seconds())):
                    await self._arrived.wait()
                    await asyncio.sleep(seconds)
            except TimeoutError:
                pass
            self._arrived.clear()
            work = self._work
            self._look()
            self._hand_over(work, work.pipeline.advance(boot_seconds()))

    def flush(self) -> None:
        """Hand everything over to the backlog."""
        self._look()
        self._hand_over(self._work, self._work.pipeline.flush(boot_seconds()))

    def end(self) -> None:
        """Hand everything over to the backlog: no more frames will come."""
        self.flush()
        self._work.pipeline.give_up()

    # -- configuration

    async def apply(self, desired: Desired, version: int, planner: Planner | None = None) -> None:
        """Collect by another configuration from here on.

        A configuration that makes batches nobody could read is not put to work: it was judged for
        another planner, and the judgement for this one is on its way.

        Args:
            desired: The configuration.
            version: Of the desired properties; batches carry it.
            planner: Compiles it and all that follow; None: the one so far.
        """
        planner = planner or self._work.planner
        compiling = partial(self._compile, planner, desired, version, self._work.state)
        new = await in_thread(compiling)
        if new.excess is not None:
            log.warning("not collected: %s", new.excess)
            return
        # The kernel hands over what either needs until the old one has had its last frame.
        await in_thread(partial(self._want, self._work.interests | new.interests))
        self.flush()
        self._decoded += self._work.pipeline.samples
        unfinished = self._work.pipeline.release()
        self._work = new
        if unfinished is not None:
            self._hand_over(new, new.pipeline.take(unfinished, boot_seconds()))
            self._arrived.set()
        self._tally.follow(new.validity)
        self.send_dictionary()
        if self._gaps and self.signals:
            new.pipeline.note(tuple(self._gaps.values()), boot_seconds())
            self._arrived.set()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        names = planner.catalogue.names
        log.info("collecting %d of %d signals", self.signals, len(names))
        if self.signals:
            self._active.set()
        await in_thread(partial(self._want, new.interests))

    def send_dictionary(self) -> None:
        """Send the dictionary, if there is something to read with it."""
        if self.signals:
            self._backlog.add([dictionary_parcel(self.dictionary, self._boot)])

    async def repeat_dictionary(self) -> None:
        """Send the dictionary again and again, as often as configured, for ever."""
        while True:
            try:
                async with asyncio.timeout(self._work.desired.dictionary_interval):
                    await self._changed.wait()
            except TimeoutError:
                self.send_dictionary()

    async def changed(self) -> None:
        """Wait until another configuration is at work."""
        await self._changed.wait()

    async def active(self) -> None:
        """Wait until a configuration asks for something."""
        await self._active.wait()

    # -- what an operator may ask

    @property
    def signals(self) -> int:
        """How many signals are asked for."""
        return self._work.plan.signals

    @property
    def dictionary(self) -> Dictionary:
        """Of the configuration at work."""
        return self._work.plan.dictionary

    @property
    def state(self) -> State | None:
        """Of the signals whose state is told; None where nobody asks for any."""
        return self._work.state

    @property
    def checked(self) -> dict[str, Any]:
        """What the checks have found."""
        return self._tally.page()

    @property
    def pipeline(self) -> Pipeline:
        """Of the configuration at work."""
        return self._work.pipeline

    @property
    def decoded(self) -> int:
        """Samples decoded since the start."""
        return self._decoded + self._work.pipeline.samples

    def _compile(
        self, planner: Planner, desired: Desired, version: int, state: State | None
    ) -> _Work:
        plan = planner.plan(desired)
        table = planner.state(desired)
        # What is known stays known where the same signals are asked for.
        if table is None:
            state = None
        elif state is None or state.table is not table:
            state = State(table, recorded=self._recorded)
        stamp = Stamp(
            boot=self._boot,
            ahead=None if self._recorded else self._wall.ahead,
            resolution=_RESOLUTIONS[desired.time_resolution],
            campaign_version=version,
        )
        assessor = None
        if any(group.quality for group in plan.table.groups):
            assessor = Assessor(planner.catalogue, plan.table.groups)
        properties = properties_size(desired.priority)
        validity = None
        if planner.watched:
            validity = Validity(planner.catalogue, planner.watched, plan.table.groups) or None
        groups = plan.table.groups if table is None else (*plan.table.groups, *table.groups)
        assembler = Assembler.compile(planner.catalogue, groups)
        pipeline = Pipeline(
            plan.table,
            plan.dictionary,
            desired,
            self._books,
            stamp,
            properties,
            state,
            validity,
            assembler,
            assessor,
        )
        wanted = planner.interests(desired)
        if assembler is not None:
            wanted |= {Interest.of(*claim) for claim in assembler.claims}
        return _Work(planner, desired, plan, plan.excess(), pipeline, wanted, state, validity)

    def _look(self) -> None:
        """Let batches that are closed now say what the clock is worth now."""
        if self._recorded:
            return
        self._wall.look()
        clock = _CLOCKS[clock_quality()]
        if self._wall.look():
            clock = Clock.UNKNOWN  # Was that before it was set, or after?
        self._work.pipeline.trust(clock, self._wall.ahead)

    def _hand_over(self, work: _Work, drafts: Sequence[Draft]) -> None:
        priority, dictionary = work.desired.priority, work.plan.dictionary
        self._backlog.add(batch_parcel(draft, dictionary, priority) for draft in drafts)
