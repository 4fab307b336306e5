"""From what verified metadata asks for to attempts: what is new, in which order, what is refused.

Pure: what is installed, remembered and possible is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from bordnetz.ota.attempt import Attempt, Member
from bordnetz.ota.installers.installer import Installed
from bordnetz.uptane.custom import Campaign, PayloadKind
from bordnetz.uptane.target import Target, Verified

__all__ = ["Ability", "Plan", "plan"]


@dataclass(frozen=True, slots=True)
class Ability:
    """What an ECU's installer can do, and what it has.

    Attributes:
        kinds: Payloads that it takes.
        irreversible: See `Installer.irreversible`.
        installed: What is active.
        trouble: Why that cannot be told; "": it can.
    """

    kinds: frozenset[PayloadKind]
    irreversible: bool
    installed: Installed | None
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Attributes:
        attempts: One a group that lacks something, in the order in which they are begun; each
            needs those that stand before it in `needs`, by position.
        needs: For each attempt the positions of those that have to succeed before.
        refused: Why groups are not tried, in words.
    """

    attempts: tuple[Attempt, ...] = ()
    needs: tuple[tuple[int, ...], ...] = ()
    refused: tuple[str, ...] = ()


def plan(
    verified: Verified,
    abilities: Mapping[str, Ability],
    *,
    refuses: str | None,
    failed: Callable[[Target], str | None],
    began: int,
) -> Plan:
    """Make attempts, without ids yet.

    Args:
        verified: What the metadata asks for.
        abilities: By ECU.
        refuses: Why the campaign as a whole is not to be tried; None: it may be.
        failed: Why a version is not to be tried on its target; None: it may be.
        began: Seconds since 1970 UTC.
    """
    campaign = verified.campaign
    lacking = {target.ecu: target for target in verified.targets if _lacks(target, abilities)}
    if campaign is None or not lacking:
        return Plan()
    if refuses is not None:
        return Plan(refused=(refuses,))
    groups = _groups(campaign, verified.targets)
    try:
        order, after = _order(campaign, groups)
    except CycleError:
        return Plan(refused=("the campaign's targets wait for each other in a circle",))
    attempts: list[Attempt] = []
    needs: list[tuple[int, ...]] = []
    refused: list[str] = []
    places: dict[int, int] = {}
    out: set[int] = set()
    for number in order:
        members = [lacking[ecu] for ecu in groups[number] if ecu in lacking]
        why = [text for target in members if (text := _why_not(target, abilities, failed))]
        if not why and out & after[number]:
            names = sorted(ecu for other in out & after[number] for ecu in groups[other])
            why = [f"{', '.join(t.ecu for t in members)}: waits for {', '.join(names)}"]
        if not members:
            continue
        if why:
            out.add(number)
            refused += why
            continue
        places[number] = len(attempts)
        needs.append(tuple(sorted(places[one] for one in after[number] if one in places)))
        attempts.append(
            Attempt(
                id="",
                campaign=campaign,
                members=tuple(_member(target, abilities[target.ecu]) for target in members),
                began=began,
            )
        )
    return Plan(tuple(attempts), tuple(needs), tuple(refused))


def _lacks(target: Target, abilities: Mapping[str, Ability]) -> bool:
    ability = abilities.get(target.ecu)
    installed = ability.installed if ability else None
    return installed is None or (installed.sha256, installed.counter) != (
        target.sha256,
        target.counter,
    )


def _member(target: Target, ability: Ability) -> Member:
    return Member(target=target, old=ability.installed, irreversible=ability.irreversible)


def _why_not(
    target: Target, abilities: Mapping[str, Ability], failed: Callable[[Target], str | None]
) -> str:
    ability = abilities.get(target.ecu)
    if ability is None:
        return f"{target.ecu}: the vehicle file has no installer for it; add an [[ota.ecu]]"
    if target.kind not in ability.kinds:
        kinds = ", ".join(sorted(ability.kinds)) or "nothing"
        return f"{target.ecu}: its installer takes {kinds}, not {target.kind}"
    if ability.trouble:
        return f"{target.ecu}: what is installed cannot be told: {ability.trouble}"
    if words := failed(target):
        return f"{target.ecu}: {target.name} has failed before: {words}"
    return ""


def _groups(campaign: Campaign, targets: Sequence[Target]) -> list[list[str]]:
    """The ECUs of each group, in the order of activation within it; a group of one for the rest."""
    present = {target.ecu for target in targets}
    named = [[ecu for ecu in group if ecu in present] for group in campaign.groups]
    grouped = {ecu for group in named for ecu in group}
    return [group for group in named if group] + [
        [target.ecu] for target in targets if target.ecu not in grouped
    ]


def _order(campaign: Campaign, groups: list[list[str]]) -> tuple[list[int], dict[int, set[int]]]:
    """Sort groups, and ECUs within them in place.

    Raises:
        CycleError: They wait for each other.
    """
    home = {ecu: number for number, group in enumerate(groups) for ecu in group}
    after: dict[int, set[int]] = {number: set() for number in range(len(groups))}
    for number, group in enumerate(groups):
        inside: dict[str, list[str]] = {}
        for ecu in group:
            before = [one for one in campaign.after.get(ecu, []) if one in home]
            inside[ecu] = [one for one in before if home[one] == number]
            after[number] |= {home[one] for one in before} - {number}
        group[:] = TopologicalSorter(inside).static_order()
    return list(TopologicalSorter(after).static_order()), after
