"""Feeds the reader what libFuzzer makes up: run by hand where atheris is installed.

    python tests/batch/fuzz_batch.py [FOLDER] [libFuzzer options]

The first byte chooses the door: a whole message as it comes, one whose check sum is put right (so
that the parser is reached), or bytes straight into the column decoder.  FOLDER keeps what was
found; seeds are written into it first.
"""

import sys
import zlib
from pathlib import Path

import atheris

with atheris.instrument_imports():
    import numpy as np
    from batch_samples import DICTIONARY

    from bordnetz.batch import columns
    from bordnetz.batch.errors import BatchError
    from bordnetz.batch.message import encode_dictionary
    from bordnetz.batch.reader import Reader

KNOWN = encode_dictionary(DICTIONARY, 1).finish(1, 1)
ROWS = np.array([1, 2, 7, 40, 200])


def seeds(folder: Path) -> None:
    """The golden files, once for each door."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in Path(__file__).parent.glob("golden/*/*.bin"):
        data = file.read_bytes()
        (folder / f"{file.stem}-as-it-comes").write_bytes(b"\x00" + data)
        (folder / f"{file.stem}-put-right").write_bytes(b"\x01" + data[:-5])
    (folder / "columns").write_bytes(b"\x02" + columns.encode(np.arange(ROWS.sum()) ** 2, ROWS)[0])


def one(data: bytes) -> None:
    """Any answer is fine but another exception."""
    door, rest = data[:1], data[1:]
    if door == b"\x02":
        try:
            assert len(columns.decode(rest, ROWS)) == ROWS.sum()
        except ValueError:
            return
        return
    if door == b"\x01":
        rest += b"\x7d"
        rest += zlib.crc32(rest).to_bytes(4, "little")
    reader = Reader()
    reader.read(KNOWN)
    try:
        reader.read(rest)
    except BatchError:
        return


if __name__ == "__main__":
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-"):
        seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
