"""What the hub says, brought to where it belongs: twin, direct methods, inputs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from bordnetz.edge.message import Message
from bordnetz.edge.methods import Methods
from bordnetz.edge.metrics import Metrics
from bordnetz.edge.report import Reporter
from bordnetz.edge.twin import Twin
from bordnetz.errors import BordnetzError

log = logging.getLogger(__name__)

Input = Callable[[Message], Awaitable[None]]

_UNKNOWN = "unknown"


class Inbound:
    """The `Receiver` of a module's hub link."""

    def __init__(
        self,
        twin: Twin[Any],
        reporter: Reporter,
        methods: Methods,
        inputs: Mapping[str, Input],
        metrics: Metrics,
    ) -> None:
        """Take the ends.

        Args:
            twin: Gets the desired properties.
            reporter: Gets the reported ones.
            methods: Answer.
            inputs: Take messages, by input.
            metrics: Get the stage ``input``.
        """
        self._twin = twin
        self._reporter = reporter
        self._methods = methods
        self._inputs = inputs
        self._stage = metrics.stage("input", "messages from other modules", "input")

    def twin(self, desired: Mapping[str, Any], reported: Mapping[str, Any]) -> None:
        """Take the whole twin."""
        self._twin.replace(desired)
        self._reporter.shown(reported)

    def patch(self, desired: Mapping[str, Any]) -> bool:
        """Take a change of the desired properties; False if it does not follow what we have."""
        return self._twin.patch(desired)

    async def method(self, name: str, payload: Any) -> tuple[int, Any]:
        """Answer a direct method."""
        return await self._methods.answer(name, payload)

    async def message(self, source: str, message: Message) -> None:
        """Hand a message to the input's handler."""
        handler = self._inputs.get(source)
        name = _UNKNOWN if handler is None else source
        self._stage.received(1, name)
        if handler is None:
            self._stage.dropped(_UNKNOWN, 1, name)
            log.warning("a route brings messages to an input that this module does not have")
            return
        try:
            await handler(message)
        except BordnetzError as error:
            self._stage.dropped("refused", 1, name)
            log.warning("message on input %s refused: %s", source, error)
        except Exception:
            self._stage.dropped("failed", 1, name)
            log.exception("message on input %s failed", source)
        else:
            self._stage.sent(1, name)
