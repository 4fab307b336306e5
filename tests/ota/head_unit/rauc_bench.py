"""A head unit on a bench: Debian's rauc between two loop devices, with a boot loader of our own.

The bus is private, the boot loader a script that keeps its variables in files.  A reboot is what
it is for RAUC: the service ends and comes again, told which slot the boot loader has booted.
"""

import hashlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from jeepney import DBusAddress, HeaderFields, new_signal
from jeepney.io.blocking import open_dbus_connection

from bordnetz.ota.installers.command import Command
from bordnetz.ota.installers.installer import Activation, Installed, Job
from bordnetz.ota.installers.rauc import RaucInstaller
from bordnetz.ota.installers.rauc_service import RaucService
from bordnetz.ota.installers.trouble import TroubleError

MIB = 1 << 20
SLOT_SIZE = 2 * MIB
PROGRAMS = ("rauc", "dbus-daemon", "openssl", "mksquashfs", "losetup")

BOOT_LOADER = """#!/bin/sh
cd {variables} || exit 1
case "$1" in
get-primary) cat primary ;;
set-primary) printf %s "$2" >primary; printf good >"state.$2" ;;
get-state) cat "state.$2" ;;
set-state) printf %s "$3" >"state.$2" ;;
*) exit 1 ;;
esac
"""

# Holds an installation for as long as there is a file that says so.
HANDLER = """#!/bin/sh
touch {folder}/reached.$1
while [ -e {folder}/hold.$1 ]; do sleep 0.02; done
"""

CONFIG = """[system]
compatible=bordnetz-bench
bootloader=custom
statusfile={folder}/status
bundle-formats=plain
activate-installed={activate}

[keyring]
path={keyring}

[handlers]
bootloader-custom-backend={folder}/boot-loader
pre-install={folder}/before
post-install={folder}/after

[slot.rootfs.0]
device={devices[0]}
type=raw
bootname=A

[slot.rootfs.1]
device={devices[1]}
type=raw
bootname=B
{more}
"""

CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from bordnetz.edge import durable
from bordnetz.ota.installers.rauc import RaucInstaller
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
getattr(RaucInstaller(**arguments), verb)(job)
"""

BUS = """<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


def missing(programs: Sequence[str]) -> list[str]:
    """What a machine lacks for a bench."""
    lacks = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() != 0:
        lacks.append("root")
    if not Path("/dev/loop-control").exists():
        lacks.append("loop devices")
    return lacks


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it has not come to that"
        time.sleep(0.005)


