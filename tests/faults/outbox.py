"""The outbox: what `put` has returned is there, byte for byte, and nothing else ever appears."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bordnetz.batch.reader import decode_batch
from bordnetz.edge.losses import ROOM
from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Entry, Letter, Outbox, OutboxError
from bordnetz.telemetry.losses import Losses

from .noise import DICTIONARY, SECOND, noise
from .scenario import Scenario, Tell

_BUDGET = 300_000
_SEGMENT = 96 << 10
"""Small, so that segments are begun, freed, used again and cleaned while it works."""
_ROUNDS = 60
_GROUP = 3
_EVERY = 4
_DRAWN = 4711


def _body(sequence: int) -> bytes:
    head = b"message %d\n" % sequence
    size = random.Random(sequence).choice([60, 3_000, 30_000])
    return head + b"".join(hashlib.sha256(head + b"%d" % i).digest() for i in range(size // 32))


def _letter(outbox: int, sequence: int) -> Message:
    return Message("o", _body(sequence), properties={"n": f"{outbox}-{sequence}"})


class Sending(Scenario):
    """Messages put and acknowledged by turns."""

    name = "outbox"

    def setup(self, folder: Path) -> None:
        with _opened(folder, _DRAWN) as outbox:
            outbox.put(_letter, 5)

    def run(self, folder: Path, tell: Tell) -> None:
        _send(folder, tell, _ROUNDS)

    def recover(self, folder: Path, tell: Tell) -> None:
        _send(folder, tell, 2)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        put = {1, *_numbers(told, "put")}
        acknowledged = _numbers(told, "acknowledging")
        forgotten = _numbers(told, "forgotten")
        wrong = []
        with _opened(folder, 1) as outbox:
            if outbox.id != _DRAWN:
                wrong.append(f"another outbox: {outbox.id}")
            if outbox.set_aside or outbox.damaged:
                wrong.append(f"{outbox.set_aside} files set aside, {outbox.damaged} damaged")
            found = {entry.sequence: entry.message for entry in outbox.take(10_000)}
            if outbox.dropped:
                wrong.append(f"given up: {outbox.dropped}")
        if lost := put - acknowledged - found.keys():
            wrong.append(f"lost {sorted(lost)}")
        if back := forgotten & found.keys():
            wrong.append(f"back again {sorted(back)}")
        repeated = [number for number in put if [*told].count(f"put {number}") > 1]
        if repeated:
            wrong.append(f"two messages of one name: {repeated}")
        for sequence, message in found.items():
            if message != _letter(_DRAWN, sequence):
                wrong.append(f"message {sequence} is another one")
        if len(found.keys() - put) > 2 * _GROUP:
            # A group may have reached the disk before its put returned, at each of two cuts.
            wrong.append(f"nobody has put {sorted(found.keys() - put)}")
        return wrong


class Persisting(Sending):
    """Messages that are stored again until the disk takes them, as telemetry's backlog does."""

    name = "outbox-persisting"
    _ROUNDS = 20
    _PATIENCE = 20

    def run(self, folder: Path, tell: Tell) -> None:
        with _opened(folder, 1) as outbox:
            for number in range(self._ROUNDS):
                self._store(outbox, number, self._PATIENCE)
                tell(f"stored {number}")

    def recover(self, folder: Path, tell: Tell) -> None:
        with _opened(folder, 1) as outbox:
            outbox.put(_letter, 5)

    def _store(self, outbox: Outbox, number: int, patience: int) -> None:
        def make(*_: int) -> Message:
            return Message("o", _body(number), properties={"number": f"{number}"})

        while True:
            try:
                outbox.put(make, 5)
            except OutboxError:
                # The file system may have become read-only for good.
                if not (patience := patience - 1):
                    raise
            else:
                return

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        wrong = []
        with _opened(folder, 1) as outbox:
            entries = outbox.take(10_000)
            if outbox.set_aside or outbox.damaged or outbox.dropped:
                wrong.append(f"{outbox.set_aside} {outbox.damaged} {outbox.dropped}")
        found = Counter(
            int(entry.message.properties["number"])
            for entry in entries
            if "number" in entry.message.properties
        )
        if lost := _numbers(told, "stored") - found.keys():
            wrong.append(f"lost {sorted(lost)}")
        if twice := [number for number, count in found.items() if count > 1]:
            wrong.append(f"there twice: {twice}")
        wrong += [
            f"message {entry.sequence} is another one"
            for entry in entries
            if (number := entry.message.properties.get("number"))
            and entry.message.body != _body(int(number))
        ]
        return wrong


