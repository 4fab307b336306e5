"""The floor record on the disk: what outlives lost metadata, a crash and a power cut.

It lies in a folder of its own, apart from the stored metadata, and is on the disk before anything
that rests on it is told to anybody.

A record that is damaged stops everything (`FloorError`), for any older version would be acceptable
without it; so does one that is missing where there was one.  The first start is told from that by a
mark beside the folder, written once, after the first record:

    record   mark
    no       no      first start, or a state volume that was wiped as a whole: the factory's floor
    yes      no      the first start was cut off between the two: the mark is written now
    yes      yes     as it should be
    no       yes     lost: `FloorError`

Whoever can wipe the whole volume can have older versions accepted, up to what the factory's root
metadata and the release counters of what is still installed forbid.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from bordnetz.edge import durable
from bordnetz.uptane.floor import Floor, FloorError

__all__ = ["FloorError", "FloorRecord"]

_LIMIT = 1024 * 1024
"""Bytes; a record has a few dozen for each ECU and each role."""


class FloorRecord:
    """The floor, in memory and on the disk.

    Attributes are read and methods called from any thread.
    """

    def __init__(self, state: Path) -> None:
        """Read the record, or make the first one.

        Args:
            state: The folder for all that has to last; it must exist.

        Raises:
            FloorError: The record is lost or damaged.
            DurableError: The disk does not take the first one, or cannot be read.
        """
        self._path = state / "floor" / "floor.json"
        self._lock = Lock()
        mark = state / "floor-was-kept"
        marked = durable.read(mark, 0) is not None
        data = durable.read(self._path, _LIMIT)
        if data is None:
            if marked:
                raise FloorError(f"the floor record {self._path} is lost; {_advice(state)}")
            self._floor = Floor()
            durable.make_folder(self._path.parent)
            self._write(self._floor)
        else:
            try:
                self._floor = Floor.from_json(data)
            except FloorError as error:
                raise FloorError(f"{error}: {self._path}; {_advice(state)}") from None
        if not marked:
            durable.write(mark, b"")

    @property
    def floor(self) -> Floor:
        """As it is on the disk."""
        return self._floor

    def keep(self, floor: Floor) -> None:
        """Take what a verification has left; it is on the disk when this returns.

        Its release counters count only where they are higher: they may have risen meanwhile.

        Raises:
            DurableError: The disk does not take it; the floor is as before.
        """
        with self._lock:
            self._write(floor.raise_counters(self._floor.counters))

    def raise_counters(self, counters: Mapping[str, int]) -> None:
        """Take the release counters of what has been installed for good, by ECU.

        Raises:
            DurableError: The disk does not take them; the floor is as before.
        """
        with self._lock:
            self._write(self._floor.raise_counters(counters))

    def _write(self, floor: Floor) -> None:
        data = floor.to_json()
        if data != self._floor.to_json() or not self._path.exists():
            durable.write(self._path, data)
        self._floor = floor


def _advice(state: Path) -> str:
    return (
        "nothing is installed until it is decided: put it back from a copy, or, where older "
        f"versions may be accepted once, empty {state} and begin as a new vehicle"
    )
