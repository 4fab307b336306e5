"""How slow this machine is: budgets in seconds are for one where cantools needs 4.2 us a frame."""

from __future__ import annotations

import time
from dataclasses import replace

from bench.decode import PEER_US, SHARED, Trace, peer, vw_trace

_FRAMES = 10_000
_ROUNDS = 5


def slowness(trace: Trace | None = None) -> float:
    """What cantools needs here and now for a frame of the busy trace, over what it should.

    Without ../shared there is no such trace, and the machine passes for one that is right.
    """
    if not SHARED.is_dir():
        return 1.0
    trace = trace or vw_trace()
    work = peer(replace(trace, frames=trace.frames[:_FRAMES]))
    times = []
    for _ in range(_ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    # The least, for what else runs at the moment says nothing of the machine.
    return min(times) / _FRAMES * 1e6 / PEER_US
