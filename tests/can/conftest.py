import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose sockets' paths are short enough for the kernel."""
    with tempfile.TemporaryDirectory(prefix="bn") as folder:
        yield Path(folder)
