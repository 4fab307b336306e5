"""Batches as text: one line a batch, or one a sample, a gap and a loss."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import IO, Any, NamedTuple

import numpy as np

from bordnetz.batch.losses import UNIT, Loss
from bordnetz.batch.message import Batch, Resolution
from bordnetz.series import Gap, Group, Kind, Quality, Signal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CHUNK = 4096
"""Rows of a series turned into text at a time."""


class Column(NamedTuple):
    """One signal of one series: who it is, and where its values are."""

    name: str
    signal: Signal
    series: int
    row: int
    value: int
    rows: int


class Selection:
    """Which signals are shown, and in which form.

    Args:
        globs: Patterns of qualified names, with or without the source address; () for all.
        raw: Raw values instead of physical ones and texts.
    """

    def __init__(self, globs: tuple[str, ...] = (), *, raw: bool = False) -> None:
        self._globs = globs
        self.raw = raw

    def columns(self, batch: Batch) -> list[Column]:
        """The selected signals of a batch."""
        samples = batch.samples
        columns = []
        row = value = 0
        for series, (index, width, count) in enumerate(
            zip(samples.group.tolist(), samples.width.tolist(), samples.count.tolist(), strict=True)
        ):
            group = samples.groups[index]
            source = source_address(group, int(samples.id[series]))
            names = group.names()[:width]
            for position, (name, signal) in enumerate(
                zip(names, group.signals[:width], strict=True)
            ):
                if self._wanted(name, name + source):
                    at = value + position * count
                    columns.append(Column(name + source, signal, series, row, at, count))
            row += count
            value += count * width
        return columns

    def values(self, batch: Batch, column: Column, first: int, behind: int) -> list[Any]:
        """Rows ``first`` to ``behind`` of a column, as Python numbers or texts."""
        raw = batch.samples.values[column.value + first : column.value + behind]
        signal = column.signal
        bare: list[Any] = Signal(signal.name, kind=signal.kind).physical(raw).tolist()
        if self.raw:
            return bare
        numbers: list[Any] = signal.physical(raw).tolist()
        if signal.kind is Kind.INT and numbers and isinstance(numbers[0], float):
            # 5012 x 0.01 is 50.12 to whoever reads it, not 50.120000000000005.
            numbers = [float(f"{number:.15g}") for number in numbers]
        if not signal.choices:
            return numbers
        texts = dict(signal.choices)
        return [texts.get(key, number) for key, number in zip(bare, numbers, strict=True)]

    def quality(self, batch: Batch, column: Column, first: int, behind: int) -> list[list[str]]:
        """What is to be said against rows ``first`` to ``behind`` of a column."""
        if batch.samples.quality is None:
            return [[]] * (behind - first)
        flags = batch.samples.quality[column.value + first : column.value + behind].tolist()
        words = {flag: Quality(flag).words() for flag in set(flags)}
        return [words[flag] for flag in flags]

    def gaps(self, batch: Batch) -> list[Gap]:
        """The gaps of buses of which signals may be selected."""
        if not self._globs or not batch.gaps:
            return list(batch.gaps)
        # Whatever source address was asked for.
        globs = {*self._globs, *(glob.rpartition("@")[0] for glob in self._globs if "@" in glob)}
        wanted = {
            group.bus
            for group in batch.dictionary.groups
            if any(fnmatchcase(name, glob) for glob in globs for name in group.names())
        }
        return [gap for gap in batch.gaps if gap.bus in wanted]

    def _wanted(self, *names: str) -> bool:
        return not self._globs or any(
            fnmatchcase(name, glob) for glob in self._globs for name in names
        )


def source_address(group: Group, id_: int) -> str:
    """What tells apart who sent it: "@" and the J1939 source address, "" elsewhere."""
    return f"@{id_ & 0xFF:02X}" if group.by_pgn else ""


def iso(time: int, resolution: Resolution) -> str:
    """A time in ns since the epoch as ISO 8601 in UTC; ns as a number beyond year 9999."""
    digits = "milliseconds" if resolution is Resolution.MILLISECOND else "microseconds"
    try:
        moment = _EPOCH + timedelta(microseconds=time // 1000)
    except OverflowError:
        return f"{time} ns"
    return moment.isoformat(timespec=digits).replace("+00:00", "Z")


class Format(ABC):
    """A way to write batches as text.

    Args:
        stream: Written to.
        selection: What is shown.
    """

    def __init__(self, stream: IO[str], selection: Selection) -> None:
        self._stream = stream
        self._selection = selection

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """Write one batch."""

    def _gaps(self, batch: Batch) -> Iterator[tuple[str, Gap, float | None]]:
        """When each gap began, itself, and how long it was, s; None: it lasts."""
        for gap in self._selection.gaps(batch):
            seconds = None if gap.end is None else (gap.end - gap.start) / 1e9
            yield iso(gap.start, batch.header.stamp.resolution), gap, seconds

    def _rows(self, batch: Batch) -> Iterator[tuple[str, Column, Any, list[str]]]:
        """Time, column, value and quality of every selected sample, series after series."""
        resolution = batch.header.stamp.resolution
        for column in self._selection.columns(batch):
            for first in range(0, column.rows, _CHUNK):
                behind = min(first + _CHUNK, column.rows)
                times = batch.samples.time[column.row + first : column.row + behind].tolist()
                values = self._selection.values(batch, column, first, behind)
                quality = self._selection.quality(batch, column, first, behind)
                for time, value, words in zip(times, values, quality, strict=True):
                    yield iso(time, resolution), column, value, words


class Summary(Format):
    """One line a batch."""

    def write(self, batch: Batch) -> None:
        """Write whose batch it is, when it was, and how much is in it."""
        header = batch.header
        stamp = header.stamp
        columns = self._selection.columns(batch)
        seconds = (header.last - header.first) / 1e9
        self._stream.write(
            f"{header.outbox:016x}/{header.sequence}  {iso(header.first, stamp.resolution)}"
            f" +{seconds:.3f} s  {stamp.campaign} v{stamp.campaign_version}"
            f"  clock {stamp.clock.name.lower()}  boot {stamp.boot:016x}"
            f"  dictionary {header.dictionary.hex()}"
            f"  {len(columns)} signals  {sum(column.rows for column in columns)} samples"
            + (f"  {len(batch.gaps)} gaps" if batch.gaps else "")
            + (f"  {_lost(batch.losses)}" if batch.losses else "")
            + "\n"
        )


class Table(Format):
    """Aligned columns."""

    def write(self, batch: Batch) -> None:
        """Write each loss and gap, and time, name, value, unit and quality of each sample."""
        for since, loss, seconds in _losses(batch):
            long = "" if seconds is None else f", over {seconds:.3f} s"
            line = f"{since:<24}  {'*':<40} given up ({_cause(loss)}): {_lost([loss])}{long}"
            self._stream.write(printable(line) + "\n")
        for time, gap, seconds in self._gaps(batch):
            long = "" if seconds is None else f", for {seconds:.3f} s"
            line = f"{time}  {gap.bus + '.*':<40} not listened to ({_cause(gap)}){long}"
            self._stream.write(printable(line) + "\n")
        for time, column, value, words in self._rows(batch):
            unit = "" if self._selection.raw else column.signal.unit
            text = f"{value:.10g}" if isinstance(value, float) else str(value)
            line = f"{time}  {column.name:<40} {text:>16} {unit}".rstrip()
            line += f"  [{' '.join(words)}]" if words else ""
            self._stream.write(printable(line) + "\n")


class Csv(Format):
    """RFC 4180, with a header."""

    def __init__(self, stream: IO[str], selection: Selection) -> None:
        super().__init__(stream, selection)
        self._writer = csv.writer(stream, lineterminator="\n")
        self._writer.writerow(("time", "signal", "value", "unit", "quality"))

    def write(self, batch: Batch) -> None:
        """Write time, name, value, unit and quality of each sample.

        A gap has the bus' name and ``.*`` for a name, and its seconds, if it is over, for a value;
        a loss ``*`` and its seconds, if they are known.
        """
        for since, loss, seconds in _losses(batch):
            long = "" if seconds is None else seconds
            quality = f"lost {_cause(loss)} {loss.samples}"
            self._writer.writerow((since, "*", long, "s", quality))
        for time, gap, seconds in self._gaps(batch):
            long = "" if seconds is None else seconds
            self._writer.writerow((time, f"{gap.bus}.*", long, "s", f"notListening {_cause(gap)}"))
        for time, column, value, words in self._rows(batch):
            unit = "" if self._selection.raw else column.signal.unit
            self._writer.writerow((time, column.name, value, unit, " ".join(words)))


class JsonLines(Format):
    """One JSON object a line; what JSON has no number for (NaN, infinities) is null."""

    def write(self, batch: Batch) -> None:
        """Write time, name, value, unit and, where there is something to say, quality.

        A gap is another object: when it began, bus, cause and, if it is over, seconds.  So is a
        loss: when it began and its seconds, if they are known, campaign, cause, batches, samples.
        """
        for since, loss, seconds in _losses(batch):
            lost: dict[str, Any] = {"time": since, "lost": loss.campaign, "cause": _cause(loss)}
            lost |= {"batches": loss.batches, "samples": loss.samples}
            if seconds is None:
                del lost["time"]
            else:
                lost["seconds"] = seconds
            self._stream.write(json.dumps(lost, ensure_ascii=False) + "\n")
        for time, gap, seconds in self._gaps(batch):
            told: dict[str, Any] = {"time": time, "gap": gap.bus, "cause": _cause(gap)}
            if seconds is not None:
                told["seconds"] = seconds
            self._stream.write(json.dumps(told, ensure_ascii=False) + "\n")
        for time, column, value, words in self._rows(batch):
            finite = not isinstance(value, float) or np.isfinite(value)
            line: dict[str, Any] = {"time": time, "signal": column.name}
            line["value"] = value if finite else None
            if column.signal.unit and not self._selection.raw:
                line["unit"] = column.signal.unit
            if words:
                line["quality"] = words
            self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _cause(told: Gap | Loss) -> str:
    return told.cause.name.lower()


def _losses(batch: Batch) -> Iterator[tuple[str, Loss, float | None]]:
    """When each loss began, itself, and over how many seconds; "" and None: not known."""
    for loss in batch.losses:
        if loss.start is None or loss.end is None:
            yield "", loss, None
        else:
            yield iso(loss.start, UNIT), loss, (loss.end - loss.start) / 1e9


def _lost(losses: Iterable[Loss]) -> str:
    batches, samples = (sum(n) for n in zip(*((o.batches, o.samples) for o in losses), strict=True))
    return f"{batches} batches lost, {samples} samples"


def loss_text(loss: Loss) -> str:
    """A loss for people."""
    span = f"{_lost([loss])} ({_cause(loss)})"
    if loss.start is None or loss.end is None:
        return span
    return f"{span} from {iso(loss.start, UNIT)} to {iso(loss.end, UNIT)}"


def gap_text(gap: Gap, resolution: Resolution) -> str:
    """A gap for people, without its bus."""
    since = f"not listened to ({_cause(gap)}) since {iso(gap.start, resolution)}"
    return since if gap.end is None else f"{since}, for {(gap.end - gap.start) / 1e9:.3f} s"


def printable(line: str) -> str:
    """The line without what a terminal would obey: names and texts are a stranger's."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


FORMATS: dict[str, type[Format]] = {
    "summary": Summary,
    "table": Table,
    "csv": Csv,
    "jsonl": JsonLines,
}
