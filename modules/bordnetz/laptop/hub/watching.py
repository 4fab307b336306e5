"""Shows messages from ``$upstream`` as they arrive: batches decoded, texts as they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import click
import numpy as np

from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import Batch
from bordnetz.batch.reader import Envelope, Reader
from bordnetz.batch.show import gap_text, loss_text, printable
from bordnetz.laptop.hub.upstream import Arrival, Upstream
from bordnetz.series import Quality, Samples, Signal

_LONGEST_TEXT = 200
_MOST_SIGNALS = 10


async def watch(upstream: Upstream, after: int, count: int | None) -> None:
    """Prints messages.

    Args:
        upstream: Where they arrive.
        after: Leave out messages up to this ``n``.
        count: End after so many; None goes on for ever.
    """
    viewer, left = Viewer(upstream), count
    async for arrival in upstream.follow(after):
        for line in viewer.lines(arrival):
            click.echo(printable(line))
        if left is not None and (left := left - 1) == 0:
            return


class Viewer:
    """Messages as lines of text; keeps the dictionaries that batches need."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._reader = Reader()
        self._looked_for: set[bytes] = set()

    def lines(self, arrival: Arrival) -> Iterator[str]:
        """A line for the message, and one for each of its signals, up to ten.

        Raises:
            UpstreamError: The body is not there.
        """
        body = self._upstream.body(arrival)
        yield _line(arrival, body)
        try:
            batches = self._reader.read(body)
            if wanted := set(self._reader.missing()) - self._looked_for:
                batches += self._look_back(arrival, wanted)
        except BatchError:
            return
        for batch in batches:
            yield from _batch(batch)
        if missing := self._reader.missing():
            yield f"  waits for dictionary {missing[0].hex()[:16]}"

    def _look_back(self, arrival: Arrival, wanted: set[bytes]) -> list[Batch]:
        """The waiting batches, by dictionaries that came before the watching began."""
        self._looked_for |= wanted
        found: list[Batch] = []
        for earlier in self._upstream.messages():
            if earlier.n >= arrival.n:
                break
            body = self._upstream.body(earlier)
            try:
                envelope = Envelope(body)
                if envelope.header.dictionary in wanted and envelope.dictionary() is not None:
                    batches = self._reader.read(body)
                    found += batches[:-1] if envelope.is_batch else batches
            except BatchError:
                continue
        return found


def last_values(samples: Samples) -> dict[str, tuple[str, int]]:
    """For each signal by qualified name: its last value as text with the unit, and how many."""
    last: dict[str, tuple[str, int]] = {}
    end = 0
    for series in range(len(samples.group)):
        group = samples.groups[samples.group[series]]
        count, width = int(samples.count[series]), int(samples.width[series])
        for name, signal in zip(group.names()[:width], group.signals[:width], strict=True):
            end += count
            last[name] = _value(signal, samples, end), last.get(name, ("", 0))[1] + count
    return last


def objections(samples: Samples) -> dict[str, dict[str, int]]:
    """What is said against samples of signals, by qualified name: how often each quality."""
    found: dict[str, dict[str, int]] = {}
    if samples.quality is None or not samples.quality.any():
        return found
    end = 0
    for series in range(len(samples.group)):
        group = samples.groups[samples.group[series]]
        count, width = int(samples.count[series]), int(samples.width[series])
        for name in group.names()[:width]:
            end += count
            flags, times = np.unique(samples.quality[end - count : end], return_counts=True)
            for flag, number in zip(flags.tolist(), times.tolist(), strict=True):
                for word in Quality(flag).words():
                    of_name = found.setdefault(name, {})
                    of_name[word] = of_name.get(word, 0) + number
    return found


def _value(signal: Signal, samples: Samples, end: int) -> str:
    raw = samples.values[end - 1 : end]
    physical = signal.physical(raw)[0]
    shown = dict(signal.choices).get(int(raw[0])) if signal.choices else None
    return shown or f"{physical:.6g} {signal.unit}".rstrip()


def _batch(batch: Batch) -> Iterator[str]:
    header, last = batch.header, last_values(batch.samples)
    begin, end = (datetime.fromtimestamp(t / 1e9).astimezone() for t in (header.first, header.last))
    yield (
        f"  batch {header.sequence}: {len(batch.samples)} samples of {len(last)} signals, "
        f"{begin:%H:%M:%S.%f} to {end:%H:%M:%S.%f}"
    )
    against = objections(batch.samples)
    for name in sorted(last)[:_MOST_SIGNALS]:
        value, count = last[name]
        said = "".join(f", {times} {word}" for word, times in against.get(name, {}).items())
        yield f"    {name} = {value} ({count}{said})"
    if len(last) > _MOST_SIGNALS:
        yield f"    and {len(last) - _MOST_SIGNALS} more"
    for gap in batch.gaps:
        yield f"    bus {gap.bus} {gap_text(gap, header.stamp.resolution)}"
    for loss in batch.losses:
        yield f"    {loss_text(loss)}"


def _line(arrival: Arrival, body: bytes) -> str:
    when = datetime.fromtimestamp(arrival.time).astimezone()
    parts = [
        f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}",
        f"#{arrival.n}",
        f"{arrival.module}/{arrival.output}",
        f"{arrival.metered} bytes in {arrival.blocks} blocks",
        *(f"{name}={value}" for name, value in arrival.properties.items()),
        _text(arrival, body),
    ]
    return " ".join(part for part in parts if part)


def _text(arrival: Arrival, body: bytes) -> str:
    """A body that is meant to be read, on one line; "" for others."""
    kind = arrival.system.get("contentType", "")
    if kind != "application/json" and not kind.startswith("text/"):
        return ""
    text = body.decode(errors="replace")
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."
