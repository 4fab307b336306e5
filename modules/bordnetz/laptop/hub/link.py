"""One client's connection: packets in, packets out, until either side ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from bordnetz.laptop.hub.broker import Broker
from bordnetz.laptop.hub.decoder import Decoder
from bordnetz.laptop.hub.identities import Identities, RefusedError
from bordnetz.laptop.hub.mqtt import (
    Connack,
    Connect,
    ConnectCode,
    Disconnect,
    MqttError,
    Packet,
    PacketTooLargeError,
    Pingreq,
    Pingresp,
    Puback,
    Publish,
    Suback,
    Subscribe,
    Unsuback,
    Unsubscribe,
    encode,
)
from bordnetz.laptop.hub.session import Session

log = logging.getLogger(__name__)

MAX_PACKET = 262_144
"""Inbound packets, remaining length in bytes (Edge hub, MaxInboundMessageSize)."""

MAX_CONNECT = 16_384
"""The first packet, which comes from somebody unknown: ids, user name and token are far smaller."""

CONNECT_TIMEOUT = 60.0
"""Seconds for CONNECT to come (Edge hub, ConnectArrivalTimeout)."""

MAX_KEEP_ALIVE = 600.0
"""Seconds (Edge hub, MaxKeepAliveTimeout)."""

MAX_UNACKNOWLEDGED = 16
"""PUBLISH packets of a client that wait for their PUBACK; then nothing more is read from it (Edge
hub, MaxPendingInboundAcknowledgements)."""

_CHUNK = 65_536


class MqttLink:
    """A connection, and the session it belongs to once its CONNECT is accepted."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        broker: Broker,
        identities: Identities,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._broker, self._identities, self._clock = broker, identities, clock
        self._faults = broker.faults
        self._decoder = Decoder(MAX_CONNECT)
        self.module: str | None = None
        """Whose link it is, once that is known."""
        self._session: Session | None = None
        self._timeout = CONNECT_TIMEOUT
        self._closed = False
        self._audible = asyncio.Event()
        self._audible.set()
        self._held: list[bytes] = []
        self._withheld: list[int] = []
        self._never_acknowledged = 0
        self._released = asyncio.Event()
        self._hurried = asyncio.Event()

    async def run(self) -> None:
        """Serves the connection until it ends; never raises for what the client does."""
        reason = "closed by the client"
        try:
            while await self._receive():
                pass
        except TimeoutError:
            reason = f"nothing heard for {self._timeout:g} s"
        except (MqttError, RefusedError) as error:
            reason = str(error)
        except OSError as error:
            reason = f"broken: {error.strerror or error}"
        finally:
            if self._session is not None:
                self._broker.disconnect(self._session, self)
            self.close(reason)

    def send(self, data: bytes) -> None:
        """Sends bytes; holds them while the link has gone silent."""
        if not self._audible.is_set():
            self._held.append(data)
        elif not self._closed:
            self._writer.write(data)

    def close(self, reason: str) -> None:
        """Cuts the connection; what was written already still leaves."""
        if not self._closed:
            self._closed = True
            log.info("link of %s ends: %s", self.module or "an unknown client", reason)
            self._writer.close()
        for waited_for in (self._audible, self._released, self._hurried):
            waited_for.set()

    def drop(self) -> None:
        """Cuts the connection at once, as a broken network does."""
        self._writer.transport.abort()
        self.close("dropped by the hub")

    def go_silent(self) -> None:
        """From now on reads and answers nothing."""
        self._audible.clear()

    def lift(self, knob: str) -> None:
        """Makes good what a fault has held back."""
        if knob == "go-silent":
            self._audible.set()
            held, self._held = self._held, []
            for data in held:
                self.send(data)
        elif knob == "withhold-puback":
            withheld, self._withheld = self._withheld, []
            for packet_id in withheld:
                self.send(encode(Puback(packet_id)))
            self._released.set()
        elif knob == "slow":
            self._hurried.set()

    async def _receive(self) -> bool:
        """Handles what arrives next; False after the last byte or a DISCONNECT."""
        async with asyncio.timeout(self._timeout):
            data = await self._reader.read(_CHUNK)
        if not data:
            return False
        await self._audible.wait()
        cap = self._faults.armed("cap-packets", self.module)
        if self.module is not None:
            self._decoder.limit = min(MAX_PACKET, cap.value) if cap else MAX_PACKET
        try:
            for packet in self._decoder.feed(data):
                await self._audible.wait()
                if self._closed or not await self._handle(packet):
                    return False
        except PacketTooLargeError as error:
            if cap is not None and self.module is not None and error.length <= MAX_PACKET:
                self._faults.strike("cap-packets", self.module)
            raise
        if not self._closed:
            await self._writer.drain()
        return not self._closed

    async def _handle(self, packet: Packet) -> bool:
        if self._session is None or self.module is None:
            if not isinstance(packet, Connect):
                raise MqttError(f"{type(packet).__name__} before CONNECT")
            return await self._connect(packet)
        if slow := self._faults.armed("slow", self.module):
            self._faults.strike("slow", self.module)
            self._hurried.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(slow.value / 1000):
                    await self._hurried.wait()
            if self._closed:
                return False
        match packet:
            case Publish():
                await self._publish(self._session, packet)
            case Puback(packet_id):
                self._broker.acknowledged(self._session, packet_id)
            case Subscribe():
                codes = self._broker.subscribe(self._session, packet)
                self.send(encode(Suback(packet.packet_id, codes)))
                self._broker.subscribed(self._session)
            case Unsubscribe():
                self._broker.unsubscribe(self._session, packet)
                self.send(encode(Unsuback(packet.packet_id)))
            case Pingreq():
                self.send(encode(Pingresp()))
            case Disconnect():
                return False
            case _:
                raise MqttError(f"{type(packet).__name__} from a client")
        return True

    async def _connect(self, packet: Connect) -> bool:
        try:
            module = self._identities.authenticate(packet, self._clock())
            if self._faults.strike("go-silent", module):
                self.module = module
                self.go_silent()
                await self._audible.wait()
                if self._closed:
                    return False
            if self._faults.strike("refuse-auth", module):
                raise RefusedError(ConnectCode.NOT_AUTHORISED, "refused on request")
        except RefusedError as error:
            self._broker.connect_failed(packet.client_id)
            self.send(encode(Connack(error.code)))
            raise
        self.module = module
        if self._faults.strike("forget-sessions", module):
            self._broker.forget_session(module)
        self._session, present = self._broker.connect(module, self, clean=packet.clean_session)
        self._decoder.limit = MAX_PACKET
        self._timeout = 1.5 * min(packet.keep_alive or MAX_KEEP_ALIVE, MAX_KEEP_ALIVE)
        log.info("%s is connected%s", module, ", session resumed" if present else "")
        self.send(encode(Connack(session_present=present)))
        if self._faults.strike("drop-link", module):
            self.drop()
            return False
        self._broker.resume(self._session)
        return True

    async def _publish(self, session: Session, packet: Publish) -> None:
        stored = self._broker.publish(session, packet)
        if packet.packet_id is None:
            return
        if not stored:
            self._never_acknowledged += 1
        elif "/messages/events" in packet.topic and self._faults.strike(
            "withhold-puback", session.module
        ):
            self._withheld.append(packet.packet_id)
        else:
            self.send(encode(Puback(packet.packet_id)))
        while (
            len(self._withheld) + self._never_acknowledged >= MAX_UNACKNOWLEDGED
            and not self._closed
        ):
            self._released.clear()
            await self._released.wait()