class Keys:
    """A signing key and its certificate, which is its own authority."""

    def __init__(self, folder: Path, name: str) -> None:
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.crt"
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30"]
        run(*request, "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.certificate)


def make_bundle(folder: Path, keys: Keys, image: bytes, name: str, slot: str = "rootfs") -> Path:
    """A signed bundle with one image, raw as it gets to the device."""
    content = folder / name
    content.mkdir()
    (content / "image.img").write_bytes(image)
    (content / "manifest.raucm").write_text(
        "[update]\ncompatible=bordnetz-bench\nversion=1\n\n[bundle]\nformat=plain\n\n"
        f"[image.{slot}]\nfilename=image.img\n"
    )
    bundle = folder / f"{name}.raucb"
    run("rauc", "bundle", f"--cert={keys.certificate}", f"--key={keys.key}", content, bundle)
    return bundle


def installed(path: Path, counter: int) -> Installed:
    data = path.read_bytes()
    return Installed(path.name, len(data), hashlib.sha256(data).hexdigest(), counter)


def bring(installer: RaucInstaller, job: Job) -> Activation:
    """Up to the reboot."""
    installer.stage(job)
    installer.install(job)
    return installer.activate(job)


def keep(installer: RaucInstaller, job: Job) -> None:
    """After the reboot."""
    installer.verify(job)
    installer.commit(job)
    installer.clean_up(job)


class Bench:
    """The head unit; its parts are files, so that what is left after a crash can be looked at."""

    def __init__(
        self, folder: Path, keyring: Path, devices: list[Path], activate: bool, more: str
    ) -> None:
        self.folder = folder
        self.devices = devices
        self.bus = f"unix:path={folder}/bus"
        self.variables = folder / "variables"
        self.mounts = folder / "mounts"
        self.service: subprocess.Popen[bytes] | None = None
        self.daemon: subprocess.Popen[bytes] | None = None
        self.booted = "A"
        for path in (self.variables, self.mounts, folder / "state"):
            path.mkdir()
        (self.variables / "primary").write_text("A")
        for slot in "AB":
            (self.variables / f"state.{slot}").write_text("good")
        self._program("boot-loader", BOOT_LOADER.format(variables=self.variables))
        for when in ("before", "after"):
            self._program(when, HANDLER.format(folder=folder).replace("$1", when))
        (folder / "system.conf").write_text(
            CONFIG.format(
                folder=folder,
                keyring=keyring,
                devices=devices,
                activate=str(activate).lower(),
                more=more,
            )
        )
        (folder / "bus.conf").write_text(BUS.format(folder=folder))

    def _program(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    # -- power

    def start(self) -> None:
        self.daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self.folder}/bus.conf", "--nofork"]
        )
        until(self._bus_listens)
        self.start_service()

    def start_service(self) -> None:
        self.service = subprocess.Popen(
            [
                "rauc",
                f"--conf={self.folder}/system.conf",
                f"--mount={self.mounts}",
                "service",
                f"--override-boot-slot={self.booted}",
            ],
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.bus},
            stdout=(self.folder / "rauc.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        until(self._answers)

    def _bus_listens(self) -> bool:
        # The socket's name is there before anybody listens.
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.folder / "bus")) == 0

    def _answers(self) -> bool:
        assert self.service is not None
        assert self.service.poll() is None, (self.folder / "rauc.log").read_text()
        try:
            return bool(self.slots())
        except TroubleError:
            return False

    def kill_service(self) -> None:
        """As a crash does it: at once, with all that it has started."""
        assert self.service is not None
        os.killpg(self.service.pid, signal.SIGKILL)
        self.service.wait()
        self.unmount()

    def unmount(self) -> None:
        """What is mounted goes with the kernel, in a reboot."""
        for line in Path("/proc/self/mounts").read_text().splitlines():
            where = line.split()[1]
            if where.startswith(str(self.folder)):
                run("umount", where)

    def reboot(self) -> None:
        """The boot loader takes the primary slot, if it is good, and else the other."""
        self.kill_service()
        primary = self.primary
        other = "B" if primary == "A" else "A"
        self.booted = primary if self.state(primary) == "good" else other
        self.start_service()

    def stop(self) -> None:
        for when in ("before", "after"):
            self.release(when)
        if self.service is not None and self.service.poll() is None:
            self.kill_service()
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()

    # -- looked at from outside

    @property
    def primary(self) -> str:
        return (self.variables / "primary").read_text()

    def state(self, slot: str) -> str:
        return (self.variables / f"state.{slot}").read_text()

    def content(self, slot: str, length: int) -> bytes:
        with self.devices["AB".index(slot)].open("rb") as device:
            return device.read(length)

    def slots(self) -> dict[str, object]:
        with RaucService(self.bus) as rauc:
            return dict(rauc.slots())

    def set_primary(self, slot: str) -> None:
        (self.variables / "primary").write_text(slot)

    def set_state(self, slot: str, state: str) -> None:
        (self.variables / f"state.{slot}").write_text(state)

    def idle(self) -> None:
        """Until no installation runs."""
        with RaucService(self.bus) as rauc:
            rauc.settled(time.monotonic() + 60)

    def workshop_installs(self, bundle: Path) -> None:
        """Somebody has RAUC install a bundle who does not ask us."""
        with RaucService(self.bus) as rauc:
            rauc.install(str(bundle), lambda _: None, time.monotonic() + 60)

    def stranger_says_completed(self) -> int:
        """Somebody tells everybody on the bus, one by one, that RAUC has finished."""
        told = 0
        with open_dbus_connection(self.bus) as stranger:
            (names,) = stranger.bus_proxy.ListNames()
            for name in names:
                if name.startswith(":"):
                    address = DBusAddress("/", interface="de.pengutronix.rauc.Installer")
                    message = new_signal(address, "Completed", "i", (0,))
                    message.header.fields[HeaderFields.destination] = name
                    stranger.send(message)
                    told += 1
            stranger.bus_proxy.ListNames()
        return told

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

    def arguments(self) -> dict[str, object]:
        return {
            "bus": self.bus,
            "folder": self.folder / "state" / "bundles",
            "seen": PurePosixPath(self.folder / "state" / "bundles"),
            "record": self.folder / "state" / "rauc.json",
            "health": Command(("true",), 60),
            "timeout": 60.0,
        }

    def installer(self, **more: object) -> RaucInstaller:
        return RaucInstaller(**(self.arguments() | more))

    def in_another_process(
        self, verb: str, job: Job, dies_at_write: int = 0
    ) -> subprocess.Popen[bytes]:
        """A verb, done by a process that can be killed, or that kills itself at its n-th write."""
        parts = (self.arguments(), verb, job, dies_at_write)
        (self.folder / "job.pickle").write_bytes(pickle.dumps(parts))
        return subprocess.Popen([sys.executable, "-c", CHILD, self.folder / "job.pickle"])

    def job(self, bundle: Path, attempt: str = "1", old: Installed | None = None) -> Job:
        """One attempt; the payload is a copy, for `stage` takes it."""
        payload = self.folder / "state" / f"payload.{attempt}"
        shutil.copy(bundle, payload)
        return Job(attempt, "head-unit", "rauc", installed(bundle, int(attempt)), old, payload)


@contextmanager
def bench(
    folder: Path, keyring: Path, *, activate: bool = False, more: str = ""
) -> Iterator[Bench]:
    """A running head unit, on slot A, with nothing on its slots that RAUC knows of."""
    devices = []
    unit = None
    try:
        for number in range(2):
            disk = folder / f"disk{number}"
            disk.write_bytes(bytes(SLOT_SIZE))
            devices.append(Path(run("losetup", "--find", "--show", disk).strip()))
        unit = Bench(folder, keyring, devices, activate, more)
        unit.start()
        yield unit
    finally:
        if unit is not None:
            unit.stop()
            unit.unmount()
        for device in devices:
            run("losetup", "--detach", device)


def run(*argv: object) -> str:
    done = subprocess.run([str(part) for part in argv], capture_output=True, check=False, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
