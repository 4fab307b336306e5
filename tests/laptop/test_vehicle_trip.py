"""A trip that ends when it is asked to."""

import numpy as np
import pytest

from bordnetz.laptop.vehicle import cabin
from bordnetz.laptop.vehicle.car import Car


@pytest.mark.parametrize("trip", [3.0, 22.5])
def test_after_its_trip_the_car_pulls_over_parks_and_stays(trip):
    car = Car(1, trip)
    states = [car.advance(100) for _ in range(90)]
    speed = np.concatenate([state.speed for state in states])
    assert speed[: int(trip * 100)].max(initial=0) > (5 if trip > 10 else -1)
    parked = states[40:]
    assert all((state.speed == 0).all() for state in parked)
    assert all((state.gear == cabin.P).all() for state in parked)
    assert all((state.terminal == cabin.TERMINAL_OFF).all() for state in parked)
    assert all((state.parking_brake == cabin.APPLIED).all() for state in parked)


def test_the_driver_brakes_as_hard_as_people_do():
    car = Car(1, 22.5)
    speed = np.concatenate([car.advance(100).speed for _ in range(50)])
    assert np.diff(speed).min() * 100 > -5.0


def test_until_its_end_a_trip_is_the_drive_without_one():
    with_end, without = Car(1, 30.0), Car(1)
    assert (with_end.advance(2900).speed == without.advance(2900).speed).all()
