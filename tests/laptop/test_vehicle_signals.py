"""Do the frames of a drive tell one story?  Decoded by cantools, eight minutes of it."""

import math
from pathlib import Path

import cantools
import numpy as np
import pytest
from cantools.autosar.end_to_end import compute_profile2_crc
from crccheck.crc import Crc

from bordnetz.can.frames import Frames
from bordnetz.can.vehicle import Vehicle
from bordnetz.laptop.vehicle.car import Car, State
from bordnetz.laptop.vehicle.drivetrain import RATIO, STEERING_RATIO, TRACK, UNDERSTEER, WHEELBASE
from bordnetz.laptop.vehicle.network import load
from bordnetz.laptop.vehicle.packing import TICKS, Packer
from bordnetz.laptop.vehicle.signals import Signals

FOLDER = Path(__file__).parents[2] / "dbc"
SECONDS = 480
START = 1_790_000_000_000_000_000
EARTH = 6_371_000.0
"""Mean radius, m: the coarse sphere of the haversine formula."""


class Drive:
    """All frames of a drive, and cantools to read them."""

    def __init__(self, seed):
        vehicle = Vehicle.load(FOLDER / "vehicle.toml")
        self.databases = [
            cantools.database.load_file(vehicle.databases(bus)[0]) for bus in vehicle.buses
        ]
        packer, car, signals = Packer(load(vehicle)), Car(seed), Signals(seed)
        classic, fd = [], []
        for second in range(SECONDS):
            start = START + second * 1_000_000_000
            raw = packer.raw(signals.columns(car.advance(TICKS), start))
            one, other = packer.pack(raw, start)
            classic.append(one)
            fd.append(other)
        self.frames = (Frames.concat(classic), Frames.concat(fd, 64))

    def message(self, name):
        for bus, database in enumerate(self.databases):
            for message in database.messages:
                if message.name == name:
                    return bus, message
        raise KeyError(name)

    def payloads(self, name):
        bus, message = self.message(name)
        frames = self.frames[message.is_fd]
        identity = message.frame_id | (0x80000000 if message.is_extended_frame else 0)
        chosen = frames[(frames.bus == bus) & (frames.id == identity)]
        times = (chosen.time - START) / 1e9
        return times, [
            bytes(row[:length]) for row, length in zip(chosen.data, chosen.length, strict=True)
        ]

    def decode(self, name, every=1):
        """Seconds and columns of a message's signals, of every so many frames."""
        message = self.message(name)[1]
        times, payloads = self.payloads(name)
        rows = [message.decode(p, decode_choices=False) for p in payloads[::every]]
        names = set().union(*rows)
        return times[::every], {
            key: np.array([row.get(key, np.nan) for row in rows], float) for key in names
        }


@pytest.fixture(scope="module")
def drive():
    return Drive(seed=1)


@pytest.fixture(scope="module")
def motion(drive):
    return drive.decode("ESC_Motion_01")


def at(times, values, moments):
    return np.interp(moments, times, values)


def test_the_car_drives_off_within_the_first_seconds(motion):
    times, columns = motion
    assert times[np.argmax(columns["VehicleSpeed"] > 1.0)] < 6
    assert columns["VehicleSpeed"][times < 20].max() > 40
    assert columns["VehicleSpeed"].max() > 80


def test_wheel_speeds_agree_with_vehicle_speed_and_yaw_rate(drive, motion):
    times, columns = drive.decode("ESC_WheelSpeeds_01")
    speed = at(motion[0], motion[1]["VehicleSpeed"], times)
    yaw_times, yaw = drive.decode("IMU_Yaw_01")
    turning = np.radians(at(yaw_times, yaw["YawRate"], times))
    left, right = columns["WheelSpeedRL"] / 3.6, columns["WheelSpeedRR"] / 3.6
    # Slip of the driven wheels, noise, and frames that carry states one tick apart.
    assert np.all(np.abs((left + right) / 2 - speed / 3.6) < 0.035 * speed / 3.6 + 0.1)
    assert np.all(np.abs((right - left) - turning * TRACK) < 0.08)
    front = (columns["WheelSpeedFL"] + columns["WheelSpeedFR"]) / 2
    straight = np.abs(turning) < 0.02
    assert np.all(np.abs(front - speed)[straight] < 0.03 * speed[straight] + 0.4)
    assert np.all(front[~straight] > (left + right)[~straight] * 1.8 * 0.97)


