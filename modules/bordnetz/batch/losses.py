"""Losses: what a vehicle had stored and gave up, told so that nobody takes it for silence.

A loss adds up all batches of one cause, campaign and boot: how many, how many samples, and the
time from the first to the last, by the clocks of the batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import DEFAULT_CAMPAIGN, MAJOR, Clock, Draft, Resolution, drafted

LOSSES_MINOR = 2
"""Minor version of messages that have losses."""

MOST_LOSSES = 100
"""In one message."""

UNIT = Resolution.MILLISECOND
"""Of the times: rounded down where a loss begins, up where it ends."""


class LossCause(IntEnum):
    """Why batches were given up."""

    UNKNOWN = 0
    """For a reason that a later version has named."""
    BUDGET = 1
    """There was no room for them among what waited for the hub."""
    AGE = 2
    """They had waited for too long."""
    SIZE = 3
    """No hub takes them."""
    DAMAGED = 4
    """The disk gave other bytes than it took."""
    DISK = 5
    """The disk did not take them, and memory was full."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Batches that nobody will get.

    Attributes:
        cause: Why.
        campaign: What had collected them.
        boot: The start of the machine that they are from; 0: unknown, or of several.
        batches: How many.
        samples: How many were in them, as far as that is known.
        start: Earliest time in them, ns since the Unix epoch as their clock said; None: unknown.
        end: Latest, likewise.
        clock: How far the times can be trusted.
        ahead: How far the wall clock was ahead of the boot clock, ns; None: there was no boot
            clock, or they are of several boots.
    """

    cause: LossCause
    campaign: str = DEFAULT_CAMPAIGN
    boot: int = 0
    batches: int = 1
    samples: int = 0
    start: int | None = None
    end: int | None = None
    clock: Clock = Clock.UNKNOWN
    ahead: int | None = None

    def by_clock(self, clock: Clock, ahead: int | None) -> Loss:
        """The same loss by a wall clock that is so far ahead of the boot clock, or by none."""
        if ahead is None:
            return replace(self, clock=Clock.UNKNOWN, ahead=None)
        if self.ahead is None or self.start is None or self.end is None:
            return self
        shift = ahead - self.ahead
        start, end = self.start + shift, self.end + shift
        return replace(self, start=start, end=end, ahead=ahead, clock=clock)

    @property
    def key(self) -> tuple[LossCause, str, int]:
        """What losses have in common that are told as one."""
        return self.cause, self.campaign, self.boot

    def at_large(self) -> Loss:
        """The same without what tells it from others of its cause."""
        return replace(self, campaign="", boot=0, clock=Clock.UNKNOWN, ahead=None)

    def plus(self, other: Loss) -> Loss:
        """Both as one, of which the better clock tells the times, the later if in doubt.

        Args:
            other: With the same key.
        """
        better = self.clock is Clock.SYNCHRONISED and other.clock is not Clock.SYNCHRONISED
        good = self if better else other
        ahead = None if self.ahead is None or other.ahead is None else good.ahead
        first, second = (one.by_clock(good.clock, ahead) for one in (self, other))
        return replace(
            second,
            batches=first.batches + second.batches,
            samples=first.samples + second.samples,
            start=min((t for t in (first.start, second.start) if t is not None), default=None),
            end=max((t for t in (first.end, second.end) if t is not None), default=None),
        )


def add(losses: dict[tuple[LossCause, str, int], Loss], loss: Loss) -> None:
    """Count a loss among others.

    Where there are too many to tell of each, this one counts with others of its cause alone.

    Args:
        losses: By key.
        loss: To be counted.
    """
    if loss.key not in losses and len(losses) >= MOST_LOSSES - len(LossCause):
        loss = loss.at_large()
    known = losses.get(loss.key)
    losses[loss.key] = loss if known is None else known.plus(loss)


def encode_losses(losses: Sequence[Loss]) -> Draft:
    """Make the message that tells of losses.

    Args:
        losses: At least one, at most `MOST_LOSSES`.
    """
    told = [_out(loss) for loss in losses]
    dated = [one for one in told if one.HasField("first")]
    first = min((one.first for one in dated), default=0)
    last = max((one.first + one.span for one in dated), default=0)
    message = pb.Message(major=MAJOR, minor=LOSSES_MINOR, first=first, span=last - first, loss=told)
    return drafted(message)


def read_losses(losses: Iterable[pb.Loss]) -> tuple[Loss, ...]:
    """What `encode_losses` has written.

    Args:
        losses: Untrusted.

    Raises:
        BatchError: There are too many, or their times make no sense.
    """
    found = tuple(map(_in, losses))
    if len(found) > MOST_LOSSES:
        raise BatchError(f"batch: {len(found)} losses, expected {MOST_LOSSES} at most")
    return found


def _out(loss: Loss) -> pb.Loss:
    fields: dict[str, Any] = {}
    if loss.start is not None and loss.end is not None:
        first = loss.start // UNIT.ns
        fields = {"first": first, "span": -(-loss.end // UNIT.ns) - first}
        if loss.ahead is None:
            fields["clock"] = loss.clock.name
        else:
            fields[loss.clock.name.lower()] = max(first - loss.ahead // UNIT.ns, 0)
    return pb.Loss(
        cause=f"LOSS_{loss.cause.name}",
        campaign=loss.campaign,
        boot=loss.boot,
        batches=loss.batches,
        samples=loss.samples,
        **fields,
    )


def _in(message: pb.Loss) -> Loss:
    known = message.cause in [cause.value for cause in LossCause]
    loss = Loss(
        LossCause(message.cause) if known else LossCause.UNKNOWN,
        message.campaign,
        message.boot,
        message.batches,
        message.samples,
    )
    if not message.HasField("first"):
        return loss
    clock, ahead = Clock.UNKNOWN, None
    if name := message.WhichOneof("since_boot"):
        clock = Clock[name.upper()]
        ahead = (message.first - getattr(message, name)) * UNIT.ns
    elif message.clock in [one.value for one in Clock]:
        clock = Clock(message.clock)
    start, end = message.first * UNIT.ns, (message.first + message.span) * UNIT.ns
    if not -(1 << 63) <= start <= end < 1 << 63 or abs(ahead or 0) >= 1 << 63:
        raise BatchError("batch: a loss is outside of what 64 bits of ns can say")
    return replace(loss, start=start, end=end, clock=clock, ahead=ahead)
