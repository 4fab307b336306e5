"""What must never change: released bytes, generated code, fixed codes, names of dictionaries."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch_samples import DICTIONARY, GROUPS
from hypothesis import given
from hypothesis import strategies as st

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch import codes, columns, zstd
from bordnetz.batch.dictionary import DIGEST_BYTES, Dictionary
from bordnetz.batch.errors import BatchError
from bordnetz.batch.message import MAX_COLUMN_BYTES, encode_dictionary
from bordnetz.batch.predict import Predictor
from bordnetz.batch.reader import Reader
from bordnetz.batch.streams import Source
from bordnetz.series import EXTENDED, Group, Kind, Signal

GOLDEN = Path(__file__).parent / "golden"
PACKAGE = Path(pb.__file__).parent


def golden_batches(version: str) -> dict[str, object]:
    reader = Reader()
    batches = {}
    for file in sorted((GOLDEN / version).glob("*.bin")):
        for batch in reader.read(file.read_bytes()):
            batches[file.stem] = batch
    return batches


@pytest.mark.parametrize("version", sorted(folder.name for folder in GOLDEN.iterdir()))
def test_every_released_version_is_read_as_it_was_written(version: str) -> None:
    batches = golden_batches(version)
    expected = {file.stem: file for file in (GOLDEN / version).glob("*.json")}
    assert batches.keys() == expected.keys()
    for name, batch in batches.items():
        content = json.loads(expected[name].read_text())
        unit = batch.header.stamp.resolution.ns
        gaps = [[gap.bus, gap.cause, gap.start, gap.end] for gap in batch.gaps]
        assert gaps == content.pop("gaps", [])
        losses = [[*dataclasses.astuple(loss)] for loss in batch.losses]
        assert losses == content.pop("losses", [])
        assert (batch.samples.quality is None) == ("quality" not in content)
        assert batch.header.stamp.ahead == content.pop("ahead", None)
        for field, numbers in content.items():
            read = getattr(batch.samples, field).tolist()
            assert read == ([t // unit * unit for t in numbers] if field == "time" else numbers)


def test_the_golden_files_use_every_predictor_and_zstandard() -> None:
    predictors: set[int] = set()
    compressed = 0
    for file in (GOLDEN / "v1").glob("*.bin"):
        message = pb.Message.FromString(file.read_bytes())
        data = message.columns
        if message.columns_zstd:
            compressed += 1
            data = zstd.decompress(message.columns_zstd, MAX_COLUMN_BYTES)
        if data:
            series = 13 if "tempers" in file.name else 2
            predictors |= set(Source(data).small(series, 3).tolist())
    assert predictors == set(Predictor)
    assert compressed


def test_the_committed_protobuf_code_is_that_of_the_schema(tmp_path: Path) -> None:
    command = ["-m", "grpc_tools.protoc", f"-I{PACKAGE.parents[1]}", f"--python_out={tmp_path}"]
    command += [f"--pyi_out={tmp_path}", "bordnetz/batch/batch.proto"]
    subprocess.run([sys.executable, *command], check=True)
    for name in ("batch_pb2.py", "batch_pb2.pyi"):
        made = (tmp_path / "bordnetz/batch" / name).read_text()
        assert made == (PACKAGE / name).read_text(), "run protoc as docs/batch.md says"


def test_the_fixed_codes_are_complete_prefix_codes() -> None:
    assert codes.LENGTH.shape == (codes.COUNT, codes.ESCAPE + 1)
    assert (np.exp2(-codes.LENGTH).sum(axis=1) == 1).all()
    assert codes.LENGTH.max() <= codes.LONGEST


@pytest.mark.parametrize("code", range(codes.COUNT))
def test_a_fixed_code_costs_little_more_than_its_distribution_needs(code: int) -> None:
    scale = 0.5 * 2 ** (code % 7 / 2)
    folded = np.arange(codes.ESCAPE)
    number = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    if code < 7:
        weight = np.exp(-(number**2) / (2 * scale**2))
    else:
        mean, size = (scale, np.abs(number)) if code < 14 else (scale, folded)
        # Mean magnitude 2t / (1 - t^2) on two sides, t / (1 - t) on one.
        ratio = (np.sqrt(1 + mean**2) - 1) / mean if code < 14 else mean / (1 + mean)
        weight = ratio**size
    p = weight / weight.sum()
    entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
    huffman_at_most = entropy + max(p.max() - 0.3, 0.12)
    assert entropy <= (p * codes.LENGTH[code, : codes.ESCAPE]).sum() <= huffman_at_most


@given(st.integers(0, codes.COUNT - 1), st.lists(st.integers(0, 31), min_size=1, max_size=3000))
def test_code_words_come_back(code: int, symbols: list[int]) -> None:
    bits = "".join(
        f"{int(codes.WORD[code, symbol]):0{codes.LENGTH[code, symbol]}b}"[::-1]
        for symbol in symbols
    )
    data = bytes(int(bits[at : at + 8][::-1], 2) for at in range(0, len(bits), 8))
    reader = codes.PrefixReader(data)
    assert reader.read(np.array([code]), np.array([len(symbols)])).tolist() == symbols
    assert reader.left == 0


def test_a_repeating_column_costs_next_to_nothing() -> None:
    rows = np.array([4096])
    counter = np.arange(4096, dtype=np.int64) % 15
    assert len(columns.encode(counter, rows)[0]) < 20


def test_checksums_cost_no_more_than_their_bits() -> None:
    rng = np.random.default_rng(1)
    rows = np.full(6, 2000)
    assert len(columns.encode(rng.integers(0, 256, 12_000), rows)[0]) < 12_000 + 60
    wild = rng.integers(-(2**63), 2**63 - 1, 12_000)
    assert len(columns.encode(wild, rows)[0]) < 8 * 12_000 + 200


_NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**30), 10**30),
    st.floats(allow_nan=False),
)
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_SIGNALS = st.builds(
    Signal,
    name=_NAMES,
    unit=_NAMES,
    kind=st.sampled_from(Kind),
    factor=_NUMBERS,
    offset=_NUMBERS,
    choices=st.lists(st.tuples(st.integers(-(2**63), 2**64 - 1), _NAMES), max_size=3).map(tuple),
)
_GROUPS = st.builds(
    Group,
    bus=_NAMES,
    message=_NAMES,
    id=st.integers(0, 2**32 - 1),
    by_pgn=st.booleans(),
    branch=st.lists(
        st.tuples(_NAMES, st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(tuple)),
        max_size=2,
    ).map(tuple),
    interval=st.integers(0, 2**63 - 1),
    signals=st.lists(_SIGNALS, max_size=4).map(tuple),
)


@given(st.lists(_GROUPS, max_size=4).map(tuple), st.binary(min_size=32, max_size=32))
def test_a_dictionary_comes_back_with_all_it_says(groups: tuple[Group, ...], seal: bytes) -> None:
    dictionary = Dictionary(groups, seal, bytes(32))
    read = Dictionary.from_compressed(dictionary.compressed, dictionary.digest)
    assert read == dictionary
    for before, after in zip(groups, read.groups, strict=True):
        for one, other in zip(before.signals, after.signals, strict=True):
            assert type(one.factor) is type(other.factor)
            assert type(one.offset) is type(other.offset)
    assert read.digest == dictionary.digest


def test_equal_dictionaries_have_equal_names_and_others_do_not() -> None:
    again = Dictionary(
        tuple(map(dataclasses.replace, GROUPS)), bytes(range(32)), bytes(range(32, 64))
    )
    assert again.digest == DICTIONARY.digest
    assert len(again.digest) == DIGEST_BYTES
    others = [
        Dictionary(GROUPS[:-1], DICTIONARY.vehicle, DICTIONARY.catalogue),
        Dictionary(GROUPS, bytes(32), DICTIONARY.catalogue),
        Dictionary(GROUPS, DICTIONARY.vehicle, bytes(32)),
    ]
    assert len({DICTIONARY.digest, *(other.digest for other in others)}) == 4


def test_a_dictionary_needs_full_digests() -> None:
    with pytest.raises(
        BatchError, match="the vehicle digest has 5 bytes, expected a SHA-256 of 32"
    ):
        Dictionary(GROUPS, b"short", bytes(32))


def test_a_dictionary_that_fits_no_message_is_refused() -> None:
    rng = np.random.default_rng(1)
    signals = tuple(Signal(rng.bytes(40).hex()) for _ in range(9_000))
    huge = Dictionary((Group("a", "b", 1 | EXTENDED, signals=signals),), bytes(32), bytes(32))
    with pytest.raises(BatchError, match="collect fewer signals"):
        encode_dictionary(huge, 1)
