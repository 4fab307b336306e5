"""Who gets what, and what the metadata of each vehicle says of it."""

import json

import pytest

from bordnetz.release.campaigns import Assigned
from bordnetz.release.errors import ReleaseError


def signed(place, vehicle: str) -> dict:
    return json.loads((place.folder / f"director/{vehicle}/targets.json").read_bytes())["signed"]


@pytest.fixture
def fleet(place):
    place.vehicles("car-1", "car-2", tags=["pilot"])
    place.vehicles("car-3", ecus={"head-unit": "hu-2026"})
    place.image("maps-1", b"maps")
    place.image("dbc-1", b"dbc", hardware="hw-dbc")
    return place


def test_vehicles_tags_and_all_are_ways_to_choose(fleet):
    assert fleet.assign("a", "maps-1", vehicles=["car-1"]) == Assigned(1, 0, 0)
    assert fleet.assign("b", "maps-1", tags=["pilot"]) == Assigned(2, 0, 0)
    assert fleet.assign("c", "maps-1", everyone=True) == Assigned(2, 1, 0)


def test_an_image_goes_to_every_ecu_of_its_hardware(fleet):
    fleet.vehicles("car-4", ecus={"left": "hw-dbc", "right": "hw-dbc"})
    fleet.assign("a", "dbc-1", vehicles=["car-4"])
    fleet.sign()
    assert signed(fleet, "car-4")["targets"]["dbc-1"]["custom"]["ecus"] == {
        "left": {"hardwareId": "hw-dbc"},
        "right": {"hardwareId": "hw-dbc"},
    }


def test_an_image_goes_to_the_ecu_that_is_named(fleet):
    fleet.vehicles("car-4", ecus={"left": "hw-dbc", "right": "hw-dbc"})
    fleet.image("dbc-2", b"2", hardware="hw-dbc")
    fleet.assign("a", ("dbc-1", "left"), ("dbc-2", "right"), vehicles=["car-4"])
    fleet.sign()
    targets = signed(fleet, "car-4")["targets"]
    ecus = {name: list(entry["custom"]["ecus"]) for name, entry in targets.items()}
    assert ecus == {"dbc-1": ["left"], "dbc-2": ["right"]}


def test_a_new_campaign_takes_the_place_of_the_last(fleet):
    fleet.assign("a", "maps-1", vehicles=["car-1"])
    fleet.assign("b", "dbc-1", vehicles=["car-1"])
    fleet.sign()
    assert signed(fleet, "car-1")["targets"].keys() == {"dbc-1"}
    assert signed(fleet, "car-1")["custom"]["campaign"]["id"] == "b"


def test_a_vehicle_is_told_only_of_the_ecus_that_get_something(fleet):
    fleet.vehicles("car-4", ecus={"head-unit": "hu-2026", "maps": "hw-maps"})
    fleet.assign(
        "a", "maps-1", "dbc-1", groups=[["maps", "dbc"]], after={"dbc": ["maps"]}, everyone=True
    )
    fleet.sign()
    whole, part = (signed(fleet, name)["custom"]["campaign"] for name in ("car-1", "car-4"))
    assert (whole["groups"], whole["after"]) == ([["maps", "dbc"]], {"dbc": ["maps"]})
    assert (part["groups"], part["after"]) == ([["maps"]], {})


def test_a_campaign_can_be_given_to_more_vehicles_but_not_changed(fleet):
    fleet.assign("a", "maps-1", vehicles=["car-1"])
    fleet.assign("a", "maps-1", vehicles=["car-2"])
    with pytest.raises(ReleaseError, match="take another id"):
        fleet.assign("a", "dbc-1", vehicles=["car-2"])
    with pytest.raises(ReleaseError, match="take another id"):
        fleet.assign("a", "maps-1", groups=[["maps"]], vehicles=["car-2"])


def test_the_same_campaign_again_makes_nothing_due(fleet):
    fleet.assign("a", "maps-1", vehicles=["car-1"])
    fleet.sign()
    fleet.assign("a", "maps-1", vehicles=["car-1"])
    assert fleet.sign().version is None


@pytest.mark.parametrize(
    ("targets", "changes", "text"),
    [
        (["maps-9"], {}, "there is no image maps-9"),
        (["maps-1"], {"vehicles": ["car-9"]}, "there is no vehicle car-9"),
        (["maps-1"], {"tags": ["none"]}, "no vehicle has the tag none"),
        (["maps-1"], {"vehicles": []}, "no vehicle is chosen"),
        (["maps-1"], {"vehicles": ["car-3"]}, "maps-1 is for none of the vehicles"),
        (["maps-1", "dbc-1"], {"groups": [["maps", "brakes"]]}, "has an ECU brakes"),
        (["maps-1"], {"after": {"maps": ["brakes"]}}, "has an ECU brakes"),
        ([("maps-1", "brakes")], {}, "has an ECU brakes"),
        ([("maps-1", "dbc")], {}, "maps-1 is for none of the vehicles"),
        (["maps-1"], {"after": {"maps": ["dbc"], "dbc": ["maps"]}}, "wait for each other"),
        (
            ["maps-1"],
            {
                "groups": [["maps", "dbc"], ["head-unit"]],
                "after": {"maps": ["head-unit"], "head-unit": ["dbc"]},
            },
            "wait for each other",
        ),
    ],
)
def test_an_assignment_that_cannot_be_says_why_and_changes_nothing(fleet, targets, changes, text):
    with pytest.raises(ReleaseError, match=text):
        fleet.assign("a", *targets, **changes)
    assert fleet.query("SELECT count(*) FROM campaign") == [(0,)]
    assert fleet.query("SELECT count(campaign) FROM vehicle") == [(0,)]


def test_two_images_for_one_ecu_are_refused(fleet):
    fleet.image("maps-2", b"2")
    with pytest.raises(ReleaseError, match="would get both maps-1 and maps-2"):
        fleet.assign("a", "maps-1", "maps-2")
