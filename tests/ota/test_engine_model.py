"""The job engine against a model that knows one thing: which versions were reported as active."""

from __future__ import annotations

import logging

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from scripted_installer import Death, InstallError, World, installed, target, wanted

from bordnetz.ota.installers.installer import Installed
from bordnetz.ota.installers.trouble import TroubleError, UnavailableError
from bordnetz.ota.source import UnreachableError

ECUS = "abc"
GROUPS = st.sampled_from([[], [["a", "b"]], [["a", "b", "c"]], [["b", "c"]]])
AFTER = st.sampled_from([{}, {"b": ["a"]}, {"a": ["c"]}, {"c": ["a", "b"]}])
KINDS = {"file": "", "rauc": "reboot"}


class Machine(RuleBasedStateMachine):
    """Lives of a process with everything that may happen to it, in any order."""

    @initialize(image=st.booleans(), flash=st.booleans())
    def start(self, image, flash):
        logging.disable(logging.CRITICAL)
        self.world = World.of(a=0, b=0, c=None)
        self.kinds = dict.fromkeys(ECUS, "file")
        if image:
            self.world.kinds["a"], self.kinds["a"] = "reboot", "rauc"
        if flash:
            self.world.kinds["c"] = "flash"
        self.valid: dict[str, Installed | None] = {
            "a": installed("a", 0), "b": installed("b", 0), "c": None
        }  # fmt: skip
        self.counters: dict[str, int] = {}
        self.unsure: set[str] = set()
        self.told = 0
        self.campaign = 0
        self.rest = None
        self.begin()

    def teardown(self):
        logging.disable(logging.NOTSET)

    def begin(self):
        self.engine = self.world.engine()
        self.do(lambda: self.engine.resume())

    def do(self, work):
        try:
            self.rest = work()
        except Death:
            self.world.dies_at = -1
            self.begin()

    @rule(versions=st.lists(st.integers(0, 4), min_size=3, max_size=3), groups=GROUPS, after=AFTER)
    def offer(self, versions, groups, after):
        self.campaign += 1
        targets = [
            target(ecu, version, self.kinds[ecu], counter=max(version, self.floor(ecu)))
            for ecu, version in zip(ECUS, versions, strict=True)
        ]
        verified = wanted(*targets, id=f"c{self.campaign}", groups=groups, after=after)
        self.do(lambda: self.engine.offer(verified))

    def floor(self, ecu):
        return self.world.counters.get(ecu, 0)

    @rule()
    def work(self):
        self.do(self.engine.work)

    @rule()
    def time_passes(self):
        self.world.mono += 1000
        self.world.now += 1000
        self.do(self.engine.work)

    @rule()
    def cancel(self):
        try:
            self.engine.cancel()
        except Death:
            self.world.dies_at = -1
            self.begin()

    @rule()
    def restart(self):
        self.begin()

    @rule(moments=st.integers(1, 60))
    def die_soon(self, moments):
        self.world.dies_at = self.world.points + moments

    @rule()
    def power_cut(self):
        self.world.power_cut()
        self.begin()

    @precondition(lambda self: self.rest is not None and self.rest.reboot)
    @rule()
    def reboot(self):
        self.power_cut()

    @rule(shut=st.booleans())
    def gate(self, shut):
        self.world.shut = ("not parked",) if shut else ()

    @rule(
        ecu=st.sampled_from(ECUS),
        verb=st.sampled_from(
            ["obtain", "ready", "stage", "install", "activate", "verify", "clean_up"]
        ),
        kind=st.sampled_from([InstallError, TroubleError, UnavailableError, UnreachableError]),
        times=st.integers(1, 2),
    )
    def script(self, ecu, verb, kind, times):
        self.world.fails[ecu, verb] = kind("scripted")
        self.world.times[ecu, verb] = times

    @rule(ecu=st.sampled_from(ECUS))
    def script_the_way_back(self, ecu):
        self.world.fails[ecu, "rollback"] = InstallError("scripted")
        self.world.times[ecu, "rollback"] = 2

    @rule(fallback=st.booleans())
    def boots(self, fallback):
        self.world.fallback = {"a"} if fallback else set()

    @invariant()
    def has_what_it_has_reported(self):
        if not hasattr(self, "world"):
            return
        known = {}
        for report in self.world.reports:
            assert known.setdefault(report["attempt"], report) == report
        for report in list(known.values())[self.told :]:
            for ecu, one in report["targets"].items():
                if not report["consistent"]:
                    # It was tried as often as it may be; the report says so.
                    assert report["result"] == "failed"
                    self.unsure.add(ecu)
                elif report["result"] == "succeeded":
                    self.unsure.discard(ecu)
                    new = one["new"]
                    self.valid[ecu] = Installed(new["name"], 100, new["sha256"], new["counter"])
        self.told = len(known)
        for ecu, counter in self.counters.items():
            assert self.world.counters[ecu] >= counter
        self.counters = dict(self.world.counters)
        if self.world.db.execute("SELECT count(*) FROM attempt").fetchone() == (0,):
            for ecu, side in self.world.sides.items():
                if ecu in self.unsure:
                    continue
                assert side.active == self.valid[ecu], (ecu, self.world.verbs[-20:])
                assert (side.staged, side.passive) == (None, None)


Machine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, print_blob=True
)
TestEngine = Machine.TestCase
