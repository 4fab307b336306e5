"""What the driver has said to a campaign, and whether it may be installed by that.

    {"campaign": "autumn", "answer": "now" | "tonight" | "postpone"}

now       as soon as conditions allow
tonight   likewise, but between two local hours only
postpone  ask again after a while; so many times as the campaign allows

At the campaign's deadline nobody is asked any more.  An answer holds until the next one, also after
a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bordnetz.errors import BordnetzError
from bordnetz.ota.journal import Journal
from bordnetz.uptane.custom import Campaign, Name

__all__ = ["Answer", "ConsentError", "Consents", "Leave"]

log = logging.getLogger(__name__)

MOST_BYTES = 4096
"""Of a message."""

_DAY = 86_400

Source = Literal["driver", "workshop"]
"""Who answers: the driver through a message, or somebody in a workshop through a method."""


class ConsentError(BordnetzError):
    """An answer cannot be taken; the one before it holds."""


class Answer(BaseModel):
    """What is said.

    Attributes:
        campaign: To which campaign.
        answer: See above.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    campaign: Name
    answer: Literal["now", "tonight", "postpone"]

    @classmethod
    def parse(cls, body: bytes) -> Answer:
        """Read a message.

        Raises:
            ConsentError: It is none.
        """
        if len(body) > MOST_BYTES:
            raise ConsentError(f"an answer has over {MOST_BYTES} bytes; check who sends it")
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, found["loc"]))
            raise ConsentError(
                f"an answer makes no sense: {f'{place}: ' if place else ''}{found['msg']}; "
                'expected is {"campaign": id, "answer": "now", "tonight" or "postpone"}'
            ) from None


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    answer: Literal["", "now", "tonight", "postpone"] = ""
    source: str = ""
    postponed: int = 0
    since: int = 0
    until: int = 0


@dataclass(frozen=True, slots=True)
class Leave:
    """Whether it may be installed.

    Attributes:
        source: By whose word: ``driver``, ``workshop`` or ``deadline``; "" where nobody need ask.
        reason: Why it may not be, in words; "": it may.
        asked: Whether it is the driver's turn to say something.
    """

    source: str = ""
    reason: str = ""
    asked: bool = False


class Consents:
    """The driver's answers.  Any thread may call it."""

    def __init__(
        self,
        journal: Journal,
        now: Callable[[], int],
        tonight: tuple[str, str] = ("22:00", "05:00"),
        offset: Callable[[], int] = lambda: 0,
        postponed: float = 24 * 3600,
    ) -> None:
        """Prepare to ask.

        Args:
            journal: Keeps the answers.
            now: Trusted time, seconds since 1970 UTC.
            tonight: Local times of day, ``HH:MM``, between which "tonight" lies.
            offset: Seconds that local time is ahead of UTC.
            postponed: Seconds that "postpone" lasts.
        """
        self._journal = journal
        self._now = now
        self._tonight = tonight
        self._offset = offset
        self._postponed = round(postponed)

    def answer(self, campaign: Campaign, answer: Answer, source: Source) -> None:
        """Take an answer; it is kept when this returns.

        Args:
            campaign: The one that is under way.
            answer: What is said.
            source: By whom.

        Raises:
            ConsentError: It answers nothing, or asks for what there is no more of.
            DatabaseError: It cannot be kept.
        """
        if answer.campaign != campaign.id:
            raise ConsentError("the answer is to another campaign than the one under way")
        if campaign.consent is None:
            raise ConsentError(f"campaign {campaign.id} does not ask the driver")
        said, now = self._said(campaign), self._now()
        postponed = said.postponed
        until = 0
        if answer.answer == "postpone":
            most = campaign.consent.postpone
            if postponed >= most:
                raise ConsentError(
                    f"campaign {campaign.id} may be postponed {most} times, and has been; what is "
                    "left is now or tonight"
                )
            postponed += 1
            until = now + self._postponed
        new = _Said(
            answer=answer.answer, source=source, postponed=postponed, since=now, until=until
        )
        self._journal.keep_consent(campaign.id, new.model_dump_json())

    def leave(self, campaign: Campaign) -> Leave:
        """Whether a campaign may be installed now."""
        consent = campaign.consent
        if consent is None:
            return Leave()
        said, now = self._said(campaign), self._now()
        due = consent.deadline is not None and now >= consent.deadline
        if said.answer == "now" or (said.answer == "tonight" and self._night(now)):
            return Leave(said.source)
        if due:
            return Leave("deadline")
        if said.answer == "tonight":
            return Leave(reason=f"the driver has said tonight, which begins at {self._tonight[0]}")
        # A clock that has been set back must not make a short while a long one.
        if said.answer == "postpone" and said.since <= now < said.until:
            return Leave(reason=f"postponed, {said.postponed} of {consent.postpone} times")
        return Leave(reason="the driver has not consented yet", asked=True)

    def question(self, campaign: Campaign) -> dict[str, Any] | None:
        """What the driver's page has to know; None where the driver is not asked."""
        if campaign.consent is None:
            return None
        said = self._said(campaign)
        return {
            "campaign": campaign.id,
            "asked": self.leave(campaign).asked,
            "answer": said.answer or None,
            "postponesLeft": max(campaign.consent.postpone - said.postponed, 0),
            "deadline": campaign.consent.deadline,
        }

    def _said(self, campaign: Campaign) -> _Said:
        body = self._journal.consent(campaign.id)
        if body is None:
            return _Said()
        try:
            return _Said.model_validate_json(body)
        except ValidationError:
            log.error("the answer to campaign %s is unreadable; asking again", campaign.id)
            return _Said()

    def _night(self, now: int) -> bool:
        begins, ends = (int(text[:2]) * 3600 + int(text[3:]) * 60 for text in self._tonight)
        local = (now + self._offset()) % _DAY
        if begins <= ends:
            return begins <= local < ends
        return local >= begins or local < ends
