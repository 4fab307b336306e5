"""The report of a drive, and whether it may call itself a success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bordnetz.laptop.drive.processes import Usage
from bordnetz.laptop.drive.progress import Totals


@dataclass(frozen=True, slots=True)
class Account:
    """Everything that a drive came to.

    Attributes:
        status: The telemetry module's answer to ``status``; its books begin at its start.
        cloud: What arrived.
        missing: Messages that did not arrive though later ones of the same outbox did.
        sent: Frames that the simulated vehicle put on the buses; None without one.
        exits: Exit codes of the module where it ended and was started again.
    """

    status: Mapping[str, Any]
    cloud: Totals
    missing: int
    sent: int | None
    exits: Sequence[int] = ()

    def unsettled(self) -> list[str]:
        """What time may still put right, a line each."""
        found = []
        status = self.status
        if status["collecting"]["signals"]:
            found.append("telemetry has not told that it stopped collecting")
        for bus, page in {"all buses": status["frames"], **status["buses"]}.items():
            accounted = page["decoded"] + page["notAsked"] + page["notData"]
            accounted += sum(page["dropped"].values())
            if accounted != page["received"]:
                found.append(
                    f"{bus}: {page['received']} frames came in, {accounted} are accounted for"
                )
        received, samples = status["frames"]["received"], status["samples"]
        if self.sent is not None and received < self.sent and not self.exits:
            found.append(f"{self.sent} frames were sent, {received} came in")
        if samples["held"]:
            found.append(f"{samples['held']} samples are in no batch yet")
        if samples["stored"] > self.cloud.samples:
            found.append(f"{samples['stored']} samples were stored, {self.cloud.samples} arrived")
        if status["outbox"]["messages"]:
            found.append(f"{status['outbox']['messages']} messages are not acknowledged")
        # Answers to the update module leave the outbox, too, but not for the cloud.
        if (missing := self.missing - status["answers"]) > 0:
            found.append(f"{missing} messages of the outbox have not arrived")
        if self.cloud.unread:
            found.append(f"{self.cloud.unread} batches lack their dictionary")
        return found

    def faults(self) -> list[str]:
        """What is wrong for good, a line each."""
        found = []
        status, samples = self.status, self.status["samples"]
        lost = sum(samples["dropped"].values())
        if samples["decoded"] != samples["stored"] + samples["held"] + lost:
            found.append(f"samples do not add up: {samples}")
        if lost:
            found.append(f"{lost} samples were dropped: {samples['dropped']}")
        if self.cloud.damaged:
            found.append(f"{self.cloud.damaged} messages that arrived are damaged")
        if self.exits:
            codes = ", ".join(str(code) for code in self.exits)
            found.append(
                f"telemetry ended and was started again, {len(self.exits)} in all (exit code "
                f"{codes}); what it had not put into its outbox is lost, and the books of the "
                "frames begin at its last start"
            )
            return found
        if samples["stored"] < self.cloud.samples:
            found.append(f"{samples['stored']} samples were stored, {self.cloud.samples} arrived")
        acknowledged = status["outbox"]["acknowledged"] - status["answers"]
        if acknowledged != self.cloud.messages:
            found.append(
                f"{acknowledged} messages were acknowledged, {self.cloud.messages} arrived"
            )
        return found

    def report(self, seconds: float, signals: int, usage: Mapping[str, Usage]) -> dict[str, Any]:
        """The account for JSON.

        Args:
            seconds: How long frames could flow.
            signals: How many were collected.
            usage: Of each process.
        """
        cloud = self.cloud
        return {
            "seconds": round(seconds, 1),
            "restarts": len(self.exits),
            "signals": signals,
            "frames_sent": self.sent,
            **_books(self.status["frames"]),
            "buses": {name: _books(page) for name, page in self.status["buses"].items()},
            "samples": cloud.samples,
            "batches": cloud.batches,
            "dictionaries": cloud.dictionaries,
            # Only the hub's acknowledgement lets a message leave the outbox.
            "acknowledged": max(cloud.batches - self.status["outbox"]["messages"], 0),
            "bytes": cloud.metered,
            "bytes_per_sample": round(cloud.bytes_per_sample, 4),
            "blocks_4k": cloud.blocks,
            "block_fill": round(cloud.block_fill, 4),
            "processes": {
                name: {"cpu_seconds": used.cpu_seconds, "rss_mib": used.rss_mib}
                for name, used in usage.items()
            },
        }


def _books(page: Mapping[str, Any]) -> dict[str, Any]:
    """Where frames are booked: all of them, or those of a bus."""
    return {
        "frames": page["received"],
        "frames_decoded": page["decoded"],
        "frames_not_asked": page["notAsked"],
        "frames_not_data": page["notData"],
        "frames_dropped": sum(page["dropped"].values()),
        "dropped": page["dropped"],
    }
