"""Dates of rows that are forecast: to the thousandth of a second, last days of months, several series."""

import numpy as np
import pytest

from perturbax.experiment.row_times import row_times
from perturbax.tasks.files.times import TimeAxis, step_of


def axis_of(dates, pieces=1):
    """The time axis of dates, so many series one after the other."""
    values = np.array(dates, "datetime64[ms]")
    return TimeAxis("at", "dates", np.tile(values, pieces), step_of(values)[0], lambda d: [str(x) for x in d])


@pytest.mark.parametrize("apart", [10, 100, 500, 1500])
def test_steps_below_and_between_seconds(apart):
    start = np.datetime64("2020-01-01T00:00:00.000")
    dates = start + np.arange(20) * np.timedelta64(apart, "ms")
    name, forecast, origin = row_times(
        [("", 0, 20)], axis_of(dates), np.zeros(3, int), np.array([18, 19, 19]), np.array([1, 1, 3])
    )
    assert name == "at"
    assert forecast == [str(start + np.timedelta64(apart * k, "ms")) for k in (19, 20, 22)]
    assert origin == [str(dates[i]) for i in (18, 19, 19)]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (["2021-11-30", "2021-12-31", "2022-01-31", "2022-02-28"], ["2022-03-31", "2022-04-30"]),
        (["2019-11-30", "2019-12-31", "2020-01-31", "2020-02-29"], ["2020-03-31", "2020-04-30"]),
        (["2021-11-28", "2021-12-28", "2022-01-28", "2022-02-28"], ["2022-03-28", "2022-04-28"]),
        (["2021-06-30", "2021-09-30", "2021-12-31", "2022-03-31"], ["2022-06-30", "2022-09-30"]),
        (["2018-12-31", "2019-12-31", "2020-12-31", "2021-12-31"], ["2022-12-31", "2023-12-31"]),
        ([f"2021-{m:02d}-15T12:00" for m in range(9, 13)], ["2022-01-15T12:00", "2022-02-15T12:00"]),
        (
            ["2021-10-31T06:00", "2021-11-30T06:00", "2021-12-31T06:00"],
            ["2022-01-31T06:00", "2022-02-28T06:00"],
        ),
    ],
)
def test_months_go_on_as_they_were(dates, expected):
    axis = axis_of(dates, 2)
    right = [str(np.datetime64(date, "ms")) for date in expected]
    assert [str(date) for date in axis_of(dates).after(2)] == right
    n = len(dates)
    segment, ahead = np.array([0, 0, 1, 1]), np.array([1, 2, 1, 2])
    _, forecast, _ = row_times(
        [("a", 0, n), ("b", n, 2 * n)], axis, segment, np.where(segment == 0, n - 1, 2 * n - 1), ahead
    )
    assert forecast == right * 2
