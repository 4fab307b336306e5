"""``bordnetz cat``: what a person sees of batches."""

import csv
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from batch_samples import DICTIONARY, GROUPS, START
from click.testing import CliRunner, Result

from bordnetz.batch import batch_pb2 as pb
from bordnetz.batch.message import Clock, Stamp, encode_batch, encode_dictionary
from bordnetz.cli import bordnetz
from bordnetz.series import EXTENDED, Samples

STAMP = Stamp(boot=0xB007, clock=Clock.SYNCHRONISED, campaign="cold", campaign_version=4)


def block() -> Samples:
    """Two rows of Motor, one of EEC1 from source 0x21."""
    return Samples(
        GROUPS,
        np.array([0, 2], np.int32),
        np.array([0x100, 0x0CF00421 | EXTENDED], np.uint32),
        np.array([4, 2], np.int32),
        np.array([2, 1]),
        START + np.array([0, 10_500_000, 3_000_000]),
        np.array([0, 2, 1]),
        np.array([5012, -1, 1000, 1001, 2, 9, -1, 7, 8000, 4]),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A batch, then its dictionary, as a hub stores them."""
    batch = encode_batch(block(), DICTIONARY, STAMP).finish(0xABCD, 7)
    (tmp_path / "0001.bin").write_bytes(batch)
    (tmp_path / "0002.bin").write_bytes(encode_dictionary(DICTIONARY, 1).finish(0xABCD, 8))
    (tmp_path / "0001.json").write_text("{}")
    return tmp_path


def cat(*arguments: object) -> Result:
    return CliRunner().invoke(bordnetz, ["cat", *map(str, arguments)])


def test_the_summary_is_a_line_a_batch(folder: Path) -> None:
    result = cat(folder)
    assert result.exit_code == 0
    (line,) = result.stdout.splitlines()
    for part in (
        "000000000000abcd/7",
        "2023-11-14T22:13:20.000Z +0.010 s",
        "cold v4",
        "clock synchronised",
        f"dictionary {DICTIONARY.digest.hex()}",
        "6 signals  10 samples",
    ):
        assert part in line


def test_csv_has_physical_values_and_texts(folder: Path) -> None:
    rows = list(csv.reader(cat(folder, "--format", "csv").stdout.splitlines()))
    assert rows[0] == ["time", "signal", "value", "unit", "quality"]
    assert ["2023-11-14T22:13:20.000Z", "drive.Motor.Speed", "50.12", "km/h", ""] in rows
    assert ["2023-11-14T22:13:20.010Z", "drive.Motor.Torque", "0.5", "Nm", ""] in rows
    assert ["2023-11-14T22:13:20.000Z", "drive.Motor.Gear", "N", "", ""] in rows
    assert ["2023-11-14T22:13:20.010Z", "drive.Motor.Gear", "9", "", ""] in rows
    assert ["2023-11-14T22:13:20.000Z", "drive.Motor.Energy", str(2**64 - 1), "J", ""] in rows
    assert ["2023-11-14T22:13:20.003Z", "truck.EEC1.EngineSpeed@21", "1000.0", "rpm", ""] in rows
    assert len(rows) == 11


def test_raw_values_are_those_on_the_bus(folder: Path) -> None:
    lines = cat(folder, "--format", "jsonl", "--raw").stdout.splitlines()
    values = {(row["signal"], row["value"]) for row in map(json.loads, lines)}
    assert ("drive.Motor.Speed", 5012) in values
    assert ("drive.Motor.Gear", 2) in values
    assert ("drive.Motor.Energy", 2**64 - 1) in values


def test_only_the_signals_asked_for_are_shown(folder: Path) -> None:
    result = cat(folder, "--format", "table", "--signals", "truck.*", "--signals", "*.Gear")
    names = {line.split()[1] for line in result.stdout.splitlines()}
    assert names == {"drive.Motor.Gear", "truck.EEC1.EngineSpeed@21", "truck.EEC1.Mode@21"}
    assert len(cat(folder, "--format", "table", "--signals", "*@21").stdout.splitlines()) == 2


def test_one_file_may_bring_its_dictionary(tmp_path: Path) -> None:
    file = tmp_path / "whole.batch"
    file.write_bytes(encode_batch(block(), DICTIONARY, STAMP, embed=True).finish(1, 1))
    assert "10 samples" in cat(file).stdout


def test_a_nonsense_file_is_named_and_the_others_are_shown(folder: Path) -> None:
    nonsense = folder / "0000.bin"
    nonsense.write_bytes(b"nonsense")
    result = cat(folder)
    assert result.exit_code == 1
    assert f"{nonsense}: batch: does not end with a check sum" in result.stderr
    assert "10 samples" in result.stdout


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    huge = tmp_path / "huge.bin"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)
    result = cat(huge)
    assert result.exit_code == 1
    assert "more than a message has" in result.stderr


def test_a_batch_without_its_dictionary_is_told_of(folder: Path) -> None:
    result = cat(folder / "0001.bin")
    assert result.exit_code == 1
    assert (
        f"1 batches are not shown, since no file has their dictionary ({DICTIONARY.digest.hex()})"
        in (result.stderr)
    )


def test_a_damaged_batch_read_before_its_dictionary_is_told_of(folder: Path) -> None:
    message = pb.Message.FromString((folder / "0001.bin").read_bytes())
    message.columns = b""
    message.ClearField("check")
    body = message.SerializeToString() + b"\x7d"
    (folder / "0000.bin").write_bytes(body + zlib.crc32(body).to_bytes(4, "little"))
    result = cat(folder)
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 1
    assert "1 batches are not shown: read before their dictionary" in result.stderr


def test_a_reader_that_hangs_up_is_no_error(folder: Path) -> None:
    for index in range(3, 400):
        batch = encode_batch(block(), DICTIONARY, STAMP).finish(0xABCD, index)
        (folder / f"{index:04}.bin").write_bytes(batch)
    command = [sys.executable, "-m", "bordnetz", "cat", str(folder), "--format", "jsonl"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr
