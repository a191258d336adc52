"""Windows read in pieces: whose rows, which scale, and what is judged."""

import csv

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import drawn

import perturbax as px
from perturbax.bench.etth1 import BENCHMARK, HORIZONS
from perturbax.bench.pieces import Pieces, error_of_windows

SETTINGS = {
    "target": "a,b",
    "horizon": 3,
    "look_back": 4,
    "piece": 2,
    "train": 60,
    "valid": 20,
    "test": 20,
}
ROWS = 105


@pytest.fixture
def file(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(ROWS, 2)).cumsum(0)
    with (tmp_path / "d.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("a", "b"), *numbers.tolist()])
    return tmp_path / "d.csv", numbers


@pytest.fixture
def task(file):
    path, numbers = file
    scaled = (numbers - numbers[:60].mean(0)) / numbers[:60].std(0)
    return Pieces(**SETTINGS).open(path), scaled


def test_every_window_of_the_test_part_is_judged(task):
    """Window by window and column by column, from a state of zero, as changes from the last value read."""
    opened, scaled = task
    net = drawn(
        lambda: px.Network((px.cells.Tanh(4, 3, key=jr.key(0)), px.cells.Readout(3, 3, key=jr.key(0)))),
        jr.key(1),
        0.3,
    )
    errors = []
    for first in range(76, 94):  # the first forecast row is 80, the last 99
        for column in (0, 1):
            read, truth = np.split(scaled[first : first + 7, column], [4])
            which = np.tile(np.eye(2)[column], (2, 1))
            xs = np.concatenate([(read - read[-1]).reshape(2, 2), which], 1)
            made = np.asarray(px.forward(net, jnp.asarray(xs[:, None], jnp.float32)))[-1, 0] + read[-1]
            errors.append(np.mean((made - truth) ** 2))
    assert error_of_windows(net, opened) == pytest.approx(np.mean(errors), rel=1e-4)


def test_parts_do_not_share_forecast_rows(task):
    opened, scaled = task
    for part, first, end in (("valid", 60, 80), ("test", 80, 100)):
        rows, column = opened.places(part)
        assert rows.min() + 4 == first
        assert rows.max() + 7 == end
        assert sorted(set(column)) == [0, 1]
        xs, ys, *_ = opened.held_out(part)
        assert xs.shape[:2] == ys.shape[:2]
        assert np.isnan(ys[0]).all()
        np.testing.assert_allclose(ys[1, 0], scaled[first : first + 3, 0] - scaled[first - 1, 0], rtol=1e-4)


def test_training_windows_are_of_the_training_part(task):
    opened, scaled = task
    xs, ys = opened.sample(jax.random.key(0), 500)
    changes = {
        round(float(scaled[row + 1, column] - scaled[row, column]), 3)
        for row in range(3, 57)
        for column in (0, 1)
    }
    assert {round(float(v), 3) for v in ys[1, :, 0]} <= changes
    assert len({round(float(v), 3) for v in ys[1, :, 0]}) > 80  # nearly all of the 108 windows
    np.testing.assert_array_equal(xs[1, :, 1], 0)  # the last value read, less itself


def test_a_network_of_zeros_forecasts_the_last_value(task):
    opened, _ = task
    net = px.Network((px.cells.Tanh(4, 3, key=jr.key(0)), px.cells.Readout(3, 3, key=jr.key(0))))
    still = jax.tree.map(jnp.zeros_like, net)
    errors = [np.asarray(opened.windows(*map(jnp.asarray, opened.places("test")))[1]) ** 2]
    assert error_of_windows(still, opened) == pytest.approx(np.mean(errors), rel=1e-5)
    assert opened.baselines()["persistence"]["loss"] == pytest.approx(np.mean(errors), rel=0.3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"piece": 3}, "piece 3 must divide look_back 4"),
        ({"horizon": 21}, "horizon 21 and look_back 4 need 25 training rows and 21 rows of each other part"),
        ({"test": 30}, "d.csv has 105 rows: 110 are needed"),
        ({"target": "a,c"}, "unknown column 'c'"),
        ({"target": ""}, "needs --data, a CSV file, and the names of columns"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(file, changed, message):
    with pytest.raises(px.PerturbaxError, match=message):
        Pieces(**{**SETTINGS, **changed}).open(file[0])


def test_the_months_of_etth1_are_the_published_ones():
    options = BENCHMARK.experiment.task_options
    assert (options["train"], options["valid"], options["test"], options["look_back"]) == (
        8640,
        2880,
        2880,
        96,
    )
    assert [part["horizon"] for part in BENCHMARK.parts.values()] == list(HORIZONS)