def test_steering_angle_agrees_with_yaw_rate_as_in_a_single_track_model(drive, motion):
    times, yaw = drive.decode("IMU_Yaw_01", every=10)
    speed = at(motion[0], motion[1]["VehicleSpeed"], times) / 3.6
    steering_times, steering = drive.decode("EPS_Angle_01")
    wheel = np.radians(at(steering_times, steering["SteeringAngle"], times)) / STEERING_RATIO
    fast = speed > 3
    # The curvature k solves wheel = atan(L k) + K v2 k, here by a step of Newton's method.
    guess = wheel / (WHEELBASE + UNDERSTEER * speed**2)
    slope = WHEELBASE / (1 + (WHEELBASE * guess) ** 2) + UNDERSTEER * speed**2
    miss = np.arctan(WHEELBASE * guess) + UNDERSTEER * speed**2 * guess - wheel
    expected = np.degrees(speed * (guess - miss / slope))
    assert np.all(np.abs(expected - yaw["YawRate"])[fast] < 0.9)
    assert np.abs(yaw["YawRate"]).max() > 10


def test_lateral_acceleration_is_speed_times_yaw_rate(drive, motion):
    times, imu = drive.decode("IMU_Yaw_01")
    speed = at(motion[0], motion[1]["VehicleSpeed"], times) / 3.6
    expected = speed * np.radians(imu["YawRate"])
    assert np.all(np.abs(imu["LateralAcceleration"] - expected) < 0.7)
    assert np.std(imu["LateralAcceleration"] - expected) < 0.1


def test_longitudinal_acceleration_is_change_of_speed_and_slope(motion):
    times, columns = motion
    step = 50
    change = (columns["VehicleSpeed"][step:] - columns["VehicleSpeed"][:-step]) / 3.6
    change /= times[step:] - times[:-step]
    felt = np.convolve(columns["LongitudinalAcceleration"], np.ones(step) / step, "valid")[:-1]
    slope = np.convolve(columns["Slope"], np.ones(step) / step, "valid")[:-1]
    assert np.all(np.abs(felt - change - 9.81 * slope / 100) < 0.12)


def test_heading_is_the_integral_of_the_yaw_rate(drive):
    times, imu = drive.decode("IMU_Yaw_01")
    turned = np.concatenate([[0], np.cumsum(imu["YawRate"][1:] * np.diff(times))])
    nav_times, nav = drive.decode("NAV_Motion_01")
    heading = np.degrees(np.unwrap(np.radians(nav["Heading"])))
    expected = heading[0] - at(times, turned, nav_times)
    assert np.all(np.abs(heading - expected) < 1.5)
    assert np.ptp(heading) > 90


def test_satellites_odometer_and_speed_tell_the_same_distance(drive, motion):
    times, columns = motion
    by_speed = np.sum(columns["VehicleSpeed"][1:] / 3.6 * np.diff(times))
    _, wheels = drive.decode("ESC_Distance_01")
    by_wheels = np.ptp(wheels["DistanceTravelled"])
    _, cluster = drive.decode("IC_Odometer_01")
    by_cluster = 1000 * np.ptp(cluster["Odometer"])
    _, position = drive.decode("NAV_Position_01", every=5)
    latitude, longitude = np.radians(position["Latitude"]), np.radians(position["Longitude"])
    north, east = np.diff(latitude), np.diff(longitude)
    half = np.sin(north / 2) ** 2
    half += np.cos(latitude[1:]) * np.cos(latitude[:-1]) * np.sin(east / 2) ** 2
    by_satellites = np.sum(2 * EARTH * np.arcsin(np.sqrt(half)))
    assert by_wheels > 3000
    assert by_speed == pytest.approx(by_wheels, rel=0.002)
    assert by_cluster == pytest.approx(by_wheels, abs=200)
    assert by_satellites == pytest.approx(by_wheels, rel=0.01)


def test_motor_speed_and_road_speed_follow_from_vehicle_speed(drive, motion):
    times, motor = drive.decode("INV_Torque_01")
    speed = at(motion[0], motion[1]["VehicleSpeed"], times) / 3.6
    radius = 0.335
    expected = speed / radius * RATIO * 60 / (2 * math.pi)
    assert np.all(np.abs(motor["MotorSpeed"] - expected) < 12)


def test_electric_power_is_mechanical_power_with_losses_and_auxiliaries(drive):
    times, motor = drive.decode("INV_Torque_01", every=5)
    pack_times, pack = drive.decode("BMS_Pack_01")
    energy_times, energy = drive.decode("VCU_Energy_01")
    electric = at(pack_times, pack["PackVoltage"] * pack["PackCurrent"] / 1000, times)
    electric -= at(energy_times, energy["AuxiliaryPower"], times)
    mechanical = motor["MotorTorque"] * motor["MotorSpeed"] * 2 * math.pi / 60 / 1000
    steady = np.abs(np.gradient(mechanical)) < 0.4
    driving = steady & (mechanical > 12)
    recuperating = steady & (mechanical < -12)
    assert driving.sum() > 100
    assert recuperating.sum() > 50
    efficiency = mechanical[driving] / electric[driving]
    assert np.all((efficiency > 0.80) & (efficiency < 0.99))
    returned = electric[recuperating] / mechanical[recuperating]
    assert np.all((returned > 0.70) & (returned < 0.99))


