"""A drive on the terminal: a live picture that fits it, or plain lines where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bordnetz.laptop.drive.progress import Progress, SignalLine

_BARS = "▁▂▃▄▅▆▇█"

_WIDE = 100
"""Columns from which on there is room for the buses' channels."""

_VALUE, _UNIT, _CURVE = 14, 7, 14
"""Columns of a signal's value, of its unit, and of its curve at least."""


def picture(progress: Progress, width: int, height: int) -> RenderableType:
    """The live view.

    Args:
        progress: What to show.
        width: Of the terminal, columns.
        height: Of the terminal, rows; there are as many signals as fit.
    """
    buses, cloud = _buses(progress, wide=width >= _WIDE), _cloud(progress)
    side_by_side = Table.grid(expand=True)
    side_by_side.add_column(ratio=1)
    side_by_side.add_column()
    rows = max(len(progress.buses) + 1, cloud.row_count)
    side_by_side.add_row(_panel(buses, "CAN", rows), _panel(cloud, "in the cloud", rows))
    # Besides the signals: the first line, four edges of panels, a heading, the line of the cursor.
    room = height - rows - 7
    parts: list[RenderableType] = [_headline(progress, width), side_by_side]
    if progress.signals and room > 0:
        parts.append(_panel(_signals(progress.signals[:room], width), "signals"))
    return Group(*parts)


def line(progress: Progress) -> str:
    """One line for logs and pipes."""
    cloud = progress.cloud
    frames = f"{progress.frames:,} frames ({progress.rate:,.0f}/s, {progress.dropped:,} dropped)"
    if cloud.batches:
        arrived = (
            f"{cloud.samples:,} samples in {cloud.batches:,} batches in the cloud, "
            f"{cloud.bytes_per_sample:.3f} bytes each"
        )
    else:
        arrived = f"{progress.collected:,} signals collected, no batch is full yet"
    waiting = f", {progress.waiting:,} messages wait" if progress.waiting else ""
    again = f", telemetry started again {progress.restarts} times" if progress.restarts else ""
    return f"{progress.elapsed:6.1f} s  {frames}; {arrived}{waiting}{again}"


def summary(report: Mapping[str, Any]) -> str:
    """What the drive came to, for a person."""
    used = ", ".join(
        f"{name} {cost['cpu_seconds']:.1f} s and {cost['rss_mib']:.0f} MiB"
        for name, cost in report["processes"].items()
    )
    lines = [
        f"{report['frames']:,} frames in {report['seconds']:,} s: {_books(report)}",
        *(
            f"  {name}: {many(page['frames'], 'frame', 'frames')}: {_books(page)}"
            for name, page in report["buses"].items()
            if len(report["buses"]) > 1
        ),
        (
            f"{report['samples']:,} samples of {report['signals']:,} signals arrived in "
            f"{many(report['batches'], 'batch', 'batches')} and "
            f"{many(report['dictionaries'], 'dictionary', 'dictionaries')}; "
            f"{many(report['acknowledged'], 'batch', 'batches')} acknowledged"
        ),
        (
            f"{report['bytes']:,} bytes, {report['bytes_per_sample']:.3f} a sample; "
            f"{report['blocks_4k']:,} blocks of 4 KB, {report['block_fill']:.1%} filled"
        ),
        f"CPU and memory: {used}",
    ]
    return "\n".join(lines)


def many(count: int, one: str, more: str) -> str:
    """So many of something."""
    return f"{count:,} {one if count == 1 else more}"


def sparkline(values: Sequence[float]) -> str:
    """A curve of characters, one a value, from the lowest to the highest of them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = high - low
    if not 0 < span < float("inf"):
        return _BARS[0] * len(values)
    return "".join(_BARS[min(int((value - low) / span * 8), 7)] for value in values)


def _headline(progress: Progress, width: int) -> Text:
    whole = f" of {progress.planned:.0f}" if progress.planned else ""
    link = ("connected", "green") if progress.connected else ("not connected", "yellow bold")
    parts: list[str | tuple[str, str]] = [
        ("bordnetz drive ", "bold"),
        f" {progress.elapsed:.0f}{whole} s   {progress.collected:,} signals   hub ",
        link,
    ]
    if progress.restarts:
        parts.append((f"   telemetry started again: {progress.restarts}", "yellow bold"))
    parts.append("   Ctrl-C ends it")
    if width >= _WIDE + 20:
        parts.append(("   look in: bordnetz hub watch", "dim"))
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _buses(progress: Progress, *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("bus", style="cyan", no_wrap=True, overflow="ellipsis", ratio=1)
    if wide:
        table.add_column("channel", no_wrap=True, overflow="ellipsis", max_width=28)
    for column in ("frames/s", "frames", "dropped"):
        table.add_column(column, justify="right", no_wrap=True)
    for bus in progress.buses.values():
        lost = Text(f"{bus.dropped:,}", "red bold" if bus.dropped else "green")
        cells: list[RenderableType] = [bus.name]
        cells += [bus.channel] if wide else []
        table.add_row(*cells, f"{bus.rate:,.0f}", f"{bus.frames:,}", lost)
    return table


def _cloud(progress: Progress) -> Table:
    cloud = progress.cloud
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", no_wrap=True, min_width=11)
    table.add_row("samples", f"{cloud.samples:,}")
    table.add_row("bytes a sample", Text(f"{cloud.bytes_per_sample:.3f}", "bold"))
    table.add_row("batches", f"{cloud.batches:,}")
    table.add_row("4 KB blocks", f"{cloud.blocks:,}, {cloud.block_fill:.0%} full")
    table.add_row("acknowledged", f"{progress.acknowledged:,} of {cloud.messages:,}")
    waiting = Text(f"{progress.waiting:,}", "yellow bold" if progress.waiting > 1 else "")
    table.add_row("in the outbox", waiting)
    return table


def _signals(signals: Sequence[SignalLine], width: int) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    longest = max(len(signal.name) for signal in signals)
    # Two edges, and a space at each side of every column but at the ends.
    room = width - 4 - 3 * 2
    name = min(longest, room - _VALUE - _UNIT - _CURVE)
    table.add_column("signal", no_wrap=True, width=name)
    table.add_column("value", justify="right", no_wrap=True, overflow="ellipsis", width=_VALUE)
    table.add_column("unit", no_wrap=True, overflow="ellipsis", width=_UNIT)
    table.add_column("", no_wrap=True, ratio=1)
    curve = room - name - _VALUE - _UNIT
    for signal in signals:
        value = signal.text or f"{signal.value:,.6g}"
        recent = list(signal.history)[-curve:]
        table.add_row(
            _name(signal.name, name), value, signal.unit, Text(sparkline(recent), "green")
        )
    return table


def _name(name: str, width: int) -> Text:
    """A qualified name; its end tells more than its beginning."""
    if len(name) > width:
        name = "…" + name[len(name) - width + 1 :]
    before, dot, last = name.rpartition(".")
    return Text.assemble((before + dot, "dim cyan"), (last, "cyan"))


def _panel(content: Table, title: str, rows: int | None = None) -> Panel:
    height = None if rows is None else rows + 2
    return Panel(content, title=title, title_align="left", border_style="dim", height=height)


def _books(page: Mapping[str, Any]) -> str:
    told = ", ".join(f"{count:,} {reason}" for reason, count in page["dropped"].items())
    return (
        f"{page['frames_decoded']:,} decoded, {page['frames_not_asked']:,} not asked for, "
        f"{page['frames_not_data']:,} not data, {page['frames_dropped']:,} dropped"
        + (f" ({told})" if told else "")
    )
