"""docs/release.md is run: every command of it, in its order, in an empty folder."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from pages import Page
from softhsm_token import LIBRARY

from bordnetz.release.command import release
from bordnetz.release.images import MOST_FOR_DELTAS
from bordnetz.release.settings import ALL_ROLES, Days
from bordnetz.uptane import keys
from bordnetz.uptane.manifest import EcuReport, make

PAGE = Page("release.md")
TOKEN = "### Keys on a token"
HEADINGS = re.findall(r"^##+ .*$", PAGE.text, re.MULTILINE)
COMMANDS = [
    (heading, line)
    for heading in HEADINGS
    for block in PAGE.blocks("sh", heading)
    for line in block.splitlines()
]
OURS = [line for _, line in COMMANDS if line.startswith("bordnetz release ")]


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty folder to run the page in, but for the payloads that it speaks of."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("maps-2026-10", "maps-2026-11")):
        (tmp_path / name).mkdir()
        roads = "".join(f"{row * row % 9973}\n" for row in range(20_000 + number))
        (tmp_path / name / "roads").write_text(roads)
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "vehicle.toml").write_text('name = "car"\n')
    (tmp_path / "os.raucb").write_bytes(os.urandom(1000))
    (cars,) = PAGE.blocks("csv")
    (tmp_path / "cars.csv").write_text(cars)
    return tmp_path


def parsed(line):
    """The command of a line, as click understands it; nothing is done."""
    command, words = release, shlex.split(line)[2:]
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    return command.make_context(name, words)


@pytest.mark.parametrize("line", OURS, ids=lambda line: " ".join(line.split()[2:6]))
def test_a_command_of_the_page_is_one_that_there_is(line, empty):
    (empty / "manifests").mkdir()
    assert parsed(line).command.callback is not None


def run(line, environment):
    """Do what a line of the page says."""
    if line.startswith("export "):
        ((name, value),) = [word.split("=", 1) for word in shlex.split(line)[1:]]
        environment[name] = value
        return ""
    if line.startswith("bordnetz release "):
        runner = CliRunner(env=environment)
        done = runner.invoke(release, shlex.split(line)[2:], catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output)
        return done.output
    done = subprocess.run(
        ["bash", "-ec", line], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, (line, done.stderr)
    return done.stdout


def report(folder, sequence):
    """What car-1 tells: nothing is installed yet."""
    signer = keys.load(str(folder / "car-1.pem"))
    reports = [
        EcuReport(ecu=ecu, hardware_id=hardware, time=1_790_000_000, sequence=sequence)
        for ecu, hardware in (("head-unit", "hu-2026"), ("maps", "maps-eu"))
    ]
    return make(
        vehicle_id="car-1",
        primary="head-unit",
        ecus=reports,
        time=1_790_000_000,
        sequence=sequence,
        signer=signer,
    )


def test_the_page_from_its_beginning_to_its_end_does_what_it_says(empty):
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    environment = {}
    said = {}
    for heading, line in COMMANDS:
        if heading == TOKEN or "AZURE" in line or "blob.core.windows.net" in line:
            continue
        if " intake " in line:
            (empty / "manifests").mkdir()
            (empty / "manifests" / "1.json").write_bytes(report(empty, 1))
        said[line] = run(line, environment)
    site = empty / "site"
    for name in ("1.root.json", "root.json", "time.json", "timestamp.json"):
        assert (site / "director" / "car-1" / name).is_file()
    told = json.loads(run("bordnetz release status fleet --json", environment))
    assert told["vehicles"] == 3
    assert told["reported"] == 1
    assert not told["due"]
    assert {image["name"] for image in told["images"]} == {"maps-7", "maps-8", "dbc-4", "os-12"}
    # What the page says of rotation and revocation.
    settings = json.loads((empty / "fleet" / "release.json").read_text())
    assert "image-targets" not in settings["keys"]
    assert len(settings["revoked"]) == 1
    roots = sorted(path.name for path in (site / "image").glob("*.root.json"))
    assert roots == ["1.root.json", "2.root.json", "3.root.json"]
    newest = json.loads((site / "director" / "car-1" / "root.json").read_text())["signed"]
    assert newest["version"] == 3


def test_the_token_of_the_page_is_one_that_works(empty):
    if shutil.which("softhsm2-util") is None or not LIBRARY.is_file():
        pytest.skip("SoftHSM is not here (Debian: softhsm2)")
    (empty / "tokens-of-softhsm").mkdir()
    configuration = empty / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {empty / 'tokens-of-softhsm'}\n")
    script = "\n".join(line for heading, line in COMMANDS if heading == TOKEN)
    ours = shlex.join([sys.executable, "-m", "bordnetz", "release"])
    done = subprocess.run(
        ["bash", "-ec", script.replace("bordnetz release", ours)],
        env={**os.environ, "SOFTHSM2_CONF": str(configuration)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads((empty / "tokens" / "release.json").read_text())
    for name in ("director-root", "image-targets"):
        assert settings["keys"][name]["private"].startswith("pkcs11:token=fleet;")
        assert settings["keys"][name]["scheme"] == "ecdsa-sha2-nistp256"


def test_every_command_that_there_is_stands_in_the_table_and_is_shown():
    rows = [row[0].strip("`") for row in PAGE.table("command", "what it does", "needs keys of")]
    assert sorted(rows) == sorted(release.commands)
    shown = {line.split()[2] for line in OURS}
    assert shown == set(rows)
    vehicles = {line.split()[3] for line in OURS if line.split()[2] == "vehicle"}
    assert vehicles == set(release.commands["vehicle"].commands)


def test_the_roles_and_times_of_the_page_are_those_of_the_code():
    text = PAGE.section("## The folder and its keys")
    for role in ALL_ROLES:
        assert f"`{role}`" in text or f"`{role.partition('/')[2]}`" in text
    assert len(ALL_ROLES) == 9
    assert "Nine roles" in text
    rows = {row[0]: row[1] for row in PAGE.table("metadata", "holds for", "renewed by")}
    days = Days()
    assert rows["roots"] == f"{days.root:,} days"
    assert rows["targets"] == f"{days.targets} days"
    assert rows["snapshots, timestamps"] == f"{days.snapshot} days"
    assert days.snapshot == days.timestamp
    assert f"{days.timestamp} days are also the longest" in text
    assert f"not made above {MOST_FOR_DELTAS >> 20} MiB" in PAGE.section("## Images")
    deltas = next(one for one in release.commands["add"].params if one.name == "deltas")
    assert deltas.default == 3
    assert "the last three images" in PAGE.section("## Images")


def test_the_files_of_the_folder_are_those_of_the_page(empty):
    rows = PAGE.table("in `fleet`", "what it is", "to know")
    named = {name.strip("/") for row in rows for name in re.findall(r"`([^`]+)`", row[0])}
    assert {"release.json", "release.db", "payloads", "director"} <= named
    run("bordnetz release init fleet --keys keys", {})
    there = {path.name for path in (empty / "fleet").iterdir()}
    assert there - {"lock"} <= named
