"""Where payloads come from now: a stick that has them, else the network, as far as allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bordnetz.ota.config import Desired
from bordnetz.ota.copier import Copier
from bordnetz.ota.download import Conduct, Downloader
from bordnetz.ota.fetch import Fetcher
from bordnetz.ota.figures import Figures
from bordnetz.ota.origins import Origins
from bordnetz.ota.ports import HaltedError
from bordnetz.ota.source import MissingError, NeedsUrlError
from bordnetz.uptane.custom import Delivery


class Supply(Fetcher):
    """Fetches each delivery from the nearest place.  One thread at a time."""

    def __init__(
        self,
        origins: Origins,
        config: Callable[[], Desired],
        received: Callable[[], int],
        figures: Figures,
        sleep: Callable[[float], object],
        draw: Callable[[], float],
    ) -> None:
        """Take what decides.

        Args:
            origins: The places there are.
            config: The desired properties in effect.
            received: Bytes that have come so far for the campaign under way.
            figures: Where is counted.
            sleep: Waits for seconds.
            draw: A random number from 0 to 1.
        """
        self._origins = origins
        self._config = config
        self._received = received
        self._figures = figures
        self._conduct = Conduct(self._may_download, sleep=sleep, draw=draw)

    def cost(self, delivery: Delivery, folder: Path) -> int:
        """Bytes over the air: none for what a stick has; see `Fetcher.cost`."""
        stick = self._origins.stick
        if stick is not None and (stick / "targets" / delivery.path).is_file():
            return 0
        origin = self._origins.network(self._config())
        if origin is None:
            return delivery.length
        with origin.targets() as source:
            return Downloader(source, self._conduct).cost(delivery, folder)

    def fetch(
        self,
        delivery: Delivery,
        folder: Path,
        budget: int | None,
        received: Callable[[int], None],
    ) -> Path:
        """Fetch a delivery; see `Fetcher.fetch`."""
        stick = self._origins.stick_origin
        if stick is not None:
            with stick.targets() as source:
                try:
                    return Copier(source).fetch(delivery, folder, budget, received)
                except MissingError:
                    # A stick may have less than the store.
                    pass
        origin = self._origins.network(self._config())
        if origin is None:
            raise NeedsUrlError("there is no reference to the update any more; give one")

        def count(size: int) -> None:
            self._figures.received(size)
            received(size)

        with origin.targets() as source:
            return Downloader(source, self._conduct).fetch(delivery, folder, budget, count)

    def _may_download(self, count: int) -> str | None:
        config = self._config()
        if config.campaign is None:
            return "the reference to the update was taken away"
        if not config.link.metered:
            return None
        used, most = self._received(), config.link.most_bytes
        if used + count <= most:
            return None
        return f"the link is metered, and {used} of the {most} bytes allowed over it are used"


def sleeper(
    stopped: Callable[[], bool], wait: Callable[[float], object]
) -> Callable[[float], None]:
    """A sleep that a stop ends.

    Args:
        stopped: Whether to stop.
        wait: Waits for seconds, or until the stop.
    """

    def sleep(seconds: float) -> None:
        wait(seconds)
        if stopped():
            raise HaltedError("the module is being stopped")

    return sleep
