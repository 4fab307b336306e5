"""What three days bring to a car, and two hours for those who cannot wait for three days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter


class Verb(Enum):
    """What happens at a moment."""

    DRIVE = "frames come"
    PARK = "the bus sleeps"
    INTO_TUNNEL = "the link stays up, and nothing is answered"
    OUT_OF_TUNNEL = "the link works again"
    CUT = "the link is cut once"
    CLOUD_AWAY = "Edge hub keeps what it gets"
    CLOUD_BACK = "Edge hub gets rid of it"
    HUB_AWAY = "Edge hub ends"
    OTHER_KEYS = "the modules get other keys, while Edge hub is away"
    HUB_BACK = "Edge hub is started"


Moment = tuple[int, Verb]
"""Minutes since the beginning, and what happens then."""


@dataclass(frozen=True, slots=True)
class Plan:
    """So many hours, and what happens in them, in the order of time."""

    hours: int
    moments: Sequence[Moment]

    @property
    def sessions(self) -> int:
        """Sessions with the hub, at least: what ends one is followed by the next."""
        ends = (Verb.OUT_OF_TUNNEL, Verb.CUT, Verb.HUB_BACK)
        return 1 + sum(verb in ends for _, verb in self.moments)


_DAY: Sequence[Moment] = (
    (0, Verb.DRIVE),
    (20, Verb.INTO_TUNNEL),
    (26, Verb.OUT_OF_TUNNEL),
    (50, Verb.CUT),
    (90, Verb.PARK),
    (540, Verb.DRIVE),
    (550, Verb.CLOUD_AWAY),
    (580, Verb.CLOUD_BACK),
    # Edge hub is started anew once a day, and an hour ends meanwhile.
    (590, Verb.HUB_AWAY),
    (602, Verb.HUB_BACK),
    (630, Verb.PARK),
    # In a garage, for less than the two hours after which the module would be started anew, too.
    (845, Verb.HUB_AWAY),
    (950, Verb.HUB_BACK),
)
_DAYS, _MINUTES = 3, 1440
_ROTATION: Moment = (_MINUTES + 900, Verb.OTHER_KEYS)

LONG = Plan(
    24 * _DAYS,
    sorted(
        [
            _ROTATION,
            *((day * _MINUTES + minute, verb) for day in range(_DAYS) for minute, verb in _DAY),
        ],
        key=itemgetter(0),
    ),
)

SHORT = Plan(
    2,
    (
        (0, Verb.DRIVE),
        (2, Verb.INTO_TUNNEL),
        (4, Verb.OUT_OF_TUNNEL),
        (5, Verb.CUT),
        (6, Verb.PARK),
        (65, Verb.HUB_AWAY),
        (70, Verb.OTHER_KEYS),
        (85, Verb.HUB_BACK),
        (90, Verb.DRIVE),
        (93, Verb.PARK),
    ),
)
