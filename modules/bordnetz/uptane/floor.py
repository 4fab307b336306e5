"""What the vehicle must never fall below: versions, release counters, time.

The memory that rollback protection rests on (Uptane Standard 2.1, "How to check Timestamp
metadata" to "How to check Targets metadata": the version of the previous file; "Full
verification", 10: the previous release counter).  It is small, and is kept apart from the stored
metadata, which may be lost and fetched again without making anything older acceptable.

Counters and the time never sink.  Versions sink in one case alone: the root metadata, which they
all rest on, has taken a key away from the timestamp or snapshot role (recovery from a fast-forward
attack, "How to check Root metadata", 4); the time in the one that corresponds: it has taken away a
time key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError

from bordnetz.errors import BordnetzError
from bordnetz.uptane.time import TrustedTime

_FORMAT = 1


class FloorError(BordnetzError):
    """The record of what the vehicle must not fall below is lost or damaged.

    Going on without it would make every older version acceptable, so nothing is verified or
    installed until somebody has decided.
    """

    exit_code = 74


_Number = Annotated[StrictInt, Field(ge=0)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    format: Annotated[int, Field(ge=_FORMAT, le=_FORMAT)]
    versions: dict[str, dict[str, _Number]]
    counters: dict[str, _Number]
    time: _Number
    sequence: _Number


@dataclass(frozen=True, slots=True)
class Floor:
    """The lowest acceptable versions, counters and time; without arguments, the factory's.

    Attributes:
        versions: By repository (``director``, ``image``) and role.  Root, timestamp, snapshot, and
            each role of targets that the last snapshot named.
        counters: Release counter of what was installed last, by ECU.
        time: The newest verified time, seconds since 1970 UTC.
        sequence: Of the newest verified file with one.
    """

    versions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=dict)
    time: int = 0
    sequence: int = 0

    @property
    def trusted_time(self) -> TrustedTime:
        """The newest verified time."""
        return TrustedTime(self.time, self.sequence)

    def with_versions(self, repository: str, versions: Mapping[str, int]) -> Floor:
        """The same, with all of one repository's versions in place of those it had."""
        return replace(self, versions={**self.versions, repository: dict(versions)})

    def with_time(self, trusted: TrustedTime) -> Floor:
        """The same, with this as the newest verified time."""
        return replace(self, time=trusted.time, sequence=trusted.sequence)

    def raise_counters(self, counters: Mapping[str, int]) -> Floor:
        """The same, with no counter below these."""
        raised = {ecu: max(count, self.counters.get(ecu, 0)) for ecu, count in counters.items()}
        return replace(self, counters={**self.counters, **raised})

    def to_json(self) -> bytes:
        """As a record that shows by itself whether it is whole."""
        content = {
            "format": _FORMAT,
            "versions": {name: dict(roles) for name, roles in self.versions.items()},
            "counters": dict(self.counters),
            "time": self.time,
            "sequence": self.sequence,
        }
        return _dump({"floor": content, "sha256": _digest(content)})

    @classmethod
    def from_json(cls, data: bytes) -> Floor:
        """Read what `to_json` has made.

        Raises:
            FloorError: It is damaged, or of another version of this program.
        """
        try:
            record = json.loads(data)
            if record["sha256"] != _digest(record["floor"]):
                raise FloorError("the floor record is damaged")
            known = _Record.model_validate(record["floor"])
        except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
            raise FloorError("the floor record is damaged, or of another version") from None
        return cls(known.versions, known.counters, known.time, known.sequence)


def _digest(content: Any) -> str:
    return hashlib.sha256(_dump(content)).hexdigest()


def _dump(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
