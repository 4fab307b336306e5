"""What the job engine works with, and how it says that it rests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bordnetz.ota.attempt import Failure
from bordnetz.ota.gate import Gate
from bordnetz.ota.installers.installer import Installer
from bordnetz.ota.journal import Journal
from bordnetz.ota.ports import Clock, Payloads, Reporter
from bordnetz.ota.states import State


@dataclass(frozen=True, slots=True)
class Rest:
    """Why nothing is done now, and what would have it go on.

    Attributes:
        state: What is shown.
        reasons: In words, for an operator.
        after: Seconds until the engine should be asked to work again; None: when something has
            changed.
        reboot: The machine may be rebooted now, and should be.
    """

    state: State
    reasons: tuple[str, ...] = ()
    after: float | None = None
    reboot: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What the job engine is given.

    Attributes:
        journal: Its memory.
        installers: By ECU.
        payloads: Where they come from.
        gate: Asked before every step that changes something in the vehicle.
        reporter: Who is told.
        clock: Trusted time, and one that is never set.
        raise_counters: Has the floor record keep release counters by ECU; called again and again.
        recheck: Verifies the metadata once more, right before installing and activating; raises
            UptaneError where it does not hold any more.
        boot: Names the boot of the machine that we are in, as ``/proc/sys/kernel/random/boot_id``.
        draw: Gives that many random bits.
        stop: Set, the engine comes to rest as soon as it can.
    """

    journal: Journal
    installers: Mapping[str, Installer]
    payloads: Payloads
    gate: Gate
    reporter: Reporter
    clock: Clock
    raise_counters: Callable[[Mapping[str, int]], None]
    recheck: Callable[[], None]
    boot: str
    draw: Callable[[int], int]
    stop: threading.Event


@dataclass
class Shared:
    """What the runs of several attempts share, for as long as the process lives.

    Attributes:
        turn: Held where a step is begun after which nothing can be cancelled.
        cancelled: Attempts to be given up, with the reason.
        due: When what did not work may be tried again, by attempt, ECU and what; monotonic.
        times: How often it did not work, likewise.
        cleaned: How many journals had been moved aside when targets were last cleaned up.
        read: When payloads were read back from the disk, monotonic, and how they looked, by attempt
            and ECU.
        counted: Whether the floor record knows the release counters of all that is committed.
    """

    turn: threading.RLock = field(default_factory=threading.RLock)
    cancelled: dict[str, Failure] = field(default_factory=dict)
    due: dict[tuple[str, str, str], float] = field(default_factory=dict)
    times: dict[tuple[str, str, str], int] = field(default_factory=dict)
    read: dict[tuple[str, str], tuple[float, tuple[int, ...]]] = field(default_factory=dict)
    counted: bool = False
    cleaned: int | None = None
