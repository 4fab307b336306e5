"""One attempt to bring a group of targets to new versions: all of them, or none.

An attempt is a value.  What happens to it makes a new value, which the journal keeps; nothing
else is remembered between two steps, so that whatever a crash leaves is one of these values.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict

from bordnetz.ota.installers.installer import Installed, Job
from bordnetz.ota.states import Result
from bordnetz.uptane.custom import Campaign
from bordnetz.uptane.target import Target

LONGEST = 500
"""Characters of a text in the journal and in reports."""


def shown(text: str) -> str:
    """A text as journal and reports can hold it: not too long, and nothing that is no Unicode."""
    return text[:LONGEST].encode(errors="replace").decode()


class Verb(StrEnum):
    """What is done to one target; all but the first are an installer's."""

    OBTAIN = "obtain"
    STAGE = "stage"
    INSTALL = "install"
    ACTIVATE = "activate"
    VERIFY = "verify"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    CLEAN_UP = "cleanUp"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def but(self, **changes: Any) -> Self:
        """The same with other values in some fields."""
        return self.model_copy(update=changes)


class Failure(_Record):
    """Why an attempt does not succeed.

    Attributes:
        result: How it ends if nothing new has become active.
        kind: A word for reports.
        words: For an operator.
        ecu: The target it happened on; "": none in particular.
        repository: Where metadata was refused: whose.
        role: Likewise: of which role.
    """

    result: Result
    kind: str
    words: Annotated[str, BeforeValidator(shown)]
    ecu: str = ""
    repository: str = ""
    role: str = ""


class Wait(_Record):
    """A wait for a reboot.

    Attributes:
        boot: Names the boot that it began in.
        back: Whether it is for the way back.
        since: When it began, seconds since 1970 UTC.
        at: Likewise, by the machine's own clock, in seconds.
    """

    boot: str
    back: bool
    since: int
    at: float


class Member(_Record):
    """One target of an attempt.

    Attributes:
        target: What it is to get.
        old: What was active when the attempt began.
        irreversible: See `Installer.irreversible`.
        payload: Where the verified payload lies; "" before it is there.
        received: Bytes over the air.
        begun: Verbs that were called, and may have done anything.
        done: Verbs that have returned and need not be called again.
        under_way: The verb that was called last and has not returned.
        tries: How often each verb was called.
        waited: How long a program was waited for before each verb, seconds.
        seconds: How long each verb has taken.
        boots: By verb that has asked for a reboot: the boot in which it did.
        gave_up: The verb that failed too often; tried again after the next start.
        trouble: What it said.
    """

    target: Target
    old: Installed | None
    irreversible: bool = False
    payload: str = ""
    received: int = 0
    begun: frozenset[Verb] = frozenset()
    done: frozenset[Verb] = frozenset()
    under_way: Verb | None = None
    tries: dict[Verb, int] = {}
    waited: dict[Verb, float] = {}
    seconds: dict[Verb, float] = {}
    boots: dict[Verb, str] = {}
    gave_up: Verb | None = None
    trouble: str = ""

    @property
    def ecu(self) -> str:
        """Id of the target."""
        return self.target.ecu

    @property
    def new(self) -> Installed:
        """What is to become active."""
        target = self.target
        return Installed(target.name, target.length, target.sha256, target.counter)

    @property
    def switched(self) -> bool:
        """Whether something new may have become active on it."""
        return Verb.ACTIVATE in self.begun or (self.irreversible and Verb.INSTALL in self.begun)

    def begin(self, verb: Verb) -> Self:
        """It is going to be called."""
        tries = {**self.tries, verb: self.tries.get(verb, 0) + 1}
        return self.but(begun=self.begun | {verb}, under_way=verb, tries=tries)

    def end(self, verb: Verb, seconds: float, boot: str = "") -> Self:
        """It has returned.

        Args:
            verb: Which.
            seconds: How long it took.
            boot: The boot we are in, where it asks for a reboot.
        """
        spent = {**self.seconds, verb: round(self.seconds.get(verb, 0) + seconds, 3)}
        changes: dict[str, Any] = {"under_way": None, "seconds": spent}
        if boot:
            changes["boots"] = {**self.boots, verb: boot}
        # What asks for a reboot on the way back is asked again after it.
        if not boot or verb is not Verb.ROLLBACK:
            changes["done"] = self.done | {verb}
        return self.but(**changes)

    def returned(self, trouble: str) -> Self:
        """The verb under way has returned without having done what it should."""
        return self.but(under_way=None, trouble=shown(trouble))

    def give_up(self, verb: Verb) -> Self:
        """It has failed too often; if it has never returned, that stays visible."""
        return self.but(gave_up=verb)

    def again(self, left: int) -> Self:
        """What it gave up may be tried once more.

        Args:
            left: How many tries count as used up.
        """
        if self.gave_up is None:
            return self
        return self.but(
            gave_up=None,
            tries={**self.tries, self.gave_up: left},
            waited={**self.waited, self.gave_up: 0.0},
        )


