"""A release with a small fleet, and the unmodified client of python-tuf to look at it with."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

from bordnetz.release import campaigns, fleet, images, publishing, signing
from bordnetz.release.folder import FolderDestination
from bordnetz.release.release import Release
from bordnetz.release.setup import initialize
from bordnetz.release.signers import Signers
from bordnetz.uptane.custom import Campaign
from bordnetz.uptane.manifest import Attack, EcuReport, Installed, make

NOW = int(time.time())
"""The client of python-tuf has no other clock than the system's."""

DAY = 86400
CAR_KEY = CryptoSigner.generate_ed25519()
ECUS = {"head-unit": "hu-2026", "maps": "hw-maps", "dbc": "hw-dbc"}


@dataclass
class Place:
    """A release folder and where it is published."""

    folder: Path
    site: Path = field(init=False)

    def __post_init__(self) -> None:
        self.site = self.folder.parent / "site"

    def init(self, **changes) -> Place:
        settings = {
            "chosen": {},
            "key_folder": self.folder / "keys",
            "root_keys": 1,
            "root_threshold": 1,
            "now": NOW,
        }
        initialize(self.folder, **settings | changes)
        return self

    def open(self) -> Release:
        return Release(self.folder)

    def vehicles(self, *names: str, tags=(), ecus=ECUS, replace=False, key=CAR_KEY) -> None:
        rows = [(0, row(name, tags=tags, ecus=ecus, key=key)) for name in names]
        with self.open() as release:
            fleet.store(release, rows, replace=replace)

    def image(self, name: str, content: bytes, hardware="hw-maps", **changes) -> images.Added:
        source = self.folder.parent / "payload"
        source.write_bytes(content)
        with self.open() as release:
            return images.add(release, source, name=name, hardware=[hardware], **changes)

    def assign(self, campaign: str, *targets, **changes) -> campaigns.Assigned:
        settings = {key: changes.pop(key) for key in ("groups", "after") if key in changes}
        chosen = [one if isinstance(one, tuple) else (one, None) for one in targets]
        who = changes or {"everyone": True}
        with self.open() as release:
            return campaigns.assign(release, Campaign(id=campaign, **settings), chosen, **who)

    def sign(self, now: int = NOW, **changes) -> signing.Signed:
        with self.open() as release:
            return signing.sign(release, Signers(self.folder, release.settings), now, **changes)

    def publish(self, **changes) -> publishing.Published:
        with self.open() as release:
            return publishing.publish(release, FolderDestination(self.site), **changes)

    def root(self, repository: str, version: int = 1) -> bytes:
        with self.open() as release:
            return release.db.execute(
                "SELECT data FROM root WHERE repository = ? AND version = ?", (repository, version)
            ).fetchone()[0]

    def query(self, sql: str, *values):
        with self.open() as release:
            return release.db.execute(sql, values).fetchall()


def row(name: str, *, tags=(), ecus=ECUS, key=CAR_KEY) -> fleet.Row:
    return fleet.Row.of(
        fleet.Vehicle(
            vehicle=name,
            primary=next(iter(ecus)),
            public_key=json.dumps(key.public_key.to_dict()),
            ecus=[fleet.Ecu(id=ecu, hardware_id=hardware) for ecu, hardware in ecus.items()],
            tags=list(tags),
        )
    )


class FolderFetcher(FetcherInterface):
    """Fetches from a folder, and remembers what."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = Path(url.removeprefix("file://"))
        self.fetched.append(path.name)
        if not path.is_file():
            raise DownloadHTTPError("not there", 404)
        return iter([path.read_bytes()])


class Client:
    """What python-tuf's client makes of one repository; it remembers like a vehicle."""

    def __init__(self, place: Place, repository: str, folder: Path, root: bytes) -> None:
        self._url = f"file://{place.site}/{repository}"
        self._targets = f"file://{place.site}/targets"
        self._folder = folder
        self._root = root
        self.fetcher = FolderFetcher()

    def refresh(self) -> Updater:
        for part in ("metadata", "targets"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        updater = Updater(
            str(self._folder / "metadata"),
            self._url,
            str(self._folder / "targets"),
            self._targets,
            fetcher=self.fetcher,
            bootstrap=self._root,
        )
        updater.refresh()
        return updater

    def targets(self) -> dict:
        """The ``signed`` part of the targets metadata that the client trusts."""
        self.refresh()
        return json.loads((self._folder / "metadata/targets.json").read_bytes())["signed"]

    def download(self, name: str) -> bytes:
        updater = self.refresh()
        info = updater.get_targetinfo(name)
        assert info is not None
        return Path(updater.download_target(info)).read_bytes()


def manifest(
    vehicle: str = "car-1",
    sequence: int = 1,
    installed: dict | None = None,
    *,
    ecus=ECUS,
    signer=CAR_KEY,
    moment: int = NOW,
    attacks=(),
    primary: str = "head-unit",
) -> bytes:
    """What a vehicle sends; ``installed``: ECU to (name, sha256, counter)."""
    reports = []
    for ecu, hardware in ecus.items():
        image = (installed or {}).get(ecu)
        reports.append(
            EcuReport(
                ecu=ecu,
                hardware_id=hardware,
                installed=image
                and Installed(
                    name=image[0], length=1, hashes={"sha256": image[1]}, counter=image[2]
                ),
                time=moment,
                sequence=sequence,
            )
        )
    return make(
        vehicle_id=vehicle,
        primary=primary,
        ecus=reports,
        time=moment,
        sequence=sequence,
        signer=signer,
        attacks=[Attack(kind=kind, time=moment) for kind in attacks],
    )
