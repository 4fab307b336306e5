"""Whether the next irreversible step may be taken: time, window, conditions, consent; in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bordnetz.ota.conditions import Conditions
from bordnetz.ota.consent import Consents
from bordnetz.uptane.custom import Campaign

__all__ = ["Gate", "Verdict"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says.

    Attributes:
        reasons: Why not, in words; empty: it is open.
        closed: It will not open any more for this campaign.
        source: Who has consented, where it is open.
    """

    reasons: tuple[str, ...] = ()
    closed: bool = False
    source: str = ""

    @property
    def open(self) -> bool:
        """Whether the step may be taken."""
        return not self.reasons


class Gate:
    """Everything that has a say, asked together so that an operator sees all reasons at once."""

    def __init__(
        self,
        conditions: Conditions,
        consents: Consents,
        now: Callable[[], int],
        stale: Callable[[], str | None],
        always: Sequence[str] = (),
    ) -> None:
        """Put those together who have a say.

        Args:
            conditions: The vehicle's.
            consents: The driver's.
            now: Trusted time, seconds since 1970 UTC.
            stale: Why the time is not to be trusted at all; None: it is.
            always: Conditions that the vehicle requires of every campaign, whatever that says.
        """
        self._always = tuple(always)
        self._conditions = conditions
        self._consents = consents
        self._now = now
        self._stale = stale

    def ask(self, campaign: Campaign) -> Verdict:
        """Whether a step of a campaign may be taken now."""
        if never := self.never(campaign):
            return Verdict((never,), closed=True)
        reasons = []
        if stale := self._stale():
            reasons.append(stale)
        if self._now() < campaign.window.start:
            reasons.append("the campaign's window has not opened yet")
        leave = self._consents.leave(campaign)
        if leave.reason:
            reasons.append(leave.reason)
        reasons += self._conditions.unmet(self._required(campaign))
        return Verdict(tuple(reasons), source="" if reasons else leave.source)

    def safe(self, campaign: Campaign) -> Verdict:
        """Whether the vehicle is in the state that a campaign requires; enough for the way back."""
        return Verdict(tuple(self._conditions.unmet(self._required(campaign))))

    def never(self, campaign: Campaign) -> str | None:
        """Why a campaign cannot be installed at all, in words; None: it can."""
        unnamed = self._conditions.unnamed(self._required(campaign))
        if unnamed:
            return (
                f"the campaign requires {', '.join(unnamed)}, for which this vehicle has no "
                "condition; name it in the vehicle file's [ota.conditions]"
            )
        end = campaign.window.end
        if end is not None and self._now() > end:
            return "the campaign's window has closed; assign it anew with a later one"
        return None

    def _required(self, campaign: Campaign) -> list[str]:
        return list(dict.fromkeys((*self._always, *campaign.require)))
