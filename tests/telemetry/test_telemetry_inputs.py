"""What is wrong around the telemetry module: each thing said, nothing else harmed."""

import itertools
import resource
import subprocess
import threading

import numpy as np
import pytest
from telemetry_help import (
    EEC1,
    HEAT,
    MOTOR,
    SERIAL,
    SIGNALS,
    TRUCK,
    WIDE,
    Cloud,
    ask,
    balanced,
    call,
    candump,
    eventually,
    frames,
    motor,
)

from bordnetz.can.frames import FD_BYTES
from bordnetz.can.vehicle import VehicleError
from bordnetz.telemetry import command

ALL = [{"match": "*"}]
EPOCH = 1_700_000_000_000_000
HOUR = 3_600_000_000


def acknowledged(hub, name, version):
    """Waits for the answer to a version of a desired property."""
    return eventually(
        lambda: hub.control.twin("telemetry")["reported"].get(name, {}),
        lambda shown: shown.get("av") == version,
    )


def noise(count, first=0):
    """Frames whose payload nothing compresses; they can be told apart by their order."""
    random = np.random.default_rng(first)
    return frames(SERIAL, [random.bytes(8) for _ in range(count)])


# -- the vehicle file and its DBC files


def test_a_missing_vehicle_file_ends_the_process_with_its_path(start, car):
    car.file.unlink()
    module = start(None)
    assert module.wait() == 78
    assert f"{car.file}: the vehicle file cannot be read: No such file" in module.text


def test_a_vehicle_file_that_may_not_be_read_is_refused_like_a_missing_one(
    car, request, monkeypatch
):
    made = []
    monkeypatch.setattr(command, "run_module", made.append)
    car.folder.chmod(0o755)
    car.file.chmod(0)
    request.getfixturevalue("user")
    command.telemetry.main(["--vehicle", str(car.file)], standalone_mode=False)
    with pytest.raises(VehicleError, match="cannot be read: Permission denied") as refused:
        made[0]()
    assert refused.value.exit_code == 78


@pytest.mark.parametrize("speed", ["foo", "0", "nan", "inf"])
def test_a_speed_that_makes_no_sense_ends_the_process_like_any_variable(start, speed):
    module = start(None, BORDNETZ_SPEED=speed)
    assert module.wait() == 78
    assert f"[FTL] - BORDNETZ_SPEED (--speed) is '{speed}', expected 1 (as re" in module.text


def test_a_missing_dbc_file_ends_the_process_with_bus_and_file(start, car):
    (car.folder / "truck.dbc").unlink()
    module = start(None)
    assert module.wait() == 78
    assert "bus[1].dbc[0]: there is no file" in module.text
    assert "paths are relative to the vehicle file" in module.text


def test_a_file_that_is_no_dbc_file_ends_the_process_with_its_line(start, car):
    (car.folder / "truck.dbc").write_text("speed,torque\n12,7\n")
    module = start(None)
    assert module.wait() == 78
    assert "truck.dbc: line 1, column 1: " in module.text
    assert "no usable DBC file; correct the file" in module.text


def test_two_dbc_files_that_claim_one_id_end_the_process_with_both_names(start, car):
    (car.folder / "other.dbc").write_text(TRUCK.replace("EEC1", "Mine"))
    car.file.write_text(car.file.read_text().replace('["truck.dbc"]', '["truck.dbc", "other.dbc"]'))
    module = start(None)
    assert module.wait() == 78
    assert "message 'EEC1' (id 0x0CF00400) of" in module.text
    assert "message 'Mine' (id 0x0CF00400) of" in module.text
    assert "claim one id; take one of them out of its file" in module.text


# -- channels


@pytest.mark.parametrize(
    ("interface", "channel", "said"),
    [
        ("unix", "/proc/no/such/socket", "bus 'truck' (unix /proc/no/such/socket): "),
        ("unix", "/tmp/" + "x" * 200, "bus 'truck' (unix /tmp/xxx"),
        ("nothing", "0", "there is no such interface; there are: "),
    ],
)
def test_a_channel_that_does_not_exist_is_told_in_the_last_line(
    start, car, interface, channel, said
):
    old = f'interface = "unix"\nchannel = "{car.folder}/truck"'
    text = car.file.read_text()
    assert old in text
    car.file.write_text(text.replace(old, f'interface = "{interface}"\nchannel = "{channel}"'))
    module = start(None)
    assert module.wait() == 1
    last = module.text.splitlines()[-1]
    assert "[FTL]" in last
    assert said in last
    assert "unexpected error" not in module.text


