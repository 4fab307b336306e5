"""The command line: what a person types and reads, and what a machine reads."""

import json
import time

import pytest
from click.testing import CliRunner
from release_help import CAR_KEY, ECUS, Place, manifest

from bordnetz.errors import BordnetzError
from bordnetz.release.command import release
from bordnetz.uptane.keys import load

HEX = CAR_KEY.public_key.keyval["public"]
COMMANDS = [
    *(("init",), ("vehicle", "add"), ("vehicle", "import"), ("add",), ("assign",), ("intake",)),
    *(("sign",), ("rotate",), ("revoke",), ("refresh",), ("publish",), ("status",)),
]


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path / "fleet")


@pytest.fixture
def run(place):
    """Runs a command on the release; with ``--json`` it gives what that says."""

    def run(*arguments, code: int = 0):
        words = [str(word) for word in arguments]
        at = 2 if words[0] == "vehicle" else 1
        done = CliRunner().invoke(release, [*words[:at], str(place.folder), *words[at:]])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return json.loads(done.stdout) if "--json" in words else done.stdout

    return run


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(words):
    done = CliRunner().invoke(release, [*words, "--help"])
    assert done.exit_code == 0
    assert "FOLDER" in done.output
    assert len(done.output.splitlines()) > 6


def test_what_the_help_shows_first_works(place, run, tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/berlin").write_text("roads")
    (tmp_path / "car.pub").write_text(HEX)
    run("init", "--keys", place.folder / "keys")
    ecu = ("--ecu", "head-unit:hu-2026")
    run("vehicle", "add", "car-1", *ecu, "--public-key", tmp_path / "car.pub", "--tag", "pilot")
    run("add", tmp_path / "maps", "--name", "maps-7", "--hardware", "hu-2026")
    run("assign", "maps-7", "--campaign", "maps-in-spring", "--tag", "pilot")
    run("sign")
    run("publish", "--to", place.site)
    run("refresh")
    run("publish", "--to", place.site)
    assert (place.site / "director/car-1/2.snapshot.json").is_file()
    assert "campaign maps-in-spring: vehicles: 1, signed: 1" in run("status")
    assert "maps-in-spring" in run("status", "--vehicle", "car-1")


def test_machines_read_json(place, run, tmp_path):
    run("init", "--keys", place.folder / "keys")
    ecus = ";".join(f"{ecu}:{hardware}" for ecu, hardware in ECUS.items())
    (tmp_path / "fleet.csv").write_text(
        f"vehicle,primary,public_key,ecus,tags\ncar-1,head-unit,{HEX},{ecus},\n"
    )
    (tmp_path / "maps").write_text("roads " * 100)
    (tmp_path / "manifest").write_bytes(manifest())
    assert run("vehicle", "import", tmp_path / "fleet.csv", "--json") == {"added": 1, "replaced": 0}
    added = run("add", tmp_path / "maps", "--name", "m-1", "--hardware", "hw-maps", "--json")
    assert (added["releaseCounter"], added["kind"]) == (1, "file")
    assert run("assign", "m-1", "--campaign", "a", "--all", "--json")["vehicles"] == 1
    assert run("sign", "--json") == {"version": 1, "vehicles": 1, "refused": 0}
    assert run("sign", "--json")["version"] is None
    assert run("publish", "--to", place.site, "--json")["vehicles"] == 1
    assert run("intake", tmp_path / "manifest", "--json")["accepted"] == 1
    rotated = run("rotate", "image/targets", "--keys", place.folder / "keys", "--json")
    assert (rotated["roots"], rotated["added"]) == ({"image": 2}, ["image-targets-2"])
    revoked = run("revoke", "director-time", "--keys", place.folder / "keys", "--json")
    assert (revoked["roots"], revoked["gone"]) == ({"director": 2}, ["director-time"])
    status = run("status", "--json")
    assert (status["vehicles"], status["reported"], status["due"]) == (1, 1, 0)
    assert run("status", "--vehicle", "car-1", "--json")["ecus"]["maps"]["hardwareId"] == "hw-maps"


def test_a_campaign_says_all_that_was_asked_for(place, run, tmp_path):
    run("init", "--keys", place.folder / "keys")
    ecus = [word for ecu, hardware in ECUS.items() for word in ("--ecu", f"{ecu}:{hardware}")]
    run("vehicle", "add", "car-1", *ecus, "--public-key", HEX)
    for name in ("maps", "dbc"):
        (tmp_path / name).write_text(name)
        run("add", tmp_path / name, "--name", f"{name}-1", "--hardware", f"hw-{name}")
    run(
        *("assign", "maps-1", "dbc=dbc-1", "--campaign", "a", "--all", "--group", "maps,dbc"),
        *("--after", "dbc=maps", "--start", "2027-03-01T22:00Z", "--end", "2027-03-02T05:00+01:00"),
        *("--require", "parked", "--require", "charging", "--consent", "--postpone", "2"),
        *("--deadline", "2027-03-02", "--most-bytes", "5000", "--no-expired-install"),
    )
    run("sign")
    signed = json.loads((place.folder / "director/car-1/targets.json").read_bytes())["signed"]
    assert signed["custom"]["campaign"] == {
        "id": "a",
        "groups": [["maps", "dbc"]],
        "after": {"dbc": ["maps"]},
        "window": {"start": 1803938400, "end": 1803960000},
        "require": ["parked", "charging"],
        "consent": {"postpone": 2, "deadline": 1803945600},
        "mostBytes": 5000,
        "expiredInstall": False,
    }


def test_a_vehicle_that_is_refused_ends_intake_with_1(place, run, tmp_path):
    run("init", "--keys", place.folder / "keys")
    run("vehicle", "add", "car-1", "--ecu", "head-unit:hu-2026", "--public-key", HEX)
    (tmp_path / "manifest").write_bytes(manifest())
    said = run("intake", tmp_path / "manifest", code=1)
    assert "car-1: ECU dbc is none of this vehicle's" in said
    assert "refused: car-1" in run("status")


@pytest.mark.parametrize(
    "words",
    [
        ("assign", "m-1", "--campaign", "a", "--all", "--deadline", "2027-03-01"),
        ("assign", "m-1", "--campaign", "a", "--all", "--start", "tomorrow"),
        ("assign", "m-1", "--campaign", "a", "--all", "--after", "maps"),
        ("assign", "m-1"),
        ("rotate", "image/time", "--new", "x"),
        ("revoke", "image-targets", "--new", "image/targets=a", "--new", "image/targets=b"),
        ("add", "/nowhere", "--name", "m", "--hardware", "h"),
    ],
)
def test_what_cannot_be_meant_ends_with_2(run, words):
    run(*words, code=2)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("assign", "m-1", "--campaign", "a b", "--all"), "id: String should match"),
        (
            ("assign", "m-1", "--campaign", "a", "--all", "--group", "a", "--group", "a"),
            "stands in two groups",
        ),
        (("vehicle", "add", "c", "--ecu", "x", "--public-key", HEX), "not ID:HARDWARE"),
        (("vehicle", "add", "c", "--ecu", "x:y", "--public-key", "/nowhere"), "cannot be read"),
        (("vehicle", "add", "c", "--ecu", "x:y", "--primary", "z", "--public-key", HEX), "primary"),
        (("publish", "--to", "https://a.blob.core.windows.net/c?sig=1"), "must not carry"),
        (("status", "--vehicle", "nobody"), "there is no vehicle nobody"),
    ],
)
def test_what_cannot_be_done_is_an_error_for_an_operator(place, run, words, text):
    place.init()
    with pytest.raises(BordnetzError, match=text):
        run(*words)


