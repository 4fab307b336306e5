"""Drives through recordings with messages of many frames: their values arrive in the cloud."""

from collections import Counter
from pathlib import Path

import can
import cantools
import pytest
import transport_sender as sender
from drive_process import balances
from drive_recordings import by_reader, write

from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.drive.workplace import Workplace
from bordnetz.series import EXTENDED

MAP, ENGINE, TOOL = 0xFEE3, 0x00, 0xF9
ANSWER, ASK = 0x7EC, 0x7E4
CAR = Path("logs/car-obd2-uds-responses-299s.log.gz")
CAR_DBC = Path("dbc/css/tp_uds.dbc")
TRUCK = Path("logs/truck-j1939-400s.log.gz")
TRUCK_DBC = Path("dbc/css/CSS-Electronics-SAE-J1939-DEMO.dbc")
DBC = f"""VERSION ""
BS_:
BU_: X
BO_ {EXTENDED | 0x18FEE3FE} Map: 60 X
 SG_ Torque : 304|16@1+ (1,-32127) [0|0] "Nm" X
BO_ {ANSWER} Battery: 300 X
 SG_ service M : 0|8@1+ (1,0) [0|0] "" X
 SG_ Charge m98 : 2392|8@1+ (0.5,0) [0|0] "%" X
BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_ "VFrameFormat" "StandardCAN";
BA_ "VFrameFormat" BO_ {EXTENDED | 0x18FEE3FE} 3;
"""


def vehicle_file(folder: Path, dbc: Path, *isotp: str) -> Path:
    file = folder / "vehicle.toml"
    file.write_text(
        f'name = "car"\n[[bus]]\nname = "can0"\ninterface = "virtual"\nchannel = "can0"\n'
        f'dbc = ["{dbc}"]\n' + "".join(f"[[bus.isotp]]\n{one}\n" for one in isotp)
    )
    return file


def recording(sent) -> list[can.Message]:
    return [
        can.Message(
            timestamp=1_760_000_000 + n / 100,
            arbitration_id=number & ~EXTENDED,
            is_extended_id=bool(number & EXTENDED),
            data=data,
            channel="can0",
        )
        for n, (number, data) in enumerate(sent)
    ]


def test_values_of_messages_of_many_frames_arrive_at_the_time_of_the_last_frame(
    start_drive, tmp_path
):
    (tmp_path / "car.dbc").write_text(DBC)
    sent, expected = [], Counter()
    for number in range(20):
        torque = (32127 + number).to_bytes(2, "little")
        sent += sender.broadcast(MAP, bytes(38) + torque + bytes(20), ENGINE)
        expected["can0.Map.Torque", len(sent) - 1] = number
        sent += sender.isotp(ANSWER, bytes([98]) + bytes(298) + bytes([number]), partner=ASK)
        expected["can0.Battery.Charge", len(sent) - 1] = number / 2
    log = write(tmp_path / "car.log", recording(sent))
    file = vehicle_file(tmp_path, tmp_path / "car.dbc", f"request = {ASK}\nresponse = {ANSWER}")
    drive = start_drive("--log", log, "--vehicle", file, "--speed", "max")
    report = drive.succeeds()
    assert report["frames"] == len(sent)
    assert report["frames_not_asked"] == 20  # flow control
    assert report["frames_dropped"] == 0
    assert balances(report)
    ours = {
        (name, round(time - 1_760_000_000_000) // 10): value
        for (name, _), series in by_reader(drive.batches()).items()
        for time, value in series
        if not name.endswith("service")
    }
    assert ours == expected


def test_a_vehicle_on_the_interfaces_of_a_drive_keeps_its_ids_of_isotp(tmp_path):
    (tmp_path / "car.dbc").write_text(DBC)
    settings = [
        f"request = {ASK}\nresponse = {ANSWER}\nlength_byte = true",
        "response = 0x18DAF110",
    ]
    vehicle = Vehicle.load(vehicle_file(tmp_path, tmp_path / "car.dbc", *settings))
    with Workplace() as workplace:
        rebound, _ = workplace.rebind(vehicle, "unix", ())
        assert rebound.buses[0].isotp == vehicle.buses[0].isotp
        assert rebound.buses[0].isotp[1].ids == (None, EXTENDED | 0x18DAF110)


@pytest.mark.shared
def test_the_answers_of_a_real_car_are_what_cantools_reads_in_them(start_drive, shared, tmp_path):
    settings = [f"response = {number}\nlength_byte = true" for number in (0x7EC, 0x7BB)]
    file = vehicle_file(tmp_path, shared / CAR_DBC, *settings)
    drive = start_drive("--log", shared / CAR, "--vehicle", file, "--speed", "max")
    report = drive.succeeds()
    assert report["frames"] == 2010
    assert balances(report)
    expected, whole = answers(shared)
    assert report["frames_decoded"] == whole == 1980
    assert report["dropped"] == {"incomplete": 30}
    ours = by_reader(drive.batches())
    assert {name: [value for _, value in series] for (name, _), series in ours.items()} == expected
    assert set(expected["can0.Battery.M_SID_0x220101_StateOfChargeBMS"]) == {50.0}
    assert set(expected["can0.Temperature.M_SID_0x220100_OutdoorTemp"]) == {7.0}


def answers(shared):
    """Values by name in order, and how many frames carried whole answers; one frame at a time."""
    database = cantools.database.load_file(shared / CAR_DBC, strict=False)
    begun: dict[int, list[bytes]] = {}
    values: dict[str, list[float]] = {}
    whole = 0
    with can.LogReader(shared / CAR) as log:
        for frame in log:
            if frame.data[0] >> 4 == 1:
                begun[frame.arbitration_id] = []
            parts = begun[frame.arbitration_id]
            parts.append(bytes(frame.data[1:]))
            length = parts[0][0]
            if sum(map(len, parts)) - 1 < length:
                continue
            whole += len(parts)
            message = database.get_message_by_frame_id(frame.arbitration_id)
            payload = b"".join(parts)[: length + 1]
            # The file marks no multiplexer that could select the indoor temperature.
            decoded = {
                signal.name: value
                for signal in message.signals
                if signal.name != "M_SID_0x220100_IndoorTemp"
                and (value := read(signal, payload)) is not None
            }
            for name, value in decoded.items():
                values.setdefault(f"can0.{message.name}.{name}", []).append(value)
    return values, whole


def read(signal, payload):
    """A whole byte, or two, of an answer: all that this file has."""
    first = signal.start // 8
    raw = int.from_bytes(payload[first : first + signal.length // 8], "big")
    return raw * signal.scale + signal.offset if first < len(payload) else None


@pytest.mark.shared
def test_a_truck_without_transport_frames_loses_nothing_to_them(start_drive, shared, tmp_path):
    file = vehicle_file(tmp_path, shared / TRUCK_DBC)
    drive = start_drive("--log", shared / TRUCK, "--vehicle", file, "--speed", "max")
    report = drive.succeeds()
    assert report["frames"] == 139_136
    assert report["dropped"] == {}
    assert balances(report)
