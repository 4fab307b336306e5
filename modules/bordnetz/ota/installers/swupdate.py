"""A head unit's two sides, filled by SWUpdate: the payload is a .swu, the new side needs a reboot.

SWUpdate verifies the image's own signature besides ours and writes the side that it is told; which
side runs and which one boots is asked of the boot loader (`boot_loader`), for SWUpdate does not
tell.  As it keeps no list of what it has installed either, what is in a side is what we remember of
it; a boot loader program that names the build that runs makes sure of that.

stage     a dry run: SWUpdate reads all of the image and writes nothing
install   the image is streamed in and written to the side that does not run; after a crash it is
          done again, as soon as SWUpdate is idle
activate  the next boot takes the new side
verify    the new side runs, and the vehicle file's health command is content
commit    the new side is marked good, and ``ustate`` becomes "ok"
rollback  the next boot takes the old side, the new one is marked bad, ``ustate`` becomes "failed"

An image whose sw-description switches the boot loader by itself is switched back at once, and a
power cut in that moment boots it; an image for a car should leave that to `activate`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bordnetz.ota.installers import health, staged
from bordnetz.ota.installers.boot_loader import BootLoader
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    Installer,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.installers.record import Begun, Content, Record
from bordnetz.ota.installers.swupdate_service import (
    WORD,
    Run,
    SwupdateError,
    SwupdateService,
    UnreachableError,
    UpdateState,
)
from bordnetz.ota.installers.trouble import TroubleError

log = logging.getLogger(__name__)

__all__ = ["SwupdateInstaller"]

_UNSEEN = "not booted yet"
"""How a side looks that was written and has not run since."""


class SwupdateInstaller(Installer):
    """One head unit with SWUpdate, alone with its record.

    `probe` may be called by any thread, the other verbs by one.
    """

    kinds = frozenset({"swupdate"})

    def __init__(
        self,
        *,
        control: Path,
        news: Path,
        sides: Mapping[str, tuple[str, str]],
        boot_loader: BootLoader,
        record: Path,
        health: Command | None,
        timeout: float,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Describe it.

        Args:
            control: SWUpdate's control socket.
            news: SWUpdate's progress socket.
            sides: The two sides by the boot loader's names, each with the software set and running
                mode that make SWUpdate write it, as ``{"a": ("stable", "main"), ...}``; SWUpdate
                runs with ``-q`` for both.
            boot_loader: Knows which side runs, and has another one boot.
            record: File that remembers what is in which side, on the state volume.
            health: Says by its exit whether the system that runs is well; None: that it runs is
                enough.
            timeout: Seconds for an installation, and for another one that is in the way.
            progress: Gets per cent of an installation, as they change.
        """
        if len(sides) != 2:
            raise TroubleError(f"SWUpdate needs two sides, not {len(sides)}; see the vehicle file")
        for word in (word for selection in sides.values() for word in selection):
            if not 0 < len(word.encode()) < WORD:
                raise TroubleError(f"a word of SWUpdate's selections has not 1 to {WORD - 1} bytes")
        self._service = SwupdateService(control, news)
        self._sides = sides
        self._boot = boot_loader
        self._record = record
        self._health = health
        self._timeout = timeout
        self._progress = progress

    def probe(self) -> Installed | None:
        """What runs; nameless where it was not we who have installed it, as in the factory."""
        side, build = self._current()
        content = Record.load(self._record).content(side, build)
        return content.installed if content else Installed("", 0, "", 0)

    def ready(self) -> None:
        """Ask SWUpdate whether it is at an installation."""
        self._service.settled(time.monotonic())

    def room(self, job: Job) -> int:
        """None is needed: the payload is streamed from where it is."""
        del job
        return 0

    def stage(self, job: Job) -> None:
        """Have SWUpdate read all of it, and say whether it would take it."""
        running, _ = self._current()
        self._stream(job, self._other(running), Run.DRY, lambda _: None)

    def install(self, job: Job) -> None:
        """Have SWUpdate write the side that does not run."""
        record = Record.load(self._record)
        running, _ = self._current()
        begun = record.begun
        if begun is None or begun.attempt != job.attempt:
            new = self._other(running)
            begun = Begun(attempt=job.attempt, old=running, new=new, look="")
            record = record.begin(begun)
            record.save(self._record)
        elif begun.old != running:
            raise TroubleError(
                f"{running} runs, but the attempt began on {begun.old}: the system was booted in "
                "the middle of it; the image must not switch the boot loader by itself"
            )
        elif begun.installed:
            return
        self._stream(job, begun.new, Run.INSTALL, self._progress)
        if self._boot.primary() == begun.new:
            log.warning(
                "the image has made %s primary before its time, %s is primary again; "
                "leave the boot loader out of its sw-description",
                begun.new,
                begun.old,
            )
            self._boot.switch(begun.old)
        record.end(Content.of(job.new, _UNSEEN)).save(self._record)

    def activate(self, job: Job) -> Activation:
        """Have the next boot take the new side."""
        begun = self._installed(Record.load(self._record), job)
        running, _ = self._current()
        if running == begun.new:
            return Activation.DONE
        self._boot.switch(begun.new)
        return Activation.REBOOT

    def verify(self, job: Job) -> None:
        """Make sure that the new side runs, and is well; remember the build that it says it is."""
        record = Record.load(self._record)
        begun = self._installed(record, job)
        running, build = self._current()
        if running != begun.new:
            raise InstallError(
                f"{running} runs and not {begun.new}: the new system has not booted, and the boot "
                "loader went back; the console or pstore says why"
            )
        health.check(self._health, begun.new)
        record.end(Content.of(job.new, build)).save(self._record)

    def commit(self, job: Job) -> None:
        """Have the boot loader keep the new side."""
        begun = self._installed(Record.load(self._record), job)
        running, _ = self._current()
        if running != begun.new:
            raise TroubleError(f"{begun.new} does not run, so it is not marked good")
        self._boot.mark(begun.new, "good")
        self._service.set_state(UpdateState.OK)

    def rollback(self, job: Job) -> Activation:
        """Have the old side run; the new one counts as bad, for it may be half written."""
        begun = Record.load(self._record).begun
        if begun is None or begun.attempt != job.attempt:
            return Activation.DONE
        return self._go_back(begun)

    def clean_up(self, job: Job) -> None:
        """Forget the attempt; the payload is its owner's."""
        record = Record.load(self._record)
        if record.begun is not None:
            if record.begun.attempt != job.attempt:
                record = self._find_home(record, record.begun)
            record.forget().save(self._record)

    # -- parts of the above

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _current(self) -> tuple[str, str]:
        side, build = self._boot.current()
        if side not in self._sides:
            raise SwupdateError(
                f"the boot loader says that {side} runs, which is none of the sides "
                f"{' and '.join(self._sides)}; see the vehicle file"
            )
        return side, build

    def _other(self, running: str) -> str:
        (other,) = (side for side in self._sides if side != running)
        return other

    def _go_back(self, begun: Begun) -> Activation:
        reachable = True
        try:
            self._service.settled(self._deadline())
        except UnreachableError as error:
            # It may be the new system that has none; what does not run does not write either.
            log.warning("going back without SWUpdate: %s", error)
            reachable = False
        self._boot.switch(begun.old)
        self._boot.mark(begun.new, "bad")
        if reachable:
            self._service.set_state(UpdateState.FAILED)
        running, _ = self._current()
        return Activation.REBOOT if running == begun.new else Activation.DONE

    def _find_home(self, record: Record, begun: Begun) -> Record:
        """End an attempt that nobody knows any more where it is: on the side that runs."""
        running, build = self._current()
        if running != begun.new:
            self._go_back(begun)
            return record
        try:
            health.check(self._health, begun.new)
        except UnhealthyError as error:
            log.error("an attempt was lost, its side is left to the boot loader: %s", error)
            return record
        self._boot.mark(begun.new, "good")
        content = record.content(begun.new, _UNSEEN)
        return record.end(content.model_copy(update={"look": build})) if content else record

    def _stream(self, job: Job, side: str, run: Run, progress: Callable[[int], None]) -> None:
        staged.check(job.payload, job.new)
        try:
            file = job.payload.open("rb")
        except OSError as error:
            raise TroubleError(f"{job.payload}: the image cannot be read: {error}") from error
        with file:
            self._service.install(file, self._sides[side], run, progress, self._deadline())

    @staticmethod
    def _installed(record: Record, job: Job) -> Begun:
        """The attempt, sure to have its payload in the new side."""
        begun = record.begun
        if begun is None or begun.attempt != job.attempt or not begun.installed:
            raise TroubleError("SWUpdate has not finished this attempt's installation")
        return begun
