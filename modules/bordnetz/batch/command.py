"""The verb ``bordnetz cat``: batches as a person or a script reads them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import click

from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import MAX_BYTES
from bordnetz.batch.reader import Envelope, Reader
from bordnetz.batch.show import FORMATS, Format, Selection


@click.command(name="cat")
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, allow_dash=True, path_type=Path),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(sorted(FORMATS)),
    default="summary",
    show_default=True,
    help="summary: a line a batch; table, csv, jsonl: a line a sample, a gap, a loss.",
)
@click.option(
    "--signals",
    "globs",
    metavar="GLOB",
    multiple=True,
    help="Only signals whose qualified name matches, e.g. 'drive.*.Speed'; may be repeated.",
)
@click.option("--raw", is_flag=True, help="Raw values, without factor, offset and value table.")
@click.option(
    "--dated",
    is_flag=True,
    help="Times by the right clock, where a batch of the same start of the machine has one.",
)
@click.pass_context
def cat(
    context: click.Context,
    paths: tuple[Path, ...],
    form: str,
    globs: tuple[str, ...],
    raw: bool,
    dated: bool,
) -> None:
    """Show batches and dictionaries.

    FILE is a message as it was sent, or a folder with one message in each *.bin file; "-" is
    standard input.  The order does not matter: a batch is shown once its dictionary has come.

    Under J1939 several devices may send the same message: the source address stands behind the
    signal's name, as in truck.EEC1.EngineSpeed@00.

    A gap is a time in which a bus was not listened to.  It is told when it begins and again, with
    its length, when it is over: in csv a row BUS.* with quality "notListening CAUSE" and the
    seconds as value, in jsonl an object with "gap", "cause" and "seconds".

    A loss is what the vehicle had stored and had to give up, for want of room for instance: in csv
    a row "*" with quality "lost CAUSE SAMPLES" and the seconds as value, in jsonl an object with
    "lost" (the campaign), "cause", "batches" and "samples".

    Until its clock is right, a machine tells wrong times, of 1970 for instance.  With --dated these
    are put right, if one of the files tells more; they are read twice then.
    """
    reader = Reader()
    show: Format = FORMATS[form](sys.stdout, Selection(globs, raw=raw))
    failed = False
    if dated:
        if any(str(path) == "-" for path in paths):
            raise click.UsageError("--dated reads twice, which standard input does not allow")
        for _, data in _messages(paths):
            with suppress(BatchError):  # Which is told when it is read again.
                reader.boots.see(Envelope(data).header)
    for name, data in _messages(paths):
        try:
            batches = reader.read(data)
        except BatchError as error:
            click.echo(f"bordnetz: {name}: {error}", err=True)
            failed = True
            continue
        for batch in batches:
            show.write(reader.boots.correct(batch) if dated else batch)
    if reader.damaged:
        click.echo(
            f"bordnetz: {reader.damaged} batches are not shown: read before their dictionary, they "
            "turned out to be damaged; give the file of the dictionary first to see which",
            err=True,
        )
        failed = True
    if reader.waiting or reader.dropped:
        names = ", ".join(digest.hex() for digest in reader.missing())
        click.echo(
            f"bordnetz: {reader.waiting + reader.dropped} batches are not shown, since no file "
            f"has their dictionary ({names}); add the file that has it, or ask the vehicle for "
            "it with the method 'dictionary'",
            err=True,
        )
        failed = True
    if failed:
        context.exit(1)


def _messages(paths: tuple[Path, ...]) -> Iterator[tuple[str, bytes]]:
    """Every message, with the name of where it is from; no more than one in memory."""
    for path in paths:
        if str(path) == "-":
            yield "standard input", _head(sys.stdin.buffer)
        elif path.is_dir():
            files = sorted(path.glob("*.bin"))
            if not files:
                raise BatchError(f"{path}: there is no *.bin file in this folder")
            for file in files:
                with file.open("rb") as stream:
                    yield str(file), _head(stream)
        else:
            with path.open("rb") as stream:
                yield str(path), _head(stream)


def _head(stream: IO[bytes]) -> bytes:
    """A whole message, or so much that it is clearly none."""
    return stream.read(MAX_BYTES + 1)
