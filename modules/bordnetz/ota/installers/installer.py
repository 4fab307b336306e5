"""What the job engine asks of every kind of target: eight verbs that may be interrupted anywhere.

probe     what is active now
stage     put the payload where it does no harm yet
install   make the passive side complete, and read back what was written
activate  make the new side the active one; may need a reboot
verify    the new side is the active one, and healthy
commit    give up the way back
rollback  the side from before is the active one again
clean_up  nothing of the attempt is left but the active side

Each verb is idempotent: the engine writes into its journal that it is going to call one, and after
a crash calls it again, or calls `rollback`, from wherever the crash has left the target.  What a
verb says it has done is on the disk when it returns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, ClassVar

from bordnetz.errors import BordnetzError
from bordnetz.uptane.custom import PayloadKind


class InstallError(BordnetzError):
    """A verb could not be done; the attempt on this target has failed, and is rolled back."""


class UnhealthyError(InstallError):
    """The new side is active, but does not do its work."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What is active on a target.

    Attributes:
        name: Of the payload, as its target in the metadata is named; "" where nobody knows.
        length: Bytes of the plain payload.
        sha256: Of the plain payload, in hexadecimal; "" where nobody can tell.
        counter: Its release counter.
    """

    name: str
    length: int
    sha256: str
    counter: int


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt on one target.

    Attributes:
        attempt: Tells it from all others; the same after a restart.
        ecu: Id of the target.
        kind: What the payload is.
        new: What is to become active.
        old: What was active when the attempt began; None: nothing was.
        payload: The verified plain payload, in a folder on the state volume.  `stage` may move it
            away where that saves a copy; whoever needs it again looks at both places.
        fresh: Whether this process has read the payload back from the disk minutes ago, and it has
            looked the same since; told to `stage` alone.  Who only moves it need not read it again.
    """

    attempt: str
    ecu: str
    kind: PayloadKind
    new: Installed
    old: Installed | None
    payload: Path
    fresh: bool = False


class Activation(Enum):
    """What it takes to have the new side active."""

    DONE = "done"
    REBOOT = "reboot"


class Installer(ABC):
    """One target on this vehicle: a place, a slot pair, an ECU.

    Attributes:
        kinds: The payloads that it takes.
        irreversible: Whether `install` touches what is active, as on an ECU without a second bank;
            then `install` and `rollback` are called under the campaign's conditions alone.
    """

    kinds: ClassVar[frozenset[PayloadKind]]
    irreversible: ClassVar[bool] = False

    @abstractmethod
    def probe(self) -> Installed | None:
        """What is active now, looked at and not remembered; None where nothing is installed.

        Raises:
            InstallError: It cannot be told.
        """

    def base(self) -> BinaryIO | None:
        """The plain payload of what is active, to be read from any place, for deltas to start from.

        Whoever reads it compares its digest with the one that the delta names.

        Returns:
            A file to be closed; None: what is active cannot be read back.

        Raises:
            InstallError: It cannot be read now.
        """
        return None

    def ready(self) -> None:
        """See whether the programs that the verbs need are there; it changes nothing.

        Raises:
            UnavailableError: One is not there now, or is at something else.
            TroubleError: One answers what cannot be understood.
        """
        return

    @abstractmethod
    def room(self, job: Job) -> int:
        """Bytes of disk that are still missing to stage and install it; 0 where it fits."""

    @abstractmethod
    def stage(self, job: Job) -> None:
        """Put the payload where it does no harm yet.

        Raises:
            InstallError: It does not go there.
        """

    @abstractmethod
    def install(self, job: Job) -> None:
        """Make the passive side complete, and read back what was written.

        Raises:
            InstallError: It cannot be written, or what is read is not what was to be written.
        """

    @abstractmethod
    def activate(self, job: Job) -> Activation:
        """Make the new side the active one, or have it become so by the next boot.

        Raises:
            InstallError: It cannot be switched.
        """

    @abstractmethod
    def verify(self, job: Job) -> None:
        """Make sure that the new side is the active one and does its work.

        Raises:
            InstallError: It is not the active one.
            UnhealthyError: It is, and does not do its work.
        """

    @abstractmethod
    def commit(self, job: Job) -> None:
        """Give up the way back; after this, `rollback` is not called any more.

        Raises:
            InstallError: It has to be tried again.
        """

    @abstractmethod
    def rollback(self, job: Job) -> Activation:
        """Make the side from before the active one, whatever has been done of the attempt so far.

        Raises:
            InstallError: It has to be tried again.
        """

    @abstractmethod
    def clean_up(self, job: Job) -> None:
        """Leave nothing of the attempt behind but the active side.

        After the journal has been lost it is called with an attempt that nobody knows, whose new
        version is the active one and whose payload is not there: what any attempt may have left
        behind goes.

        Raises:
            InstallError: It has to be tried again.
        """