class Attempt(_Record):
    """One attempt on one group.

    Attributes:
        id: Tells it from all others of this vehicle.
        campaign: How it is to be installed.
        members: Its targets, in the order in which they are activated.
        needs: Ids of attempts that have to succeed before.
        began: Seconds since 1970 UTC.
        source: Who consented: ``driver``, ``workshop`` or ``deadline``; "": nobody was asked.
        committed: Whether the new versions are the valid set.  Once so, always so.
        failure: Why it does not succeed; then the old versions are the valid set.
        reboot: The last wait for a reboot, if there was one.
        retried_in: The boot in which what failed too often was last tried again.
        report: The final report, once it is due.
        handed: Whether the final report has been handed over.
    """

    id: str
    campaign: Campaign
    members: tuple[Member, ...]
    needs: tuple[str, ...] = ()
    began: int = 0
    source: str = ""
    committed: bool = False
    failure: Failure | None = None
    reboot: Wait | None = None
    retried_in: str = ""
    report: dict[str, Any] | None = None
    handed: bool = False

    def member(self, ecu: str) -> Member:
        """The one of this id.

        Raises:
            KeyError: There is none.
        """
        for member in self.members:
            if member.ecu == ecu:
                return member
        raise KeyError(ecu)

    def put(self, changed: Member) -> Self:
        """With one member changed."""
        return self.but(
            members=tuple(changed if one.ecu == changed.ecu else one for one in self.members)
        )

    def fail(self, failure: Failure) -> Self:
        """It goes back from here on.

        Raises:
            ValueError: The new versions are the valid set already.
        """
        if self.committed:
            raise ValueError(f"attempt {self.id} is committed and cannot fail any more")
        return self.but(failure=self.failure or failure)

    @property
    def switched(self) -> bool:
        """Whether something new may have become active."""
        return any(member.switched for member in self.members)

    @property
    def partial(self) -> bool:
        """Whether a part of it alone may be active, and can go back at once."""
        # Who has been flashed can only go back by being flashed, which needs the same conditions.
        return (
            len(self.members) > 1
            and any(Verb.ACTIVATE in one.begun for one in self.members)
            and not any(one.irreversible for one in self.members)
        )

    @property
    def cancellable(self) -> bool:
        """Whether it can be given up as if it had never been."""
        return not (self.switched or self.committed or self.failure)

    @property
    def stuck(self) -> bool:
        """Whether something has failed too often, so that only a new start tries it again."""
        return any(member.gave_up for member in self.members)

    @property
    def inconsistent(self) -> bool:
        """Whether its targets may not fit together."""
        return any(member.gave_up in (Verb.COMMIT, Verb.ROLLBACK) for member in self.members)

    @property
    def result(self) -> Result:
        """How it ends, once it is at its end."""
        if self.inconsistent:
            return Result.FAILED
        if self.committed:
            return Result.SUCCEEDED
        if self.failure is None:
            raise ValueError(f"attempt {self.id} is not at its end")
        return Result.ROLLED_BACK if self.switched else self.failure.result

    def job(self, member: Member) -> Job:
        """What a member's installer is told."""
        return Job(
            self.id,
            member.ecu,
            member.target.kind,
            member.new,
            member.old,
            Path(member.payload),
        )
