"""Every disk that a power cut may leave: mounted, recovered from, looked at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .record import OPTIONS, Places, Record, record
from .scenario import Scenario, aftermath
from .shares import Found, shared
from .states import Builder, Cut, cuts, marks, sample
from .system import loop, mount, unmount

KEPT = Path("build/faults")
_MOST_KEPT = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How many cuts to try.

    Attributes:
        limit: At most.
        draws: Random losses at each position.
        seed: For which are tried of too many.
    """

    limit: int
    draws: int = 3
    seed: int = 1


def replay(
    scenario: Scenario,
    taken: Record,
    where: Places,
    plan: Plan,
    progress: Callable[[int], None],
) -> Found:
    """Cut a record in many places."""
    found = Found()
    chosen = sample(cuts(taken.steps, taken.start, plan.draws), plan.limit, plan.seed)

    def work(some: Iterable[Cut], places: Places) -> Iterator[tuple[str, list[str]]]:
        builder = Builder(taken.image, taken.steps)
        for cut in some:
            image = builder.build(cut)
            wrong = tried(scenario, image, marks(taken.steps, cut.position), places)
            if wrong:
                wrong.append(_kept(scenario, cut, image))
            yield str(cut), wrong

    shared(found, chosen, where, work, progress)
    return found


def replay_twice(
    scenario: Scenario,
    taken: Record,
    where: Places,
    plan: Plan,
    inner: int,
    progress: Callable[[int], None],
) -> Found:
    """Cut a record, record the recovery, cut that too: so many times for each of the first cuts."""
    found = Found()
    chosen = sample(cuts(taken.steps, taken.start, plan.draws), plan.limit, plan.seed)

    def work(some: Iterable[Cut], places: Places) -> Iterator[tuple[str, list[str]]]:
        builder = Builder(taken.image, taken.steps)
        for cut in some:
            told = marks(taken.steps, cut.position)
            image = bytes(builder.build(cut))
            recovery = record(scenario, places, image, recovery=True)
            if recovery.ended.refused or recovery.ended.crashed or recovery.ended.signal:
                yield str(cut), [f"the recovery fails: {recovery.ended}"]
                continue
            again = Builder(recovery.image, recovery.steps)
            every = cuts(recovery.steps, recovery.start, plan.draws)
            for second in sample(every, inner, plan.seed + cut.position):
                state = again.build(second)
                more = [*told, *marks(recovery.steps, second.position)]
                wrong = tried(scenario, state, more, places)
                if wrong:
                    wrong.append(_kept(scenario, second, state))
                yield f"{cut} then {second}", wrong

    shared(found, chosen, where, work, progress)
    return found


def tried(
    scenario: Scenario, image: bytes | bytearray, told: Sequence[str], places: Places
) -> list[str]:
    """What is wrong after the recovery on that disk; the file system's own word included."""
    path = places.memory / "state"
    with path.open("wb", buffering=0) as file:
        file.write(image)
    with loop(path) as device:
        try:
            mount(device, places.mount, "ext4", OPTIONS)
        except OSError as error:
            return [f"the disk cannot be mounted: {error}"]
    try:
        wrong = aftermath(scenario, places.work, told)
    finally:
        unmount(places.mount)
    return wrong + _file_system(path)


def _kept(scenario: Scenario, cut: Cut, image: bytes | bytearray) -> str:
    """Keep the disk as it was before the recovery, for who wants to mount it; a few of them."""
    if KEPT.is_dir() and len(list(KEPT.iterdir())) >= _MOST_KEPT:
        return "the disk is not kept"
    KEPT.mkdir(parents=True, exist_ok=True)
    path = KEPT / f"{scenario.name}-{str(cut).replace('/', '-')}.img"
    path.write_bytes(image)
    return f"the disk is kept in {path}"


def _file_system(path: Path) -> list[str]:
    done = subprocess.run(["e2fsck", "-fn", str(path)], capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"e2fsck says: {done.stdout.strip()}"]
