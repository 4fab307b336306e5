"""Rows of the report: one figure each, with its peer and its budget if it has them."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
"""Has ``name``, ``value`` and ``unit``; ``peer``, the peer's value in the same unit, or None, and
in ``versus`` who that is; ``ratio``, peer / value; ``budget`` or None; ``ok``."""


def at_most(
    name: str,
    value: float,
    unit: str,
    budget: float | None = None,
    peer: float | None = None,
    **more: Any,
) -> Row:
    """A row whose value is right up to the budget; None: it has none."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "ratio": None if peer is None else peer / value,
        "budget": budget,
        "peer": peer,
        "ok": budget is None or value <= budget,
    } | more


def at_least(name: str, value: float, unit: str, budget: float | None, **more: Any) -> Row:
    """A row whose value is right from the budget on."""
    row = at_most(name, value, unit, budget, **more)
    return row | {"ok": budget is None or value >= budget}


def times_less(
    name: str, value: float, unit: str, budget: float | None, peer: float, versus: str, **more: Any
) -> Row:
    """A row whose peer needs so many times as much, at least."""
    row = at_most(name, value, unit, None, peer, versus=versus, **more)
    return row | {"budget": budget, "ok": budget is None or row["ratio"] >= budget}
