"""The roots that vehicles leave the factory with, as files in the release folder."""

from __future__ import annotations

from bordnetz.release import roots
from bordnetz.release.errors import ReleaseError
from bordnetz.release.release import Release
from bordnetz.release.settings import ROLES


def write_roots(release: Release) -> None:
    """Write ``director-root.json`` and ``image-root.json``, the newest.

    Raises:
        ReleaseError: The disk does not take them.
    """
    for repository in ROLES:
        path = release.folder / f"{repository}-root.json"
        new = path.with_name(f".new-{path.name}")
        try:
            new.write_bytes(roots.latest(release, repository)[2])
            new.replace(path)
        except OSError as error:
            raise ReleaseError(f"{path}: cannot be written: {error.strerror}") from error
