"""Validity: what is wrong with the frames of collected messages, beside what they say.

Frames are judged, and counted by message; none is held back.  A block takes a fixed number of
numpy calls, however many messages and frames.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.checks import COUNTER_BITS, BareCounter, Check, Checks
from bordnetz.can.cycles import Cycles
from bordnetz.can.dbc import Message
from bordnetz.can.e2e import Protected, Protections, Verdict
from bordnetz.can.errors import CatalogueError
from bordnetz.can.frames import FD_BYTES, Frames
from bordnetz.can.index import Index
from bordnetz.can.j1939 import Match
from bordnetz.can.slots import Slots
from bordnetz.series import Group, Kind


class Count(IntEnum):
    """What is counted of a message; rows of `Validity.counts`."""

    FRAMES = 0
    WRONG_CRC = 1
    REPEATED = 2
    MISSING = 3
    OUT_OF_SEQUENCE = 4
    MISSED = 5
    DUPLICATE = 6
    PAUSE = 7


_VERDICTS = [Verdict.WRONG_CRC, Verdict.REPEATED, Verdict.OUT_OF_SEQUENCE]
_THEIR_COUNTS = [Count.WRONG_CRC, Count.REPEATED, Count.OUT_OF_SEQUENCE]


@dataclass(frozen=True, slots=True)
class Watched:
    """A message whose frames are looked at.

    Attributes:
        bus: Index of the bus in the vehicle file.
        name: ``bus.message``.
        message: Of the catalogue.
        protected: Its counter and checksum, None where it has none.
        cycle: Milliseconds between two frames, 0 where nobody looks at that.
    """

    bus: int
    name: str
    message: Message
    protected: Protected | None
    cycle: int


def watch(catalogue: Catalogue, checks: Checks) -> tuple[Watched, ...]:
    """The messages that the vehicle file wants to be looked at.

    Raises:
        CatalogueError: A message or a counter is not there, or is not what can be checked.
    """
    rules = {check.name: check for check in checks.messages}
    watched = []
    names = []
    for bus, (bus_name, messages) in enumerate(
        zip(catalogue.buses, catalogue.messages, strict=True)
    ):
        for message in messages:
            name = f"{bus_name}.{message.name}"
            names.append(name)
            rule = rules.pop(name, None)
            cycle = message.cycle if checks.cycles else 0
            if rule is not None or cycle:
                protected = None if rule is None else _protected(rule, message)
                watched.append(Watched(bus, name, message, protected, cycle))
    for name in rules:
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise CatalogueError(
            f"checks: no DBC file has a message '{name}'; names are bus.message{hint}"
        )
    return tuple(watched)


def _protected(check: Check, message: Message) -> Protected:
    if not isinstance(check, BareCounter):
        if not 2 <= message.length <= FD_BYTES:
            raise CatalogueError(
                f"checks: {message} has {message.length} bytes; "
                f"profile {check.profile} takes 2 to {FD_BYTES}"
            )
        return Protected.by_profile(check, message.length)
    places = [place for place in message.fields if place.signal.name == check.counter]
    if not places:
        raise CatalogueError(f"checks: {message} has no signal '{check.counter}' to count frames")
    (place,) = places
    what = f"checks: signal '{check.counter}' of {message}"
    if place.signed or place.branch or place.signal.kind is not Kind.INT:
        raise CatalogueError(f"{what} is no counter: it should be unsigned and in every frame")
    if place.length > COUNTER_BITS:
        raise CatalogueError(
            f"{what} has {place.length} bits; a counter has {COUNTER_BITS} at most"
        )
    if (check.modulus or 0) > 1 << place.length:
        raise CatalogueError(f"{what} has {place.length} bits; they do not hold {check.modulus}")
    return Protected.by_counter(place, check.modulus)


class Validity:
    """Looks at the frames of some messages, block after block.

    Args:
        catalogue: All messages of the vehicle.
        watched: Those that may be looked at; see `watch`.
        groups: Only messages of these groups are: what is collected.

    Attributes:
        messages: That are looked at: first those under a profile, then those with a bare counter.
        counts: int64, shape (`Count`, messages), so far: ``FRAMES`` are all that came,
            ``MISSING`` and ``MISSED`` frames and cycles that did not, the others are frames.
    """

    def __init__(
        self, catalogue: Catalogue, watched: Iterable[Watched], groups: Iterable[Group]
    ) -> None:
        collected = {f"{group.bus}.{group.message}" for group in groups}
        self.messages = tuple(sorted((one for one in watched if one.name in collected), key=_turn))
        self.counts = np.zeros((len(Count), len(self.messages)), np.int64)
        # What the index finds: below so many no message, then messages that nobody looks at.
        unwatched = len(catalogue.buses)
        self._watched = unwatched + 1
        number = {
            (one.bus, one.message.id): place
            for place, one in enumerate(self.messages, self._watched)
        }
        self._index = Index(
            len(catalogue.buses),
            [
                (bus, message.id, message.match, number.get((bus, message.id), unwatched))
                for bus, messages in enumerate(catalogue.messages)
                for message in messages
            ],
        )
        # A message has one sender, and its own number as slot, unless it is matched by its PGN.
        many = any(one.message.match is not Match.ID for one in self.messages)
        self._slots = Slots() if many else None
        self._bus = np.array([one.bus for one in self.messages], np.intp)
        self._of_slot = np.arange(0 if many else len(self.messages))
        protected = [one.protected for one in self.messages if one.protected is not None]
        self._protections = Protections(protected)
        self._protected = len(protected)
        self._cycles = Cycles([one.cycle for one in self.messages])
        self._any_cycle = any(one.cycle for one in self.messages)

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.messages)

    def look(self, frames: Frames) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Look at a block of frames, and count what is found.

        Returns:
            Index of each frame whose counter and checksum were checked, intp, shape (n,), and
            its `Verdict`, uint8, shape (n,).
        """
        found = self._index.find(frames)
        frame = (found >= self._watched).nonzero()[0]
        message = found.take(frame)
        message -= self._watched
        # Sorting 16-bit numbers takes numpy two passes; the frames of a message are in order.
        small = message.astype(np.int16) if len(self.messages) < 1 << 15 else message
        order = small.argsort(kind="stable")
        message = message.take(order)
        frame = frame.take(order)
        edge = np.ones(len(frame) + 1, bool)
        if self._slots is None:
            np.not_equal(message[1:], message[:-1], out=edge[1:-1])
        else:
            sender = message << 32 | frames.id.take(frame)
            if (sender[1:] < sender[:-1]).any():
                order = sender.argsort(kind="stable")
                message, frame, sender = message.take(order), frame.take(order), sender.take(order)
            np.not_equal(sender[1:], sender[:-1], out=edge[1:-1])
        edges = edge.nonzero()[0]
        slot = self._slot(frames, frame.take(edges[:-1]), message.take(edges[:-1]))
        self.counts[Count.FRAMES] += np.bincount(message, None, len(self.messages))
        if self._any_cycle:
            self._count_cycles(frames.time.take(frame), message, slot, edges)
        # The protected messages come first, so that their frames and senders do.
        checked = int(message.searchsorted(self._protected))
        senders = int(edges.searchsorted(checked))
        frame, message = frame[:checked], message[:checked]
        verdict, missing = self._protections.judge(
            frames, frame, message, slot[:senders], edges[: senders + 1]
        )
        if np.count_nonzero(verdict):
            self._count_verdicts(message, verdict, missing)
        return frame, verdict

    def silent(self) -> list[str]:
        """Names of messages of which a sender fell silent while its bus went on."""
        senders = self._cycles.silent(self._of_slot, self._bus[self._of_slot])
        numbers = np.unique(self._of_slot[senders])
        return [self.messages[number].name for number in numbers.tolist()]

    def _slot(
        self, frames: Frames, frame: NDArray[np.intp], message: NDArray[np.intp]
    ) -> NDArray[np.int64]:
        """Where the state of senders is kept, given by a frame of each."""
        if self._slots is None:
            return message
        slot = self._slots.of(message, frames.id.take(frame))
        if len(self._slots) > len(self._of_slot):
            grown = np.zeros(len(self._slots), np.intp)
            grown[: len(self._of_slot)] = self._of_slot
            new = slot >= len(self._of_slot)
            grown[slot[new]] = message[new]
            self._of_slot = grown
            self._protections.grow(len(grown))
            self._cycles.grow(len(grown))
        return slot

    def _count_cycles(
        self,
        time: NDArray[np.int64],
        message: NDArray[np.intp],
        slot: NDArray[np.int64],
        edges: NDArray[np.intp],
    ) -> None:
        found = self._cycles.look(time, message, slot, edges)
        if len(found.late):
            np.add.at(self.counts[Count.MISSED], message.take(found.late), found.missed)
        for count, at in ((Count.PAUSE, found.paused), (Count.DUPLICATE, found.duplicate)):
            if len(at):
                self.counts[count] += np.bincount(message.take(at), None, len(self.messages))

    def _count_verdicts(
        self,
        message: NDArray[np.intp],
        verdict: NDArray[np.uint8],
        missing: NDArray[np.int64],
    ) -> None:
        size = len(self.messages)
        by = np.bincount(verdict * np.intp(size) + message, None, len(Verdict) * size)
        self.counts[_THEIR_COUNTS] += by.reshape(-1, size)[_VERDICTS]
        np.add.at(self.counts[Count.MISSING], message, missing)


def _turn(one: Watched) -> int:
    """Protected messages come first, bare counters last of them."""
    if one.protected is None:
        return 2
    return 1 if one.protected.profile is None else 0
