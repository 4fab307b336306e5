"""The outbox: what `put` has returned is there, byte for byte, and nothing else ever appears."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox

from .scenario import Scenario, Tell

_BUDGET = 8 << 20
_MESSAGES = 20
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
        with Outbox(folder / "outbox.db", _BUDGET, draw=lambda _: _DRAWN) as outbox:
            outbox.put(_letter, 5)

    def run(self, folder: Path, tell: Tell) -> None:
        _send(folder, tell, _MESSAGES)

    def recover(self, folder: Path, tell: Tell) -> None:
        _send(folder, tell, 2)

    def check(self, folder: Path, told: Sequence[str]) -> list[str]:
        put = {1, *_numbers(told, "put")}
        acknowledged = _numbers(told, "acknowledging")
        forgotten = _numbers(told, "forgotten")
        wrong = []
        with Outbox(folder / "outbox.db", _BUDGET, draw=lambda _: 1) as outbox:
            if outbox.id != _DRAWN:
                wrong.append(f"another outbox: {outbox.id}")
            if outbox.set_aside:
                wrong.append("the file was moved aside")
            found = {entry.sequence: entry.message for entry in outbox.take(10_000)}
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
        if len(found.keys() - put) > 2:
            # One may have reached the disk before its put returned, at each of two cuts.
            wrong.append(f"nobody has put {sorted(found.keys() - put)}")
        return wrong


def _send(folder: Path, tell: Tell, count: int) -> None:
    with Outbox(folder / "outbox.db", _BUDGET, draw=lambda _: 1) as outbox:
        outstanding: list[int] = []
        for _ in range(count):
            tell(f"put {outbox.put(_letter, 5)}")
            _forgotten(outstanding, tell)
            for entry in outbox.take(3)[1:]:
                tell(f"acknowledging {entry.sequence}")
                outbox.acknowledge(entry)
                outstanding.append(entry.sequence)
        outbox.flush()
        _forgotten(outstanding, tell)


def _forgotten(outstanding: list[int], tell: Tell) -> None:
    for sequence in outstanding:
        tell(f"forgotten {sequence}")
    outstanding.clear()


def _numbers(told: Sequence[str], what: str) -> set[int]:
    return {int(line.split()[1]) for line in told if line.split()[0] == what}