def test_the_public_part_of_a_vehicles_key_may_be_a_file_or_digits(place, run, tmp_path):
    place.init()
    path = tmp_path / "key"
    path.write_text(json.dumps(CAR_KEY.public_key.to_dict()))
    run("vehicle", "add", "a", "--ecu", "x:y", "--public-key", path)
    run("vehicle", "add", "b", "--ecu", "x:y", "--public-key", HEX)
    (first,), (second,) = place.query("SELECT key FROM vehicle")
    assert first == second


def test_keys_that_are_there_are_taken_and_those_named_are_used(place, run, tmp_path):
    run("init", "--keys", tmp_path / "keys")
    key = load(str(tmp_path / "keys/image-targets.pem")).public_key.keyid
    other = Place(tmp_path / "other")
    words = ["init", str(other.folder), "--keys", str(tmp_path / "keys")]
    words += ["--key", f"director/targets={tmp_path / 'keys/image-root.pem'}"]
    assert CliRunner().invoke(release, words).exit_code == 0
    roles = json.loads(other.root("image"))["signed"]["roles"]
    assert roles["targets"]["keyids"] == [key]
    roles = json.loads(other.root("director"))["signed"]["roles"]
    assert (
        roles["targets"]["keyids"]
        == json.loads(other.root("image"))["signed"]["roles"]["root"]["keyids"]
    )


def test_what_expires_soon_is_marked(place, run):
    place.init(now=int(time.time()) - 3 * 365 * 86400 + 50 * 86400)
    assert "director/root expires" in run("status")
    assert run("status").count("SOON") == 2
