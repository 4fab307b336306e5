"""How a bus is listened to, for whoever has to judge what was not seen."""

from __future__ import annotations

from dataclasses import dataclass

from bordnetz.series import Gap


@dataclass(frozen=True, slots=True)
class Listening:
    """One bus of a live source.

    Attributes:
        gap: Since when it is not listened to, and why; None while it is.
        gaps: How many there have been since the start.
        filter: What the kernel lets through, the kind of `bordnetz.can.filters.Filters`; ``all``
            wherever the kernel has no part in it.
        filters: By how many filters; 0 for ``all`` and ``none``.
        buffer_asked: Bytes asked for to queue frames in; 0 where there is nothing to ask.
        buffer_got: Bytes that the kernel gave.
        buffer_frames: Frames that are queued at least before one is lost, or a Unix socket's
            sender waits; 0 where that is an adapter's affair.
        interface_dropped: Frames that the network interface dropped before any socket saw them
            (``rx_dropped``); since the machine's start.
        interface_overrun: Frames that the controller had no room for (``rx_over_errors``).
    """

    gap: Gap | None
    gaps: int
    filter: str
    filters: int
    buffer_asked: int
    buffer_got: int
    buffer_frames: int
    interface_dropped: int
    interface_overrun: int
