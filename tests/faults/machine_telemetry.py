"""``bordnetz telemetry`` that cuts the power at a point, and tells what is safe before that.

The points are those of `dying` and one more, at which a commit is on the disk and not flushed.  To
the file ``TOLD``, which the cut does not take, goes one line for each message that is on the disk
(its name, a digest of its body), for each that is there no more, and for each that the hub has
acknowledged.
"""

import ctypes
import itertools
import os
import runpy
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from bordnetz.edge.link import HubLink
from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox
from bordnetz.edge.segment import Draft
from bordnetz.edge.store import Store

told = os.open(os.environ["TOLD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
write, send, flush = Store.write, HubLink.send, os.fdatasync
commits = itertools.count(1)
_WRITE_ALL = 7
"""``SYNC_FILE_RANGE_WAIT_BEFORE``, ``_WRITE`` and ``_WAIT_AFTER`` of linux/fs.h."""


def tell(lines: Sequence[str]) -> None:
    """In one call, so that no line is cut but the last."""
    os.write(told, "".join(f"{line}\n" for line in lines).encode())


def written(store: Store, gone: Sequence[int], drafts: Sequence[Draft] = ()) -> None:
    write(store, gone, drafts)
    outbox = store._opened.outbox
    tell(
        [
            *(
                f"stored {outbox:016x}-{one.row.sequence} "
                f"{sha256(one.data[one.text :]).hexdigest()}"
                for one in drafts
            ),
            *(f"gone {outbox:016x}-{number}" for number in gone),
        ]
    )


async def sent(link: HubLink, message: Message) -> None:
    await send(link, message)
    if name := message.properties.get("batch"):
        tell([f"sent {name}"])


def flushed(file: int) -> None:
    if os.environ["DIE_AT"] == f"commit-unflushed:{next(commits)}":
        whole = ctypes.c_int64(0)
        ctypes.CDLL(None).sync_file_range(file, whole, whole, _WRITE_ALL)
        cut()
    flush(file)


def cut(*_: int) -> None:
    """The machine dies in place of the process."""
    Path("/proc/sysrq-trigger").write_text("o")
    while True:
        time.sleep(1)


Store.write = written  # type: ignore[method-assign]  # it is the same method, watched
HubLink.send = sent  # type: ignore[method-assign]  # likewise
os.fdatasync = flushed
os.kill = cut
# So small that segments are begun, freed and used again in a few lives.
Outbox.__init__.__kwdefaults__["segment"] = 32 << 10
runpy.run_path(str(Path(__file__).with_name("dying.py")), run_name="__main__")
