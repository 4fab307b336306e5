"""What the container gives an Edge module: environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bordnetz.edge.settings import LinkSettings
from bordnetz.errors import BordnetzError

STATE = "BORDNETZ_STATE"
OUTBOX_BYTES = "BORDNETZ_OUTBOX_BYTES"
OUTBOX_DAYS = "BORDNETZ_OUTBOX_DAYS"
NEWEST_FIRST = "BORDNETZ_NEWEST_FIRST"
COMMIT_SECONDS = "BORDNETZ_COMMIT_SECONDS"
METRICS_ADDRESS = "BORDNETZ_METRICS_ADDRESS"
LOG_LEVEL = "RuntimeLogLevel"

IOT_EDGE = (
    "IOTEDGE_IOTHUBHOSTNAME",
    "IOTEDGE_DEVICEID",
    "IOTEDGE_MODULEID",
    "IOTEDGE_GATEWAYHOSTNAME",
    "IOTEDGE_MODULEGENERATIONID",
    "IOTEDGE_WORKLOADURI",
    "IOTEDGE_APIVERSION",
)
"""What Edge agent sets in every module; ``create_from_edge_environment`` of the SDK reads them."""

DEBUGGING = ("EdgeHubConnectionString", "EdgeModuleCACertificateFile")
"""What the SDK takes in their place: the tools for debugging outside a container set these."""

_SMALLEST_OUTBOX = 1_000_000
_LONGEST_PAUSE = 60


class EnvironmentVariableError(BordnetzError):
    """A variable of the environment makes no sense."""

    exit_code = 78


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings that cannot come from the twin.

    Attributes:
        state: Folder for what must survive a restart, of this module alone (BORDNETZ_STATE).
        outbox_bytes: Disk space for messages that wait for the hub (BORDNETZ_OUTBOX_BYTES).
        outbox_days: Days with the machine on after which a message is given up
            (BORDNETZ_OUTBOX_DAYS); 0: never.
        newest_first: Priorities of which the newest message leaves first (BORDNETZ_NEWEST_FIRST).
        commit_seconds: From one commit of the outbox to the next at least, while few bytes wait
            (BORDNETZ_COMMIT_SECONDS): what a power cut may take of what was ready to be stored.
        metrics_host: Where /metrics and /health are to be seen (BORDNETZ_METRICS_ADDRESS,
            host:port); with host networking anything but loopback shows them to the whole car.
        metrics_port: Likewise; 0 takes a free one and logs it.
        log_level: As Edge agent hands it to every module (RuntimeLogLevel).
        link: How the link to Edge hub behaves (the variables that begin with BORDNETZ_HUB).
    """

    state: Path = Path("/var/lib/bordnetz")
    outbox_bytes: int = 256 * 1024 * 1024
    outbox_days: int = 30
    newest_first: frozenset[int] = frozenset()
    commit_seconds: int = 1
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 9601
    log_level: str = "info"
    link: LinkSettings = field(default_factory=LinkSettings)

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Environment:
        """From the environment variables; what is not set is as above.

        Raises:
            EnvironmentVariableError: One of them makes no sense or those of IoT Edge are
                missing, or the state folder is missing and cannot be made.
        """
        _check_iot_edge(variables)
        plain = cls()
        state = Path(variables.get(STATE) or plain.state)
        try:
            state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentVariableError(
                f"no state folder {state}: {error.strerror}; "
                f"mount a volume there, or name another folder in {STATE}"
            ) from error
        size = _number(variables, OUTBOX_BYTES, plain.outbox_bytes)
        if size < _SMALLEST_OUTBOX:
            raise EnvironmentVariableError(
                f"{OUTBOX_BYTES} is {size}, and {_SMALLEST_OUTBOX} is the least"
            )
        days = _number(variables, OUTBOX_DAYS, plain.outbox_days)
        pause = _number(variables, COMMIT_SECONDS, plain.commit_seconds)
        if pause > _LONGEST_PAUSE:
            raise EnvironmentVariableError(
                f"{COMMIT_SECONDS} is {pause}, and {_LONGEST_PAUSE} is the most"
            )
        newest = variables.get(NEWEST_FIRST, "").replace(",", " ").split()
        if not set(newest) <= set("0123456789"):
            raise EnvironmentVariableError(
                f"{NEWEST_FIRST} is '{variables[NEWEST_FIRST]}', expected priorities as in 5,9"
            )
        host, port = plain.metrics_host, plain.metrics_port
        if address := variables.get(METRICS_ADDRESS):
            host, _, digits = address.rpartition(":")
            if not host or not digits.isdecimal() or int(digits) > 65535:
                raise EnvironmentVariableError(
                    f"{METRICS_ADDRESS} is '{address}', expected host:port as in 127.0.0.1:9601"
                )
            host, port = host.strip("[]"), int(digits)
        level = variables.get(LOG_LEVEL) or plain.log_level
        try:
            link = LinkSettings.read(variables)
        except ValueError as error:
            raise EnvironmentVariableError(str(error)) from error
        return cls(state, size, days, frozenset(map(int, newest)), pause, host, port, level, link)


def _check_iot_edge(variables: Mapping[str, str]) -> None:
    """Without them there is no way to the hub, however often one tries."""
    missing = [name for name in IOT_EDGE if not variables.get(name)]
    if missing and not all(variables.get(name) for name in DEBUGGING):
        raise EnvironmentVariableError(
            f"not set: {', '.join(missing)}; IoT Edge sets them in the container of a module, "
            'and on a laptop `eval "$(bordnetz hub env MODULE)"` does beside a running '
            "`bordnetz hub run`, or `bordnetz drive` for all at once"
        )


def _number(variables: Mapping[str, str], name: str, plain: int) -> int:
    text = variables.get(name)
    if not text:
        return plain
    if not text.isdecimal():
        raise EnvironmentVariableError(f"{name} is '{text}', expected a number")
    return int(text)
