"""Stores messages for ever, tells of each, and never closes anything: `FOLDER BYTES`."""

import sys
from pathlib import Path

from bordnetz.edge.message import Message
from bordnetz.edge.outbox import Outbox

outbox = Outbox(Path(sys.argv[1]), 10_000_000)
while True:
    number = outbox.put(lambda o, n: Message("batches", bytes(int(sys.argv[2]))), 5)
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
