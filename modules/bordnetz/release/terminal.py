"""What the commands of the release tool have in common: arguments, progress, output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from bordnetz.release.settings import ALL_ROLES

_F = TypeVar("_F", bound=Callable[..., Any])


def folder_argument(command: _F) -> _F:
    """The release folder."""
    return click.argument("folder", type=click.Path(file_okay=False, path_type=Path))(command)


def json_option(command: _F) -> _F:
    """Whether a machine reads the output."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, for a machine, on standard output."
    )(command)


def keys_option(command: _F) -> _F:
    """Where key files are made."""
    return click.option(
        "--keys",
        "key_folder",
        type=click.Path(file_okay=False, path_type=Path),
        help="Make the keys that are needed and not named as files in this folder (Ed25519, only "
        "for their owner to read).",
    )(command)


def now() -> int:
    """Seconds since 1970 UTC."""
    return int(time.time())


def role_keys(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, list[str]]:
    """From ``repository/role=key``, again and again."""
    del context, parameter
    found: dict[str, list[str]] = {}
    for value in values:
        role, sign, key = value.partition("=")
        if not sign or not key or role not in ALL_ROLES:
            raise click.BadParameter(
                f"{role!r} is not ROLE=KEY with one of the roles {', '.join(ALL_ROLES)}"
            )
        found.setdefault(role, []).append(key)
    return found


class Progress:
    """Shows on a terminal's standard error how far long work is; nowhere else."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._shown = 0.0
        self._width = 0
        self._on = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show it, ten times a second at most."""
        if not self._on or (time.monotonic() - self._shown < 0.1 and done < total):
            return
        self._shown = time.monotonic()
        text = f"{what}: {done:,} of {total:,}" if total else f"{what}: {done:,}"
        click.echo(f"\r{text:<{self._width}}", nl=False, err=True)
        self._width = len(text)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            click.echo(f"\r{'':<{self._width}}\r", nl=False, err=True)


def show(content: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print a result, for a machine or for a person."""
    if as_json:
        click.echo(json.dumps(content, indent=2))
    else:
        for line in lines:
            click.echo(line)
