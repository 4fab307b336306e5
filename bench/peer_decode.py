"""Another project's decoder on a trace; runs in the peers' environment, without bordnetz.

    python bench/peer_decode.py NAME TRACE.npz DATABASE.dbc

Prepares, and then decodes the whole trace once for each line on standard input; answers with the
CPU seconds that took.  Writes its version first.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

EXTENDED = 0x8000_0000


def by_cantools(trace: Any, dbc: str) -> Callable[[], object]:
    """Physical values, numbers in place of names."""
    import cantools

    database = cantools.database.load_file(dbc, strict=False)
    rows = [(frame_id, data) for frame_id, _, data in _rows(trace)]

    def work() -> None:
        for frame_id, data in rows:
            database.decode_message(frame_id, data, decode_choices=False)

    return work


def by_canmatrix(trace: Any, dbc: str) -> Callable[[], object]:
    """Its own objects of decoded signals."""
    import canmatrix.formats

    matrix = next(iter(canmatrix.formats.loadp(dbc).values()))
    found = {(f.arbitration_id.id, f.arbitration_id.extended): f for f in matrix.frames}
    rows = [(found[frame_id, extended], data) for frame_id, extended, data in _rows(trace)]

    def work() -> None:
        for frame, data in rows:
            frame.decode(data)

    return work


def by_can_decoder(trace: Any, dbc: str) -> Callable[[], object]:
    """A table of all frames to a table of all signals."""
    import can_decoder
    import pandas as pd

    rows = list(_rows(trace))
    table = pd.DataFrame(
        {
            "ID": np.array([row[0] for row in rows], np.uint32),
            "IDE": np.array([row[1] for row in rows], np.uint8),
            "DataBytes": [list(row[2]) for row in rows],
        },
        index=pd.DatetimeIndex(trace["time"], name="TimeStamp"),
    )
    decoder = can_decoder.DataFrameDecoder(can_decoder.load_dbc(dbc))
    return lambda: decoder.decode_frame(table)


def by_asammdf(trace: Any, dbc: str) -> Callable[[], object]:
    """`extract_bus_logging` of a measurement file, from reading it on."""
    import can
    import canmatrix.formats
    from asammdf import MDF
    from can.io.mf4 import MF4Writer

    matrix = next(iter(canmatrix.formats.loadp(dbc).values()))
    file = Path(tempfile.mkdtemp(), "trace.mf4")
    with MF4Writer(file) as writer:
        for (frame_id, extended, data), stamp in zip(_rows(trace), trace["time"], strict=True):
            writer.on_message_received(
                can.Message(
                    timestamp=stamp / 1e9,
                    arbitration_id=frame_id,
                    is_extended_id=extended,
                    data=data,
                    channel=0,
                )
            )

    def work() -> None:
        with MDF(file) as recording:
            recording.extract_bus_logging({"CAN": [(matrix, 0)]})

    return work


def _rows(trace: Any) -> Any:
    """Id, whether it has 29 bits, and data of each frame."""
    for frame_id, length, data in zip(
        trace["id"].tolist(), trace["length"].tolist(), trace["data"], strict=True
    ):
        yield frame_id & ~EXTENDED, frame_id >= EXTENDED, data[:length].tobytes()


PEERS = {
    "cantools": by_cantools,
    "canmatrix": by_canmatrix,
    "can_decoder": by_can_decoder,
    "asammdf": by_asammdf,
}


def main(name: str, trace: str, dbc: str) -> None:
    """Answer until standard input ends."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    work = PEERS[name](dict(np.load(trace)), dbc)
    print(version(name), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        work()
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4])
