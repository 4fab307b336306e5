"""``bordnetz store``: a folder over HTTPS, and signed URLs to it."""

from __future__ import annotations

import json
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import click

from bordnetz.errors import BordnetzError
from bordnetz.laptop.hub.ca import Ca
from bordnetz.laptop.store.access import Access
from bordnetz.laptop.store.clock import TimeServer
from bordnetz.laptop.store.faults import FAULTS, Fault
from bordnetz.laptop.store.server import Store
from bordnetz.uptane.keys import load

_PLACE = "store.json"
_DAY = 86_400


@click.group(name="store")
def store() -> None:
    """A folder over HTTPS, as blob storage serves it: for updates on this machine."""


@store.command(epilog="Faults:\n\n\b\n" + "\n".join(f"{k:8} {text}" for k, text in FAULTS.items()))
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for certificate authority (ca.pem), signing key and address (store.json).",
)
@click.option("--address", default="127.0.0.1", show_default=True, help="Loopback address.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--fault", "faults", multiple=True, metavar="KIND=GLOB", help="Do this wrong.")
@click.option(
    "--time-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The director's time key: time/NONCE is then answered with a signed time.",
)
@click.option(
    "--time-ahead",
    type=click.IntRange(0, 36_500),
    default=0,
    metavar="DAYS",
    help="That time is so far ahead, to see what expires.",
)
def run(
    folder: Path,
    state: Path,
    address: str,
    port: int,
    faults: tuple[str, ...],
    time_key: Path | None,
    time_ahead: int,
) -> None:
    """Serve FOLDER until Ctrl-C or SIGTERM; prints its address when it is ready."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    wrong = [Fault.parse(text) for text in faults]
    clock = None if time_key is None else TimeServer(load(str(time_key)), time_ahead * _DAY)
    context = Ca(state).server_context(address)
    try:
        server = Store(folder, Access(state / "access.key"), context, address, port, wrong, clock)
    except OSError as error:
        raise BordnetzError(f"{address}:{port}: {error.strerror}; name a free --port") from error
    base = f"https://{address}:{server.server_address[1]}"
    (state / _PLACE).write_text(json.dumps({"url": base}))

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        threading.Thread(target=server.shutdown, daemon=True).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    click.echo(f"store at {base}, certificate authority in {state / 'ca.pem'}")
    with server:
        server.serve_forever(poll_interval=0.1)


@store.command()
@click.argument("path", default="")
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), required=True)
@click.option(
    "--seconds", type=click.IntRange(1), default=86_400, show_default=True, help="It ends after."
)
def url(path: str, state: Path, seconds: int) -> None:
    """Print a signed URL of PATH below a running store."""
    click.echo(signed_url(state, path, seconds))


def signed_url(state: Path, path: str, seconds: int) -> str:
    """A signed URL of a path below the store with this state folder.

    Raises:
        BordnetzError: No store has run there.
    """
    try:
        base = json.loads((state / _PLACE).read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BordnetzError(
            f"{state}: no store has run there; start `bordnetz store run FOLDER --state {state}`"
        ) from error
    query = Access(state / "access.key").query(int(time.time()) + seconds)
    return f"{base}/{path}?{query}"