class Losing(Scenario):
    """Batches put into an outbox that is full: each forces out others, which has to be told."""

    name = "full-outbox"
    _BUDGET = 80_000 + ROOM
    _ROUNDS = 40

    def setup(self, folder: Path) -> None:
        self._put(folder, range(12), lambda _: None)

    def run(self, folder: Path, tell: Tell) -> None:
        self._put(folder, range(12, self._ROUNDS), tell)

    def recover(self, folder: Path, tell: Tell) -> None:
        self._put(folder, range(100, 102), tell)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        put = {*range(12), *_numbers(told, "put")}
        with self._opened(folder) as outbox:
            messages = [entry.message for entry in outbox.take(10_000)]
            if outbox.set_aside or outbox.damaged or outbox.dropped:
                return [f"{outbox.set_aside} {outbox.damaged} {outbox.dropped}"]
        batches = [decode_batch(one.body, DICTIONARY) for one in messages]
        found = {one.header.first // SECOND for one in batches if not one.losses}
        losses = [loss for one in batches for loss in one.losses]
        # What has reached the disk though its put did not return is among the newest, and there.
        gone = put - found
        wrong = []
        if len(losses) > 1:
            wrong.append(f"told in {len(losses)} parts")
        if sum(loss.batches for loss in losses) != len(gone):
            wrong.append(f"{sorted(gone)} are not there, and {losses} were told")
        if sum(loss.samples for loss in losses) != sum(map(self._rows, gone)):
            wrong.append(f"{sum(map(self._rows, gone))} samples are gone, and {losses} were told")
        if len(found - put) > 2:
            wrong.append(f"nobody has put {sorted(found - put)}")
        return wrong

    def _put(self, folder: Path, numbers: Sequence[int], tell: Tell) -> None:
        with self._opened(folder) as outbox:
            for number in numbers:
                parcel = noise(number, self._rows(number))
                if outbox.put(parcel.make, parcel.priority) is None:
                    raise RuntimeError("there was no room, and nothing that may go")
                tell(f"put {number}")

    def _opened(self, folder: Path) -> Outbox:
        return Outbox(folder / "outbox", self._BUDGET, losses=Losses(), segment=_SEGMENT)

    @staticmethod
    def _rows(number: int) -> int:
        return random.Random(number).choice([10, 400, 1_500])


def _opened(folder: Path, drawn: int) -> Outbox:
    return Outbox(folder / "outbox", _BUDGET, draw=lambda _: drawn, segment=_SEGMENT)


def _send(folder: Path, tell: Tell, rounds: int) -> None:
    """Put and acknowledge by turns; the first message not before the end, then all there are."""
    with _opened(folder, 1) as outbox:
        outstanding: list[int] = []
        for turn in range(rounds):
            for result in outbox.put_all([Letter(_letter, 5)] * (1 if turn % _EVERY else _GROUP)):
                if isinstance(result, Exception):
                    raise result
                tell(f"put {result}")
            _forgotten(outstanding, tell)
            first, *others = outbox.take(4)
            outbox.release(first)
            _acknowledge(outbox, others, outstanding, tell)
        outbox.flush()
        _forgotten(outstanding, tell)
        _acknowledge(outbox, outbox.take(1_000), outstanding, tell)
        outbox.flush()
        _forgotten(outstanding, tell)


def _acknowledge(
    outbox: Outbox, entries: Sequence[Entry], outstanding: list[int], tell: Tell
) -> None:
    for entry in entries:
        tell(f"acknowledging {entry.sequence}")
        outbox.acknowledge(entry)
        outstanding.append(entry.sequence)


def _forgotten(outstanding: list[int], tell: Tell) -> None:
    for sequence in outstanding:
        tell(f"forgotten {sequence}")
    outstanding.clear()


def _numbers(told: Sequence[str], what: str) -> set[int]:
    return {int(line.split()[1]) for line in told if line.split()[0] == what}
