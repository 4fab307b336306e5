"""The books of telemetry: nothing goes into a stage that does not come out of it, or is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unbalanced(
    frames: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, Any],
    sent: Mapping[str, int] | None = None,
) -> list[str]:
    """What of the books does not add up.

    Args:
        frames: By bus, as ``status`` of telemetry tells them under ``buses``.
        samples: As it tells them under ``samples``.
        sent: By bus, what went onto it; None where nobody knows.
    """
    wrong = []
    for bus, page in frames.items():
        gone = sum(page["dropped"].values())
        out = page["decoded"] + page["notAsked"] + page["notData"] + gone
        if page["received"] != out:
            wrong.append(f"bus {bus}: {page['received']} frames received, {out} accounted for")
    for bus, count in (sent or {}).items():
        if frames[bus]["received"] != count:
            wrong.append(f"bus {bus}: {count} frames sent, {frames[bus]['received']} in the books")
    out = samples["stored"] + samples["held"] + sum(samples["dropped"].values())
    if samples["decoded"] != out:
        wrong.append(f"{samples['decoded']} samples decoded, {out} stored, held or dropped")
    return wrong
