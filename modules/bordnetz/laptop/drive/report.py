"""The report of a drive, and whether it may call itself a success."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bordnetz.laptop.drive.processes import Usage
from bordnetz.laptop.drive.progress import Totals


def report(
    seconds: float,
    status: Mapping[str, Any],
    cloud: Totals,
    sent: int | None,
    usage: Mapping[str, Usage],
) -> dict[str, Any]:
    """What a drive came to, for JSON.

    Args:
        seconds: How long frames could flow.
        status: The telemetry module's last answer to ``status``.
        cloud: What arrived.
        sent: Frames that the simulated vehicle put on the buses; None without one.
        usage: Of each process.
    """
    frames = status["frames"]
    return {
        "seconds": round(seconds, 1),
        "frames_sent": sent,
        "frames": frames["received"],
        "frames_decoded": frames["decoded"],
        "frames_not_asked": frames["notAsked"],
        "frames_not_data": frames["notData"],
        "frames_dropped": sum(frames["dropped"].values()),
        "dropped": frames["dropped"],
        "signals": status["collecting"]["signals"],
        "samples": cloud.samples,
        "batches": cloud.batches,
        "dictionaries": cloud.dictionaries,
        "acknowledged": status["outbox"]["acknowledged"] - cloud.dictionaries,
        "bytes": cloud.metered,
        "bytes_per_sample": round(cloud.bytes_per_sample, 4),
        "blocks_4k": cloud.blocks,
        "block_fill": round(cloud.block_fill, 4),
        "processes": {
            name: {"cpu_seconds": used.cpu_seconds, "rss_mib": used.rss_mib}
            for name, used in usage.items()
        },
    }


def faults(status: Mapping[str, Any], cloud: Totals, sent: int | None) -> list[str]:
    """What does not add up, a line each; nothing if the drive went well."""
    found = []
    for bus, page in {"all buses": status["frames"], **status["buses"]}.items():
        accounted = page["decoded"] + page["notAsked"] + page["notData"]
        accounted += sum(page["dropped"].values())
        if accounted != page["received"]:
            found.append(f"{bus}: {page['received']} frames came in, {accounted} are accounted for")
    received = status["frames"]["received"]
    if sent is not None and received < sent:
        found.append(f"{sent} frames were sent, {received} came in")
    samples = status["samples"]
    lost = sum(samples["dropped"].values())
    if samples["decoded"] != samples["stored"] + samples["held"] + lost:
        found.append(f"samples do not add up: {samples}")
    if lost:
        found.append(f"{lost} samples were dropped: {samples['dropped']}")
    if samples["stored"] != cloud.samples:
        found.append(f"{samples['stored']} samples were stored, {cloud.samples} arrived")
    if status["outbox"]["messages"]:
        found.append(f"{status['outbox']['messages']} messages are not acknowledged")
    if cloud.damaged or cloud.unread:
        found.append(f"{cloud.damaged} messages are damaged, {cloud.unread} lack their dictionary")
    return found
