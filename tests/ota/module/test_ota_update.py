"""The module ota as its process, from the reference in the twin to the final report."""

import json
import shutil

from ota_car import CAR

from bordnetz.uptane import keys
from bordnetz.uptane.manifest import verify


def attacks(car, signer):
    manifest = verify(car.manifests[-1], [signer.public_key])
    return [attack.kind for attack in manifest.attacks]


def installed(car, signer):
    manifest = verify(car.manifests[-1], [signer.public_key])
    return [one.installed.name for one in manifest.ecus if one.installed]


def set_reference(hub, reference):
    hub.control.set("ota", {"campaign": reference})


def test_an_update_is_refused_while_driving_and_installed_when_parked_and_reported_once(
    fleet, hub, store, drive, maps, place
):
    campaign = fleet.give(maps(1), "maps-1")
    car = drive()
    car.until(lambda: car.manifests, "a manifest at the start")
    set_reference(hub, store().reference(campaign))
    car.until_state("waiting")
    assert "unknown" in car.reasons, "nobody has told yet whether the car is parked"
    car.drives()
    car.until(lambda: "is above 0.5" in car.reasons, "refused while driving")
    assert not (place / "maps" / "current").exists()
    car.parks()
    car.until_final("succeeded")
    assert (car.active / "version").read_text() == "1"
    (final,) = car.finals
    assert final["campaign"] == campaign
    new = final["targets"]["maps"]["new"]
    assert new["name"].startswith("maps-1-")
    car.until(lambda: car.reported["targets"].get("maps"), "the version in the twin")
    assert car.reported["targets"]["maps"] == new
    car.until(lambda: car.reported.get("last"), "the last attempt in the twin")
    assert car.reported["last"]["result"] == "succeeded"
    signer = keys.load(str(place / "primary.pem"))
    car.until(lambda: installed(car, signer) == [new["name"]], "a manifest after the update")
    car.until(lambda: "bordnetz_attempts_sent_total 1.0" in car.metrics(), "an attempt counted")
    counted = car.metrics()
    assert "bordnetz_looks_sent_total" in counted
    assert f"bordnetz_payload_bytes_total {float(final['received'])}" in counted
    assert car.stop() == 0


