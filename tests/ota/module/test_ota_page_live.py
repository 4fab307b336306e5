"""What a running module reports, answers and sends is what docs/ota.md and its model say."""

import json
import re
import shutil

import pytest
from ota_car import CAR
from pages import Model, Page

PAGE = Page("ota.md")
MODEL = Model("ota.dtdl.json")


def event_of_the_page(name):
    (found,) = [one for one in PAGE.examples("### Events") if one["event"] == name]
    return found


@pytest.fixture
def one_map(tmp_path):
    folder = tmp_path / "maps-1"
    folder.mkdir()
    (folder / "version").write_text(str(tmp_path))
    return folder


def test_a_running_module_does_as_page_and_model_say(fleet, hub, store, drive, one_map, place):
    campaign = fleet.give(one_map, "maps-1", "--consent")
    car = drive(workshop=True)
    stick = place / "stick"
    shutil.copytree(fleet.published, place / "stick.new")
    for spoiled in (place / "stick.new" / "director" / CAR).glob("*.targets.json"):
        spoiled.write_bytes(spoiled.read_bytes().replace(b"maps-", b"nape-"))
    (place / "stick.new").rename(stick)
    car.until(lambda: [one for one in car.events if one["event"] == "refused"], "a refusal")
    stick.rename(place / "stick.out")
    hub.control.set("ota", {"campaign": store().reference(campaign)})
    car.until_state("waiting")
    car.until(lambda: car.reported.get("driver"), "what the driver is asked")
    while_waiting = car.reported
    for name, command in MODEL.contents("Command").items():
        if name == "cancel":
            continue
        status, answer = car.call(name, {"answer": "now"} if name == "consent" else None)
        assert status == 200, (name, answer)
        if "response" in command:
            MODEL.fits(answer, command["response"]["schema"])
    _, unknown = car.call("no-such-method")
    known = unknown["error"].split(": ")[1].split(", ")
    assert set(known) == MODEL.contents("Command").keys()
    status, answer = car.call("cancel", {})
    assert status == 200
    MODEL.fits(answer, MODEL.contents("Command")["cancel"]["response"]["schema"])
    car.until_final("cancelled")
    car.until(lambda: car.reported.get("last"), "the last attempt")
    reported = {**while_waiting, **car.reported}

    # Reported properties, in both directions.
    readable = {
        name: one["schema"] for name, one in MODEL.contents("Property", writable=False).items()
    }
    writable = MODEL.contents("Property", writable=True)
    state = reported.keys() - writable.keys() - {"$version"}
    assert state == readable.keys()
    rows = {row[0].strip("`"): row[1] for row in PAGE.table("property", "what it holds")}
    assert rows.keys() == state
    for name in state:
        MODEL.fits(reported[name], readable[name], name)
        for field in reported[name] if name != "targets" else ("name", "counter", "sha256"):
            assert f"`{field}`" in rows[name], (name, field)
    for name in reported.keys() & writable.keys():
        assert reported[name].keys() == {"value", "ac", "av", "ad"}

    # Events have the fields of the page, the final report all that its table names.
    cells = [row[0] for row in PAGE.table("field", "what it says")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    for event in car.events:
        shown = event_of_the_page(event["event"])
        allowed = shown.keys() | (named if event["event"] == "final" else set())
        assert event.keys() <= allowed, event.keys() - allowed
    (final,) = car.finals
    assert named - {"troubles"} <= final.keys()
    assert final["targets"]["maps"].keys() == event_of_the_page("final")["targets"]["maps"].keys()
    assert {one["event"] for one in car.events} == {"state", "refused", "final"}

    # Messages carry what the page says.
    table = PAGE.table("output", "property `schema`", "other properties", "priority")
    for output, schema, others, _ in table:
        properties = {schema.strip("`")} | set(re.findall(r"`(\w+)`", others))
        for one in hub.control.upstream.messages():
            if f"`{one.output}`" == output:
                assert one.properties["schema"] in properties
                assert one.properties.keys() - {"schema"} <= properties

    # Metrics, in both directions.
    metrics = set(re.findall(r"^# TYPE (\S+)", car.metrics(), re.MULTILINE))
    documented = set()
    for cell, _ in PAGE.table("metric", "labels"):
        first, *more = re.findall(r"`(\w+)`", cell)
        stem = first.rsplit("_", 1)[0]
        documented |= {first, *(stem + one for one in more)}
    of_python = {name for name in metrics if name.endswith("_created")}
    assert {name.removesuffix("_total") for name in metrics - of_python} == documented


def test_a_manifest_has_the_fields_of_the_page(fleet, hub, store, drive, one_map):
    campaign = fleet.give(one_map, "maps-1", "--no-require")
    car = drive()
    hub.control.set("ota", {"campaign": store().reference(campaign)})
    car.until_final("succeeded")
    _, answer = car.call("manifest")
    (shown,) = PAGE.examples("### `manifest`")
    assert_same(answer, shown)


def assert_same(value, shown, where="$"):
    """The same names all the way down; a list of the page says what its entries are like."""
    if isinstance(shown, dict):
        assert value.keys() == shown.keys(), where
        for name in shown:
            assert_same(value[name], shown[name], f"{where}.{name}")
    elif isinstance(shown, list):
        for one in value:
            assert_same(one, shown[0], f"{where}[]")
    else:
        assert type(value) is type(shown), (where, json.dumps(value))
