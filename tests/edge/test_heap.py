import subprocess
import sys

import pytest

ALLOCATE = """
import ctypes, threading
from bordnetz.edge.heap import bound_heap
{first}
threads = [threading.Thread(target=bytes, args=(100_000,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
ctypes.CDLL(None).malloc_stats()
"""


@pytest.mark.parametrize(("first", "heaps"), [("", True), ("bound_heap()", False)])
def test_threads_of_a_module_share_one_heap(first, heaps):
    program = ALLOCATE.format(first=first)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert b"Arena 0" in done.stderr
    assert (b"Arena 1" in done.stderr) == heaps
