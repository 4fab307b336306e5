"""A hub with its faults, and a module that makes messages, in a machine whose time leaps.

Run inside ``tests/with-vcan --time-travel skip``; writes a line of JSON for each try.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from hub_fixtures import RunningHub, template

from bordnetz.batch.seen import Seen
from bordnetz.edge.suspects import LAST
from bordnetz.laptop.hub.control import ControlError

from .knobs_checks import PATIENCE, PROOF, SETTLED, wrong
from .knobs_module import OUTPUT, body
from .knobs_outcome import Arrived, Figures, Life, Outcome, Process, Put
from .knobs_plan import KILLED, Fault, Try, draw

MODULE = "probe"
_LOOK = 60.0
"""Seconds between two looks whether all has come, at most."""
_CALM = 10.0
"""Seconds in which what is done with is put away."""
_ROUTES = {"up": f"FROM /messages/modules/{MODULE}/outputs/{OUTPUT} INTO $upstream"}


class Agent:
    """Starts the module, and starts it again when it has ended by itself, as Edge agent does."""

    def __init__(self, told: Path, log: Path, variables: dict[str, str]) -> None:
        self.lives: list[Life] = []
        self._told, self._log, self._variables = told, log, variables
        self._over = False
        self._start()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _start(self) -> None:
        self.started = time.monotonic()
        with self._told.open("ab") as told, self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "faults.knobs_module"],
                env=self._variables,
                stdout=told,
                stderr=log,
            )

    def _watch(self) -> None:
        while True:
            code = self.process.wait()
            if self._over:
                return
            self.lives.append(Life(self.started, time.monotonic(), code))
            self._start()

    def end(self) -> int:
        """Ask it to stop; its exit code."""
        self._over = True
        self.process.terminate()
        self._thread.join()
        return self.process.returncode


class Bench:
    """The hub, the module, and what was seen of both."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._run = folder / "run"
        self._run.mkdir(mode=0o700)
        os.environ["XDG_RUNTIME_DIR"] = str(self._run)
        self._manifest = template(folder / "deployment.json", {MODULE: {}}, _ROUTES, ttl=86_400)
        self._armed: dict[str, Fault] = {}
        self._mark = 0
        self._changes = False
        self._start_hub()
        self._making = folder / "making"
        own = {
            "BORDNETZ_STATE": str(folder / "state"),
            "BORDNETZ_METRICS_ADDRESS": "127.0.0.1:0",
            "BORDNETZ_HUB_METRICS": self._hub.control.place.metrics,
            "BORDNETZ_HUB_PATIENCE_MINUTES": str(PATIENCE),
            "BORDNETZ_HUB_PROOF_MINUTES": str(PROOF),
            "MAKING": str(self._making),
        }
        variables = {**os.environ, **self._hub.control.env(MODULE), **own}
        self._told, self._heard = folder / "told", 0
        self._agent = Agent(self._told, folder / "module.log", variables)
        self._seen = Seen()
        self._last = self._hung = 0
        while (before := self._process()) is None:
            time.sleep(1)
        self._before = before

    def attempt(self, one: Try) -> Outcome:
        """Commit its faults while messages are made, then let all settle."""
        outcome = Outcome(one, self._before)
        began, outcome.began = time.monotonic(), time.time()
        self._agent.lives.clear()
        self._making.touch()
        for at, act in sorted(self._events(one), key=lambda event: event[0]):
            time.sleep(max(0.0, began + at - time.monotonic()))
            act()
        self._making.unlink()
        self._settle(outcome)
        outcome.lives = [
            Life(life.began - began, life.ended - began, life.code) for life in self._agent.lives
        ]
        outcome.after, outcome.hung = self._process(), self._hung
        return outcome

    def end(self) -> list[str]:
        """Stop both; what is wrong with how they end."""
        code = self._agent.end()
        self._hub.stop()
        return [] if code == 0 else [f"asked to stop, the module ended with {code}"]

    # -- faults

    def _events(self, one: Try) -> Iterator[tuple[float, Callable[[], None]]]:
        for fault in one.faults:
            if fault.knob == KILLED:
                yield fault.begin, self._kill_hub
                yield fault.end, self._start_hub
            elif fault.strikes:
                for at in fault.strikes:
                    yield at, partial(self._fault, fault.knob)
            else:
                yield fault.begin, partial(self._arm, fault)
                yield fault.end, partial(self._disarm, fault)
        yield one.change, self._change

    @property
    def _hub_runs(self) -> bool:
        return self._hub.process.poll() is None

    def _start_hub(self) -> None:
        self._hub = RunningHub(self._manifest, self._folder / "hub", self._run)
        for fault in self._armed.values():
            self._fault(fault.knob, fault.value)
        if self._changes:
            self._change()

    def _kill_hub(self) -> None:
        self._hub.kill()

    def _arm(self, fault: Fault) -> None:
        self._armed[fault.knob] = fault
        self._fault(fault.knob, fault.value)
        if fault.knob == "refuse-auth":
            # Who is logged in is not asked again.
            self._fault("drop-link")

    def _disarm(self, fault: Fault) -> None:
        del self._armed[fault.knob]
        self._fault(fault.knob, off=True)

    def _fault(self, knob: str, value: int | None = None, *, off: bool = False) -> None:
        if self._hub_runs:
            self._hub.control.fault(knob, value, off=off)

    def _change(self) -> None:
        # The cloud is the stand-in's own: while it is away, nothing can be changed.
        self._changes = not self._hub_runs
        if not self._changes:
            self._mark += 1
            self._hub.control.set(MODULE, {"mark": self._mark})

    # -- what is to be seen

    def _settle(self, outcome: Outcome) -> None:
        """Wait until all has come and the module is calm, for as long as that may take."""
        began, look = time.monotonic(), 1.0
        while (passed := time.monotonic() - began) < LAST + SETTLED:
            self._hear(outcome)
            self._receive(outcome)
            if not outcome.missing() and self._ask(outcome) and outcome.quiet():
                outcome.settling = passed
                time.sleep(_CALM)
                # Once more, for what comes twice.
                self._hear(outcome)
                self._receive(outcome)
                self._ask(outcome)
                return
            time.sleep(look)
            look = min(2 * look, _LOOK)

    def _ask(self, outcome: Outcome) -> bool:
        """What the module says of itself; False if it does not answer."""
        with suppress(ControlError):
            code, outcome.status = self._hub.control.call(MODULE, "status")
            reported = self._hub.control.twin(MODULE)["reported"].get("mark", 0)
            outcome.mark = self._mark, reported
            return code == 200
        return False

    def _hear(self, outcome: Outcome) -> None:
        """What the module has told since the last time."""
        with self._told.open() as told:
            told.seek(self._heard)
            lines = told.read().splitlines()
            self._heard = told.tell()
        outcome.lines += lines
        for line in lines:
            self._hung = 0 if line == "begins" else self._hung + (line == "hung")
            if line.startswith("put "):
                _, name, priority, size, at = line.split()
                outbox, _, sequence = name.partition("-")
                outcome.puts[int(sequence)] = Put(int(priority), int(size), float(at))
                outcome.outboxes.add(int(outbox, 16))

    def _receive(self, outcome: Outcome) -> None:
        """What has reached the cloud since the last time."""
        upstream = self._hub.control.upstream
        for arrival in upstream.messages(self._last):
            self._last = arrival.n
            name = arrival.properties["batch"]
            outbox, _, sequence = name.partition("-")
            whole = upstream.body(arrival) == body(name, arrival.size)
            one = Arrived(int(sequence), arrival.time, whole)
            new = self._seen.add((f"vehicle/{arrival.module}", int(outbox, 16), int(sequence)))
            (outcome.arrivals if new else outcome.again).append(one)

    def _process(self) -> Process | None:
        """What the module's process has; None while it cannot be asked to put away what it can."""
        place = Path("/proc", str(self._agent.process.pid))
        uncollected = len(list((place / "fd").iterdir()))
        try:
            self._hub.control.call(MODULE, "collect")
        except ControlError:
            return None
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        return Process(
            int(status["VmRSS"].split()[0]) * 1024,
            int(status["Threads"]),
            len(list((place / "fd").iterdir())),
            uncollected,
        )


def main(out: Path, names: list[str], longest: float) -> None:
    """All tries of one machine; what came of each is written when it is over."""
    folder = Path("/tmp/knobs")
    folder.mkdir()
    bench = Bench(folder)
    with out.open("w") as file:

        def write(name: str, words: list[str], figures: dict[str, Any] | None = None) -> None:
            line = {"name": name, "wrong": words, "figures": figures}
            file.write(json.dumps(line) + "\n")
            file.flush()

        for name in names:
            outcome = bench.attempt(draw(name, longest))
            figures = asdict(Figures.of(outcome)) if outcome.after else None
            write(name, wrong(outcome), figures)
        if words := bench.end():
            write("the end", words)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), float(sys.argv[3]))
