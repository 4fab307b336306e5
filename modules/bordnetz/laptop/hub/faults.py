"""Faults that the hub commits on request, so that modules can be tested against them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bordnetz.errors import BordnetzError

KNOBS: dict[str, str] = {
    "withhold-puback": "Store messages, but keep their PUBACK back until 'off' (count: messages).",
    "drop-link": "Cut the links that are up (count: connections, also those still to come).",
    "go-silent": "Keep TCP up but read and answer nothing until 'off' (count: connections).",
    "refuse-auth": "Answer CONNECT with 'not authorised' (count: connection attempts).",
    "forget-sessions": "Lose sessions and their subscriptions, end the links (count: sessions).",
    "lose-twin-reply": "Answer no twin request (count: replies).",
    "cap-packets": "Cut the link on a packet longer than VALUE bytes (count: packets).",
    "upstream-offline": "Keep messages for $upstream in the hub until 'off'.",
    "slow": "Handle each packet of a module VALUE ms later (count: packets).",
}
"""Each knob and what it does; "count" tells what a count counts."""

NEEDS_VALUE = frozenset({"cap-packets", "slow"})
AT_ONCE = frozenset({"drop-link", "forget-sessions"})
"""Knobs that strike what is there now; without a count they leave nothing armed."""


class FaultError(BordnetzError):
    """A knob, value or scope that does not exist."""


@dataclass(slots=True)
class Fault:
    """An armed fault.

    Attributes:
        knob: Key of `KNOBS`.
        module: The one module it strikes, None for all.
        value: Bytes or ms, 0 for knobs without a value.
        count: How often it still strikes, None without end.
    """

    knob: str
    module: str | None
    value: int = 0
    count: int | None = None


class Faults:
    """The faults that are armed now."""

    def __init__(self) -> None:
        self._armed: dict[tuple[str, str | None], Fault] = {}

    def arm(
        self,
        knob: str,
        value: int | None = None,
        module: str | None = None,
        count: int | None = None,
    ) -> None:
        """Arms a knob for one module or all, for ever or for ``count`` strikes.

        Raises:
            FaultError: Unknown knob, or a value, module or count that it cannot have.
        """
        if knob not in KNOBS:
            raise FaultError(f"unknown fault '{knob}'; there are: {', '.join(KNOBS)}")
        if (value is not None) != (knob in NEEDS_VALUE):
            needs = "needs a number" if knob in NEEDS_VALUE else "takes no value but 'off'"
            raise FaultError(f"fault '{knob}' {needs}")
        if value is not None and not 0 < value <= 10_000_000:
            raise FaultError(f"fault '{knob}': {value} is not between 1 and 10000000")
        if count is not None and count < 1:
            raise FaultError(f"fault '{knob}': a count of {count} would never strike")
        if knob == "upstream-offline" and (module is not None or count is not None):
            raise FaultError("'upstream-offline' is of the whole hub: no module, no count")
        if count is None and knob in AT_ONCE:
            return
        self._armed[knob, module] = Fault(knob, module, value or 0, count)

    def disarm(self, knob: str, module: str | None = None) -> None:
        """Takes a fault back; without a module, for all modules.

        Raises:
            FaultError: Unknown knob.
        """
        if knob not in KNOBS:
            raise FaultError(f"unknown fault '{knob}'; there are: {', '.join(KNOBS)}")
        for armed in list(self._armed):
            if armed[0] == knob and module in (None, armed[1]):
                del self._armed[armed]

    def armed(self, knob: str, module: str | None = None) -> Fault | None:
        """The fault that would strike a module now, the one for it alone first."""
        return self._armed.get((knob, module)) or self._armed.get((knob, None))

    def strike(self, knob: str, module: str) -> bool:
        """Whether the fault strikes now; uses up one of its count."""
        fault = self.armed(knob, module)
        if fault is None:
            return False
        if fault.count is not None:
            fault.count -= 1
            if fault.count == 0:
                del self._armed[fault.knob, fault.module]
        return True

    def __iter__(self) -> Iterator[Fault]:
        return iter(list(self._armed.values()))