def test_an_interface_that_is_not_there_costs_no_other_bus(deploy, start, car):
    old = f'interface = "unix"\nchannel = "{car.folder}/truck"'
    text = car.file.read_text()
    car.file.write_text(text.replace(old, 'interface = "socketcan"\nchannel = "nocan7"'))
    hub = deploy(collect=ALL)
    module = start(hub).collecting()
    module.logged(r"\[WRN\] - bus 'truck' \(socketcan nocan7\): ")
    car.count(range(20))
    eventually(lambda: call(hub, "status")["frames"]["decoded"], lambda n: n == 20)
    assert module.end() == 0


def test_a_recording_that_does_not_exist_is_told_in_the_last_line(deploy, start, tmp_path):
    hub = deploy(collect=ALL)
    module = start(hub, "--log", str(tmp_path / "none.log"))
    assert module.wait() == 1
    assert "none.log: cannot be read: No such file" in module.text.splitlines()[-1]


# -- the twin


def test_an_unknown_signal_costs_its_rule_alone_and_the_twin_says_what_is_near(deploy, start, car):
    hub = deploy(collect=[{"match": "drive.Motor.Sped"}, {"match": "drive.Motor.Count"}])
    start(hub).collecting(1)
    shown = acknowledged(hub, "collect", 1)
    assert shown["ac"] == 400
    assert shown["value"] == [{"match": "drive.Motor.Count"}]
    assert shown["ad"] == (
        "collect[0]: no signal of this vehicle matches 'drive.Motor.Sped'; near it: "
        "drive.Motor.Speed, drive.Motor.Gear, drive.Motor.Count"
    )
    car.count([1])
    eventually(lambda: call(hub, "snapshot")["signals"], lambda seen: len(seen) == 1)
    assert call(hub, "status")["collecting"]["signals"] == 1


GOOD = {
    "collect": [{"match": "drive.*", "minInterval": 0.5}],
    "batchWindow": 20,
    "timeResolution": "us",
    "priority": 7,
    "dictionaryInterval": 600,
}


def test_what_is_invalid_in_the_twin_is_refused_and_the_old_value_stays(deploy, start):
    hub = deploy(**GOOD)
    module = start(hub).collecting(8)
    version = hub.control.set(
        "telemetry",
        {
            "collect": [{"match": "*.Count", "minInterval": -1}, {"match": "*"}],
            "batchWindow": 0,
            "timeResolution": "ns",
            "priority": "high",
            "dictionaryInterval": 1,
            "window": 5,
        },
    )
    unknown = acknowledged(hub, "window", version)
    assert "unknown property; this module knows: batchWindow, collect" in unknown["ad"]
    reported = hub.control.twin("telemetry")["reported"]
    for name, old in GOOD.items():
        shown = reported[name]
        assert (shown["value"], shown["ac"], shown["av"]) == (old, 400, version), name
        assert shown["ad"].startswith(name)
    assert "greater than or equal to 0.1" in reported["batchWindow"]["ad"]
    assert "'ms' or 'us'" in reported["timeResolution"]["ad"]
    assert "valid integer" in reported["priority"]["ad"]
    assert "collect[0].minInterval" in reported["collect"]["ad"]
    assert call(hub, "status")["collecting"]["signals"] == 8
    assert module.process.poll() is None


# -- the hub


def test_without_a_hub_capture_goes_on_and_everything_arrives_when_it_comes(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=0.1, priority=1)
    environment = hub.control.env("telemetry")
    start(hub).collecting().remembering().end()
    car.hang_up()
    hub.kill()
    module = start(None, **environment).collecting()
    module.logged(r"no hub \(.*\); attempt 4 follows")
    for first in range(0, 2000, 100):
        car.count(range(first, first + 100))
    eventually(lambda: module.figure("bordnetz_samples_sent_total"), lambda n: n == 6000)
    assert module.figure("bordnetz_outbox_messages") > 1
    assert module.figure("bordnetz_hub_connected") == 0
    hub = deploy(collect=ALL, batchWindow=0.1, priority=1)
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= 6000)
    assert cloud.values("drive.Motor.Count")[0] == list(range(2000))
    assert call(hub, "status")["samples"]["dropped"] == {}