def test_a_second_version_takes_the_place_of_the_first_and_a_restart_changes_nothing(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    server = store()
    car = drive()
    set_reference(hub, server.reference(campaign))
    car.until_final("succeeded")
    campaign = fleet.give(maps(2), "maps-2", "--no-require")
    set_reference(hub, server.reference(campaign))
    car.until_final("succeeded", 2)
    assert (car.active / "version").read_text() == "2"
    car.stop()
    car.start()
    assert car.call("check") == (200, {"looking": True})
    car.until(lambda: car.state == "succeeded", "the last state survives a restart")
    assert len(car.finals) == 2
    status, answer = car.call("history")
    assert status == 200
    assert [one["result"] for one in answer["attempts"]] == ["succeeded"] * 2


def test_when_a_signature_has_ended_a_new_url_is_asked_for_and_the_update_goes_on(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    server = store("--fault", "forbid=targets/*")
    car = drive()
    set_reference(hub, server.reference(campaign))
    car.until_state("needsUrl")
    car.until(lambda: "needsUrl" in [e.get("state") for e in car.events], "an event, too")
    set_reference(hub, store().reference(campaign))
    car.until_final("succeeded")


def test_a_reference_that_has_ended_before_the_first_look_is_told_too(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    car = drive()
    set_reference(hub, store().reference(campaign, seconds=-1))
    car.until_state("needsUrl")


def test_no_signature_of_a_url_is_seen_anywhere(fleet, hub, store, drive, maps, place):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    server = store("--fault", "forbid=targets/*")
    car = drive()
    reference = server.reference(campaign)
    signature = reference["director"].split("sig=")[1]
    set_reference(hub, reference)
    car.until_state("needsUrl")
    _, history = car.call("history")
    _, status = car.call("status")
    told = json.dumps([car.reported, car.events, history, status]) + car.log.read_text()
    assert car.reported["campaign"]["value"]["id"] == campaign, "what is set is acknowledged"
    assert "sig=" not in told
    assert signature not in told


def test_an_update_comes_from_a_stick_by_the_same_checks(fleet, drive, maps, place):
    fleet.give(maps(1), "maps-1", "--no-require")
    car = drive()
    shutil.copytree(fleet.published, place / "stick.new")
    targets = (place / "stick.new" / "director" / CAR).glob("*.targets.json")
    flipped = max(targets, key=lambda path: int(path.name.split(".")[0]))
    right = flipped.read_bytes()
    flipped.write_bytes(right.replace(b"maps-1", b"maps-2"))
    (place / "stick.new").rename(place / "stick")
    car.until(lambda: [e for e in car.events if e["event"] == "refused"], "a refusal")
    assert not (place / "maps" / "current").exists()
    (place / "stick" / "director" / CAR / flipped.name).write_bytes(right)
    car.call("check")
    car.until_final("succeeded")
    assert car.finals[0]["received"] == 0, "nothing came over the air"


def test_a_kill_in_the_middle_of_a_download_costs_no_second_report(fleet, hub, store, drive, maps):
    campaign = fleet.give(maps(1, 30_000_000), "maps-1", "--no-require")
    car = drive()
    set_reference(hub, store().reference(campaign))
    car.until(lambda: car.state not in (None, "idle"), "the update under way")
    car.kill()
    car.start()
    car.until_final("succeeded")
    car.stop()
    assert len(car.finals) == 1
    assert (car.active / "version").read_text() == "1"


def test_what_its_health_check_does_not_pass_is_rolled_back_and_not_tried_again(
    fleet, hub, store, drive, maps, place
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    check = f'argv = ["test", "!", "-e", "{place}/sick"]'
    car = drive(health=f"health = {{ {check} }}")
    server = store()
    set_reference(hub, server.reference(campaign))
    car.until_final("succeeded")
    (place / "sick").touch()
    campaign = fleet.give(maps(2), "maps-2", "--no-require")
    set_reference(hub, server.reference(campaign))
    car.until_final("rolledBack", 2)
    assert (car.active / "version").read_text() == "1"
    assert car.finals[1]["error"]["kind"] == "unhealthy"
    signer = keys.load(str(place / "primary.pem"))
    car.until(lambda: attacks(car, signer) == ["unhealthy"], "the failure in a manifest")
    car.call("check")
    car.until(lambda: "has failed before" in car.reasons, "the version is remembered")
    assert len(car.finals) == 2


def test_the_driver_is_asked_and_a_workshop_only_where_the_vehicle_file_allows_it(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require", "--consent")
    car = drive()
    set_reference(hub, store().reference(campaign))
    car.until_state("waiting")
    car.until(lambda: (car.reported.get("driver") or {}).get("asked"), "the question")
    assert car.call("consent", {"answer": "now"})[0] == 403
    hub.control.send("ota", "driver", {"campaign": "another", "answer": "now"})
    hub.control.send("ota", "driver", {"campaign": campaign, "answer": "now"})
    car.until_final("succeeded")
    assert car.finals[0]["consent"] == "driver"


def test_a_workshop_may_answer_where_it_is_allowed_and_stands_in_the_report(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require", "--consent")
    car = drive(workshop=True)
    assert car.call("consent", {"answer": "now"})[0] == 409
    set_reference(hub, store().reference(campaign))
    car.until_state("waiting")
    assert car.call("consent", {"answer": "now"}) == (200, {"campaign": campaign, "answer": "now"})
    car.until_final("succeeded")
    assert car.finals[0]["consent"] == "workshop"


def test_what_waits_can_be_cancelled(fleet, hub, store, drive, maps):
    campaign = fleet.give(maps(1), "maps-1")
    car = drive()
    set_reference(hub, store().reference(campaign))
    car.until_state("waiting")
    status, answer = car.call("cancel")
    assert (status, answer["said"][:14]) == (200, "it is given up")
    car.until_final("cancelled")
    car.parks()
    car.call("check")
    car.until(lambda: "cancelled" in car.reasons, "the campaign is not begun again")


def test_a_malformed_reference_is_refused_as_a_whole_and_keeps_its_secret(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    car = drive()
    reference = store().reference(campaign)
    set_reference(hub, {**reference, "image": "ftp://x?sig=topsecret"})
    car.until(lambda: (car.reported.get("campaign") or {}).get("ac") == 400, "a refusal")
    assert "image" in car.reported["campaign"]["ad"]
    assert "topsecret" not in json.dumps(car.reported)


def test_a_reference_that_names_another_campaign_is_told_until_it_is_mended(
    fleet, hub, store, drive, maps
):
    campaign = fleet.give(maps(1), "maps-1")
    car = drive()
    reference = store().reference(campaign)
    set_reference(hub, {**reference, "id": "misspelt"})
    car.until_state("waiting")
    car.until(lambda: car.reported["trust"].get("warning"), "a warning")
    assert "names campaign misspelt" in car.reported["trust"]["warning"]
    assert f"campaign {campaign} is signed" in car.reported["trust"]["warning"]
    assert car.reported["trust"]["campaign"] == campaign
    assert car.reported["update"]["campaign"] == campaign
    set_reference(hub, reference)
    car.until(lambda: "warning" not in car.reported["trust"], "no warning any more")
    car.parks()
    car.until_final("succeeded")
