"""A user without root's rights, for tests of what may not be read or written."""

import os
from collections.abc import Iterator

import pytest

_IMAGE = 10001


@pytest.fixture
def user() -> Iterator[int]:
    """The uid that this process has for so long: that of the image where it was root's."""
    if os.getuid() != 0:
        yield os.getuid()
        return
    os.setresuid(_IMAGE, _IMAGE, 0)
    yield _IMAGE
    os.setresuid(0, 0, 0)
