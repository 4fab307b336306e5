"""``bordnetz telemetry`` that kills itself at a point of its work: ``DIE_AT=POINT:NUMBER``.

Nothing is imitated: the point is passed as always, and at the n-th time it is the last.
"""

import os
import runpy
import signal
from collections import Counter
from pathlib import Path

from bordnetz.edge import segments
from bordnetz.edge.link import HubLink
from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Entry, Outbox

passed: Counter[str] = Counter()
point, _, number = os.environ["DIE_AT"].partition(":")


def at(where: str) -> None:
    """Count a point; end there if it is the one."""
    passed[where] += 1
    if where == point and passed[where] == int(number):
        os.kill(os.getpid(), signal.SIGKILL)


write, sync, send, acknowledge = segments._write, os.fdatasync, HubLink.send, Outbox.acknowledge


def written(file: int, data: bytes, offset: int) -> None:
    at("before-commit")
    write(file, data, offset)


def synced(file: int) -> None:
    at("commit-written")
    sync(file)
    at("commit-synced")


async def sent(link: HubLink, message: Message) -> None:
    at("before-send")
    await send(link, message)
    at("sent")


def acknowledged(outbox: Outbox, entry: Entry) -> None:
    at("before-acknowledge")
    acknowledge(outbox, entry)
    at("acknowledged")


segments._write = written
os.fdatasync = synced
HubLink.send = sent  # type: ignore[method-assign]  # it is the same method, watched
Outbox.acknowledge = acknowledged  # type: ignore[method-assign]  # likewise
program = Path(__file__).parents[1] / "telemetry" / "telemetry_quick.py"
runpy.run_path(str(program), run_name="__main__")
