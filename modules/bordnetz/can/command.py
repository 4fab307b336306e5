"""The verb ``bordnetz dbc``: what of DBC files can be used, and what is in them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import click

from bordnetz.can import show as shown
from bordnetz.can.check import check as check_file
from bordnetz.can.dbc import parse_as_stated, read
from bordnetz.can.errors import CatalogueError

_WIDTH = 120
"""Columns where there is no terminal."""
_LEAST_WIDTH = 40

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
"""What a terminal would take for commands."""

_file = click.Path(path_type=Path)


@click.group()
def dbc() -> None:
    """Check and show DBC files."""


@dbc.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_file)
@click.option("--json", "as_json", is_flag=True, help="One JSON document for all files.")
@click.option("--strict", is_flag=True, help="Fail for what is mended, too.")
@click.pass_context
def check(context: click.Context, files: tuple[Path, ...], as_json: bool, strict: bool) -> None:
    """Tell what of DBC files is not used, or not as it is written there.

    A line a problem: FILE:LINE, then "lost" for what costs a signal or makes it doubtful, or
    "mended" for what costs nothing; message and signal; what is wrong and what becomes of it.

    The exit code is 0 where nothing is lost, 1 where something is, 2 where a file cannot be used
    at all.
    """
    results = []
    for file in files:
        results.append(check_file(file))
        if not as_json:
            for line in results[-1].lines():
                _say(line)
    if as_json:
        document = {
            "files": [result.document() for result in results],
            "lost": sum(result.lost for result in results),
            "mended": sum(result.mended for result in results),
            "unusable": sum(bool(result.error) for result in results),
        }
        click.echo(json.dumps(document, indent=2))
    elif len(results) > 1:
        lost, mended = (sum(getattr(r, what) for r in results) for what in ("lost", "mended"))
        unusable = sum(bool(result.error) for result in results)
        click.echo(f"{len(results)} files: {unusable} unusable, {lost} lost, {mended} mended")
    context.exit(max(result.code(strict=strict) for result in results))


@dbc.command()
@click.argument("file", metavar="FILE", type=_file)
@click.argument("messages", metavar="[MESSAGE]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Messages and signals as JSON.")
def show(file: Path, messages: tuple[str, ...], as_json: bool) -> None:
    """Show the messages and signals of a DBC file.

    Without MESSAGE all messages, a line a signal; with it, by name, glob or id (0x1A0 or 416),
    their bits, comments and texts of values, too.

    In the drawing a row is a byte and a column a bit of it, the highest first, for both byte
    orders: a big-endian signal goes on downwards from its most significant bit (msb), a
    little-endian one from its least significant (lsb).  Signals under a multiplexer are drawn for
    each of its values that selects some.
    """
    pairs, problems = parse_as_stated(read(file), file)
    everything = [
        shown.Shown(stated, message, [p for p in problems if p.is_of(message.name)])
        for stated, message in pairs
    ]
    try:
        chosen = shown.select(everything, messages)
    except CatalogueError as error:
        raise CatalogueError(f"{file}: {error}") from None
    if as_json:
        click.echo(json.dumps([shown.document(each) for each in chosen], indent=2))
        return
    width = _WIDTH
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size((_WIDTH, 24)).columns, _LEAST_WIDTH)
    if not messages:
        count = sum(len(each.message.fields) for each in everything)
        click.echo(f"{file}: {len(everything)} messages, {count} signals")
    for each in chosen:
        click.echo("")
        view = shown.details if messages else shown.tree
        for line in view(each, width):
            _say(line)
    if problems and not messages:
        lost = sum(not problem.mended for problem in problems)
        mended = len(problems) - lost
        click.echo(f"\n{lost} lost, {mended} mended: bordnetz dbc check {file} tells what")


def _say(line: str) -> None:
    click.echo(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", line))
