"""What the cloud has got after all cuts, read with what came twice among it."""

from __future__ import annotations

from collections import Counter, defaultdict

from hub_fixtures import RunningHub
from telemetry_help import OUTPUT, Cloud

from bordnetz.batch.reader import Reader

FRAMES = 1_000_000
"""More than come in a life; the first of each carries a multiple of it."""


class Received:
    """All that reached ``$upstream``, through one reader.

    Attributes:
        twice: Messages that came more than once.
        wrong: What of them was read twice or not at all, and what of their samples is.
    """

    def __init__(self, hub: RunningHub, last: dict[int, int]) -> None:
        """Read it.

        Args:
            hub: Has it.
            last: The last sequence of each outbox.
        """
        names = {f"{outbox:016x}-{n}" for outbox, most in last.items() for n in range(1, most + 1)}
        cloud, reader = Cloud(hub), Reader()
        upstream = hub.control.upstream
        arrivals = [one for one in upstream.messages() if one.output == OUTPUT]
        read = [batch for one in arrivals for batch in reader.read(upstream.body(one))]
        came = Counter(arrival.properties["batch"] for arrival in arrivals)
        self.twice = sum(times > 1 for times in came.values())
        self.wrong = []
        if missing := names - came.keys():
            self.wrong.append(f"never arrived: {sorted(missing)[:10]}")
        if reader.waiting or reader.damaged or reader.dropped:
            self.wrong.append(f"{reader.waiting} {reader.damaged} {reader.dropped} not read")
        cloud.batches = {f"read-{place}": batch for place, batch in enumerate(read)}
        self._judge(Counter(map(int, cloud.values("drive.Motor.Count")[0])))

    def _judge(self, numbers: Counter[int]) -> None:
        """Each frame's number is there once, and of each life all of them up to the last."""
        if twice := [number for number, times in numbers.items() if times > 1]:
            self.wrong.append(f"samples read twice: {twice[:10]}")
        lives: defaultdict[int, list[int]] = defaultdict(list)
        for number in numbers:
            lives[number // FRAMES].append(number)
        for life, some in lives.items():
            first, last = min(some), max(some)
            if len(some) != last - first + 1:
                self.wrong.append(f"of life {life} {len(some)} frames of {first} to {last} came")
