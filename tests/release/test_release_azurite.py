"""Publishing to Azure Blob Storage, as Azurite has it, and a client that updates from there."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import (
    BlobServiceClient,
    ContainerSasPermissions,
    generate_container_sas,
)
from azurite_server import ACCOUNT, KEY, azurite
from release_help import DAY, NOW, Place
from tuf.ngclient import Updater

from bordnetz.release import publishing
from bordnetz.release.blob import BlobDestination
from bordnetz.release.errors import ReleaseError


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    with azurite(tmp_path_factory.mktemp("azurite")) as url:
        yield url


def connection(account: str) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint={account};"
    )


@pytest.fixture
def container(account, request):
    """A container of its own for each test, which anyone may read."""
    service = BlobServiceClient.from_connection_string(connection(account))
    name = request.node.name.replace("_", "-")[5:63].strip("-")
    return service.create_container(name, public_access="blob")


@pytest.fixture
def fleet(place: Place) -> Place:
    place.vehicles("car-1", "car-2")
    place.image("maps-1", b"roads " * 100)
    place.assign("spring", "maps-1", vehicles=["car-1"])
    place.sign()
    return place


def sent(place: Place, destination: BlobDestination) -> publishing.Published:
    with place.open() as release:
        return publishing.publish(release, destination)


def sas(container, **permissions) -> dict[str, str]:
    token = generate_container_sas(
        ACCOUNT,
        container.container_name,
        account_key=KEY,
        permission=ContainerSasPermissions(**permissions),
        expiry=datetime.now(UTC) + timedelta(hours=1),
    )
    return {"AZURE_STORAGE_SAS_TOKEN": token}


def updater(place: Place, url: str, repository: str, folder) -> Updater:
    for part in ("metadata", "targets"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    return Updater(
        str(folder / "metadata"),
        f"{url}/{repository}",
        str(folder / "targets"),
        f"{url}/targets",
        bootstrap=place.root(repository.partition("/")[0]),
    )


def test_a_client_updates_from_a_container(fleet, account, container, tmp_path):
    environment = {"AZURE_STORAGE_CONNECTION_STRING": connection(account)}
    url = f"{account}/{container.container_name}/fleet-1"
    published = sent(fleet, BlobDestination(url, environment))
    assert (published.vehicles, published.payloads) == (2, 2)
    image = updater(fleet, url, "image", tmp_path / "image")
    director = updater(fleet, url, "director/car-1", tmp_path / "director")
    director.refresh()
    info = director.get_targetinfo("maps-1")
    assert image.get_targetinfo("maps-1").hashes == info.hashes
    assert director.download_target(info)
    assert updater(fleet, url, "director/car-2", tmp_path / "2").get_targetinfo("maps-1") is None


def test_a_token_of_the_container_is_enough(fleet, container):
    environment = sas(container, write=True, delete=True)
    destination = BlobDestination(container.url, environment)
    sent(fleet, destination)
    assert sent(fleet, destination) == publishing.Published(0, 0, 0, 0)
    for day in (1, 2):
        fleet.sign(NOW + day * DAY, refresh=True)
        sent(fleet, destination)
    names = {blob.name for blob in container.list_blobs("director/car-1/")}
    assert {name for name in names if "snapshot" in name} == {
        "director/car-1/2.snapshot.json",
        "director/car-1/3.snapshot.json",
    }


def test_caches_keep_what_never_changes_and_ask_for_the_rest(fleet, account, container):
    environment = {"AZURE_STORAGE_CONNECTION_STRING": connection(account)}
    sent(fleet, BlobDestination(container.url, environment))
    kept = {
        blob.name: (blob.content_settings.content_type, blob.content_settings.cache_control)
        for blob in container.list_blobs()
    }
    assert kept["image/timestamp.json"] == ("application/json", "no-cache")
    assert kept["image/1.root.json"][1].endswith("immutable")
    (payload,) = (name for name in kept if name.endswith(".maps-1"))
    assert kept[payload] == ("application/octet-stream", kept["image/1.root.json"][1])


def test_a_token_that_may_not_write_is_told_and_not_shown(fleet, container):
    environment = sas(container, read=True)
    with pytest.raises(ReleaseError, match="may write") as caught:
        sent(fleet, BlobDestination(container.url, environment))
    said = f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"
    assert "sig=" not in str(caught.value)
    assert environment["AZURE_STORAGE_SAS_TOKEN"] not in said


def test_a_container_that_is_not_there_is_told(fleet, account):
    environment = {"AZURE_STORAGE_CONNECTION_STRING": connection(account)}
    with pytest.raises(ReleaseError, match="ContainerNotFound"):
        sent(fleet, BlobDestination(f"{account}/nowhere", environment))


ACCOUNT_URL = "https://fleet.blob.core.windows.net"


@pytest.mark.parametrize(
    ("url", "environment", "text"),
    [
        (f"{ACCOUNT_URL}/updates", {}, "no credential"),
        (f"{ACCOUNT_URL}/updates?sig=secret", {}, "must not carry a token"),
        (f"{ACCOUNT_URL}/", {"AZURE_STORAGE_SAS_TOKEN": "x"}, "container is missing"),
        (f"{ACCOUNT_URL}/a", {"AZURE_STORAGE_CONNECTION_STRING": "secret"}, "no valid credential"),
        (
            f"{ACCOUNT_URL}/a",
            {"AZURE_STORAGE_CONNECTION_STRING": f"AccountName=other;AccountKey={KEY}"},
            "another account",
        ),
    ],
)
def test_a_place_that_cannot_be_is_told_without_its_secret(url, environment, text):
    with pytest.raises(ReleaseError, match=text) as caught:
        BlobDestination(url, environment)
    assert "secret" not in str(caught.value)
    assert KEY not in str(caught.value)
