"""From a release to a car over what lies between: Azure Blob Storage, and keys that change."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from azurite_server import ACCOUNT, KEY, azurite
from ota_car import CAR


@pytest.fixture
def container(tmp_path, monkeypatch):
    """``container()`` is the URL of a private container; given seconds, it opens it so long."""
    (tmp_path / "azurite").mkdir()
    with azurite(tmp_path / "azurite") as account:
        connection = (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={account};"
        )
        BlobServiceClient.from_connection_string(connection).create_container("updates")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)

        def url(below="", seconds=None):
            plain = f"{account}/updates/{below}".rstrip("/")
            if seconds is None:
                return plain
            token = generate_container_sas(
                ACCOUNT,
                "updates",
                account_key=KEY,
                permission=ContainerSasPermissions(read=True),
                expiry=datetime.now(UTC) + timedelta(seconds=seconds),
            )
            return f"{plain}?{token}"

        yield url


def reference(container, campaign, seconds=600):
    places = {"director": f"director/{CAR}", "image": "image", "targets": "targets"}
    urls = {name: container(path, seconds) for name, path in places.items()}
    return {"campaign": {"id": campaign, **urls}}


def test_a_car_updates_from_a_private_container_of_azure_blob_storage(
    fleet, hub, drive, maps, container
):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    fleet.do("publish", "--to", container(), "--all")
    car = drive()
    hub.control.set("ota", reference(container, campaign, seconds=-60))
    car.until_state("needsUrl")
    hub.control.set("ota", reference(container, campaign))
    car.until_final("succeeded")
    assert (car.active / "version").read_text() == "1"
    assert "sig=" not in car.log.read_text()


def refusals(car):
    return [event for event in car.events if event["event"] == "refused"]


ONLINE = ("director/targets", "director/snapshot", "director/timestamp", "director/time")


def test_a_car_follows_keys_that_are_rotated_and_revoked(fleet, hub, store, drive, maps, tmp_path):
    campaign = fleet.give(maps(1), "maps-1", "--no-require")
    server = store()
    car = drive()
    hub.control.set("ota", {"campaign": server.reference(campaign)})
    car.until_final("succeeded")
    for number, role in enumerate((*ONLINE, "image/targets", "director/root", "image/root")):
        fleet.do("rotate", role, "--keys", tmp_path / f"keys-{number}")
    campaign = fleet.give(maps(2), "maps-2", "--no-require")
    hub.control.set("ota", {"campaign": server.reference(campaign)})
    car.until_final("succeeded", 2)
    assert (car.active / "version").read_text() == "2"
    assert not refusals(car)


def test_what_a_revoked_key_has_signed_is_refused(fleet, hub, store, drive, maps, tmp_path):
    campaign = fleet.give(maps(1), "maps-1")
    server = store()
    car = drive()
    hub.control.set("ota", {"campaign": server.reference(campaign)})
    car.until_state("waiting")
    newest = max(
        (fleet.published / "director" / CAR).glob("*.targets.json"),
        key=lambda path: int(path.name.split(".")[0]),
    )
    stolen = newest.read_bytes()
    (key,) = json.loads((fleet.release / "release.json").read_text())["roles"]["director/targets"][
        "keys"
    ]
    fleet.do("revoke", key, "--keys", tmp_path / "new-keys")
    fleet.do("publish", "--to", fleet.published)
    after = max(
        (fleet.published / "director" / CAR).glob("*.targets.json"),
        key=lambda path: int(path.name.split(".")[0]),
    )
    assert after != newest
    after.write_bytes(stolen)
    car.call("check")
    car.until(lambda: refusals(car), "a refusal")
    assert refusals(car)[0]["role"] == "targets"
