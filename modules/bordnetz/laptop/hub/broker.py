"""The hub's core: sessions, twins, methods, routes and queues, without any socket.

Rules it keeps, as Edge hub does:

1. A module hears and says only what is its own; who speaks is known from the connection.
2. A message is in the store before it is acknowledged, once for each endpoint its routes lead to,
   under the best priority among them.
3. An endpoint gets its messages by priority (0 first), then in the order they came.
4. What matches no route, and what is still waiting at the end of its time to live, is dropped and
   counted.
5. Desired patches and methods reach a module that is connected and subscribed, or not at all.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bordnetz.laptop.hub import topics
from bordnetz.laptop.hub.faults import Faults
from bordnetz.laptop.hub.identities import Identities
from bordnetz.laptop.hub.jsontext import JsonError, parse
from bordnetz.laptop.hub.methods import Methods
from bordnetz.laptop.hub.metrics import Metrics
from bordnetz.laptop.hub.mqtt import SUBSCRIBE_REFUSED, MqttError, Publish, Subscribe, Unsubscribe
from bordnetz.laptop.hub.session import MAX_PENDING, MAX_SUBSCRIPTIONS, Link, Session
from bordnetz.laptop.hub.store import UPSTREAM, Endpoint, Store, Stored
from bordnetz.laptop.hub.twin import TwinError, Twins
from bordnetz.laptop.hub.upstream import UpstreamWriter
from bordnetz.laptop.routes import DEFAULT_PRIORITY, Route, select

log = logging.getLogger(__name__)

PORTAL = "portal"
"""Who a message comes from that was put onto an input by hand."""


class Broker:
    """Everything between the links and the disk.  Not thread-safe: lives on one event loop."""

    def __init__(
        self,
        identities: Identities,
        routes: Sequence[Route],
        time_to_live: float | None,
        store: Store,
        twins: Twins,
        upstream: UpstreamWriter,
        faults: Faults,
        metrics: Metrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes up what the store holds.

        Args:
            identities: The modules.
            routes: From the manifest.
            time_to_live: Seconds for routes that name none; None for ever.
            store: Messages, sessions.
            twins: Already deployed.
            upstream: Where ``$upstream`` leads.
            faults: What to do wrong.
            metrics: Counters.
            clock: Seconds since the Unix epoch.
        """
        self.faults, self.metrics = faults, metrics
        self.methods = Methods()
        self.waiting = asyncio.Event()
        """Set when there may be something to forward or to expire."""
        self._identities, self._routes, self._time_to_live = identities, routes, time_to_live
        self._store, self._twins, self._upstream, self._clock = store, twins, upstream, clock
        self._sessions: dict[str, Session] = {}
        for module in identities:
            subscriptions = store.subscriptions(module)
            if subscriptions is not None:
                self._sessions[module] = Session(module, subscriptions)
        if upstream.last is not None:
            # Killed between writing the index and removing the message: it has been delivered.
            store.remove(upstream.last.id)
        self.waiting.set()

    # Connections

    def connect(self, module: str, link: Link, *, clean: bool) -> tuple[Session, bool]:
        """Opens or resumes a module's session.

        Returns:
            The session, and whether it was there before.
        """
        session = self._sessions.get(module)
        present = session is not None and not clean
        if session is None or clean:
            if session is not None and session.link is not None:
                session.link.close("the same module has connected again")
            session = self._sessions[module] = Session(module)
            self._store.forget_session(module)
            if not clean:
                self._store.keep_session(module, {})
        session.attach(link)
        return session, present

    def connect_failed(self, client_id: str) -> None:
        """Counts a refused connection; a name that is not deployed counts as "unknown"."""
        module = client_id.rpartition("/")[2]
        name = module if module in self._identities else "unknown"
        self.metrics.count("client_connect_failed", name, "not_authenticated")

    def resume(self, session: Session) -> None:
        """Sends what waits for a session, once its CONNACK is out."""
        session.resume()
        self._deliver_inputs(session)

    def disconnect(self, session: Session, link: Link) -> None:
        """Takes note that a link is gone."""
        if session.link is link:
            session.link = None

    def forget_session(self, module: str) -> None:
        """Loses a module's session with its subscriptions, and cuts its link."""
        self._store.forget_session(module)
        session = self._sessions.pop(module, None)
        if session is not None and session.link is not None:
            session.link.close("its session was forgotten")

    def sessions(self, module: str | None) -> list[str]:
        """The modules that have a session, one of them or all."""
        return [name for name in self._sessions if module in (None, name)]

    def links(self, module: str | None) -> dict[str, Link]:
        """The links that are up, of one module or of all."""
        return {
            name: session.link
            for name, session in self._sessions.items()
            if session.link is not None and module in (None, name)
        }

    # From the modules

    def subscribe(self, session: Session, packet: Subscribe) -> tuple[int, ...]:
        """Grants filters within the module's own topics; the SUBACK's return codes."""
        address = self._identities[session.module].address
        codes = []
        for name, qos in packet.filters:
            fits = name in session.subscriptions or len(session.subscriptions) < MAX_SUBSCRIPTIONS
            if fits and address.may_subscribe(name):
                session.subscriptions[name] = min(qos, 1)
                codes.append(min(qos, 1))
            else:
                log.warning("%s may not subscribe to %.200r", session.module, name)
                codes.append(SUBSCRIBE_REFUSED)
        self._keep(session)
        return tuple(codes)

    def unsubscribe(self, session: Session, packet: Unsubscribe) -> None:
        """Takes filters back."""
        for name in packet.filters:
            session.subscriptions.pop(name, None)
        self._keep(session)

    def subscribed(self, session: Session) -> None:
        """Delivers what waited for a subscription, once its SUBACK is out."""
        self._deliver_inputs(session)

    def acknowledged(self, session: Session, packet_id: int) -> None:
        """A PUBACK came: the message leaves the store, the next one leaves the queue."""
        sent = session.acknowledge(packet_id)
        if sent is not None and sent.stored is not None:
            self._store.remove(sent.stored)
            self._deliver_inputs(session)

    def publish(self, session: Session, packet: Publish) -> bool:
        """Handles a PUBLISH.

        Returns:
            Whether the hub has taken it over and may acknowledge it.

        Raises:
            MqttError: To a topic that is not the module's; the link has to be cut.
        """
        meaning = self._identities[session.module].address.parse(packet.topic)
        match meaning:
            case topics.Event():
                return self._accept(session.module, meaning, packet.payload)
            case topics.TwinGet(request):
                self.metrics.count("gettwin", "edge_hub", session.module)
                document = json.dumps(self._twins.document(session.module)).encode()
                self._reply(session, topics.twin_reply_topic(200, request), document)
            case topics.TwinPatch(request):
                self._report(session, request, packet.payload)
            case topics.MethodReply(request, status):
                self.methods.answer(session.module, request, status, packet.payload)
        return True

    # To the modules

    def twin(self, module: str) -> dict[str, Any]:
        """A module's twin.

        Raises:
            IdentityError: No such module.
        """
        self._identities[module]
        return self._twins.document(module)

    def set_desired(self, module: str, patch: Mapping[str, Any]) -> int:
        """Patches desired properties, tells the module, and returns the new version.

        Raises:
            IdentityError: No such module.
            TwinError: Out of IoT Hub's limits.
        """
        self._identities[module]
        version = self._twins.patch(module, "desired", dict(patch))
        session = self._sessions.get(module)
        if session is not None:
            body = json.dumps({**patch, "$version": version}).encode()
            session.publish(topics.desired_patch_topic(version), body)
        return version

    def send(self, module: str, name: str, body: bytes) -> None:
        """Puts a message of JSON onto a module's input, as a route from another module would.

        Raises:
            IdentityError: No such module.
        """
        to = self._identities[module].address
        system = {
            "contentType": "application/json",
            "contentEncoding": "utf-8",
            "connectionDeviceId": to.device,
            "connectionModuleId": PORTAL,
        }
        now, endpoint = self._clock(), Endpoint(module, name)
        expires = math.inf if self._time_to_live is None else now + self._time_to_live
        event = topics.Event("", {}, system)
        self._store.put(PORTAL, event, body, now, [(endpoint, DEFAULT_PRIORITY, expires)])
        if session := self._sessions.get(module):
            self._deliver(session, endpoint)

    async def call(self, module: str, name: str, payload: Any, patience: float) -> tuple[int, Any]:
        """Calls a direct method and waits for its answer.

        Returns:
            Status and payload as the module gave them.

        Raises:
            IdentityError: No such module.
            MethodError: Not connected, no answer in time, or too large.
        """
        self._identities[module]
        session = self._sessions.get(module) or Session(module)
        self.metrics.count("direct_methods", "upstream", module)
        return await self.methods.call(session, name, payload, patience)

    # Queues

    def forward_one(self) -> bool:
        """Delivers the next message to ``$upstream``; False if there is none or it must wait."""
        if self.faults.armed("upstream-offline"):
            return False
        message = self._next(UPSTREAM)
        if message is None:
            return False
        self._upstream.append(message)
        self._store.remove(message.id)
        self._count_sent(message.module, "", message.event.output, "", message.priority)
        return True

    def expire(self) -> None:
        """Drops the messages whose time to live has ended."""
        for message in self._store.expire(self._clock()):
            self.metrics.count("messages_dropped", "ttl_expiry", message.module, message.output)

    def status(self) -> dict[str, Any]:
        """What an operator wants to see of modules, queues and upstream."""
        modules = {}
        for module in self._identities:
            session = self._sessions.get(module)
            modules[module] = {
                "connected": session is not None and session.link is not None,
                "subscriptions": sorted(session.subscriptions) if session else [],
                "unacknowledged": len(session.in_flight) if session else 0,
            }
        return {
            "modules": modules,
            "queues": {
                f"{endpoint} priority {priority}": length
                for (endpoint, priority), length in sorted(self._store.lengths().items())
                if length
            },
            "upstream": {
                "online": self.faults.armed("upstream-offline") is None,
                "messages": self._upstream.messages,
                "bytes": self._upstream.bytes,
                "blocks": self._upstream.blocks,
            },
            "counters": self.metrics.totals(),
        }

    def exposition(self) -> bytes:
        """The metrics as Prometheus scrapes them."""
        self.metrics.queues(self._store.lengths())
        return self.metrics.exposition()

    def _accept(self, module: str, event: topics.Event, body: bytes) -> bool:
        self.metrics.count("messages_received", event.output, module)
        self.metrics.size(module, len(body))
        now = self._clock()
        routes = select(self._routes, module, event.output, event.properties, event.system, body)
        if not routes:
            self.metrics.count("messages_dropped", "no_route", module, event.output)
            return True
        try:
            self._store.put(
                module,
                event,
                body,
                now,
                [(_endpoint(route), route.priority, now + self._ttl(route)) for route in routes],
            )
        except sqlite3.Error as error:
            log.error("a message of %s cannot be stored: %s; is the disk full?", module, error)
            self.metrics.count("messages_unack", "storage_failure", module, event.output)
            return False
        for endpoint in map(_endpoint, routes):
            if endpoint is UPSTREAM:
                self.waiting.set()
            elif session := self._sessions.get(endpoint.module):
                self._deliver(session, endpoint)
        return True

    def _ttl(self, route: Route) -> float:
        ttl = self._time_to_live if route.time_to_live is None else route.time_to_live
        return math.inf if ttl is None else ttl

    def _deliver_inputs(self, session: Session) -> None:
        for endpoint in self._store.inputs_waiting(session.module):
            self._deliver(session, endpoint)

    def _deliver(self, session: Session, endpoint: Endpoint) -> None:
        """Sends what waits for an input, up to the window of unacknowledged messages."""
        to = self._identities[session.module].address
        while len(pending := session.pending()) < MAX_PENDING:
            message = self._next(endpoint, pending)
            if message is None:
                return
            topic = topics.input_topic(to, endpoint.input, message.event)
            try:
                qos = session.publish(topic, message.body, message.id)
            except MqttError as error:
                log.warning(
                    "a message from %s cannot go to %s: %s", message.module, endpoint.name, error
                )
                self.metrics.count(
                    "messages_dropped", "topic_too_long", message.module, message.event.output
                )
                self._store.remove(message.id)
                continue
            if qos is None:
                return
            if qos == 0:
                self._store.remove(message.id)
            self._count_sent(
                message.module, to.module, message.event.output, endpoint.input, message.priority
            )

    def _next(self, endpoint: Endpoint, under_way: Sequence[int] = ()) -> Stored | None:
        message = self._store.waiting(endpoint, under_way)
        if message is not None and message.expires <= self._clock():
            self.expire()
            message = self._store.waiting(endpoint, under_way)
        return message

    def _count_sent(self, sender: str, to: str, output: str, name: str, priority: int) -> None:
        self.metrics.count("messages_sent", sender, to, output, name, str(priority))

    def _report(self, session: Session, request: str, payload: bytes) -> None:
        self.metrics.count("reported_properties", "edge_hub", session.module)
        try:
            version = self._twins.patch(session.module, "reported", parse(payload))
        except (TwinError, JsonError) as error:
            log.warning("%s: reported properties refused: %s", session.module, error)
            body = json.dumps({"message": str(error)}).encode()
            self._reply(session, topics.twin_reply_topic(400, request), body)
        else:
            self._reply(session, topics.twin_reply_topic(204, request, version), b"")

    def _reply(self, session: Session, topic: str, body: bytes) -> None:
        if not self.faults.strike("lose-twin-reply", session.module):
            session.publish(topic, body)

    def _keep(self, session: Session) -> None:
        # A clean session is not in the store and does not get there by subscribing.
        if self._store.subscriptions(session.module) is not None:
            self._store.keep_session(session.module, session.subscriptions)


def _endpoint(route: Route) -> Endpoint:
    return UPSTREAM if route.sink is None else Endpoint(*route.sink)
