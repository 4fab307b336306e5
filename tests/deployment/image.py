"""Proves what can be proved of the image without a container engine; CI prints the report.

By hand: ``python tests/deployment/image.py``.  It needs the package index that pip is set up for,
and about 500 MB of disk for a minute.

1. Every pin of requirements/run.txt has a wheel for arm64 or for any machine, except those that
   the Dockerfile names as built from source; and those have none.
2. Unpacked for arm64, byte code included, the run-time dependencies stay within the budget.
3. The commands of the Dockerfile's first stage run (on this machine, for this machine), and what
   they make can start every module with nothing but the run-time dependencies.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUDGET_MB = 140
PYTHON = (3, 11)
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64")


class ImageError(Exception):
    """Something that would keep the image from being built, started or small."""


def blocks(pins: str) -> dict[str, str]:
    """The pins by name, each with its hashes."""
    found = re.split(r"\n(?=[A-Za-z0-9])", pins.strip())
    return {block.split("==", 1)[0].strip().lower(): block for block in found}


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Instructions and their arguments, continuation lines joined, comments left out."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in parts]


def built_from_source(dockerfile: str) -> set[str]:
    """The pins that the Dockerfile excepts from the rule of wheels."""
    for name, rest in instructions(dockerfile):
        if name == "ARG" and rest.startswith("SOURCES="):
            return set(rest.removeprefix("SOURCES=").split(","))
    raise ImageError("the Dockerfile has no ARG SOURCES=...")


def install(pins: list[str], target: Path, *, for_arm64: bool) -> None:
    """Unpack pins into a folder; for arm64 from wheels only.

    Raises:
        ImageError: What pip had to say against it.
    """
    file = target.with_suffix(".txt")
    file.write_text("\n".join(pins) + "\n")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--require-hashes", "--target", str(target), "-r", str(file)]
    if for_arm64:
        command += ["--only-binary=:all:", "--python-version", ".".join(map(str, PYTHON))]
        command += [f"--platform={platform}" for platform in PLATFORMS]
    run(command, ROOT)


def run(command: list[str], folder: Path) -> str:
    """Run a command and give its output.

    Raises:
        ImageError: It failed; with its errors.
    """
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if "WARNING" not in line]
        raise ImageError("\n".join([shlex.join(command)[:200], *errors[-15:]]))
    return result.stdout


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def prove_wheels_and_size(dockerfile: str, work: Path) -> Iterator[str]:
    """Points 1 and 2."""
    pins = blocks((ROOT / "requirements/run.txt").read_text())
    sources = built_from_source(dockerfile)
    if unknown := sources - pins.keys():
        raise ImageError(f"the Dockerfile builds what is not pinned: {', '.join(sorted(unknown))}")
    target = work / "arm64"
    wheels = [block for name, block in pins.items() if name not in sources]
    install(wheels, target, for_arm64=True)
    yield f"{len(wheels)} of {len(pins)} pins have a wheel for arm64"
    for name in sorted(sources):
        try:
            install([pins[name]], work / "wheel", for_arm64=True)
        except ImageError:
            yield f"{name} has none and is built from source"
        else:
            raise ImageError(f"{name} has a wheel by now; take it out of ARG SOURCES")
        install([pins[name]], target / name, for_arm64=False)
        if any((target / name).rglob("*.so")):
            raise ImageError(f"{name} has a part in C; the slim base image has no compiler")
    for path in sorted(target.iterdir(), key=size)[:-5:-1]:
        yield f"  {size(path) / 1e6:6.1f} MB {path.name}"
    megabytes = size(target) / 1e6
    told = f"run-time dependencies unpacked for arm64: {megabytes:.1f} MB of {BUDGET_MB} MB"
    if megabytes > BUDGET_MB:
        raise ImageError(told)
    yield told


def prove_first_stage(dockerfile: str, work: Path) -> Iterator[str]:
    """Point 3: the same commands with the image's folders moved below ``work``."""
    if sys.version_info[:2] != PYTHON:
        yield f"first stage not run: this is not Python {PYTHON[0]}.{PYTHON[1]}, the image's"
        return
    build = work / "build"
    build.mkdir()
    moved = {"/opt/bordnetz": str(work / "opt"), "/var/lib/bordnetz": str(work / "state")}
    moved |= {"${SOURCES}": ",".join(built_from_source(dockerfile)), "-o 10001 -g 10001": ""}
    moved |= {"python -m": f"{sys.executable} -m"}
    (work / "opt").mkdir()
    for name, rest in instructions(dockerfile.split("\nFROM ")[1]):
        for old, new in moved.items():
            rest = rest.replace(old, new)
        if name == "COPY":
            source, target = rest.split()
            destination = build / target
            destination.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, destination)
        elif name == "RUN":
            run(["sh", "-euc", rest], build)
    yield "the first stage's commands run"
    python = str(work / "opt/bin/python")
    own = "target.startswith('bordnetz.laptop')"
    listed = f"print(*(verb for verb, (target, _) in VERBS.items() if not {own}))"
    verbs = run([python, "-c", f"from bordnetz.cli import VERBS; {listed}"], work).split()
    if "telemetry" not in verbs:
        raise ImageError(f"the image would start {verbs}, and no telemetry")
    for arguments in ([], *([verb] for verb in verbs)):
        run([str(work / "opt/bin/bordnetz"), *arguments, "--help"], work)
    yield f"it starts {', '.join(verbs)} with the run-time dependencies alone"


def main() -> int:
    """Print the report; the exit code is 1 if anything is not as it must be."""
    dockerfile = (ROOT / "Dockerfile.arm64v8").read_text()
    work = Path(tempfile.mkdtemp(prefix="bordnetz-image-"))
    try:
        for prove in (prove_wheels_and_size, prove_first_stage):
            for line in prove(dockerfile, work):
                sys.stdout.write(line + "\n")
    except ImageError as error:
        sys.stderr.write(f"image: {error}\n")
        return 1
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
