"""python-can and cantools at a steady load; runs in the peers' environment, without bordnetz.

    python bench/peer_receive.py FOLDER DATABASE.dbc...

Binds a Unix datagram socket a bus, receives with python-can's own code and its `Notifier` in an
asyncio loop, decodes every frame with cantools, and answers each line on standard input with the
CPU seconds since the last one and the frames so far.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import can
import cantools
from can.interfaces.socketcan import SocketcanBus, constants


class _OverUnix(SocketcanBus):
    """python-can's SocketCAN bus on a socket that every machine has."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, constants.SO_TIMESTAMPNS, 1)
        self.socket.bind(path)
        self.channel = self.channel_info = path
        self._bcm_sockets: dict[str, Any] = {}
        self._is_filtered = False
        self._periodic_tasks: list[Any] = []
        self._filters = None
        self._is_shutdown = True  # there is nothing to shut down but the socket
        self._can_protocol = can.CanProtocol.CAN_20


class _Decoder(can.Listener):
    """Decodes every frame of a bus."""

    frames = 0

    def __init__(self, database: Any) -> None:
        self._decode = database.decode_message

    def on_message_received(self, msg: can.Message) -> None:
        """Decode it."""
        self._decode(msg.arbitration_id, msg.data, decode_choices=False)
        _Decoder.frames += 1


async def main(folder: str, files: list[str]) -> None:
    """Receive and decode until standard input ends."""
    loop = asyncio.get_running_loop()
    loaded = {file: cantools.database.load_file(file, strict=False) for file in set(files)}
    for number, file in enumerate(files):
        bus = _OverUnix(str(Path(folder, f"can{number}")))
        can.Notifier(bus, [_Decoder(loaded[file])], loop=loop)
    print("ready", flush=True)
    before = time.process_time()
    while await loop.run_in_executor(None, sys.stdin.readline):
        now = time.process_time()
        print(now - before, _Decoder.frames, flush=True)
        before = now
    # The notifiers would wait for frames.
    sys.stdout.flush()
    raise SystemExit


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
