"""Where the time of a frame goes: nanoseconds of CPU by stage; ``python -m bench.stages``.

The busy trace in blocks of 600 frames, all signals, batches of 10 s.  Each stage is timed where it
is called; the least of all rounds counts, so that what else the machine does shows little.  Sending
is what the whole process needs beyond that: `bench.process` measures it.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console
from rich.table import Table

from bench.ceiling import BUSES, connected, from_memory, lengthened, open_end
from bench.decode import SHARED, Trace, demo_trace, vw_trace
from bordnetz.batch import message
from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.message import Draft
from bordnetz.batch.writer import Writer
from bordnetz.can.datagram import Receiver
from bordnetz.can.port import Port
from bordnetz.can.table import DecodeTable
from bordnetz.edge.outbox import Outbox
from bordnetz.telemetry.latest import Latest
from bordnetz.telemetry.messages import batch_parcel
from bordnetz.telemetry.pipeline import Pipeline
from bordnetz.telemetry.thin import Thinner

SECONDS, ROUNDS = 8, 7
ORDER = ("receive", "columns", "match", "gather", "collect", "encode", "zstd", "outbox")
_EACH = 200
"""Frames of a bus in a block."""


class Stages:
    """CPU seconds of stages, those within another taken off it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._within = [0.0]

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted."""

        def run(*arguments: Any, **named: Any) -> Any:
            self._within.append(0.0)
            start = time.process_time()
            result = function(*arguments, **named)
            spent = time.process_time() - start
            self.seconds[name] += spent - self._within.pop()
            self._within[-1] += spent
            return result

        return run

    @contextlib.contextmanager
    def watched(self, *places: tuple[Any, str, str]) -> Iterator[None]:
        """Functions of classes or modules counted: place, attribute, stage."""
        with contextlib.ExitStack() as stack:
            for place, attribute, name in places:
                timed = self.timed(name, getattr(place, attribute))
                stack.enter_context(mock.patch.object(place, attribute, timed))
            yield


def once(trace: Trace) -> dict[str, float]:
    """Nanoseconds a frame by stage, in the order of the frame's way."""
    stages = Stages()
    count = receive(trace, stages)
    found = {name: seconds / count for name, seconds in stages.seconds.items()}
    stages = Stages()
    drafts: list[Draft] = []
    advance, flush = Writer.add, Writer.flush

    def kept(work: Callable[..., list[Draft]]) -> Callable[..., list[Draft]]:
        def run(*arguments: Any, **named: Any) -> list[Draft]:
            done = work(*arguments, **named)
            drafts.extend(done)
            return done

        return run

    with (
        mock.patch.object(Writer, "add", kept(advance)),
        mock.patch.object(Writer, "flush", kept(flush)),
        stages.watched(
            (Pipeline, "take", "collect"),
            (Pipeline, "flush", "collect"),
            (DecodeTable, "match", "match"),
            (DecodeTable, "gather", "gather"),
            (Thinner, "keep", "collect"),
            (Latest, "update", "collect"),
            (Writer, "add", "encode"),
            (Writer, "flush", "encode"),
            (message.zstd, "compress", "zstd"),
        ),
    ):
        from_memory(trace)()
    through = len(lengthened(trace.frames))
    dictionary = Dictionary(trace.table.groups, bytes(32), bytes(32))
    store(drafts, dictionary, stages)
    found |= {name: seconds / through for name, seconds in stages.seconds.items()}
    return {name: seconds * 1e9 for name, seconds in found.items()}


def receive(trace: Trace, stages: Stages) -> int:
    """Receive what waits in sockets; the frames that were."""
    ends = [open_end() for _ in range(BUSES)]
    senders = [connected(end) for end in ends]
    receiver = Receiver([Port(bus, "", end, 1000) for bus, end in enumerate(ends)], BUSES)
    fill = stages.timed("receive", receiver.fill)
    take = stages.timed("columns", receiver.take)
    done = 0
    for at in range(0, len(trace.frames) // BUSES - _EACH, _EACH):
        for bus, sender in enumerate(senders):
            mine = trace.frames[bus * (len(trace.frames) // BUSES) :]
            sender.send(mine[at : at + _EACH])
        fill()
        done += len(take().classic)
    for end in (*ends, *senders):
        end.close()
    return done


def store(drafts: list[Draft], dictionary: Dictionary, stages: Stages) -> None:
    """Put batches into an outbox, each durable before the next, and forget them."""
    build = Path(__file__).parents[1] / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        outbox = Outbox(Path(folder, "outbox"), 64 << 20)
        put = stages.timed("outbox", outbox.put)
        take = stages.timed("outbox", outbox.take)
        acknowledge = stages.timed("outbox", outbox.acknowledge)
        for draft in drafts:
            put(batch_parcel(draft, dictionary, 5).make, 5)
            for entry in take(1):
                acknowledge(entry)
        outbox.close()


def main() -> None:
    """Print the table."""
    trace = vw_trace(SECONDS) if SHARED.is_dir() else demo_trace()
    rounds = [once(trace) for _ in range(ROUNDS)]
    table = Table(title=trace.name, box=None)
    table.add_column("stage")
    table.add_column("ns a frame", justify="right")
    least = {name: min(found[name] for found in rounds) for name in rounds[0]}
    for name in ORDER:
        table.add_row(name, f"{least[name]:.0f}")
    table.add_row("together", f"{sum(least.values()):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
