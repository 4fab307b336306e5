"""Bundles once a session, a head unit once a test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import rauc_bench
import swupdate_bench


@dataclass(frozen=True)
class Bundles:
    """What there is to install; an image is as long as a slot."""

    keyring: Path
    image_one: bytes
    image_two: bytes
    one: Path
    two: Path
    strangers: Path
    elsewhere: Path


@dataclass(frozen=True)
class Signers:
    """Whom the head unit trusts, and whom not."""

    ours: rauc_bench.Keys
    theirs: rauc_bench.Keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    lacks = rauc_bench.missing(["openssl"])
    if lacks:
        pytest.skip(f"no {', '.join(lacks)} here")
    folder = tmp_path_factory.mktemp("keys")
    return Signers(rauc_bench.Keys(folder, "ours"), rauc_bench.Keys(folder, "theirs"))


@pytest.fixture(scope="session")
def bundles(keys: Signers, tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    lacks = rauc_bench.missing(rauc_bench.PROGRAMS)
    if lacks:
        pytest.skip(f"no {', '.join(lacks)} here")
    folder = tmp_path_factory.mktemp("bundles")
    ours, theirs = keys.ours, keys.theirs
    size = rauc_bench.SLOT_SIZE
    images = [letter * size for letter in (b"1", b"2")]

    def bundle(keys: rauc_bench.Keys, image: bytes, name: str, slot: str = "rootfs") -> Path:
        return rauc_bench.make_bundle(folder, keys, image, name, slot)

    return Bundles(
        ours.certificate,
        *images,
        bundle(ours, images[0], "one"),
        bundle(ours, images[1], "two"),
        bundle(theirs, images[1], "strangers"),
        bundle(ours, images[1], "elsewhere", "appfs"),
    )


@pytest.fixture
def unit(bundles: Bundles, tmp_path: Path) -> Iterator[rauc_bench.Bench]:
    with rauc_bench.bench(tmp_path, bundles.keyring) as unit:
        yield unit


@pytest.fixture
def swunit(keys: Signers, tmp_path: Path) -> Iterator[swupdate_bench.Bench]:
    lacks = rauc_bench.missing(swupdate_bench.PROGRAMS)
    if lacks:
        pytest.skip(f"no {', '.join(lacks)} here")
    with swupdate_bench.bench(tmp_path, keys.ours.certificate) as unit:
        yield unit
