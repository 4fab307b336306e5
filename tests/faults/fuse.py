"""A disk that keeps a record: one file of a FUSE file system, to be put under a loop device.

A server for the kernel's side of FUSE (include/uapi/linux/fuse.h, protocol 7.31), as far as a loop
device asks.  Whatever the block layer does arrives here one by one: a write as ``WRITE``, a flush
(the loop device makes one of a FUA too) as ``FSYNC``.  A second file takes marks, so that what the
work said it had done stands in the record between the writes it came after and before.
"""

from __future__ import annotations

import errno
import os
import pickle
import stat
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .system import end_with_parent, mount, own_mounts, unmount

DISK = "disk"
MARKS = "marks"
_NODES = {1: None, 2: DISK, 3: MARKS}

_HEADER = struct.Struct("=IIQQIIIHH")
_REPLY = struct.Struct("=IiQ")
_MAX_WRITE = 1 << 20
_FOREVER = 1 << 30
_BIG_WRITES = 1 << 5
_MAX_PAGES = 1 << 22
_DIRECT_IO = 1
_KEEP_CACHE = 2
_DEVICE_GONE = errno.ENODEV

_LOOKUP, _FORGET, _GETATTR, _SETATTR = 1, 2, 3, 4
_OPEN, _READ, _WRITE, _STATFS, _RELEASE = 14, 15, 16, 17, 18
_FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 20, 25, 26, 36, 38, 42


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes that the disk took, not yet safe."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Flush:
    """Everything written before is safe."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the work said at this point."""

    text: str


Step = Write | Flush | Mark


class Disk:
    """The file's bytes and the record of what was done to them.

    Attributes:
        image: What a reader sees.
        steps: The record.
        broken: From which write on the disk takes nothing more; None: it never breaks.
        glitch: Which write or flush, counted together, fails once; None: none does.
    """

    def __init__(self, image: bytes, broken: int | None, glitch: int | None) -> None:
        self.image = bytearray(image)
        self.steps: list[Step] = []
        self.broken = broken
        self.glitch = glitch
        self._writes = 0
        self._asked = 0
        self._answers: dict[int, Callable[[int, memoryview], bytes]] = {
            _LOOKUP: self._lookup,
            _GETATTR: lambda node, _: struct.pack("=QII", _FOREVER, 0, 0) + self._attributes(node),
            _SETATTR: lambda node, _: struct.pack("=QII", _FOREVER, 0, 0) + self._attributes(node),
            _OPEN: self._open,
            _READ: self._read,
            _WRITE: self._write,
            _FSYNC: self._fsync,
            _FLUSH: lambda *_: b"",
            _RELEASE: lambda *_: b"",
            _DESTROY: lambda *_: b"",
            _STATFS: lambda *_: bytes(80),
            _INIT: self._init,
        }

    def serve(self, kernel: int) -> None:
        """Answer the kernel until the file system is unmounted."""
        while True:
            try:
                request = memoryview(os.read(kernel, _MAX_WRITE + 8192))
            except OSError as error:
                if error.errno == _DEVICE_GONE:
                    return
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                raise
            _, operation, unique, node, *_ = _HEADER.unpack_from(request)
            if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue
            number = 0
            body = b""
            try:
                answer = self._answers.get(operation)
                if answer is None:
                    number = errno.ENOSYS
                else:
                    body = answer(node, request[_HEADER.size :])
            except OSError as error:
                number = error.errno or errno.EIO
            reply = _REPLY.pack(_REPLY.size + len(body), -number, unique)
            try:
                os.writev(kernel, [reply, body])
            except OSError as error:
                # Whoever asked is dead, or the file system is being unmounted.
                if error.errno not in (errno.ENOENT, _DEVICE_GONE):
                    raise

    def _init(self, _node: int, body: memoryview) -> bytes:
        _, _, readahead, offered = struct.unpack_from("=IIII", body)
        flags = offered & (_BIG_WRITES | _MAX_PAGES)
        numbers = (7, 31, readahead, flags, 16, 12, _MAX_WRITE, 1, _MAX_WRITE // 4096, 0, 0, 0)
        return struct.pack("=IIIIHHIIHHII24x", *numbers)

    def _attributes(self, node: int) -> bytes:
        size = len(self.image) if _NODES[node] == DISK else 0
        mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o600
        return struct.pack("=6Q10I", node, size, size // 512, *[0] * 6, mode, 1, 0, 0, 0, 4096, 0)

    def _lookup(self, _node: int, body: memoryview) -> bytes:
        name = bytes(body).rstrip(b"\0").decode()
        for node, known in _NODES.items():
            if name == known:
                head = struct.pack("=QQQQII", node, 0, _FOREVER, _FOREVER, 0, 0)
                return head + self._attributes(node)
        raise FileNotFoundError(errno.ENOENT, name)

    def _open(self, node: int, _body: memoryview) -> bytes:
        return struct.pack("=QIi", node, _KEEP_CACHE if _NODES[node] == DISK else _DIRECT_IO, 0)

    def _read(self, node: int, body: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        return bytes(self.image[offset : offset + size]) if _NODES[node] == DISK else b""

    def _write(self, node: int, body: memoryview) -> bytes:
        _, offset, size = struct.unpack_from("=QQI", body)
        data = bytes(body[40 : 40 + size])
        if _NODES[node] == DISK:
            self._writes += 1
            self._fail()
            self.image[offset : offset + size] = data
            self.steps.append(Write(offset, data))
        else:
            self.steps.append(Mark(data.decode()))
        return struct.pack("=II", size, 0)

    def _fsync(self, node: int, _body: memoryview) -> bytes:
        if _NODES[node] == DISK:
            self._fail()
            self.steps.append(Flush())
        return b""

    def _fail(self) -> None:
        self._asked += 1
        if self.broken is not None and self._writes >= self.broken:
            raise OSError(errno.EIO, "the disk is broken")
        if self._asked == self.glitch:
            raise OSError(errno.EIO, "the disk fails once")


class Served:
    """A disk served by a process of its own: nobody may wait for an answer of his own.

    Attributes:
        file: The disk's file.
        marks: The file that takes marks, each with one write at offset 0.
    """

    def __init__(
        self, image: bytes, folder: Path, broken: int | None = None, glitch: int | None = None
    ) -> None:
        """Mount it.

        Args:
            image: What the disk holds.
            folder: Where to mount it.
            broken: The first write that the disk does not take, nor any after it.
            glitch: The write or flush that fails, once.
        """
        self.file = folder / DISK
        self.marks = folder / MARKS
        kernel = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        mount("bordnetz-faults", folder, "fuse", f"fd={kernel},rootmode=40000,user_id=0,group_id=0")
        self._result, out = os.pipe()
        self._server = os.fork()
        if self._server == 0:
            status = 1
            try:
                end_with_parent()
                # Nothing that is mounted on the disk may be its server's to unmount.
                own_mounts()
                unmount(folder, lazily=True)
                os.close(self._result)
                disk = Disk(image, broken, glitch)
                disk.serve(kernel)
                with os.fdopen(out, "wb") as file:
                    pickle.dump((bytes(disk.image), disk.steps), file)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        os.close(kernel)
        os.close(out)

    def finish(self) -> tuple[bytes, list[Step]]:
        """The bytes and the record, once the file system has been unmounted."""
        with os.fdopen(self._result, "rb") as file:
            found: tuple[bytes, list[Step]] = pickle.load(file)
        os.waitpid(self._server, 0)
        return found
