"""The verdict of `make bench`: two runs of three."""

import pytest
from bench import groups
from bench.row import at_most


def measured(*values, time_left=1e9):
    """A group of one row with a budget of 1, which comes out at these values."""
    runs = iter(values)
    result = groups.measure(
        "encode", lambda: time_left, lambda _: ([at_most("row", next(runs), "us", 1.0)], [])
    )
    assert next(runs, None) is None, "it was measured less often"
    return result


def test_a_row_that_keeps_its_budget_is_measured_once():
    assert measured(0.9).rows[0]["ok"]


@pytest.mark.parametrize("values", [(2, 3), (2, 0.9, 3)])
def test_a_row_fails_if_it_misses_its_budget_twice(values):
    assert not measured(*values).rows[0]["ok"]


def test_a_row_that_missed_its_budget_once_passes():
    row = measured(2, 0.9, 0.8).rows[0]
    assert (row["ok"], row["value"], row["runs"]) == (True, 0.8, 3)


def test_what_missed_stays_missed_where_there_is_no_time_to_measure_it_again():
    result = measured(2, time_left=-1)
    assert not result.rows[0]["ok"]
    assert result.left_out == ["There was no time to measure encode again."]
