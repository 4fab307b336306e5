"""From one bundle to the next, without a restart and without losing a frame; and the answers.

An announcement is a hint: it may come twice, late, in another order or not at all.  So every one is
answered with what runs then, and so is every start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bordnetz.edge.message import Message
from bordnetz.edge.thread import in_thread
from bordnetz.errors import BordnetzError
from bordnetz.telemetry.bundle import FACTORY, HASH, Bundle, BundleError, Bundles

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds to load a bundle; the largest public database takes a few."""

_MOST_BYTES = 8192
"""Of an announcement."""

_REASON = 1000
"""Characters of a reason in an answer."""


class Announcement(BaseModel):
    """What the update module says on input ``bundle``.

    Attributes:
        hash: Of the bundle that is to run; "" for the vehicle's own file.
        path: Where it believes the bundle to be; not used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    hash: Annotated[str, Field(pattern=f"^$|{HASH}")]
    path: Annotated[str, Field(max_length=4096)] = ""


class Switch:
    """Which bundle runs.

    Args:
        bundles: Where they lie.

    Attributes:
        bundle: That runs, or is about to.
    """

    bundle: Bundle

    def __init__(self, bundles: Bundles) -> None:
        """Load what the update module has chosen, or what the vehicle came with.

        Raises:
            BordnetzError: Not even the vehicle's own file can be used.
        """
        self._bundles = bundles
        self._wanted = FACTORY
        self._news = asyncio.Event()
        self._answers: list[dict[str, Any]] = []
        name = FACTORY
        try:
            name = bundles.current()
            self.bundle = bundles.load(name)
        except BordnetzError as error:
            if name == FACTORY and not isinstance(error, BundleError):
                raise
            log.error("the chosen bundle is not used, but the vehicle's own file: %s", error)
            if name != FACTORY:
                self._answers.append(_refusal(name, str(error)))
            self.bundle = bundles.load(FACTORY)
        if bundles.there:
            self._answers.append(self._acceptance())

    async def hear(self, message: Message) -> None:
        """Take an announcement; of several, the last one counts.

        Raises:
            BundleError: It is none.
        """
        if len(message.body) > _MOST_BYTES:
            raise BundleError(f"an announcement of over {_MOST_BYTES} bytes")
        try:
            self._wanted = Announcement.model_validate_json(message.body).hash
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"])) or "content"
            raise BundleError(f"no announcement of a bundle: {place}: {first['msg']}") from None
        self._news.set()

    async def run(
        self,
        check: Callable[[Bundle], str | None],
        adopt: Callable[[Bundle], Awaitable[None]],
        answer: Callable[[dict[str, Any]], None],
    ) -> None:
        """Switch whenever it is announced, and answer, for ever.

        Args:
            check: Says why a bundle cannot be put to work, or None; called on another thread.
            adopt: Puts `bundle` to work.
            answer: Takes an answer for the update module.
        """
        for one in self._answers:
            answer(one)
        while True:
            await self._news.wait()
            self._news.clear()
            name = self._wanted
            if name != self.bundle.hash:
                bundle, reason = await self._load(name, check)
                if bundle is None:
                    log.error("bundle %s is refused: %s", name or "(none)", reason)
                    answer(_refusal(name, reason))
                else:
                    self.bundle = bundle
                    await adopt(bundle)
            answer(self._acceptance())

    async def _load(
        self, name: str, check: Callable[[Bundle], str | None]
    ) -> tuple[Bundle | None, str]:
        """A bundle beside the one that runs, or why not."""

        def load() -> tuple[Bundle | None, str]:
            bundle = self._bundles.load(name)
            reason = check(bundle)
            return (bundle, "") if reason is None else (None, reason)

        try:
            async with asyncio.timeout(PATIENCE):
                return await in_thread(load)
        except TimeoutError:
            return None, f"it takes more than {PATIENCE:g} s to load; make it smaller"
        except BordnetzError as error:
            return None, str(error)

    def _acceptance(self) -> dict[str, Any]:
        signals = len(self.bundle.catalogue.names)
        return {"hash": self.bundle.hash, "accepted": True, "reason": "", "signals": signals}


def _refusal(name: str, reason: str) -> dict[str, Any]:
    return {"hash": name, "accepted": False, "reason": reason[:_REASON], "signals": 0}
