"""Mounts, loop devices and namespaces, which Python's library does not have."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | (1 << 18)
MS_RDONLY = 1
MS_REMOUNT = 32
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1

# include/uapi/linux/loop.h
_LOOP_CONFIGURE = 0x4C0A
_LOOP_CTL_GET_FREE = 0x4C82
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_CONFIG = "II232s64x"


def _ask(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def end_with_parent() -> None:
    """Have this process killed when its parent ends, whatever ends that one."""
    _ask(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL)), "prctl")


def own_mounts() -> None:
    """Give this process mounts of its own: they end with it and its children."""
    _ask(_libc.unshare(_CLONE_NEWNS), "unshare")
    _ask(
        _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC_PRIVATE), None),
        "mount --make-private /",
    )


def mount(source: str, folder: Path, kind: str, options: str = "", flags: int = 0) -> None:
    """mount(2)."""
    arguments = [text.encode() for text in (source, str(folder), kind)]
    what = f"mount -t {kind} -o {options} {source} {folder}"
    _ask(_libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()), what)


def unmount(folder: Path, *, lazily: bool = False) -> None:
    """umount2(2)."""
    flags = _MNT_DETACH if lazily else 0
    _ask(_libc.umount2(str(folder).encode(), flags), f"umount {folder}")


@contextmanager
def loop(path: Path) -> Iterator[str]:
    """A block device that is that file; it goes with its last user."""
    with path.open("r+b", buffering=0) as file:
        device, name = _configure(file.fileno())
    try:
        yield name
    finally:
        os.close(device)


def _configure(file: int) -> tuple[int, str]:
    info = bytearray(232)
    struct.pack_into("=I", info, 8 + 8 + 8 + 8 + 8 + 4 + 4 + 4, _LO_FLAGS_AUTOCLEAR)
    config = struct.pack(_LOOP_CONFIG, file, 4096, bytes(info))
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            name = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(name, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, config)
            except OSError as error:
                os.close(device)
                # Somebody else was quicker.
                if error.errno != errno.EBUSY:
                    raise
            else:
                return device, name
    finally:
        os.close(control)
