"""A client of a D-Bus message bus that waits no longer, and takes no more, than it was told.

D-Bus Specification 0.43.  jeepney makes and reads the messages; the socket is looked after here,
for every wait has an end and a message has at most `MAX_MESSAGE` bytes, whatever it claims.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

# jeepney has no type information.
from jeepney import (  # type: ignore[import-untyped]
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    new_method_call,
)
from jeepney.bus import get_bus  # type: ignore[import-untyped]
from jeepney.io.blocking import prep_socket  # type: ignore[import-untyped]

from bordnetz.ota.installers.quote import quote
from bordnetz.ota.installers.trouble import UnavailableError

MAX_MESSAGE = 1 << 20
"""Bytes of a message; RAUC's largest, the status of all slots, has some kilobytes."""

MAX_SIGNALS = 1000
"""That may wait while a call is answered."""

DAEMON = "org.freedesktop.DBus"
"""The bus itself, as a sender and as one who is called."""

_CHUNK = 4096
# What jeepney raises, when a message is not what the specification says.
_MALFORMED = (
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    RecursionError,
    struct.error,
)


class BusError(UnavailableError):
    """The bus cannot be reached, does not answer in time, or sends what it should not."""


class CallError(BusError):
    """A call was answered by an error.

    Attributes:
        name: Of the error, as ``org.freedesktop.DBus.Error.ServiceUnknown``.
    """

    def __init__(self, call: str, name: str, text: str) -> None:
        """Say it."""
        super().__init__(f"{call}: {text or name}")
        self.name = name
        self.text = text


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal; its body is as hostile as its sender.

    Attributes:
        sender: The unique name of the connection that it came from; the bus vouches for it.
        interface: That it belongs to.
        member: Its name.
        body: Its arguments.
    """

    sender: str
    interface: str
    member: str
    body: tuple[Any, ...]


class Bus:
    """One connection, for as long as one is within ``with``; for one thread."""

    def __init__(self, address: str, timeout: float) -> None:
        """Name it.

        Args:
            address: Of the bus, as ``unix:path=/run/dbus/system_bus_socket``.
            timeout: Seconds for the connection, and for each call.
        """
        self._address = address
        self._timeout = timeout
        self._socket: socket.socket | None = None
        self._parser = Parser()
        self._signals: deque[Signal] = deque()
        self._serial = 0

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            BusError: There is no such bus, or it does not let us in.
        """
        try:
            self._socket = prep_socket(get_bus(self._address), timeout=self._timeout)
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            raise BusError(
                f"D-Bus {self._address}: cannot connect: {error}; is the host's bus socket mounted "
                "into the container, and does its policy let this user in?"
            ) from error
        try:
            self.call(DAEMON, "/org/freedesktop/DBus", DAEMON, "Hello")
        except BusError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def call(
        self, name: str, path: str, interface: str, member: str, signature: str = "", *body: Any
    ) -> tuple[Any, ...]:
        """Call a method.

        Args:
            name: Who is called.
            path: Of the object.
            interface: Of the method.
            member: The method.
            signature: Of the arguments.
            body: The arguments.

        Returns:
            What the method returns; as hostile as who answers.

        Raises:
            CallError: It was answered by an error.
            BusError: No answer in time, or none that can be read.
        """
        address = DBusAddress(path, bus_name=name, interface=interface)
        message = new_method_call(address, member, signature or None, body)
        self._serial += 1
        deadline = time.monotonic() + self._timeout
        self._send(message.serialise(serial=self._serial), deadline)
        while True:
            answer = self._receive(deadline)
            if answer is None:
                raise BusError(
                    f"{member}: {name} has not answered within {self._timeout:g} s; it is tried "
                    "again; if that stays so, restart it"
                )
            fields = answer.header.fields
            if fields.get(HeaderFields.reply_serial) != self._serial:
                self._keep(answer)
            elif answer.header.message_type is MessageType.error:
                text = answer.body[0] if answer.body and isinstance(answer.body[0], str) else ""
                error = str(fields.get(HeaderFields.error_name, ""))
                raise CallError(member, quote(error), quote(text))
            else:
                return _tuple(answer.body)

    def listen(self, rule: str) -> None:
        """Have signals sent here.

        Args:
            rule: Which, as "Match Rules" of the specification has it.

        Raises:
            BusError: The bus does not do so.
        """
        self.call(DAEMON, "/org/freedesktop/DBus", DAEMON, "AddMatch", "s", rule)

    def owner(self, name: str) -> str:
        """The unique name of the connection that has a name now.

        Raises:
            BusError: Nobody has it.
        """
        (owner,) = self.call(
            DAEMON, "/org/freedesktop/DBus", DAEMON, "GetNameOwner", "s", name
        ) or ("",)
        return str(owner)

    def signal(self, timeout: float) -> Signal | None:
        """The next signal; None if none comes within so many seconds.

        Raises:
            BusError: The connection is lost.
        """
        deadline = time.monotonic() + timeout
        while not self._signals:
            message = self._receive(deadline)
            if message is None:
                return None
            self._keep(message)
        return self._signals.popleft()

    def forget(self) -> None:
        """Drop the signals that have come so far."""
        self._signals.clear()

    def _keep(self, message: Message) -> None:
        if message.header.message_type is not MessageType.signal:
            return
        if len(self._signals) >= MAX_SIGNALS:
            raise BusError(f"D-Bus {self._address}: more signals than anybody needs; tried again")
        fields = message.header.fields
        self._signals.append(
            Signal(
                str(fields.get(HeaderFields.sender, "")),
                str(fields.get(HeaderFields.interface, "")),
                str(fields.get(HeaderFields.member, "")),
                _tuple(message.body),
            )
        )

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            sock = self._ready(deadline)
            sock.sendall(data)
        except OSError as error:
            raise self._lost(error) from error

    def _receive(self, deadline: float) -> Message | None:
        """The next message; None if none is complete by then."""
        while True:
            try:
                # Its size is known, and checked, before more of it is read.
                if self._parser.bytes_desired() > MAX_MESSAGE:
                    raise BusError(
                        f"D-Bus {self._address}: a message of more than {MAX_MESSAGE} bytes is "
                        "refused; is this the bus that RAUC is on?"
                    )
                message = self._parser.get_next_message()
            except _MALFORMED as error:
                raise BusError(
                    f"D-Bus {self._address}: what came is no message ({type(error).__name__}); is "
                    "this a D-Bus socket?"
                ) from error
            if message is not None:
                return message
            try:
                data = self._ready(deadline).recv(_CHUNK)
            except TimeoutError:
                return None
            except OSError as error:
                raise self._lost(error) from error
            if not data:
                raise self._lost(ConnectionResetError("the bus has closed it"))
            self._parser.add_data(data)

    def _ready(self, deadline: float) -> socket.socket:
        if self._socket is None:
            raise ValueError("not within `with`")
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._socket

    def _lost(self, error: OSError) -> BusError:
        return BusError(
            f"D-Bus {self._address}: connection lost: {error}; it is tried again; does the host's "
            "dbus-daemon run?"
        )


def _tuple(body: Any) -> tuple[Any, ...]:
    return body if isinstance(body, tuple) else ()
