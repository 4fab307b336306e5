"""Where a hub keeps its files, where its sockets are, and how a running one is found.

The state folder holds everything that outlives the process.  Unix sockets have paths of at most
about 100 bytes, so those of a state folder with a long path lie in the user's run folder or in
/tmp, under a name made from the state folder's: a restart finds the same sockets again.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
from dataclasses import asdict, dataclass
from pathlib import Path

from bordnetz.errors import BordnetzError

_LONGEST_SOCKET_PATH = 100
_LONGEST_SOCKET_NAME = len("/workload.sock")


class NoHubError(BordnetzError):
    """No hub is running there, or several are and none was named."""


@dataclass(frozen=True, slots=True)
class Place:
    """How to reach a running hub; ``hub.json`` in its state folder.

    Attributes:
        state: The state folder.
        pid: The process.
        address: Loopback address of MQTT (port 8883) and metrics.
        control: The control socket.
        workload: The workload API's socket.
        metrics: URL of the metrics.
        upstream: Folder of what reached ``$upstream``.
    """

    state: str
    pid: int
    address: str
    control: str
    workload: str
    metrics: str
    upstream: str

    @classmethod
    def load(cls, path: Path) -> Place | None:
        """The place in a file, None if there is none or it is not whole."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        """Writes the file at once."""
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(json.dumps(asdict(self), indent=2))
        unfinished.replace(path)

    def alive(self) -> bool:
        """Whether somebody listens at the control socket."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.control)
            except OSError:
                return False
        return True


def default_state() -> Path:
    """The state folder where none is named (XDG base directory specification)."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "bordnetz" / "hub"


def registry() -> Path:
    """The folder in which running hubs leave their `Place`."""
    return _private(_run_folder() / "hubs")


def sockets(state: Path) -> Path:
    """The folder for the sockets of a state folder."""
    if _fits(state):
        return state
    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    folder = _run_folder() / name
    return _private(folder if _fits(folder) else _temporary_folder() / name)


def register(place: Place) -> Path:
    """Leaves a place in the registry; the file to remove at the end."""
    entry = registry() / f"{place.pid}.json"
    place.save(entry)
    return entry


def running() -> list[Place]:
    """The hubs that are running; entries of dead ones are removed."""
    found = []
    for entry in sorted(registry().glob("*.json")):
        place = Place.load(entry)
        if place is not None and place.alive():
            found.append(place)
        else:
            entry.unlink(missing_ok=True)
    return found


def find(state: Path | None = None) -> Place:
    """The running hub of a state folder, or the only one running.

    Raises:
        NoHubError: None is running there, or several are.
    """
    if state is not None:
        place = Place.load(state / "hub.json")
        if place is None or not place.alive():
            raise NoHubError(f"no hub is running in {state}; start one with 'bordnetz hub run'")
        return place
    places = running()
    if not places:
        raise NoHubError("no hub is running; start one with 'bordnetz hub run' or 'bordnetz drive'")
    if len(places) > 1:
        listed = "".join(f"\n  {place.state} ({place.address})" for place in places)
        raise NoHubError(f"several hubs are running; name one with --state:{listed}")
    return places[0]


def _run_folder() -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return _private(Path(base) / "bordnetz")
    return _temporary_folder()


def _temporary_folder() -> Path:
    return _private(Path("/tmp") / f"bordnetz-{os.getuid()}")  # noqa: S108 - checked for its owner


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder)) + _LONGEST_SOCKET_NAME <= _LONGEST_SOCKET_PATH


def _private(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise NoHubError(f"{folder} is not a folder of this user; remove it")
    return folder
