"""The C library's heap: how much of it a module holds that it does not use."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""malloc.h of glibc; mallopt(3)."""

_KEPT = 2 << 20
"""Free bytes at the heap's end that wait for the next batch."""

_APART = 8 << 20
"""Larger blocks come from the kernel and go back to it, each time page by page."""


def bound_heap() -> None:
    """Let all threads share one heap, and give back what is free of it.

    Left alone, glibc gives threads heaps of their own, eight a core, each with room to spare, and
    the more it keeps the larger the blocks were that it once gave out.  A module has a dozen
    threads, of which one works at a time.  Another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_M_ARENA_MAX, 1)
    mallopt(_M_TRIM_THRESHOLD, _KEPT)
    mallopt(_M_MMAP_THRESHOLD, _APART)
