"""The demo vehicle's networks: what `dbc/` promises to everyone who drives with it."""

from collections import Counter
from pathlib import Path

import cantools
import pytest

from bordnetz.can.catalogue import Catalogue
from bordnetz.can.vehicle import Vehicle

FOLDER = Path(__file__).parents[1] / "dbc"


@pytest.fixture(scope="module")
def buses():
    vehicle = Vehicle.load(FOLDER / "vehicle.toml")
    return {
        bus.name: cantools.database.load_file(vehicle.databases(bus)[0], strict=True)
        for bus in vehicle.buses
    }


@pytest.fixture(scope="module")
def messages(buses):
    return [message for bus in buses.values() for message in bus.messages]


@pytest.fixture(scope="module")
def signals(messages):
    return [signal for message in messages for signal in message.signals]


def attribute(message, name):
    found = message.dbc.attributes.get(name)
    return None if found is None else found.value


def texts(choices):
    return {int(value): str(text) for value, text in choices.items()}


def bits(signal):
    """Bits of the frame that a signal takes, in one numbering for both byte orders."""
    if signal.byte_order == "little_endian":
        return set(range(signal.start, signal.start + signal.length))
    first = signal.start ^ 7
    return {bit ^ 7 for bit in range(first, first + signal.length)}


def test_the_vehicle_has_three_buses_on_vcan():
    vehicle = Vehicle.load(FOLDER / "vehicle.toml")
    assert [bus.name for bus in vehicle.buses] == ["powertrain", "chassis", "body"]
    assert [bus.channel for bus in vehicle.buses] == ["vcan0", "vcan1", "vcan2"]


def test_the_catalogue_uses_every_signal(signals):
    catalogue = Catalogue.load(Vehicle.load(FOLDER / "vehicle.toml"))
    assert catalogue.problems == ()
    assert len(catalogue.names) == len(signals)


def test_there_are_about_sixty_messages_and_four_hundred_signals(messages, signals):
    assert 55 <= len(messages) <= 70
    assert 380 <= len(signals) <= 480


def test_each_bus_carries_700_to_1000_frames_a_second(buses):
    for name, bus in buses.items():
        rate = sum(1000 / message.cycle_time for message in bus.messages)
        assert 700 <= rate <= 1000, name


def test_frames_are_spread_over_time(buses):
    for name, bus in buses.items():
        due = Counter(
            time
            for message in bus.messages
            for time in range(
                attribute(message, "GenMsgStartDelayTime") or 0, 1000, message.cycle_time
            )
        )
        assert max(due.values()) <= 5, name


def test_names_of_signals_and_messages_are_unique_in_the_vehicle(messages, signals):
    for names in ([m.name for m in messages], [s.name for s in signals]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_ids_are_unique_on_each_bus(buses):
    for bus in buses.values():
        ids = [(message.frame_id, message.is_extended_frame) for message in bus.messages]
        assert len(set(ids)) == len(ids)


def test_no_two_signals_that_are_there_together_overlap(messages):
    for message in messages:
        plain = [s for s in message.signals if s.multiplexer_ids is None]
        selections = {s.multiplexer_ids[0] for s in message.signals if s.multiplexer_ids} or {None}
        for selection in selections:
            taken: set[int] = set()
            together = plain + [
                s for s in message.signals if s.multiplexer_ids and selection in s.multiplexer_ids
            ]
            for signal in together:
                assert not taken & bits(signal), (message.name, signal.name)
                taken |= bits(signal)
            assert max(taken) < 8 * message.length


def test_each_value_table_is_used(buses):
    for name, bus in buses.items():
        used = [texts(s.choices) for m in bus.messages for s in m.signals if s.choices]
        assert bus.dbc.value_tables
        for table, choices in bus.dbc.value_tables.items():
            assert texts(choices) in used, (name, table)


def test_the_range_of_an_enumeration_is_its_value_table(signals):
    for signal in signals:
        if signal.choices:
            assert sorted(signal.choices) == list(range(signal.maximum + 1)), signal.name


def test_each_range_can_be_carried(signals):
    for signal in signals:
        if signal.conversion.is_float:
            continue
        low, high = (
            (-(1 << (signal.length - 1)), (1 << (signal.length - 1)) - 1)
            if signal.is_signed
            else (0, (1 << signal.length) - 1)
        )
        assert low * signal.scale + signal.offset <= signal.minimum + 1e-9, signal.name
        assert signal.minimum < signal.maximum <= high * signal.scale + signal.offset + 1e-9


def test_what_a_decoder_has_to_know_is_there(messages, signals):
    assert {s.byte_order for s in signals} == {"little_endian", "big_endian"}
    assert any(s.is_signed for s in signals)
    assert any(s.conversion.is_float and s.length == 32 for s in signals)
    assert any(s.offset for s in signals)
    assert [m.name for m in messages if m.is_multiplexed()] == ["BMS_CellVoltages_01"]
    assert [(m.name, m.length) for m in messages if m.is_fd] == [("BMS_Modules_01", 64)]
    assert any(m.is_extended_frame for m in messages)
    assert all(m.comment for m in messages)


def test_a_good_part_of_the_messages_is_protected_end_to_end(messages):
    profiles = Counter(str(attribute(message, "E2EProfile")) for message in messages)
    assert profiles["1"] >= 8
    assert profiles["2"] >= 8
    data_ids = [attribute(m, "E2EDataId") for m in messages if attribute(m, "E2EProfile") == 1]
    lists = [attribute(m, "E2EDataIdList") for m in messages if attribute(m, "E2EProfile") == 2]
    assert len(set(data_ids)) == len(data_ids)
    assert len(set(lists)) == len(lists)
    for message in messages:
        if attribute(message, "E2EProfile"):
            checksum, counter = message.signals[:2]
            assert (checksum.name, checksum.start, checksum.length) == (
                f"{message.name}_CRC",
                0,
                8,
            )
            assert (counter.name, counter.start, counter.length) == (
                f"{message.name}_Counter",
                8,
                4,
            )
            assert "polynomial" in message.comment