def test_the_state_of_charge_is_the_integral_of_the_current(drive):
    times, pack = drive.decode("BMS_Pack_01")
    drawn = np.concatenate([[0], np.cumsum(pack["PackCurrent"][1:] * np.diff(times))])
    soc_times, state = drive.decode("BMS_State_01")
    expected = state["StateOfCharge"][0] - 100 * at(times, drawn, soc_times) / (3600 * 200)
    assert np.all(np.abs(state["StateOfCharge"] - expected) < 0.11)
    assert np.ptp(state["StateOfCharge"]) > 0.5


def test_the_energy_counters_are_the_integral_of_the_power(drive):
    times, pack = drive.decode("BMS_Pack_01")
    power = pack["PackVoltage"] * pack["PackCurrent"]
    moments, counters = drive.decode("BMS_Counters_01")
    for name, sign in (("EnergyDischarged", 1), ("EnergyCharged", -1)):
        energy = np.cumsum(np.maximum(sign * power, 0)) * 0.01 / 3.6e6
        expected = at(times, energy, moments)
        counted = counters[name] - counters[name][0]
        assert np.all(np.abs(counted - (expected - expected[0])) < 0.004), name
        assert counted[-1] > 0.5


def test_cells_and_modules_add_up_to_the_pack(drive):
    times, cells = drive.decode("BMS_CellVoltages_01")
    pack_times, pack = drive.decode("BMS_Pack_01")
    assert cells["CellGroup"].tolist() == [n % 24 for n in range(len(times))]
    names = [f"CellVoltage{cell:02d}" for cell in range(1, 97)]
    for group in range(24):
        there = [~np.isnan(cells[name]) for name in names[4 * group : 4 * group + 4]]
        assert all(np.array_equal(rows, cells["CellGroup"] == group) for rows in there)
    total = sum(cells[name][~np.isnan(cells[name])][0] for name in names)
    assert total == pytest.approx(at(pack_times, pack["PackVoltage"], times[12]), abs=0.3)
    module_times, modules = drive.decode("BMS_Modules_01")
    added = sum(modules[f"ModuleVoltage{module:02d}"] for module in range(1, 13))
    measured = at(pack_times, pack["PackVoltage"], module_times)
    assert np.all(np.abs(added - measured) < 3)
    assert np.median(np.abs(added - measured)) < 0.1


def test_the_range_is_what_the_energy_and_the_consumption_allow(drive):
    times, energy = drive.decode("VCU_Energy_01")
    state_times, state = drive.decode("BMS_State_01")
    left = at(state_times, state["BatteryEnergy"], times)
    expected = 100 * left / np.clip(energy["Consumption"], 10, 40)
    assert np.all(np.abs(energy["Range"] / expected - 0.95) < 0.03)
    assert energy["Range"].min() > 80


def test_pedals_torque_and_brakes_agree(drive):
    times, pedals = drive.decode("VCU_Drive_01")
    motor_times, motor = drive.decode("INV_Torque_01")
    torque = at(motor_times, motor["MotorTorque"], times)
    brake_times, brake = drive.decode("EBB_Brake_01")
    pressure = at(brake_times, brake["BrakePressure"], times)
    assert torque[pedals["AccelPedal"] > 40].min() > 20
    assert pressure[pedals["AccelPedal"] > 5].max() < 3
    released = (pedals["AccelPedal"] == 0) & (pressure > 15)
    assert torque[released].max() < 5
    light_times, lights = drive.decode("BCM_Lights_01")
    pedal_times, raw = drive.decode("VCU_Pedals_01")
    pressed = at(pedal_times, raw["BrakePedalPressed"], light_times)
    settled = (pressed == 0) | (pressed == 1)
    on = light_times > 6
    same = lights["BrakeLight"] == pressed
    assert same[settled & on & (light_times < 400)].mean() > 0.99


def test_the_gateway_mirrors_what_the_other_buses_say(drive, motion):
    times, mirrored = drive.decode("GW_Motion_01")
    speed = at(motion[0], motion[1]["VehicleSpeed"], times)
    assert np.all(np.abs(mirrored["GwVehicleSpeed"] - speed) < 0.5)


