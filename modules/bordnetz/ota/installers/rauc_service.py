"""RAUC as its D-Bus service shows it: slots, the primary one, marks, one installation at a time.

Interface ``de.pengutronix.rauc.Installer`` of RAUC 1.8 (docs/reference.rst, "D-Bus API"); later
versions have the same methods.  What comes from the service is checked before it is used.

Two things that the reference does not say, seen in 1.8 (src/service.c): while an installation runs,
every other call is refused; and `InstallBundle`, when it is refused for that reason, sets the
property ``Operation`` to "idle" although the other installation goes on.  So whether the service is
busy is asked by a call that would be refused, and not by that property.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from bordnetz.ota.installers.dbus import DAEMON, Bus, BusError, CallError, Signal
from bordnetz.ota.installers.installer import InstallError
from bordnetz.ota.installers.quote import quote
from bordnetz.ota.installers.trouble import TroubleError, UnavailableError

NAME = "de.pengutronix.rauc"
CALL_TIMEOUT = 30.0
"""Seconds for one call: some boot loaders are asked by a program of their own."""

_INTERFACE = "de.pengutronix.rauc.Installer"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_PATH = "/"
_BUSY = "already processing a different method"
# D-Bus Specification 0.43, "Message Bus Messages", and dbus-protocol.h: nobody has the name, nobody
# could be started for it, or who had it ended before it answered.
_ABSENT = ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Timeout", "TimedOut", "Disconnected")
_NOT_STARTED = "org.freedesktop.DBus.Error.Spawn."
_POLL = 1.0
_MAX_SLOTS = 64

_Text = Annotated[str, StringConstraints(max_length=4096)]


class RaucError(TroubleError):
    """RAUC does not run, ends, is not set up for this, or answers what cannot be understood."""


class AbsentError(RaucError, UnavailableError):
    """RAUC's service does not run, has just ended, or does not answer."""


class BusyError(RaucError, UnavailableError):
    """RAUC is at another installation, and stays so."""


class RefusedError(InstallError):
    """RAUC refuses the bundle, or cannot install it."""


