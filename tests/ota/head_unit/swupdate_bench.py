"""A head unit on a bench: Debian's swupdate between two loop devices, with our own boot loader.

SWUpdate's sockets lie in the unit's folder (they follow TMPDIR).  A reboot is what it is for
SWUpdate: the process ends and comes again, while the boot loader's program names the other side.
"""

import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rauc_bench import MIB, Keys, installed, run, until

from bordnetz.ota.installers.boot_loader import BootLoader
from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import Activation, Installed, Job
from bordnetz.ota.installers.swupdate import SwupdateInstaller
from bordnetz.ota.installers.swupdate_service import Run, SwupdateService
from bordnetz.ota.installers.trouble import TroubleError

SIDE_SIZE = 2 * MIB
PROGRAMS = ("swupdate", "openssl", "losetup")

# The build is told by what is on the side itself.
BOOT_LOADER = """#!/bin/sh
cd {variables} || exit 1
case "$1" in
get-current) echo "$(cat current) $(head -c 8 "$(cat "device.$(cat current)")" | tr -d '\\0')" ;;
get-primary) cat primary ;;
set-primary) printf %s "$2" >primary; printf good >"state.$2" ;;
set-state) printf %s "$3" >"state.$2" ;;
*) exit 1 ;;
esac
"""

HOLD = """#!/bin/sh
touch {folder}/reached.before
while [ -e {folder}/hold.before ]; do sleep 0.02; done
"""

DESCRIPTION = """software =
{{
  version = "1";
  hardware-compatibility = [ "{hardware}" ];
  stable = {{
    main = {{
      images: ({{
        filename = "image.img"; device = "{devices[0]}"; type = "raw"; sha256 = "{sha256}";
        {more}
      }});
      scripts: ({{ filename = "after.sh"; type = "postinstall"; sha256 = "{after}"; }});
    }};
    alt = {{
      images: ({{
        filename = "image.img"; device = "{devices[1]}"; type = "raw"; sha256 = "{sha256}";
        {more}
      }});
      scripts: ({{ filename = "after.sh"; type = "postinstall"; sha256 = "{after}"; }});
    }};
  }};
}}
"""

CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from bordnetz.ota.installers.swupdate import SwupdateInstaller
arguments, verb, job, dies_at_write = pickle.loads(Path(sys.argv[1]).read_bytes())
writes = 0
fsync = os.fsync
def counting(descriptor):
    global writes
    writes += 1
    if writes == dies_at_write:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = counting
