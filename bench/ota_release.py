"""A release for one car, published into a folder; and a store that serves one, and counts."""

from __future__ import annotations

import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.ota_car import CAR, ECU, HARDWARE
from bordnetz.laptop.hub.ca import Ca
from bordnetz.laptop.store.access import Access
from bordnetz.laptop.store.server import Store
from bordnetz.payload import zstd
from bordnetz.release import campaigns, fleet, images, signing
from bordnetz.release.folder import FolderDestination
from bordnetz.release.publishing import publish
from bordnetz.release.release import Release
from bordnetz.release.setup import initialize
from bordnetz.release.signers import Signers
from bordnetz.uptane.custom import Campaign

_ADDRESS = "127.0.0.1"
_ACKED = 120
"""Where ``tcpi_bytes_acked`` (64 bits) is in Linux' struct tcp_info."""


class OneCar:
    """A release folder, and the folder that it is published in.

    Attributes:
        roots: Where the first roots lie.
        published: The folder for a store or a stick.
    """

    def __init__(self, folder: Path) -> None:
        """Make keys, roots and the car."""
        self.roots = folder / "release"
        self.published = folder / "published"
        self._campaigns = 0
        initialize(
            self.roots,
            {},
            key_folder=folder / "keys",
            root_keys=1,
            root_threshold=1,
            now=int(time.time()),
        )
        ecu = fleet.Ecu(id=ECU, hardware_id=HARDWARE)
        key = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
        car = fleet.Vehicle(vehicle=CAR, primary=ECU, public_key=key, ecus=[ecu])
        with Release(self.roots) as release:
            fleet.store(release, [(0, fleet.Row.of(car))])

    def give(self, source: Path, *, deltas: int = 0, level: int = 19) -> images.Added:
        """Release something to the car.

        Args:
            source: A file or a folder.
            deltas: From so many older versions.
            level: Of compression; what cannot be compressed takes no less at a high one.
        """
        self._campaigns += 1
        name = f"version-{self._campaigns}"
        with Release(self.roots) as release:
            with mock.patch.object(zstd, "_LEVEL", level):
                added = images.add(release, source, name=name, hardware=[HARDWARE], deltas=deltas)
            campaign = Campaign(id=name, require=[])
            campaigns.assign(release, campaign, [(name, None)], everyone=True)
            signing.sign(release, Signers(self.roots, release.settings), int(time.time()))
            publish(release, FolderDestination(self.published))
        return added


class CountingStore(Store):
    """Serves a folder over HTTPS, and knows what has come to those who asked.

    Attributes:
        came: Bytes that the other side's kernel has confirmed, TLS and headers included, of all
            connections that have ended.
    """

    def __init__(self, folder: Path, state: Path) -> None:
        """Begin to serve."""
        state.mkdir()
        self.ca = state / "ca.pem"
        self.came = 0
        self._open: set[int] = set()
        self._changed = threading.Condition()
        super().__init__(
            folder, Access(state / "access.key"), Ca(state).server_context(_ADDRESS), _ADDRESS
        )
        self._serving = threading.Thread(target=self.serve_forever, args=[0.1])
        self._serving.start()

    @property
    def asked(self) -> dict[str, Any]:
        """What a car must know to ask."""
        port, query = self.server_address[1], self.access.query(int(time.time()) + 3600)
        parts = {"director": f"director/{CAR}", "image": "image", "targets": "targets"}
        base = f"https://{_ADDRESS}:{port}"
        urls = {name: f"{base}/{path}?{query}" for name, path in parts.items()}
        return {"reference": {"id": "bench", **urls}, "ca": str(self.ca)}

    def get_request(self) -> tuple[Any, Any]:
        """A connection begins."""
        request, address = super().get_request()
        with self._changed:
            self._open.add(id(request))
        return request, address

    def shutdown_request(self, request: Any) -> None:
        """A connection has ended."""
        info = request.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED + 8)
        with self._changed:
            self.came += struct.unpack_from("=Q", info, _ACKED)[0]
            self._open.remove(id(request))
            self._changed.notify_all()
        super().shutdown_request(request)

    def wait(self) -> None:
        """Until no connection is open any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.shutdown()
        self._serving.join()
        self.server_close()