class Slot(BaseModel):
    """One slot, as ``GetSlotStatus`` tells it.

    Attributes:
        name: As ``rootfs.0``.
        slot_class: As ``rootfs``.
        bootname: By which the boot loader knows it; None for a slot that cannot be booted.
        parent: The slot that it belongs to; None for one that stands for itself.
        state: ``booted``, ``active`` or ``inactive``.
        boot_status: ``good`` or ``bad``, by the boot loader; None where that is not known.
        status: ``ok`` where the last installation came to its end; None where there was none.
        sha256: Of the image that was written.
        count: Installations so far.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    slot_class: Annotated[_Text, Field(alias="class")] = ""
    bootname: _Text | None = None
    parent: _Text | None = None
    state: _Text = ""
    boot_status: Annotated[_Text | None, Field(alias="boot-status")] = None
    status: _Text | None = None
    sha256: _Text = ""
    count: Annotated[int, Field(alias="installed.count", ge=0)] = 0


class RaucService:
    """A connection to the service, for as long as one is within ``with``; for one thread."""

    def __init__(self, address: str, *, timeout: float = CALL_TIMEOUT) -> None:
        """Name the bus.

        Args:
            address: Of the bus that the service is on.
            timeout: Seconds for a call.
        """
        self._bus = Bus(address, timeout)

    def __enter__(self) -> Self:
        """Connect, and hear what the service says.

        Raises:
            BusError: There is no such bus.
        """
        self._bus.__enter__()
        try:
            self._bus.listen(f"type='signal',sender='{NAME}',interface='{_INTERFACE}'")
            self._bus.listen(
                f"type='signal',sender='{NAME}',path='{_PATH}',interface='{_PROPERTIES}'"
            )
            self._bus.listen(
                f"type='signal',sender='{DAEMON}',member='NameOwnerChanged',arg0='{NAME}'"
            )
        except BusError:
            self._bus.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bus.__exit__(kind, error, trace)

    # -- one call each

    def slots(self) -> dict[str, Slot]:
        """All slots by their names.

        Raises:
            BusyError: An installation runs.
            RaucError: RAUC cannot tell, or what it tells is no status of slots.
        """
        (entries,) = self._call("GetSlotStatus", 1)
        try:
            if not isinstance(entries, list) or len(entries) > _MAX_SLOTS:
                raise ValueError(f"it is no list of at most {_MAX_SLOTS} slots")
            slots = [
                Slot.model_validate({"name": name, **{key: v for key, (_, v) in values.items()}})
                for name, values in entries
            ]
        except (ValueError, TypeError, AttributeError) as error:
            wrong = error
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                wrong = ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
            raise RaucError(
                f"RAUC's status of the slots is not understood: {quote(str(wrong))}; is RAUC older "
                "than 1.8?"
            ) from error
        return {slot.name: slot for slot in slots}

    def primary(self) -> str:
        """The slot that the next boot takes.

        Raises:
            BusyError: An installation runs.
            RaucError: The boot loader does not tell.
        """
        (name,) = self._call("GetPrimary", 1)
        return str(name)[:256]

    def mark(self, state: str, slot: str) -> None:
        """Mark a slot in the boot loader.

        Args:
            state: ``good``, ``bad``, or ``active``: the next boot takes it.
            slot: Its name.

        Raises:
            BusyError: An installation runs.
            RaucError: The boot loader does not take it.
        """
        self._call("Mark", 2, "ss", state, slot)

    # -- what takes its time

    def settled(self, deadline: float) -> dict[str, Slot]:
        """All slots by their names, as soon as no installation runs.

        Args:
            deadline: By `time.monotonic`.

        Raises:
            BusyError: By then, one still runs.
            RaucError: RAUC cannot tell.
        """
        while True:
            try:
                return self.slots()
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
                # The end of it is a signal; whoever missed that asks again.
                self._bus.signal(min(_POLL, deadline - time.monotonic()))

    def install(self, bundle: str, progress: Callable[[int], None], deadline: float) -> None:
        """Have a bundle installed.

        Args:
            bundle: Path of the file, as the service sees it.
            progress: Gets per cent, as they change.
            deadline: By `time.monotonic`.

        Raises:
            BusyError: By then, RAUC is still at another one's installation.
            AbsentError: RAUC ends.
            RaucError: It has not finished by then (and goes on: it cannot be told to stop).
            RefusedError: RAUC refuses the bundle, or cannot install it.
        """
        while True:
            self.settled(deadline)
            try:
                self._call("InstallBundle", 0, "sa{sv}", bundle, {})
                break
            except BusyError:
                if time.monotonic() >= deadline:
                    raise
        # What came before the answer is of others' installations.
        self._bus.forget()
        owner = self._bus.owner(NAME)
        told = -1
        while True:
            signal = self._bus.signal(max(deadline - time.monotonic(), 0))
            if signal is None:
                raise RaucError(
                    "RAUC has not finished the installation in the time it has; it goes on, and "
                    "the attempt is rolled back when it has ended; raise the installer's timeout"
                )
            if (signal.sender, signal.member) == (DAEMON, "NameOwnerChanged"):
                raise AbsentError(
                    "RAUC has ended in the middle of the installation; its log on the host says why"
                )
            if signal.sender != owner:
                # Anybody on the bus may send a signal straight to us.
                continue
            if signal.interface == _INTERFACE and signal.member == "Completed":
                if signal.body[:1] == (0,):
                    return
                raise RefusedError(f"RAUC has not installed it: {self._last_error()}")
            percent = _percent(signal)
            if percent is not None and percent > told:
                told = percent
                progress(percent)

    def _last_error(self) -> str:
        try:
            ((_, text),) = self._bus.call(
                NAME, _PATH, _PROPERTIES, "Get", "ss", _INTERFACE, "LastError"
            )
        except (BusError, ValueError, TypeError):
            text = ""
        said = quote(str(text)[:4096])
        return said or "it does not say why; its log on the host does"

    def _call(self, member: str, returns: int, signature: str = "", *body: Any) -> tuple[Any, ...]:
        try:
            answer = self._bus.call(NAME, _PATH, _INTERFACE, member, signature, *body)
        except CallError as error:
            if error.text.lower() == _BUSY:
                raise BusyError(
                    "RAUC is at an installation that somebody else has begun, or that was begun "
                    "before a restart; it is tried again when that has ended"
                ) from error
            if _absent(error.name):
                raise AbsentError(
                    "RAUC's service does not run on this bus; start rauc.service on the host"
                ) from error
            raise RaucError(f"RAUC refuses {error}") from error
        if len(answer) != returns:
            raise RaucError(f"RAUC's answer to {member} is not understood; is it older than 1.8?")
        return answer


def _absent(name: str) -> bool:
    """Whether an error of the bus says that nobody answers for the service."""
    return name.startswith(_NOT_STARTED) or name in {
        f"org.freedesktop.DBus.Error.{one}" for one in _ABSENT
    }


def _percent(signal: Signal) -> int | None:
    """Of a change of the property ``Progress``, which is (per cent, what, depth)."""
    if signal.member != "PropertiesChanged" or len(signal.body) < 2:
        return None
    changed = signal.body[1]
    value = changed.get("Progress") if isinstance(changed, Mapping) else None
    match value:
        case (_, (int(percent), *_)) if 0 <= percent <= 100:
            return percent
    return None
