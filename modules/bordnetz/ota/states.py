"""The words in which an update's state and its end are told."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What is going on, in reported properties and events."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    NEEDS_URL = "needsUrl"
    PAUSED = "paused"
    WAITING = "waiting"
    INSTALLING = "installing"
    ACTIVATING = "activating"
    WAITING_FOR_REBOOT = "waitingForReboot"
    VERIFYING = "verifying"
    COMMITTING = "committing"
    ROLLING_BACK = "rollingBack"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REFUSED = "refused"
    CANCELLED = "cancelled"


class Result(StrEnum):
    """How an attempt has ended.

    `FAILED`: nothing new has become active, or, where the report says so, the targets do not fit
    together.  `ROLLED_BACK`: something had become active, and the old versions are so again.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLED_BACK = "rolledBack"
    REFUSED = "refused"
    CANCELLED = "cancelled"

    @property
    def state(self) -> State:
        """What is shown after an attempt that has ended so."""
        return State.FAILED if self is Result.ROLLED_BACK else State(self.value)
