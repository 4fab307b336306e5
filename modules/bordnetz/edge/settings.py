"""What the container says of the hub link: environment variables, all of them optional."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bordnetz.edge.pace import CEILING, FLOOR, Rate
from bordnetz.edge.session import Timing

KEEP_ALIVE = "BORDNETZ_HUB_KEEP_ALIVE"
PROOF = "BORDNETZ_HUB_PROOF_MINUTES"
PATIENCE = "BORDNETZ_HUB_PATIENCE_MINUTES"
METRICS = "BORDNETZ_HUB_METRICS"
BYTES = "BORDNETZ_HUB_BYTES"
MESSAGES = "BORDNETZ_HUB_MESSAGES"
FLOOR_BYTES = "BORDNETZ_HUB_FLOOR"

_DEBUGGING = "EdgeHubConnectionString"

_PLAIN = Timing()
_FLOOR_MESSAGE = FLOOR.bytes / FLOOR.messages


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """How the link to Edge hub behaves.

    Attributes:
        keep_alive: Seconds; a silent hub is noticed within twice that (BORDNETZ_HUB_KEEP_ALIVE).
        proof: Minutes after which a link has to prove itself (BORDNETZ_HUB_PROOF_MINUTES).
        patience: Minutes without a proof after which the process ends, for Edge agent to start it
            again (BORDNETZ_HUB_PATIENCE_MINUTES); 0: never.
        metrics: URL of Edge hub's metrics (BORDNETZ_HUB_METRICS); "": they are not looked at.
        ceiling: What leaves a second at most (BORDNETZ_HUB_BYTES, BORDNETZ_HUB_MESSAGES).
        floor: What leaves a second while Edge hub has a backlog (BORDNETZ_HUB_FLOOR, bytes; one
            message for each 5,120 of them).
        module: ``device/module``, as Edge hub's metrics name this one.
    """

    keep_alive: int = _PLAIN.keep_alive
    proof: int = round(_PLAIN.proof / 60)
    patience: int = round(_PLAIN.patience / 60)
    metrics: str = ""
    ceiling: Rate = CEILING
    floor: Rate = FLOOR
    module: str = ""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> LinkSettings:
        """From the environment variables; what is not set is as above.

        Raises:
            ValueError: One of them makes no sense.
        """
        plain = cls()
        url = variables.get(METRICS, "")
        if url and not _usable(url):
            raise ValueError(
                f"{METRICS} is '{url}', expected a URL as http://127.0.0.1:9600/metrics"
            )
        ceiling = Rate(
            _number(variables, BYTES, round(CEILING.bytes), 4096, 1 << 30),
            _number(variables, MESSAGES, round(CEILING.messages), 1, 10_000),
        )
        floor = _number(variables, FLOOR_BYTES, round(FLOOR.bytes), 1, round(ceiling.bytes))
        return cls(
            _number(variables, KEEP_ALIVE, plain.keep_alive, 5, 600),
            _number(variables, PROOF, plain.proof, 1, 1440),
            _number(variables, PATIENCE, plain.patience, 0, 10_080),
            url,
            ceiling,
            Rate(floor, min(floor / _FLOOR_MESSAGE, ceiling.messages)),
            _module(variables),
        )

    @property
    def timing(self) -> Timing:
        """The same for a `HubLink`."""
        return Timing(
            keep_alive=self.keep_alive,
            proof=60.0 * self.proof,
            patience=60.0 * self.patience or math.inf,
        )


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _module(variables: Mapping[str, str]) -> str:
    names = [variables.get(name, "") for name in ("IOTEDGE_DEVICEID", "IOTEDGE_MODULEID")]
    if not all(names):
        pairs = (part.partition("=") for part in variables.get(_DEBUGGING, "").split(";"))
        said = {name: value for name, _, value in pairs}
        names = [said.get(name, "") for name in ("DeviceId", "ModuleId")]
    return "/".join(names)


def _number(variables: Mapping[str, str], name: str, plain: int, least: int, most: int) -> int:
    text = variables.get(name)
    if not text:
        return plain
    if not text.isdecimal() or not least <= int(text) <= most:
        raise ValueError(f"{name} is '{text}', expected a number from {least} to {most}")
    return int(text)
