"""A head unit's slots, filled by RAUC: the payload is a bundle, and the new side needs a reboot.

RAUC verifies the bundle's own signature besides ours, writes the slots that do not run and syncs
them; it is the one that knows partitions and boot loader.  What is done here is to have that happen
once, at the right time, and to know afterwards what has happened:

stage     moves the bundle to where RAUC on the host can read it
install   has RAUC install it.  There is no way to ask RAUC 1.8 which bundle it is or was at; so
          after a crash the installation that may still run is waited for, and then, unless it was
          noted as complete, done again: the slots that run are never touched by it
activate  marks the new slot active: the next boot takes it
verify    the new slot runs, and the vehicle file's health command is content
commit    marks the new slot good: the boot loader stops counting its attempts
rollback  marks the old slot active, and the new one bad, if RAUC has touched it

RAUC should have ``activate-installed=false`` in its ``system.conf``; else it marks the new slot
active as soon as it is written, and a power cut in the moment before that is undone here boots it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from bordnetz.edge import durable
from bordnetz.ota.installers import health, staged
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import (
    Activation,
    Installed,
    Installer,
    InstallError,
    Job,
    UnhealthyError,
)
from bordnetz.ota.installers.rauc_service import BusyError, RaucError, RaucService, Slot
from bordnetz.ota.installers.record import Begun, Content, Record
from bordnetz.ota.installers.trouble import TroubleError

log = logging.getLogger(__name__)

__all__ = ["RaucInstaller"]


class RaucInstaller(Installer):
    """One head unit with RAUC, alone with its folder and its record.

    `probe` may be called by any thread, the other verbs by one.
    """

    kinds = frozenset({"rauc"})

    def __init__(
        self,
        *,
        bus: str,
        folder: Path,
        seen: PurePosixPath,
        record: Path,
        health: Command | None,
        timeout: float,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Describe it.

        Args:
            bus: D-Bus address of the host's bus, as ``unix:path=/run/dbus/system_bus_socket``.
            folder: Bundles are put here, and all bundles here are ours.
            seen: The same folder, as the host sees it.
            record: File that remembers what is in which slot, on the state volume.
            health: Says by its exit whether the system that runs is well; None: that it runs is
                enough.
            timeout: Seconds for an installation, and for another one that is in the way.
            progress: Gets per cent of an installation, as they change.
        """
        self._bus = bus
        self._folder = folder
        self._seen = seen
        self._record = record
        self._health = health
        self._timeout = timeout
        self._progress = progress
        self._running: Slot | None = None

    def probe(self) -> Installed | None:
        """What runs; nameless where RAUC has it from somebody else, as from the factory."""
        with RaucService(self._bus) as rauc:
            try:
                booted = self._running = _booted(rauc.slots())
            except BusyError:
                # It tells nothing while it installs, and what runs stays the same in the while.
                if self._running is None:
                    raise
                booted = self._running
        content = Record.load(self._record).content(booted.name, _look(booted))
        return content.installed if content else Installed("", 0, "", 0)

    def ready(self) -> None:
        """Ask RAUC for its slots, which it tells while it is at no installation."""
        with RaucService(self._bus) as rauc:
            rauc.slots()

    def room(self, job: Job) -> int:
        """What the bundle lacks in our folder, where it has to be copied there."""
        durable.make_folder(self._folder)
        if self._place(job).exists() or staged.same_device(self._folder, job.payload):
            return 0
        return max(job.new.length - shutil.disk_usage(self._folder).free, 0)

    def stage(self, job: Job) -> None:
        """Move the bundle to where RAUC can read it, or copy it, if that is another disk."""
        place = self._place(job)
        if place.exists():
            return
        durable.make_folder(self._folder)
        if staged.same_device(self._folder, job.payload):
            durable.rename(job.payload, place)
        else:
            staged.copy(job.payload, place)

    def install(self, job: Job) -> None:
        """Have RAUC install the bundle into the slots that do not run."""
        deadline = self._deadline()
        record = Record.load(self._record)
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(deadline)
            old = _booted(slots)
            begun = record.begun
            if begun is None or begun.attempt != job.attempt:
                new = _other(slots, old)
                before = record.content(new.name, _look(new))
                begun = Begun(
                    attempt=job.attempt, old=old.name, new=new.name, look=_look(new), before=before
                )
                record = record.begin(begun)
                record.save(self._record)
            elif begun.old != old.name:
                raise TroubleError(
                    f"{old.name} runs, but the attempt began on {begun.old}: the system was booted "
                    "in the middle of it; set activate-installed=false in RAUC's system.conf"
                )
            elif begun.installed and record.content(begun.new, _look(_find(slots, begun.new))):
                return
            staged.check(self._place(job), job.new)
            rauc.install(str(self._seen / self._place(job).name), self._progress, deadline)
            new = _find(rauc.settled(deadline), begun.new)
            same = begun.before is not None and begun.before.sha256 == job.new.sha256
            if new.status != "ok" or (_look(new) == begun.look and not same):
                raise InstallError(
                    f"RAUC reports success, but has written nothing to {new.name}; the bundle must "
                    f"have an image for {new.slot_class or 'the slot that is booted'}, and RAUC's "
                    "system.conf must not have install-same=false"
                )
            self._keep_inactive(rauc, begun)
        record.end(Content.of(job.new, _look(new))).save(self._record)

    def activate(self, job: Job) -> Activation:
        """Have the next boot take the new slot."""
        record = Record.load(self._record)
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(self._deadline())
            begun = self._installed(record, slots, job)
            if _booted(slots).name == begun.new:
                return Activation.DONE
            self._switch(rauc, begun.new)
        return Activation.REBOOT

    def verify(self, job: Job) -> None:
        """Make sure that the new slot runs, holds what was installed, and is well."""
        record = Record.load(self._record)
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(self._deadline())
        booted = _booted(slots)
        begun = self._installed(record, slots, job)
        if booted.name != begun.new:
            raise InstallError(
                f"{booted.name} runs and not {begun.new}: the new system has not booted, and the "
                "boot loader went back; the console or pstore says why"
            )
        health.check(self._health, begun.new)

    def commit(self, job: Job) -> None:
        """Have the boot loader keep the new slot."""
        record = Record.load(self._record)
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(self._deadline())
            begun = self._installed(record, slots, job)
            if _booted(slots).name != begun.new:
                raise TroubleError(f"{begun.new} does not run, so it is not marked good")
            rauc.mark("good", begun.new)

    def rollback(self, job: Job) -> Activation:
        """Have the old slot run; the new one counts as bad, if RAUC has touched it."""
        record = Record.load(self._record)
        begun = record.begun
        if begun is None or begun.attempt != job.attempt:
            return Activation.DONE
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(self._deadline())
            self._go_back(rauc, slots, record, begun)
        return Activation.REBOOT if _booted(slots).name == begun.new else Activation.DONE

    def clean_up(self, job: Job) -> None:
        """Remove the bundle, and forget the attempt."""
        record = Record.load(self._record)
        if record.begun is not None:
            if record.begun.attempt != job.attempt:
                record = self._find_home(record, record.begun)
            record.forget().save(self._record)
        if self._folder.is_dir():
            for bundle in self._folder.glob("*.raucb"):
                durable.remove(bundle)
            durable.sweep(self._folder)

    # -- parts of the above

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _place(self, job: Job) -> Path:
        return self._folder / f"{job.new.sha256}.raucb"

    def _go_back(
        self, rauc: RaucService, slots: dict[str, Slot], record: Record, begun: Begun
    ) -> Record:
        new = _find(slots, begun.new)
        self._switch(rauc, begun.old)
        if _look(new) == begun.look and new.boot_status == "good":
            # RAUC marks a slot bad before it writes, and this one is as it was before.
            record = record.restore()
            record.save(self._record)
        else:
            rauc.mark("bad", begun.new)
        return record

    def _find_home(self, record: Record, begun: Begun) -> Record:
        """End an attempt that nobody knows any more where it is: on the slot that runs."""
        with RaucService(self._bus) as rauc:
            slots = rauc.settled(self._deadline())
            if _booted(slots).name != begun.new:
                return self._go_back(rauc, slots, record, begun)
            try:
                health.check(self._health, begun.new)
            except UnhealthyError as error:
                log.error("an attempt was lost, its slot is left to the boot loader: %s", error)
            else:
                rauc.mark("good", begun.new)
            return record

    @staticmethod
    def _installed(record: Record, slots: dict[str, Slot], job: Job) -> Begun:
        """The attempt, sure to have its payload in the new slot."""
        begun = record.begun
        if begun is None or begun.attempt != job.attempt or not begun.installed:
            raise TroubleError("RAUC has not finished this attempt's installation")
        if record.content(begun.new, _look(_find(slots, begun.new))) is None:
            raise TroubleError(
                f"somebody else has installed something in {begun.new} since; it is not used"
            )
        return begun

    @staticmethod
    def _switch(rauc: RaucService, slot: str) -> None:
        """Mark a slot active, and see whether it has become so."""
        rauc.mark("active", slot)
        primary = rauc.primary()
        if primary != slot:
            raise RaucError(
                f"{slot} was marked active, but the boot loader's primary slot is {primary}; check "
                "the boot loader's configuration in RAUC's system.conf"
            )

    def _keep_inactive(self, rauc: RaucService, begun: Begun) -> None:
        """Undo that RAUC activates by itself what it has installed."""
        if rauc.primary() == begun.new:
            log.warning(
                "RAUC has activated %s before its time, %s is active again; "
                "set activate-installed=false in its system.conf",
                begun.new,
                begun.old,
            )
            self._switch(rauc, begun.old)


def _booted(slots: dict[str, Slot]) -> Slot:
    booted = [slot for slot in slots.values() if slot.state == "booted"]
    if len(booted) != 1:
        raise RaucError(
            "RAUC does not know which slot runs; check the bootnames in its system.conf, and "
            "`rauc status` on the host"
        )
    return booted[0]


def _other(slots: dict[str, Slot], booted: Slot) -> Slot:
    """The slot that can be booted instead."""
    others = [
        slot
        for slot in slots.values()
        if slot.slot_class == booted.slot_class
        and slot.name != booted.name
        and slot.bootname is not None
        and slot.parent is None
    ]
    if len(others) != 1:
        raise RaucError(
            f"RAUC has {len(others)} slots to boot instead of {booted.name}; exactly one is needed"
        )
    return others[0]


def _find(slots: dict[str, Slot], name: str) -> Slot:
    if name not in slots:
        raise RaucError(f"RAUC does not know {name} any more; its system.conf was changed")
    return slots[name]


def _look(slot: Slot) -> str:
    """What tells whether a slot was written since."""
    return f"{slot.sha256[:64]} {slot.count}"