getattr(SwupdateInstaller(**arguments), verb)(job)
"""


def cpio(path: Path, files: list[Path]) -> None:
    """An archive of the form that SWUpdate reads: "newc" with checksums (cpio(5), 070702)."""

    def entry(name: str, data: bytes, inode: int) -> bytes:
        fields = [inode, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, sum(data)]
        head = b"070702" + b"".join(f"{field & 0xFFFFFFFF:08x}".encode() for field in fields)
        head += name.encode() + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    content = b"".join(
        entry(file.name, file.read_bytes(), number + 1) for number, file in enumerate(files)
    )
    content += entry("TRAILER!!!", b"", 0)
    path.write_bytes(content + bytes(-len(content) % 512))


class Bench:
    """The head unit; its parts are files, so that what is left after a crash can be looked at."""

    def __init__(self, folder: Path, certificate: Path, devices: list[Path]) -> None:
        self.folder = folder
        self.certificate = certificate
        self.devices = devices
        self.variables = folder / "variables"
        self.process: subprocess.Popen[bytes] | None = None
        self.images = 0
        for path in (self.variables, folder / "tmp", folder / "state"):
            path.mkdir()
        self.set("primary", "a")
        self.set("current", "a")
        for side, device in zip("ab", devices, strict=True):
            self.set(f"state.{side}", "good")
            self.set(f"device.{side}", str(device))
        self._program("boot-loader", BOOT_LOADER.format(variables=self.variables))
        self._program("before", HOLD.format(folder=folder))

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    # -- power

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                "swupdate",
                f"--key={self.certificate}",
                "--hwrevision=bench:1.0",
                "--accepted-select=stable,main",
                "--accepted-select=stable,alt",
                f"--preupdate={self.folder}/before",
                "--loglevel=5",
            ],
            env={**os.environ, "TMPDIR": str(self.folder / "tmp")},
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "swupdate.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "swupdate.log").read_text()
        try:
            return self.service.status().idle
        except TroubleError:
            return False

    def kill(self) -> None:
        """As a crash does it: at once, with all that it has started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def reboot(self, side: str | None = None) -> None:
        """The boot loader takes the primary side, if it is not bad, or the one named here."""
        self.kill()
        shutil.rmtree(self.folder / "tmp")
        (self.folder / "tmp").mkdir()
        primary = self.get("primary")
        other = "b" if primary == "a" else "a"
        good = primary if self.get(f"state.{primary}") != "bad" else other
        self.set("current", side or good)
        self.start()

    def stop(self) -> None:
        for when in ("before", "after"):
            self.release(when)
        if self.process is not None and self.process.poll() is None:
            self.kill()

    # -- looked at from outside

    @property
    def service(self) -> SwupdateService:
        return SwupdateService(
            self.folder / "tmp" / "sockinstctrl", self.folder / "tmp" / "swupdateprog", 60
        )

    def get(self, name: str) -> str:
        return (self.variables / name).read_text()

    def set(self, name: str, value: str) -> None:
        (self.variables / name).write_text(value)

    def content(self, side: str) -> bytes:
        with self.devices["ab".index(side)].open("rb") as device:
            return device.read(SIDE_SIZE)

    def ustate(self) -> str:
        """The variable, in the environment that swupdate keeps in its memory here."""
        kind, data = self.service._ask(8, b"")
        assert kind == 1
        return chr(data[0])

    def idle(self) -> None:
        """Until no installation runs."""
        self.service.settled(time.monotonic() + 60)

    def workshop_installs(self, image: Path) -> None:
        """Somebody has SWUpdate install an image who does not ask us."""
        with image.open("rb") as file:
            self.service.install(
                file, ("stable", "alt"), Run.INSTALL, lambda _: None, time.monotonic() + 60
            )

    # -- held in the middle

    def hold(self, when: str) -> None:
        """The next installation stops ``before`` it writes, or ``after``."""
        (self.folder / f"reached.{when}").unlink(missing_ok=True)
        (self.folder / f"hold.{when}").touch()

    def reached(self, when: str) -> None:
        until((self.folder / f"reached.{when}").exists)

    def release(self, when: str) -> None:
        (self.folder / f"hold.{when}").unlink(missing_ok=True)

    # -- our side

    def image(
        self,
        keys: Keys,
        data: bytes,
        *,
        more: str = "",
        script: str = "",
        script_first: bool = False,
        spoil: bool = False,
        hardware: str = "1.0",
    ) -> Path:
        """A signed .swu that writes the data to the side that is selected."""
        self.images += 1
        folder = self.folder / f"image{self.images}"
        folder.mkdir()
        after = folder / "after.sh"
        hold = HOLD.format(folder=self.folder).replace("before", "after")
        after.write_text(f"#!/bin/sh\n{script}\n{hold}" if script_first else f"{hold}\n{script}\n")
        image = folder / "image.img"
        image.write_bytes(data)
        description = folder / "sw-description"
        description.write_text(
            DESCRIPTION.format(
                devices=self.devices,
                sha256=hashlib.sha256(data).hexdigest(),
                after=hashlib.sha256(after.read_bytes()).hexdigest(),
                more=more,
                hardware=hardware,
            )
        )
        sign = ["openssl", "cms", "-sign", "-binary", "-nosmimecap", "-outform", "DER"]
        signature = folder / "sw-description.sig"
        run(
            *sign,
            "-in",
            description,
            "-out",
            signature,
            "-signer",
            keys.certificate,
            "-inkey",
            keys.key,
        )
        if spoil:
            image.write_bytes(data[:-1] + b"!")
        path = self.folder / f"image{self.images}.swu"
        cpio(path, [description, signature, after, image])
        return path

    def arguments(self) -> dict[str, object]:
        return {
            "control": self.service.control,
            "news": self.service.progress,
            "sides": {"a": ("stable", "main"), "b": ("stable", "alt")},
            "boot_loader": BootLoader(Command((str(self.folder / "boot-loader"),), 60)),
            "record": self.folder / "state" / "swupdate.json",
            "health": Command(("true",), 60),
            "timeout": 60.0,
        }

    def installer(self, **more: object) -> SwupdateInstaller:
        return SwupdateInstaller(**(self.arguments() | more))

    def in_another_process(
        self, verb: str, job: Job, dies_at_write: int = 0
    ) -> subprocess.Popen[bytes]:
        """A verb, done by a process that can be killed, or that kills itself at its n-th write."""
        parts = (self.arguments(), verb, job, dies_at_write)
        (self.folder / "job.pickle").write_bytes(pickle.dumps(parts))
        return subprocess.Popen([sys.executable, "-c", CHILD, self.folder / "job.pickle"])

    def job(self, image: Path, attempt: str = "1", old: Installed | None = None) -> Job:
        """One attempt."""
        return Job(attempt, "head-unit", "swupdate", installed(image, int(attempt)), old, image)


def bring(installer: SwupdateInstaller, job: Job) -> Activation:
    """Up to the reboot."""
    installer.stage(job)
    installer.install(job)
    return installer.activate(job)


def keep(installer: SwupdateInstaller, job: Job) -> None:
    """After the reboot."""
    installer.verify(job)
    installer.commit(job)
    installer.clean_up(job)


@contextmanager
def bench(folder: Path, certificate: Path) -> Iterator[Bench]:
    """A running head unit, on side a."""
    devices = []
    unit = None
    try:
        for number in range(2):
            disk = folder / f"disk{number}"
            disk.write_bytes(bytes(SIDE_SIZE))
            devices.append(Path(run("losetup", "--find", "--show", disk).strip()))
        unit = Bench(folder, certificate, devices)
        unit.start()
        yield unit
    finally:
        if unit is not None:
            unit.stop()
        for device in devices:
            run("losetup", "--detach", device)
