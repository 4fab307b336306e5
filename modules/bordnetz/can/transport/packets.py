"""Transport frames in columns, in the one form in which both protocols are reassembled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Role:
    """What a transport frame is to the message that it belongs to.

    As numpy scalars, which numpy compares faster than Python's numbers; `Fate`, too.
    """

    CONTROL = np.int8(0)
    """Flow control: keeps a message alive, and carries nothing of it."""
    PART = np.int8(1)
    """The next piece."""
    START = np.int8(2)
    """Announces a message, and may carry its first bytes."""
    WHOLE = np.int8(3)
    """A message that fits the frame."""
    ABORT = np.int8(4)
    """One side gives the message up."""
    BAD = np.int8(5)
    """Makes no sense; whoever follows the standard ignores it."""


class Fate:
    """What becomes of a transport frame; from `INCOMPLETE` on it is dropped, for this reason."""

    OPEN = np.int8(0)
    """Not known yet: the rest of its message may still come."""
    COMPLETE = np.int8(1)
    """Its message is whole."""
    NOT_ASKED = np.int8(2)
    """Of a message that nobody wants, or flow control."""
    INCOMPLETE = np.int8(3)
    """The rest did not come in time or another message began, or the beginning was missed."""
    SEQUENCE = np.int8(4)
    """A piece of its message was lost, repeated or out of order."""
    ABORTED = np.int8(5)
    """Sender or receiver gave its message up."""
    MALFORMED = np.int8(6)
    """It makes no sense by the standard, or a piece of its message is too short."""
    EXCESS = np.int8(7)
    """Its message is longer than is put together, or too many are open at once."""


REASONS = {
    "incomplete": Fate.INCOMPLETE,
    "sequence": Fate.SEQUENCE,
    "aborted": Fate.ABORTED,
    "malformed": Fate.MALFORMED,
    "excess": Fate.EXCESS,
}
"""Why transport frames are dropped, as the books call it."""


@dataclass(frozen=True, slots=True)
class Packets:
    """Transport frames, each as a packet; columns of one length in order of arrival.

    An abort that does not say whose message it ends is there once for each.

    Attributes:
        row: intp, the frame that it is, by index.
        key: int64, what tells sessions apart: packets of one key are of one message after
            another.
        role: int8, `Role`.
        wanted: bool, whether somebody wants the message; where a packet does not tell, whether
            it may be wanted.
        number: int64, of a `PART`: its sequence number.
        size: int64, of a `PART`: bytes that it has room for.
        about: int64, of a `START` and an `ABORT`: what has to be equal for one to end the other.
        id: uint32, of a `START` and a `WHOLE`, as all that follow: arbitration id of the message.
        begin: int64, where in the frame's data its bytes of the message begin; of a `PART`, too.
        head: int64, how many of them there are.
        step: int64, bytes of the message in each `PART` but the last.
        total: int64, bytes of the message.
        need: int64, how many of `PART` follow.
        wrap: int64, bit mask of sequence numbers, which begin with 1.
        ordered: bool, whether pieces have to come in order; otherwise each one takes the place
            that its number tells, and may come again.
        limit: int64, longest time between two packets of the message, ns.
        shift: int64, bytes that stand before the message where it is decoded: 1 for the length.
    """

    row: NDArray[np.intp]
    key: NDArray[np.int64]
    role: NDArray[np.int8]
    wanted: NDArray[np.bool_]
    number: NDArray[np.int64]
    size: NDArray[np.int64]
    about: NDArray[np.int64]
    id: NDArray[np.uint32]
    begin: NDArray[np.int64]
    head: NDArray[np.int64]
    step: NDArray[np.int64]
    total: NDArray[np.int64]
    need: NDArray[np.int64]
    wrap: NDArray[np.int64]
    ordered: NDArray[np.bool_]
    limit: NDArray[np.int64]
    shift: NDArray[np.int64]

    def __len__(self) -> int:
        """How many packets there are."""
        return len(self.row)

    def __getitem__(self, which: NDArray[Any]) -> Packets:
        """Some of the packets: by boolean mask, or by index in any order."""
        return Packets(*(getattr(self, column.name)[which] for column in fields(self)))

    @classmethod
    def blank(cls, row: NDArray[np.intp], key: NDArray[np.int64]) -> Packets:
        """Packets of these frames and sessions: `Role.BAD` and wanted, all else zero."""
        n = len(row)

        def zeros() -> NDArray[np.int64]:
            return np.zeros(n, np.int64)

        return cls(
            row=row,
            key=key,
            role=np.full(n, Role.BAD, np.int8),
            wanted=np.ones(n, bool),
            number=zeros(),
            size=zeros(),
            about=zeros(),
            id=np.zeros(n, np.uint32),
            begin=zeros(),
            head=zeros(),
            step=zeros(),
            total=zeros(),
            need=zeros(),
            wrap=zeros(),
            ordered=np.ones(n, bool),
            limit=zeros(),
            shift=zeros(),
        )

    @classmethod
    def merge(cls, parts: Sequence[Packets]) -> Packets:
        """All packets of ``parts``, in order of their frames."""
        if len(parts) == 1:
            return parts[0]
        merged = cls(
            *(
                np.concatenate([getattr(part, column.name) for part in parts])
                for column in fields(cls)
            )
        )
        return merged[merged.row.argsort(kind="stable")]
