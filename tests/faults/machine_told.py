"""What telemetry has told to be safe, and whether that is so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from bordnetz.edge.outbox import Entry


class Told:
    """All that was told in one life after another, of one outbox.

    Attributes:
        bodies: Digests of the messages that were ever on the disk, by name.
        gone: Names of those that are there no more.
        sent: Names of those that the hub has acknowledged.
    """

    def __init__(self) -> None:
        self.bodies: dict[str, str] = {}
        self.gone: set[str] = set()
        self.sent: set[str] = set()

    def read(self, path: Path) -> list[str]:
        """Take up what a life has told, and remove it; what contradicts another."""
        wrong: list[str] = []
        if not path.exists():
            return wrong
        # The cut may fall into the last line.
        for line in path.read_text().split("\n")[:-1]:
            match line.split():
                case ["stored", name, digest]:
                    wrong += self._say(name, digest)
                case ["gone", name]:
                    self.gone.add(name)
                case ["sent", name]:
                    self.sent.add(name)
        path.unlink()
        return wrong

    def compare(self, outbox: Iterable[Entry], hub: Mapping[str, bytes]) -> list[str]:
        """What is wrong after a cut.

        Args:
            outbox: What is in it.
            hub: Bodies that the hub has or had, by name.
        """
        wrong = []
        waiting = set()
        for entry in outbox:
            name = f"{entry.outbox:016x}-{entry.sequence}"
            waiting.add(name)
            wrong += self._say(name, sha256(entry.message.body).hexdigest())
        for name, body in hub.items():
            wrong += self._say(name, sha256(body).hexdigest())
        for what, names in (
            ("lost", self.bodies.keys() - waiting - hub.keys()),
            ("come back", self.gone & waiting),
            ("acknowledged and not at the hub", self.sent - hub.keys()),
        ):
            if names:
                wrong.append(f"{what}: {sorted(names)[:10]}")
        return wrong

    def _say(self, name: str, digest: str) -> list[str]:
        same = self.bodies.setdefault(name, digest) == digest
        return [] if same else [f"{name} says two things"]