def test_every_counter_counts_and_every_checksum_is_right(drive):
    checked = 0
    for database in drive.databases:
        for message in database.messages:
            profile = message.dbc.attributes.get("E2EProfile")
            if profile is None or not profile.value:
                continue
            _, payloads = drive.payloads(message.name)
            modulus = 15 if profile.value == 1 else 16
            assert [p[1] & 15 for p in payloads] == [n % modulus for n in range(len(payloads))]
            for payload in payloads[:: max(1, len(payloads) // 150)]:
                if profile.value == 1:
                    data_id = message.dbc.attributes["E2EDataId"].value.to_bytes(2, "little")
                    crc = Crc(8, 0x1D, initvalue=0, xor_output=0).calc(data_id + payload[1:])
                else:
                    ids = bytes.fromhex(message.dbc.attributes["E2EDataIdList"].value)
                    crc = compute_profile2_crc(payload, ids[payload[1] & 15])
                assert payload[0] == crc, message.name
                checked += 1
    assert checked > 2000


def test_every_enumeration_says_something_that_its_table_knows(drive):
    for database in drive.databases:
        for message in database.messages:
            names = [signal.name for signal in message.signals if signal.choices]
            if not names:
                continue
            _, columns = drive.decode(message.name, every=7)
            for name in names:
                table = message.get_signal_by_name(name).choices
                assert set(columns[name].astype(int)) <= set(table), name


def test_messages_come_in_their_cycle(drive):
    for database in drive.databases:
        for message in database.messages:
            times, _ = drive.payloads(message.name)
            assert len(times) == SECONDS * 1000 // message.cycle_time, message.name
            assert np.allclose(np.diff(times), message.cycle_time / 1000), message.name


def test_the_clock_on_the_bus_is_the_time_of_the_frames(drive):
    times, clock = drive.decode("NAV_Time_01")
    for second, year, month, day, hour, minute, at_second in zip(
        times,
        *(clock[f"Utc{unit}"] for unit in ("Year", "Month", "Day", "Hour", "Minute", "Second")),
        strict=True,
    ):
        text = (
            f"{year:04.0f}-{month:02.0f}-{day:02.0f}T{hour:02.0f}:{minute:02.0f}:{at_second:02.0f}"
        )
        moment = np.datetime64(START // 1_000_000_000 + math.floor(second), "s")
        assert np.datetime64(text) == moment


def physical(seed, seconds):
    """The columns of a drive before they are brought into range."""
    car, signals = Car(seed), Signals(seed)
    for second in range(seconds):
        yield signals.columns(car.advance(TICKS), START + second * 1_000_000_000)


@pytest.mark.parametrize("seed", [2, 11])
def test_no_signal_leaves_its_range(seed):
    packer = Packer(load(Vehicle.load(FOLDER / "vehicle.toml")))
    signals = [signal for signal in packer.signals if not signal.is_float]
    factor, offset, low, high = (
        np.array([[getattr(signal, key)] for signal in signals])
        for key in ("factor", "offset", "low", "high")
    )
    for columns in physical(seed, 600):
        values = np.array([np.broadcast_to(columns[s.name], TICKS) for s in signals])
        raw = (values - offset) / factor
        outside = ((raw < low - 0.5) | (raw > high + 0.5)).any(axis=1)
        assert [signals[row].name for row in np.flatnonzero(outside)] == []


def test_equal_seeds_give_equal_drives_and_others_do_not():
    one, same, other = (next(physical(seed, 1)) for seed in (5, 5, 6))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def hours():
    """The state of a car over more than half an hour."""
    car = Car(seed=4)
    return State.concat([car.advance(1000) for _ in range(200)])


def test_a_car_drives_parks_charges_and_drives_again(hours):
    moving = hours.speed > 0
    charging = hours.charge_state == 4
    assert not (moving & charging).any()
    assert not (moving & (hours.plug > 0)).any()
    assert not (moving & (hours.gear == 0)).any()
    assert not (moving & (hours.door > 0)).any()
    assert not (moving & (hours.belt == 0)).any()
    starts = np.flatnonzero(np.diff(charging.astype(int)) == 1)
    assert len(starts) >= 2
    assert all(moving[start:].any() for start in starts[:-1])
    assert moving.mean() > 0.35


def test_nothing_happens_abruptly(hours):
    assert np.abs(hours.acceleration).max() < 4
    assert np.abs(np.diff(hours.speed)).max() < 0.05
    assert np.abs(np.diff(np.degrees(hours.steering))).max() < 6
    assert np.abs(hours.speed**2 * hours.curvature).max() < 3.5
    assert 0.2 < hours.soc.min() < hours.soc.max() < 0.95


def test_the_car_turns_left_and_right_and_indicates_before(hours):
    for side in (1, -1):
        assert (hours.stalk == side).any()
        sharp = side * hours.curvature > 0.045
        assert sharp.any()
    corner = np.flatnonzero(np.abs(hours.curvature) > 0.045)
    for tick in corner[:: max(1, len(corner) // 200)]:
        before = hours.stalk[max(0, tick - 800) : tick + 1]
        assert np.sign(hours.curvature[tick]) in before