def test_a_live_bus_never_waits_for_a_full_outbox(deploy, start, car):
    hub = deploy(collect=ALL)
    environment = hub.control.env("telemetry")
    start(hub).collecting().remembering().end()
    car.hang_up()
    hub.kill()
    module = start(None, **environment, BORDNETZ_OUTBOX_BYTES="1000000").collecting()
    random = np.random.default_rng(1)
    for _ in range(11):
        car.send(frames(WIDE, [random.bytes(64) for _ in range(6_000)], width=FD_BYTES))
    eventually(lambda: module.figure("bordnetz_frames_received_total"), lambda n: n == car.sent)
    eventually(lambda: module.figure("bordnetz_outbox_dropped_total"), lambda n: n > 0)
    assert module.figure("bordnetz_frames_dropped_total") == 0
    assert module.figure("bordnetz_outbox_bytes") <= 1_000_000
    assert "outbox full" in module.text
    assert module.end() == 0


def test_a_recording_waits_for_room_in_the_outbox(deploy, start, car, tmp_path):
    hub = deploy(collect=ALL, batchWindow=3600)
    random = np.random.default_rng(1)
    n = 200_000
    log = candump(
        tmp_path / "long.log",
        (
            (EPOCH + 1000 * i, f"{car.folder}/drive", SERIAL, data)
            for i, data in enumerate(random.bytes(8) for _ in range(n))
        ),
    )
    hub.control.fault("withhold-puback")
    module = start(
        hub, "--log", str(log), "--speed", "max", BORDNETZ_OUTBOX_BYTES="1000000"
    ).collecting()
    # No PUBACK, no room: the recording stands still before its end.
    eventually(lambda: module.figure("bordnetz_outbox_bytes"), lambda used: used > 900_000)
    eventually(lambda: held(module), lambda samples: samples > 20_000)
    assert module.figure("bordnetz_frames_received_total") < n
    hub.control.fault("withhold-puback", off=True)
    status = eventually(lambda: call(hub, "status"), lambda status: status["source"]["ended"])
    assert status["frames"]["received"] == status["frames"]["decoded"] == n
    call(hub, "flush")
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= n)
    assert cloud.samples == n
    assert call(hub, "status")["samples"] == {
        "decoded": n,
        "stored": n,
        "held": 0,
        "dropped": {},
        "givenUp": {},
    }
    assert module.figure("bordnetz_outbox_dropped_total") == 0


# -- the disk


def test_on_a_full_disk_capture_goes_on_and_it_recovers(deploy, start, car):
    hub = deploy(collect=ALL, batchWindow=0.1, priority=1)
    module = start(hub).collecting()
    eventually(lambda: Cloud(hub), lambda cloud: cloud.dictionaries)
    # No file may grow beyond what the outbox has: what a full disk does to it.
    sizes = [file.stat().st_size for file in module.state.iterdir()]
    _, hard = resource.prlimit(module.process.pid, resource.RLIMIT_FSIZE)
    full = (max(*sizes, module.log.stat().st_size + 4096), hard)
    resource.prlimit(module.process.pid, resource.RLIMIT_FSIZE, full)
    over = threading.Event()

    def drive():
        for part in itertools.count():
            if over.wait(0.02):
                return
            car.send(noise(2_000, part))

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        module.logged(r"\[ERR\] - outbox .*; \d+ samples wait in memory")
        before = module.figure("bordnetz_frames_received_total")
        eventually(lambda: module.figure("bordnetz_frames_received_total"), lambda n: n > before)
        assert call(hub, "status")["samples"]["held"] > 0
    finally:
        over.set()
        driver.join()
    resource.prlimit(module.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    module.logged("the outbox takes messages again; 0 samples were lost so far")
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= car.sent)
    assert cloud.samples == car.sent
    assert module.end() == 0


def test_a_module_that_starts_on_a_full_disk_runs_and_stores_what_waits_when_there_is_room(
    deploy, start, car, tmp_path
):
    hub = deploy(collect=ALL, batchWindow=0.1, priority=1)
    state = tmp_path / "state"
    state.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(state)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting a small file system needs root: {mounted.stderr.strip()}")
    try:
        (state / "ballast").write_bytes(bytes(8 << 20))
        module = start(hub).collecting()
        car.count(range(1000))
        module.logged(r"\[ERR\] - outbox .*the disk is full.*; \d+ samples wait in memory")
        assert module.process.poll() is None
        (state / "ballast").unlink()
        cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= 3_000)
        assert cloud.values("drive.Motor.Count")[0] == list(range(1000))
        assert module.end() == 0
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


