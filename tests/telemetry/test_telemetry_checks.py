"""The checks of the vehicle file, from frames to status and figures."""

import re
import tomllib
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from telemetry_help import MOTOR, Car, call, eventually, frames, motor

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.checks import Checks
from bordnetz.can.frames import Block
from bordnetz.can.table import DecodeTable
from bordnetz.can.validity import Validity, watch
from bordnetz.can.vehicle import Bus, Vehicle
from bordnetz.edge.outbox import Outbox
from bordnetz.errors import BordnetzError
from bordnetz.series import Quality
from bordnetz.telemetry.backlog import Backlog
from bordnetz.telemetry.books import Books
from bordnetz.telemetry.bundle import Bundles
from bordnetz.telemetry.collection import Collection
from bordnetz.telemetry.config import Desired
from bordnetz.telemetry.figures import Figures
from bordnetz.telemetry.losses import Losses
from bordnetz.telemetry.plan import Planner
from bordnetz.telemetry.tally import FINDINGS, SHOWN, Tally

CHECK = '\n[[checks.message]]\nname = "drive.{}"\nprofile = "counter"\ncounter = "Gear"\n'
SAMPLES = {"decoded": 0, "stored": 0, "dropped": {}, "givenUp": {}}


@pytest.fixture
async def bench(tmp_path, car: Car):
    """A collection whose vehicle counts Motor frames in the signal Gear, and its tally."""
    catalogue = Catalogue.load(car.vehicle)
    checks = Checks.model_validate(
        {"message": [{"name": "drive.Motor", "profile": "counter", "counter": "Gear"}]}
    )
    with Outbox(tmp_path / "outbox", 100_000_000) as outbox:
        backlog = Backlog(outbox, waits=False, lost=Losses().refused)
        tally = Tally()
        planner = Planner(catalogue, bytes(32), checks)
        books = Books(catalogue.buses)
        made = Collection(planner, books, backlog, recorded=False, tally=tally)
        yield made, tally, Figures(books, lambda: SAMPLES, tally)


def collect(*patterns, interval=0):
    rules = [{"match": pattern, "minInterval": interval} for pattern in patterns]
    return Desired.model_validate({"collect": rules})


async def send(collection, counters):
    data = [motor([0], gear=counter)[0] for counter in counters]
    await collection.take(Block.of(2, frames(MOTOR, data)))
    collection.flush()


async def test_frames_are_checked_before_they_are_thinned(bench):
    collection, tally, _ = bench
    await collection.apply(collect("*.Speed", interval=3600), 1)
    await send(collection, [1, 2, 2, 5])
    assert collection.decoded == 1
    assert tally.by_message() == {"drive.Motor": {"frames": 4, "repeated": 1, "missing": 2}}
    checked = collection.checked
    assert (checked["messages"], checked["frames"]) == (1, 4)
    assert checked["worst"] == tally.by_message()


async def test_a_message_that_is_not_collected_is_not_checked(bench):
    collection, tally, _ = bench
    await collection.apply(collect("*.Serial"), 1)
    await send(collection, [1, 1, 1])
    assert tally.by_message() == {}
    assert collection.checked["messages"] == 0


async def test_the_tally_goes_on_over_a_change_of_configuration(bench):
    collection, tally, _ = bench
    await collection.apply(collect("*.Speed"), 1)
    await send(collection, [1, 1])
    await collection.apply(collect("*.Motor.*"), 2)
    await send(collection, [1, 1])
    assert tally.by_message() == {"drive.Motor": {"frames": 4, "repeated": 2}}


async def test_what_is_found_is_a_figure_by_message(bench):
    collection, _, figures = bench
    registry = CollectorRegistry()
    registry.register(figures)
    await collection.apply(collect("*.Speed"), 1)
    await send(collection, [1, 1])
    text = generate_latest(registry).decode()
    assert 'bordnetz_checks_frames_total{message="drive.Motor"} 2.0' in text
    assert 'bordnetz_checks_findings_total{finding="repeated",message="drive.Motor"} 1.0' in text


def test_the_worst_messages_are_shown_and_no_others(tmp_path):
    """Message n has lost n frames."""
    messages = SHOWN + 10
    text = 'VERSION ""\nBU_: X\n'
    for n in range(messages):
        text += f'BO_ {n} M{n}: 1 X\n SG_ C : 0|8@1+ (1,0) [0|0] "" X\n'
    (tmp_path / "m.dbc").write_text(text)
    bus = Bus(name="b", interface="unix", channel="b", dbc=("m.dbc",))
    catalogue = Catalogue.load(Vehicle(name="test", buses=[bus]).within(tmp_path))
    names = [f"b.M{n}" for n in range(messages)]
    entries = [{"name": name, "profile": "counter", "counter": "C"} for name in names]
    watched = watch(catalogue, Checks.model_validate({"message": entries}))
    validity = Validity(catalogue, watched, DecodeTable.compile(catalogue).groups)
    tally = Tally()
    tally.follow(validity)
    for n in range(messages):
        validity.look(frames(n, [bytes([0]), bytes([n + 1])]))
    page = tally.page()
    assert list(page["worst"]) == names[: -SHOWN - 1 : -1]
    assert page["worst"]["b.M29"] == {"frames": 2, "missing": 29}
    assert page["missing"] == sum(range(messages))
    assert page["frames"] == 2 * messages


def test_a_bundle_with_a_check_of_a_message_that_is_not_there_is_refused(car):
    bundles = Bundles(car.bundles, car.vehicle)
    text = car.file.read_text()
    assert bundles.load(car.bundle("good", vehicle_toml=text + CHECK.format("Motor")))
    with pytest.raises(BordnetzError, match=r"message 'drive\.Mottor'.*did you mean drive\.Motor"):
        bundles.load(car.bundle("bad", vehicle_toml=text + CHECK.format("Mottor")))


def test_a_running_module_tells_what_its_checks_have_found(deploy, start, car):
    car.file.write_text(car.file.read_text() + CHECK.format("Motor"))
    hub = deploy(collect=[{"match": "*"}])
    process = start(hub).collecting()
    for counter in (1, 2, 4):
        car.send(frames(MOTOR, motor([counter], gear=counter)))
    checks = eventually(lambda: call(hub, "status")["checks"], lambda told: told["frames"] == 3)
    assert checks["worst"] == {"drive.Motor": {"frames": 3, "missing": 1}}
    assert process.figure("bordnetz_checks_findings_total") == 1


# -- docs/telemetry.md


PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()


def section(heading):
    return re.split(r"\n## ", PAGE.split(f"\n## {heading}\n")[1])[0]


def first_cells(text, heading):
    """The code words of the first column of a table."""
    lines = text[text.index(f"| {heading} |") :].split("\n\n")[0].splitlines()[2:]
    return [word for line in lines for word in re.findall(r"`(\w+)`", line.split("|")[1])]


def test_the_checks_of_the_page_are_those_that_a_vehicle_file_takes():
    example = re.findall(r"```toml\n(.*?)```", section("Checks"), re.DOTALL)[0]
    checks = Checks.model_validate(tomllib.loads(example)["checks"])
    assert checks.cycles
    assert [check.profile for check in checks.messages] == ["P01", "P02", "counter"]
    assert first_cells(section("Checks"), "profile") == ["P01", "P02", "counter"]


def test_the_page_names_every_finding_and_every_quality():
    assert first_cells(section("Checks"), "finding") == list(FINDINGS)
    assert set(first_cells(section("Quality"), "name")) == set(Quality(0xFF).words())
