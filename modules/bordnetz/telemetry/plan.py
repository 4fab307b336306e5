"""What a configuration means in this vehicle: decode table and dictionary of its signals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bordnetz.batch.dictionary import Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.can.catalogue import Catalogue
from bordnetz.can.checks import Checks
from bordnetz.can.filters import Interest, interests
from bordnetz.can.table import DecodeTable
from bordnetz.can.validity import watch
from bordnetz.edge.message import MessageTooLargeError
from bordnetz.edge.twin import Refusal
from bordnetz.telemetry.config import (
    MOST_STATE,
    Desired,
    Rule,
    quality_signals,
    state_signals,
    unmatched,
    wanted_signals,
)
from bordnetz.telemetry.messages import dictionary_parcel


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration, compiled.

    Attributes:
        table: Decodes the wanted signals.
        dictionary: Of the table's groups.
    """

    table: DecodeTable
    dictionary: Dictionary

    @classmethod
    def of(cls, desired: Desired, catalogue: Catalogue, vehicle: bytes) -> Plan:
        """Compile a configuration.

        Args:
            desired: The configuration.
            catalogue: All that could be collected.
            vehicle: Digest of the vehicle file, 32 bytes.
        """
        names = catalogue.names
        quality = (
            quality_signals(desired.collect, names)
            if any(rule.quality for rule in desired.collect)
            else ()
        )
        table = DecodeTable.compile(catalogue, wanted_signals(desired.collect, names), quality)
        return cls(table, Dictionary(table.groups, vehicle, catalogue.digest))

    @property
    def signals(self) -> int:
        """How many signals are wanted."""
        return sum(len(group.signals) for group in self.dictionary.groups)

    def excess(self) -> str | None:
        """Why it cannot be put to work, or None: nobody can read batches without a dictionary."""
        try:
            dictionary_parcel(self.dictionary, 0)
        except (BatchError, MessageTooLargeError):
            return (
                f"the dictionary of {self.signals} signals is more than a message takes; "
                "collect fewer of them"
            )
        return None


class Planner:
    """Compiles configurations for one vehicle.

    It keeps the last one: each is compiled to be judged, and then put to work.

    Args:
        catalogue: All that could be collected.
        vehicle: Digest of the vehicle file, 32 bytes.
        checks: Of the vehicle file.

    Attributes:
        catalogue: All that could be collected.
        watched: Messages whose frames are checked where they are collected.

    Raises:
        CatalogueError: The checks are of messages or counters that the catalogue does not have.
    """

    def __init__(self, catalogue: Catalogue, vehicle: bytes, checks: Checks | None = None) -> None:
        self.catalogue = catalogue
        self.watched = watch(catalogue, checks or Checks())
        self._vehicle = vehicle
        self._nothing = Plan.of(Desired(), catalogue, vehicle)
        self._last: tuple[list[Rule], Plan] = [], self._nothing
        self._last_state: tuple[list[str], DecodeTable | None] = [], None

    def state(self, desired: Desired) -> DecodeTable | None:
        """The table for the signals whose state is told, None for none; from any thread."""
        globs, table = self._last_state
        if globs != desired.state:
            names = state_signals(desired.state, self.catalogue.names)
            table = DecodeTable.compile(self.catalogue, dict.fromkeys(names, 0)) if names else None
            self._last_state = desired.state, table
        return table

    def interests(self, desired: Desired) -> frozenset[Interest]:
        """The frames that a configuration needs; from any thread."""
        tables = self.plan(desired).table, self.state(desired)
        groups = [group for table in tables if table is not None for group in table.groups]
        return interests(self.catalogue, groups)

    def judge(self, desired: Desired) -> Iterator[Refusal]:
        """What matches no signal of this vehicle, and more signals than a message takes."""
        names = self.catalogue.names
        useless = False
        for index, reason in unmatched(desired.collect, names):
            useless = True
            yield Refusal(("collect", index), reason)
        if not useless:
            excess = self.plan(desired).excess()
            if excess is not None:
                yield Refusal(("collect",), excess)
        for index, reason in unmatched([Rule(match=glob) for glob in desired.state], names):
            yield Refusal(("state", index), reason)
        if (chosen := len(state_signals(desired.state, names))) > MOST_STATE:
            reason = f"these are {chosen} signals, the state has room for {MOST_STATE}; name fewer"
            yield Refusal(("state",), reason)

    def plan(self, desired: Desired) -> Plan:
        """Of a configuration; from any thread."""
        if not desired.collect:
            return self._nothing
        rules, plan = self._last
        if rules != desired.collect:
            plan = Plan.of(desired, self.catalogue, self._vehicle)
            self._last = desired.collect, plan
        return plan
