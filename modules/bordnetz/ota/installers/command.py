"""A command of the vehicle file, as a health check: no shell, bounded in time and in output.

It gets neither our standard input nor our environment, but `PATH` and a plain locale.  What it
says last is quoted in the error, so a command must not print what is nobody's business.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass

from bordnetz.ota.installers.installer import InstallError
from bordnetz.ota.installers.quote import quote

_KEPT = 4096
_CHUNK = 65536


class CommandError(InstallError):
    """A command could not be run, did not end in time, or ended with something else than 0."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is run, and how long it may take.

    Attributes:
        argv: The program and its arguments, as they are; the program by a path, or found on PATH.
        timeout: Seconds; then it is killed, with all the processes of its group.
    """

    argv: tuple[str, ...]
    timeout: float

    def run(self) -> str:
        """Run it to its end.

        Returns:
            The last 4096 bytes of what it printed (both streams), as text.

        Raises:
            CommandError: It was not successful; the text says why and quotes its last line.
        """
        name = self.argv[0]
        try:
            process = subprocess.Popen(  # noqa: S603 the vehicle file's argv, never a shell
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{name}: cannot be run: {error}; is it in the image or mounted into the container?"
            ) from error
        with process:
            output, ended = _wait(process, time.monotonic() + self.timeout)
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                # Who left the group may still hold the pipe, so that nobody waits for its end.
                process.wait()
        text = output.decode(errors="replace")
        if not ended:
            raise CommandError(
                f"{name}: killed after {self.timeout:g} s without an end{_quote(text)}"
            )
        if process.returncode < 0:
            raise CommandError(f"{name}: ended by signal {-process.returncode}{_quote(text)}")
        if process.returncode > 0:
            raise CommandError(f"{name}: ended with {process.returncode}{_quote(text)}")
        return text


def _wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
    """Read until the process has ended; the end of its output, and whether it has ended.

    A background process that it leaves behind may keep the pipe open, so what counts is the
    process, not the pipe.
    """
    assert process.stdout is not None  # noqa: S101 for the type checker: PIPE was asked for
    pipe = process.stdout.fileno()
    ended = os.pidfd_open(process.pid)
    output = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(ended, selectors.EVENT_READ)
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                # At most one chunk after another, so that the clock is looked at in between.
                left = deadline - time.monotonic()
                ready = {key.fd for key, _ in selector.select(max(left, 0))}
                if pipe in ready:
                    chunk = os.read(pipe, _CHUNK)
                    output = (output + chunk)[-_KEPT:]
                    if not chunk:
                        selector.unregister(pipe)
                elif ended in ready:
                    process.wait()
                    return output, True
                if left <= 0:
                    return output, False
    finally:
        os.close(ended)


def _quote(text: str) -> str:
    said = quote(text)
    return f", saying: {said}" if said else ", and said nothing"
