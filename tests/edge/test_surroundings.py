import math

import pytest

from bordnetz.edge import environment as names
from bordnetz.edge.clock import ClockQuality, boot_id, clock_quality
from bordnetz.edge.environment import Environment, EnvironmentVariableError
from bordnetz.edge.link import Backoff, Timing
from bordnetz.edge.pace import Rate

EDGE = dict.fromkeys(names.IOT_EDGE, "nowhere")


def test_the_boot_id_is_half_of_the_kernels(tmp_path):
    file = tmp_path / "boot_id"
    file.write_text("3e5f9a1c-77aa-4b0e-9d52-0123456789ab\n")
    assert boot_id(file) == 0x3E5F9A1C77AA4B0E
    assert boot_id() == boot_id()


def test_without_a_boot_id_there_is_one_for_this_process(tmp_path):
    assert boot_id(tmp_path / "nothing") == boot_id(tmp_path / "nothing")
    assert 0 <= boot_id(tmp_path / "nothing") < 2**64


def test_the_kernel_tells_what_the_clock_is_worth():
    assert clock_quality() in ClockQuality


def test_the_environment_says_where_things_are(tmp_path):
    environment = Environment.read(
        {
            **EDGE,
            "BORDNETZ_STATE": str(tmp_path / "a" / "b"),
            "BORDNETZ_OUTBOX_BYTES": "5000000",
            "BORDNETZ_OUTBOX_DAYS": "7",
            "BORDNETZ_NEWEST_FIRST": "5, 9",
            "BORDNETZ_COMMIT_SECONDS": "3",
            "BORDNETZ_METRICS_ADDRESS": "[::1]:0",
            "RuntimeLogLevel": "debug",
        }
    )
    expected = {
        "state": tmp_path / "a" / "b",
        "outbox_bytes": 5_000_000,
        "outbox_days": 7,
        "newest_first": frozenset({5, 9}),
        "commit_seconds": 3,
        "metrics_host": "::1",
        "metrics_port": 0,
        "log_level": "debug",
    }
    assert {name: getattr(environment, name) for name in expected} == expected
    assert environment.state.is_dir()


def test_metrics_stay_in_the_vehicle_unless_told_otherwise(tmp_path):
    assert Environment.read({**EDGE, "BORDNETZ_STATE": str(tmp_path)}).metrics_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BORDNETZ_OUTBOX_BYTES", "1e9"),
        ("BORDNETZ_OUTBOX_BYTES", "10"),
        ("BORDNETZ_OUTBOX_DAYS", "-1"),
        ("BORDNETZ_NEWEST_FIRST", "10"),
        ("BORDNETZ_COMMIT_SECONDS", "61"),
        ("BORDNETZ_HUB_KEEP_ALIVE", "4"),
        ("BORDNETZ_HUB_PROOF_MINUTES", "0"),
        ("BORDNETZ_HUB_PATIENCE_MINUTES", "-1"),
        ("BORDNETZ_HUB_BYTES", "1"),
        ("BORDNETZ_HUB_MESSAGES", "many"),
        ("BORDNETZ_HUB_FLOOR", "600000"),
        ("BORDNETZ_HUB_METRICS", "127.0.0.1:9600"),
        ("BORDNETZ_HUB_METRICS", "https://edgeHub/metrics"),
        ("BORDNETZ_HUB_METRICS", "http://:9600"),
        ("BORDNETZ_HUB_METRICS", "http://edgeHub:96000"),
        ("BORDNETZ_METRICS_ADDRESS", "9601"),
        ("BORDNETZ_METRICS_ADDRESS", "127.0.0.1:99999"),
        ("BORDNETZ_METRICS_ADDRESS", "127.0.0.1:"),
        ("BORDNETZ_STATE", "/proc/nowhere"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(tmp_path, name, value):
    variables = {**EDGE, "BORDNETZ_STATE": str(tmp_path), name: value}
    with pytest.raises(EnvironmentVariableError, match=name):
        Environment.read(variables)


def test_the_environment_says_how_the_link_to_the_hub_behaves(tmp_path):
    link = Environment.read(
        {
            **EDGE,
            "BORDNETZ_STATE": str(tmp_path),
            "BORDNETZ_HUB_KEEP_ALIVE": "10",
            "BORDNETZ_HUB_PROOF_MINUTES": "3",
            "BORDNETZ_HUB_PATIENCE_MINUTES": "0",
            "BORDNETZ_HUB_METRICS": "http://edgeHub:9600/metrics",
            "BORDNETZ_HUB_BYTES": "8192",
            "BORDNETZ_HUB_MESSAGES": "3",
            "BORDNETZ_HUB_FLOOR": "1024",
        }
    ).link
    assert (link.timing.keep_alive, link.timing.proof) == (10, 180)
    assert link.timing.patience == math.inf
    assert link.ceiling == Rate(8192, 3)
    assert link.floor == Rate(1024, 0.2)
    assert link.module == "nowhere/nowhere"
    plain = Environment.read({**EDGE, "BORDNETZ_STATE": str(tmp_path)}).link
    assert plain.timing == Timing()
    assert plain.metrics == ""


def test_without_the_variables_of_iot_edge_the_missing_ones_are_named(tmp_path):
    variables = {**EDGE, "IOTEDGE_DEVICEID": "", "BORDNETZ_STATE": str(tmp_path / "state")}
    del variables["IOTEDGE_WORKLOADURI"]
    with pytest.raises(EnvironmentVariableError) as refused:
        Environment.read(variables)
    text = str(refused.value)
    assert text.startswith("not set: IOTEDGE_DEVICEID, IOTEDGE_WORKLOADURI; IoT Edge sets them")
    assert 'eval "$(bordnetz hub env MODULE)"' in text
    assert "bordnetz drive" in text
    assert not (tmp_path / "state").exists()


def test_in_place_of_the_variables_of_iot_edge_those_for_debugging_do(tmp_path):
    variables = {"BORDNETZ_STATE": str(tmp_path), names.DEBUGGING[0]: "HostName=nowhere"}
    with pytest.raises(EnvironmentVariableError, match="not set: IOTEDGE_IOTHUBHOSTNAME, "):
        Environment.read(variables)
    assert Environment.read({**variables, names.DEBUGGING[1]: "ca.pem"}).state == tmp_path


def test_a_fleet_does_not_come_back_in_one_instant():
    assert [Backoff(1, 60, lambda: 0.5)(n) for n in (1, 2, 3, 7, 99)] == [0.5, 1, 2, 30, 30]
    assert Backoff(1, 60, lambda: 0.0)(9) == 0
