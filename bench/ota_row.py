"""A row whose value itself has the budget."""

from __future__ import annotations

from typing import Any


def at_most(name: str, value: float, unit: str, budget: float | None) -> dict[str, Any]:
    """A row that is right up to its budget; None: it has none."""
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "ratio": None,
        "budget": budget,
        "peer": None,
        "ok": budget is None or value <= budget,
    }
