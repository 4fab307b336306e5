"""Nothing that a vehicle or a hub keeps to itself gets into logs, metrics, errors or the twin."""

import json
import socket
import urllib.request

from telemetry_help import (
    HEAT,
    MOTOR,
    SERIAL,
    ask,
    call,
    candump,
    eventually,
    frames,
    motor,
)

VIN = "W0L000051T2123456"
COUNT, SPEED = 3_141_592_653, 54_321
POSITION = b"\x14\xae\x47\x42\xcd\xcc\x1e\x41"  # 49.92, 9.925 as float32


def private(hub):
    """Texts that must not show up, in the forms in which they might."""
    serials = [VIN[n : n + 8].encode() for n in (0, 8)]
    texts = [VIN, VIN[:8], VIN[8:16]]
    texts += [str(int.from_bytes(serial, "little")) for serial in serials]
    texts += [serial.hex() for serial in serials] + [serial.hex().upper() for serial in serials]
    texts += [str(COUNT), f"{COUNT:x}", f"{COUNT:X}", str(SPEED), f"{SPEED / 2}", "49.92", "9.925"]
    texts += [POSITION.hex(), POSITION.hex().upper(), str(list(POSITION)), str(POSITION)]
    texts += ["SharedAccessSignature", "sig="]
    keys = json.loads((hub.state / "keys.json").read_text())
    found = [text for text in strings(keys) if len(text) > 20]
    assert found
    return texts + found


def strings(value):
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


def private_frames():
    return [
        frames(MOTOR, motor([COUNT], speed=SPEED)),
        frames(SERIAL, [VIN[n : n + 8].encode() for n in (0, 8)]),
        frames(HEAT, [POSITION]),
        frames(MOTOR, [VIN[:3].encode()]),
        frames(0x7FF, [VIN[:8].encode()]),
    ]


def looked_through(hub, module):
    """Everything that the module shows of itself without being asked for values."""
    page = module.logged(r"metrics at (\S+)")[1]
    shown = [urllib.request.urlopen(page).read().decode()]
    shown.append(urllib.request.urlopen(page.replace("metrics", "health")).read().decode())
    for method, payload in (
        ("status", None),
        ("ping", None),
        ("flush", None),
        ("dictionary", None),
        ("snapshot", {"signals": 5}),
        ("flush", {"all": True}),
        ("explode", None),
    ):
        shown.append(json.dumps(ask(hub, method, payload)))
    shown.append(json.dumps(hub.control.twin("telemetry")["reported"]))
    return shown


def test_a_live_run_with_every_kind_of_trouble_tells_no_secret(deploy, start, car):
    hub = deploy(collect=[{"match": "*"}], batchWindow=0.1, priority=0)
    module = start(hub, RuntimeLogLevel="debug").collecting()
    for some in private_frames():
        car.send(some)
    # Datagrams that are no frames.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.connect(str(car.folder / "drive"))
        stranger.send(VIN.encode())
    eventually(
        lambda: call(hub, "status")["frames"], lambda books: books["dropped"].get("broken") == 1
    )
    # The values are there, for whoever asks for them.
    values = {one["name"]: one["value"] for one in call(hub, "snapshot")["signals"]}
    assert (values["drive.Motor.Count"], values["drive.Heat.Outer"]) == (COUNT, 9.92500019073486)
    shown = looked_through(hub, module)
    hub.control.set("telemetry", {"priority": "high", "batchWindow": -1, "secret": 1})
    hub.control.fault("refuse-auth", count=2)
    hub.control.fault("drop-link")
    module.logged(r"(?s)connected to the hub.*connected to the hub")
    shown += looked_through(hub, module)
    assert module.end() == 0
    shown.append(module.text)
    for text in private(hub):
        for one in shown:
            assert text not in one, text


def test_a_broken_recording_tells_no_secret(deploy, start, car, tmp_path):
    hub = deploy(collect=[{"match": "*"}])
    rows = [
        (1_700_000_000_000_000 + n, f"{car.folder}/drive", int(some.id[0]), bytes(data[:length]))
        for n, some in enumerate(private_frames())
        for data, length in zip(some.data, some.length, strict=True)
    ]
    log = candump(tmp_path / "broken.log", rows)
    broken = f"(1700000000.1) {car.folder}/drive 100#{VIN}\n{VIN}\n"
    log.write_text(log.read_text() + broken + log.read_text() + VIN)
    module = start(hub, "--log", str(log), "--speed", "max", RuntimeLogLevel="debug")
    status = eventually(lambda: call(hub, "status"), lambda status: status["source"]["ended"])
    assert status["frames"]["dropped"]["broken"] == 3
    shown = looked_through(hub, module)
    assert module.end() == 0
    assert "broken.log: line " in module.text
    for text in private(hub):
        for one in (*shown, module.text):
            assert text not in one, text
