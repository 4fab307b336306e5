"""Messages that are worth nothing later: sent at once or never, and never on the disk."""

from __future__ import annotations

from bordnetz.edge.link import HubLink, LinkError, NotConnectedError
from bordnetz.edge.message import Message, MessageTooLargeError
from bordnetz.edge.metrics import Metrics

WINDOW = 4
"""Messages under way at once; who sends more than a slow hub takes has them dropped."""


class Volatile:
    """Sends messages past the outbox.

    Args:
        link: To the hub.
        metrics: Get the stage ``volatile``.
    """

    def __init__(self, link: HubLink, metrics: Metrics) -> None:
        self._link = link
        self._stage = metrics.stage("volatile", "messages that are not stored")
        self._under_way = 0

    async def send(self, message: Message) -> bool:
        """Send a message if there is a hub; nothing is kept and nothing sent a second time.

        Returns:
            Whether the hub has acknowledged it; where not, it is counted as dropped: "offline",
            "busy" with `WINDOW` others, "size", or "unconfirmed", which the hub may have.
        """
        self._stage.received()
        if self._under_way >= WINDOW:
            return self._drop("busy")
        self._under_way += 1
        try:
            await self._link.send(message)
        except NotConnectedError:
            return self._drop("offline")
        except LinkError:
            return self._drop("unconfirmed")
        except MessageTooLargeError:
            return self._drop("size")
        finally:
            self._under_way -= 1
        self._stage.sent()
        return True

    def _drop(self, reason: str) -> bool:
        self._stage.dropped(reason)
        return False
