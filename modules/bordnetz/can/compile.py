"""From the catalogue and the wanted signals to the groups and tables that decoding works with.

A message is a tree: its plain signals and its multiplexers are the root, each set of selector
values that signals share is a branch, which may have multiplexers of its own.  Nodes of all
trees are numbered through; the wanted signals of a node that are wanted alike are a group.
"""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.dbc import Branch, Field, Message
from bordnetz.can.errors import CatalogueError
from bordnetz.can.j1939 import Match
from bordnetz.series import Group

UNKNOWN, UNWANTED, WANTED = 0, 1, 2
"""The first nodes, in units of the number of buses: from `UNKNOWN` on one for each bus, for frames
that no message claims; from `UNWANTED` on the same for messages without wanted signals; from
`WANTED` on those of the trees."""


@dataclass(slots=True)
class Node:
    """A message, or a branch of its multiplexer, with wanted signals in it or below it.

    Attributes:
        groups: Its groups, those of one interval each, by index into `Plan.groups`.
        selectors: Its multiplexers that lead to wanted signals, by index into `Plan.selectors`.
    """

    groups: list[int] = field(default_factory=list)
    selectors: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Selector:
    """A multiplexer.

    Attributes:
        place: Where its value lies; `Field.selects` are all values that it knows.
        branches: The values that lead to wanted signals, and the nodes that each one selects.
    """

    place: Field
    branches: dict[int, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class Plan:
    """What a decode table is made of.

    Attributes:
        groups: The groups.
        fields: The fields of each group, in its order of signals.
        nodes: Those of `UNKNOWN` and `UNWANTED`, which are empty, and all trees.
        selectors: All multiplexers on the way to wanted signals.
        entries: For the index: bus, id, what of it is matched, node.
    """

    groups: list[Group] = field(default_factory=list)
    fields: list[list[Field]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    selectors: list[Selector] = field(default_factory=list)
    entries: list[tuple[int, int, Match, int]] = field(default_factory=list)


def compile_plan(
    catalogue: Catalogue, wanted: Mapping[str, int] | None, quality: Container[str] = ()
) -> Plan:
    """Lay out what is wanted of a catalogue.

    Args:
        catalogue: All messages.
        wanted: Qualified name to the shortest time between two samples in ns; None for all
            signals and every sample.
        quality: Names of those that are wanted with their quality.

    Raises:
        CatalogueError: There is no signal of a wanted name.
    """
    if wanted is not None:
        _refuse_unknown(catalogue, wanted)
    buses = len(catalogue.buses)
    plan = Plan(nodes=[Node() for _ in range(WANTED * buses)])
    for bus, (name, messages) in enumerate(zip(catalogue.buses, catalogue.messages, strict=True)):
        for message in messages:
            wishes: dict[str, tuple[int, bool]] = {}
            for place in message.fields:
                signal = place.signal.name
                qualified = f"{name}.{message.name}.{signal}"
                interval = 0 if wanted is None else wanted.get(qualified)
                if interval is not None:
                    wishes[signal] = interval, qualified in quality
            nothing = UNWANTED * buses + bus
            root = _plant(plan, name, message, wishes) if wishes else nothing
            plan.entries.append((bus, message.id, message.match, root))
    return plan


def _refuse_unknown(catalogue: Catalogue, wanted: Iterable[str]) -> None:
    unknown = sorted(set(wanted) - set(catalogue.names))
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], catalogue.names, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
    raise CatalogueError(
        f"no DBC file has a signal '{unknown[0]}'{more}; names are bus.message.signal{hint}"
    )


def _plant(plan: Plan, bus: str, message: Message, wishes: Mapping[str, tuple[int, bool]]) -> int:
    """Add a message's tree; returns its root.  A wish is an interval, and whether for quality."""
    places = {place.signal.name: place for place in message.fields}
    nodes: dict[Branch, int] = {}
    selectors: dict[str, int] = {}

    def node_at(branch: Branch) -> int:
        if branch in nodes:
            return nodes[branch]
        number = nodes[branch] = len(plan.nodes)
        plan.nodes.append(Node())
        if branch:
            parent = node_at(branch[:-1])
            name, values = branch[-1]
            if name not in selectors:
                selectors[name] = len(plan.selectors)
                plan.selectors.append(Selector(places[name]))
                plan.nodes[parent].selectors.append(selectors[name])
            for value in values:
                plan.selectors[selectors[name]].branches.setdefault(value, []).append(number)
        return number

    members: dict[tuple[Branch, tuple[int, bool]], list[Field]] = {}
    for place in message.fields:
        if place.signal.name in wishes:
            key = place.branch, wishes[place.signal.name]
            members.setdefault(key, []).append(place)
    root = node_at(())
    for (branch, (interval, quality)), fields in members.items():
        plan.nodes[node_at(branch)].groups.append(len(plan.groups))
        plan.fields.append(fields)
        plan.groups.append(
            Group(
                bus=bus,
                message=message.name,
                id=message.id,
                by_pgn=message.match is Match.PGN,
                branch=branch,
                interval=interval,
                signals=tuple(place.signal for place in fields),
                quality=quality,
            )
        )
    return root


class Lists:
    """Lists of numbers, one per key, that are followed for many keys at once."""

    def __init__(self, lists: Sequence[Sequence[int]]) -> None:
        self._count: NDArray[np.intp] = np.array([len(numbers) for numbers in lists], np.intp)
        self._start: NDArray[np.intp] = self._count.cumsum() - self._count
        self._numbers = np.array([number for numbers in lists for number in numbers], np.intp)
        # Lists of one number at most need no more than this: -1 for none.
        self._only = np.array([numbers[0] if numbers else -1 for numbers in lists], np.intp)
        self._one_at_most = self._count.max(initial=0) <= 1

    def follow(self, keys: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """All numbers of all keys.

        Returns:
            Index into ``keys`` and number, intp, shape (pairs,), in the order of ``keys``.
        """
        if self._one_at_most:
            number = self._only.take(keys)
            which = (number >= 0).nonzero()[0]
            return which, number.take(which)
        count = self._count.take(keys)
        which = np.arange(len(keys)).repeat(count)
        before: NDArray[np.intp] = count.cumsum()
        shift = self._start.take(keys) + count - before
        return which, self._numbers.take(np.arange(len(which)) + shift.repeat(count))