# -- the clock


def test_a_clock_that_jumps_an_hour_loses_and_reorders_nothing(deploy, start, car, tmp_path):
    hub = deploy(
        collect=[
            {"match": "drive.Motor.*"},
            {"match": "truck.*"},
            {"match": "drive.Heat.*", "minInterval": 1},
        ],
        timeResolution="us",
        batchWindow=5,
    )
    times, clock = [], EPOCH
    for n in range(6000):
        clock += 10_007
        if n in (1000, 4000):
            clock += HOUR
        if n in (2000, 3000):
            clock -= HOUR
        times.append(clock)
    drive, truck = f"{car.folder}/drive", f"{car.folder}/truck"
    rows = []
    for time_us, data in zip(times, motor(range(6000)), strict=True):
        rows += [(time_us, drive, MOTOR, data), (time_us + 1, drive, HEAT, bytes(8))]
        rows.append((time_us + 2, truck, EEC1, bytes(8)))
    log = candump(tmp_path / "jumps.log", rows)
    start(hub, "--log", str(log), "--speed", "max")
    status = eventually(lambda: call(hub, "status"), lambda status: status["source"]["ended"])
    assert status["frames"]["received"] == 18_000
    assert balanced(status["frames"])
    # The jumps alone end a window early: no sample waits for the clock to catch up.
    call(hub, "flush")
    samples = 6000 * 4 + 2 * (status["frames"]["decoded"] - 12_000)
    cloud = eventually(lambda: Cloud(hub), lambda cloud: cloud.samples >= samples)
    numbers, arrived = cloud.values("drive.Motor.Count")
    assert numbers == list(range(6000))
    assert arrived == [1000 * time_us for time_us in times]
    kept = [time // 1000 - 1 for time in cloud.values("drive.Heat.Inner")[1]]
    # One a second of the clock as it went, and one more for each jump.
    assert 58 <= len(kept) <= 70
    for start_of, end_of in itertools.pairwise((0, 1000, 2000, 3000, 4000, 6000)):
        assert len(set(times[start_of:end_of]) & set(kept)) >= (end_of - start_of) // 100 - 1


def test_a_stranger_in_the_recording_is_told_with_its_line_and_costs_nothing(
    deploy, start, car, tmp_path
):
    hub = deploy(collect=ALL)
    log = candump(
        tmp_path / "broken.log",
        [(EPOCH + n, f"{car.folder}/drive", MOTOR, data) for n, data in enumerate(motor(range(9)))],
    )
    lines = log.read_text().splitlines()
    lines[4] = "(not a time) vcan0 nonsense"
    log.write_text("\n".join(lines) + "\n")
    module = start(hub, "--log", str(log), "--speed", "max")
    status = eventually(lambda: call(hub, "status"), lambda status: status["source"]["ended"])
    assert status["frames"]["decoded"] == 8
    assert status["frames"]["dropped"] == {"broken": 1}
    assert status["buses"]["(none)"]["received"] == 1
    assert balanced(status["frames"])
    assert "broken.log: line 5: " in module.text
    assert ask(hub, "snapshot")[0] == 200
    assert status["collecting"]["signals"] == SIGNALS


def held(module):
    """Samples that are decoded but not in the outbox."""
    stored = module.figure("bordnetz_samples_sent_total")
    return module.figure("bordnetz_samples_received_total") - stored


def test_a_recording_that_waits_for_room_is_cut_off_when_it_is_asked_to_end(
    deploy, start, car, tmp_path
):
    hub = deploy(collect=ALL)
    random = np.random.default_rng(1)
    rows = (
        (EPOCH + 1000 * n, f"{car.folder}/drive", SERIAL, random.bytes(8)) for n in range(200_000)
    )
    log = candump(tmp_path / "long.log", rows)
    hub.control.fault("withhold-puback")
    module = start(
        hub, "--log", str(log), "--speed", "max", BORDNETZ_OUTBOX_BYTES="1000000", CUT_OFF="yes"
    ).collecting()
    eventually(lambda: module.figure("bordnetz_outbox_bytes"), lambda used: used > 900_000)
    # More is in memory by now, at 8 bytes a sample, than there is room in the outbox.
    eventually(lambda: held(module), lambda samples: samples > 20_000)
    assert module.end() == 0
    assert "did not stop within 3 s and is cut off" in module.text
    assert "samples did not reach the outbox in time and are lost" in module.text
