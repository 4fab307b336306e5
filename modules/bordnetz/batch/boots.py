"""Starts of machines: what a clock that was wrong at first has meant, once it is right."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from bordnetz.batch.losses import Loss
from bordnetz.batch.message import Batch, Clock, Header

BOOTS = 100_000


class Boots:
    """Remembers of each start of a machine how far a good wall clock was ahead of its boot clock.

    The two are a constant apart, so one batch with a synchronised clock tells what the times of
    all others of the same start are, whichever came first.

    Args:
        most: Starts remembered; the one not heard of for longest makes room.
    """

    def __init__(self, most: int = BOOTS) -> None:
        self._most = most
        # By sender and boot: when that was by the boot clock, and how far ahead.
        self._good: OrderedDict[tuple[str, int], tuple[int, int]] = OrderedDict()

    def see(self, header: Header, sender: str = "") -> None:
        """Learn from a batch.

        Args:
            header: The batch's.
            sender: Device and module, as the transport tells them.
        """
        ahead = header.stamp.ahead
        if ahead is None or header.stamp.clock is not Clock.SYNCHRONISED:
            return
        name, told = (sender, header.stamp.boot), (header.last - ahead, ahead)
        # A later clock has been disciplined for longer.
        self._good[name] = max(told, self._good.get(name, told))
        self._good.move_to_end(name)
        if len(self._good) > self._most:
            self._good.popitem(last=False)

    def correct(self, batch: Batch, sender: str = "") -> Batch:
        """The batch with the times that a good clock would have given it.

        Args:
            batch: As it was read.
            sender: As of `see`.

        Returns:
            The same one where its own clock was good, or nothing better is known.
        """
        if batch.losses:
            losses = tuple(self._dated(loss, sender) for loss in batch.losses)
            batch = replace(batch, losses=losses)
        header = batch.header
        good = self._good.get((sender, header.stamp.boot))
        own = header.stamp.ahead
        if good is None or own is None or header.stamp.clock is Clock.SYNCHRONISED:
            return batch
        ahead = good[1]
        shift = ahead - own
        first, last = header.first + shift, header.last + shift
        if not -(1 << 63) <= first <= last < 1 << 63:
            return batch  # No vehicle has told that.
        return replace(
            batch,
            header=replace(
                header,
                first=first,
                last=last,
                stamp=replace(header.stamp, clock=Clock.SYNCHRONISED, ahead=ahead),
            ),
            samples=replace(batch.samples, time=batch.samples.time + shift),
            gaps=tuple(
                replace(
                    gap, start=gap.start + shift, end=None if gap.end is None else gap.end + shift
                )
                for gap in batch.gaps
            ),
        )

    def _dated(self, loss: Loss, sender: str) -> Loss:
        good = self._good.get((sender, loss.boot))
        if good is None or loss.clock is Clock.SYNCHRONISED:
            return loss
        return loss.by_clock(Clock.SYNCHRONISED, good[1])
