"""Which bundle runs, and who is answered what: without a module around it."""

import asyncio
import json
import threading

import pytest
from test_bundle import NEW

from bordnetz.can.errors import CatalogueError
from bordnetz.edge.message import Message
from bordnetz.telemetry import switch as room
from bordnetz.telemetry.bundle import BundleError, Bundles
from bordnetz.telemetry.switch import Switch


class Bench:
    """A switch at work, with what it adopted and answered."""

    def __init__(self, switch, check=lambda bundle: None):
        self.switch = switch
        self.adopted = []
        self.answers = asyncio.Queue()
        self.task = asyncio.create_task(switch.run(check, self.adopt, self.answers.put_nowait))

    async def adopt(self, bundle):
        self.adopted.append(bundle.hash)

    async def announce(self, name):
        body = json.dumps({"hash": name, "path": "/nowhere"}).encode()
        await self.switch.hear(Message("bundle", body))

    async def answer(self):
        """The next answer: hash, whether accepted, and the reason."""
        one = await asyncio.wait_for(self.answers.get(), 60)
        return one["hash"], one["accepted"], one["reason"]


@pytest.fixture
async def bench(car):
    """``bench(check)``: a switch at work for the car."""
    made = []

    def begin(*check):
        made.append(Bench(Switch(Bundles(car.bundles, car.vehicle)), *check))
        return made[-1]

    yield begin
    for one in made:
        one.task.cancel()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "content: Invalid JSON"),
        (b"\xff", "content: Invalid JSON"),
        (b"[" * 8000, "content: Invalid JSON"),
        (b'"text"', "content: Input should be an object"),
        (b'{"hash": "../../etc"}', "hash: String should match pattern"),
        (b'{"hash": "%s\\n"}' % (b"0" * 64), "hash: String should match pattern"),
        (b'{"hash": 5}', "hash: Input should be a valid string"),
        (b'{"path": "/"}', "hash: Field required"),
        (b'{"hash": "", "path": "%s"}' % (b"x" * 5000), "path: String should have at most 4096"),
        (b'{"hash": "", "force": true}', "force: Extra inputs are not permitted"),
        (b'{"hash": "%s"}' % (b"x" * 9000), "an announcement of over 8192 bytes"),
    ],
)
async def test_what_is_no_announcement_is_refused(bench, body, said):
    with pytest.raises(BundleError) as caught:
        await bench().switch.hear(Message("bundle", body))
    assert str(caught.value).removeprefix("no announcement of a bundle: ").startswith(said)


async def test_a_new_bundle_is_adopted_and_answered_and_one_that_runs_only_answered(bench, car):
    at_work = bench()
    name = car.bundle("new", drive_dbc=NEW)
    await at_work.announce(name)
    assert await at_work.answer() == (name, True, "")
    await at_work.announce(name)
    assert await at_work.answer() == (name, True, "")
    assert at_work.adopted == [name]


async def test_of_several_announcements_the_last_one_counts(bench, car):
    first, second = car.bundle("first", drive_dbc=NEW), car.bundle("second")
    at_work = bench()
    assert await at_work.answer() == ("", True, "")
    await at_work.announce(first)
    await at_work.announce(second)
    assert await at_work.answer() == (second, True, "")
    assert at_work.adopted == [second]


async def test_what_comes_while_a_bundle_loads_follows_it(bench, car):
    loading, go_on = threading.Event(), threading.Event()

    def check(bundle):
        loading.set()
        assert go_on.wait(60)

    first, second = car.bundle("first", drive_dbc=NEW), car.bundle("second")
    at_work = bench(check)
    assert await at_work.answer() == ("", True, "")
    await at_work.announce(first)
    await asyncio.to_thread(loading.wait, 60)
    await at_work.announce(second)
    go_on.set()
    assert await at_work.answer() == (first, True, "")
    assert await at_work.answer() == (second, True, "")
    assert at_work.adopted == [first, second]


async def test_what_cannot_be_put_to_work_is_refused_and_what_runs_is_told(bench, car):
    at_work = bench(lambda bundle: "too many signals")
    name = car.bundle("new")
    await at_work.announce(name)
    assert await at_work.answer() == (name, False, "too many signals")
    assert await at_work.answer() == ("", True, "")
    assert at_work.adopted == []


async def test_a_bundle_that_takes_too_long_to_load_is_refused(bench, car, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.01)
    over = threading.Event()
    at_work = bench(lambda bundle: str(over.wait(60)))
    name = car.bundle("slow")
    await at_work.announce(name)
    reason = "it takes more than 0.01 s to load; make it smaller"
    assert await at_work.answer() == (name, False, reason)
    over.set()
    assert await at_work.answer() == ("", True, "")


async def test_a_reason_without_end_is_cut(bench, car):
    at_work = bench(lambda bundle: "x" * 100_000)
    await at_work.announce(car.bundle("new"))
    assert len((await at_work.answer())[2]) == 1000


def test_a_vehicle_without_any_usable_file_ends_as_it_always_did(car):
    (car.folder / "drive.dbc").write_text("nothing")
    with pytest.raises(CatalogueError, match=r"drive\.dbc"):
        Switch(Bundles(car.bundles, car.vehicle))
    car.choose(car.bundle("bad", drive_dbc="nothing"))
    with pytest.raises(CatalogueError, match=r"drive\.dbc"):
        Switch(Bundles(car.bundles, car.vehicle))


async def test_an_unreadable_choice_gives_way_to_the_vehicles_own_file(bench, car, caplog):
    car.choose("etc")
    at_work = bench()
    assert await at_work.answer() == ("", True, "")
    assert at_work.switch.bundle.hash == ""
    assert "the chosen bundle is not used, but the vehicle's own file: " in caplog.text
    assert "current names no bundle" in caplog.text


async def test_without_a_folder_of_bundles_only_announcements_are_answered(bench, car):
    at_work = bench()
    await at_work.announce("")
    assert await at_work.answer() == ("", True, "")
    assert at_work.answers.empty()


def test_a_good_bundle_does_without_the_vehicles_own_dbc_files(car):
    name = car.bundle("good")
    car.choose(name)
    (car.folder / "drive.dbc").write_text("nothing")
    assert Switch(Bundles(car.bundles, car.vehicle)).bundle.hash == name
