"""An event that signals set: they come between any two steps of the thread that waits."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from bordnetz.laptop.asked import Asked

ROUNDS = 100

PROGRAM = f"""
import os, signal, threading, time
from bordnetz.laptop.asked import Asked

def send():
    time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGTERM)

for number in range({ROUNDS}):
    asked = Asked()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    sender = threading.Thread(target=send)
    sender.start()
    while not asked.is_set():
        asked.wait(0)
    sender.join()
print(number + 1)
"""


def test_a_signal_that_comes_at_any_moment_of_a_wait_ends_it():
    """With `threading.Event` in its place the program hangs."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == f"{ROUNDS}\n"


def test_a_wait_ends_when_it_is_set_and_after_its_time():
    asked = Asked()
    began = time.monotonic()
    assert not asked.wait(0.05)
    assert time.monotonic() - began >= 0.04
    setter = threading.Timer(0.05, asked.set)
    setter.start()
    assert asked.wait(60)
    setter.join()
    assert asked.is_set()
    assert asked.wait(60), "once set, it stays so"
