"""A drive on the terminal: a live picture, or plain lines where there is no terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bordnetz.laptop.drive.progress import Progress, SignalLine

_BARS = "▁▂▃▄▅▆▇█"


def picture(progress: Progress) -> RenderableType:
    """The live view."""
    return Group(
        _headline(progress),
        Columns([_buses(progress), _cloud(progress)], padding=(0, 1)),
        _signals(progress.signals),
    )


def line(progress: Progress) -> str:
    """One line for logs and pipes."""
    cloud = progress.cloud
    frames = sum(bus.frames for bus in progress.buses.values())
    rate = sum(bus.rate for bus in progress.buses.values())
    dropped = sum(bus.dropped for bus in progress.buses.values())
    return (
        f"{progress.elapsed:6.1f} s  {frames:,} frames ({rate:,.0f}/s, {dropped:,} dropped)  "
        f"{cloud.batches:,} batches, {cloud.samples:,} samples in the cloud at "
        f"{cloud.bytes_per_sample:.3f} B each  outbox {progress.waiting:,}  "
        f"acknowledged {progress.acknowledged:,}"
    )


def sparkline(values: Sequence[float]) -> str:
    """A curve of characters, one a value, from the lowest to the highest of them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = high - low
    if not span > 0:
        return _BARS[0] * len(values)
    return "".join(_BARS[min(int((value - low) / span * 8), 7)] for value in values)


def _headline(progress: Progress) -> Text:
    whole = f" of {progress.planned:.0f}" if progress.planned else ""
    link = ("connected", "green") if progress.connected else ("not connected", "yellow")
    return Text.assemble(
        ("bordnetz drive ", "bold"),
        f" {progress.elapsed:.0f}{whole} s   {progress.collected:,} signals collected   hub ",
        link,
        "   Ctrl-C ends it",
    )


def _buses(progress: Progress) -> Panel:
    table = Table(box=None, pad_edge=False)
    table.add_column("bus", style="cyan")
    table.add_column("channel", overflow="ellipsis", max_width=24, no_wrap=True)
    for column in ("frames/s", "frames", "dropped"):
        table.add_column(column, justify="right")
    for bus in progress.buses.values():
        lost = Text(f"{bus.dropped:,}", "red bold" if bus.dropped else "green")
        table.add_row(bus.name, bus.channel, f"{bus.rate:,.0f}", f"{bus.frames:,}", lost)
    return Panel(table, title="CAN", title_align="left", border_style="dim")


def _cloud(progress: Progress) -> Panel:
    cloud = progress.cloud
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan")
    table.add_column(justify="right")
    table.add_row("samples", f"{cloud.samples:,}")
    table.add_row("bytes a sample", Text(f"{cloud.bytes_per_sample:.3f}", "bold"))
    table.add_row("batches + dictionaries", f"{cloud.batches:,} + {cloud.dictionaries:,}")
    table.add_row("4 KB blocks, filled", f"{cloud.blocks:,}, {cloud.block_fill:.1%}")
    table.add_row("outbox, acknowledged", f"{progress.waiting:,}, {progress.acknowledged:,}")
    return Panel(table, title="in the cloud", title_align="left", border_style="dim")


def _signals(signals: Sequence[SignalLine]) -> Panel:
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("signal", style="cyan", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("", no_wrap=True)
    for signal in signals:
        value = signal.text or f"{signal.value:,.6g}"
        table.add_row(signal.name, value, signal.unit, Text(sparkline(signal.history), "green"))
    return Panel(table, title="signals", title_align="left", border_style="dim")


def summary(report: Mapping[str, Any]) -> str:
    """What the drive came to, for a person."""
    used = ", ".join(
        f"{name} {cost['cpu_seconds']:.1f} s and {cost['rss_mib']:.0f} MiB"
        for name, cost in report["processes"].items()
    )
    lines = [
        (
            f"{report['frames']:,} frames in {report['seconds']:,} s: "
            f"{report['frames_decoded']:,} decoded, {report['frames_not_asked']:,} not asked for, "
            f"{report['frames_not_data']:,} not data, {report['frames_dropped']:,} dropped"
        ),
        (
            f"{report['samples']:,} samples of {report['signals']:,} signals arrived in "
            f"{report['batches']:,} batches and {report['dictionaries']:,} dictionaries; "
            f"{report['acknowledged']:,} batches acknowledged"
        ),
        (
            f"{report['bytes']:,} bytes, {report['bytes_per_sample']:.3f} a sample; "
            f"{report['blocks_4k']:,} blocks of 4 KB, {report['block_fill']:.1%} filled"
        ),
        f"CPU and memory: {used}",
    ]
    return "\n".join(lines)
