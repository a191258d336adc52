"""Forecasts judged window by window: whose hours, which state, which scale."""

import csv

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import drawn

import perturbax as px
from perturbax.bench.etth1 import BENCHMARK, FILE, LOOK_BACK, TEST, TRAIN, VALID
from perturbax.bench.windows import error_of_windows


@pytest.fixture
def task(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(120, 2)).cumsum(0)
    with (tmp_path / "d.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b"), *numbers.tolist()])
    settings = {"target": "a,b", "horizon": "1-3", "form": "difference", "window": 5, "lags": 2, "season": 1}
    return px.tasks.Series(**settings).open(tmp_path / "d.csv"), numbers


def test_a_window_is_read_from_nothing_and_judged_by_what_follows(task):
    """Window by window, in own units, over the standard deviation of the training rows."""
    opened, numbers = task
    net = drawn(
        lambda: px.Network((px.cells.Tanh(2, 3, key=jr.key(0)), px.cells.Readout(3, 6, key=jr.key(0)))),
        jr.key(1),
        0.3,
    )
    train = numbers[: opened.record.parts["train"][0][1]]
    origins, errors = range(100, 117), []
    for row in origins:
        y = px.forward(net, opened.opened.x[row - 4 : row + 1][:, None])[-1]  # (1, 6)
        made = np.asarray(opened.in_units(y, jnp.asarray(opened.opened.source.base[row][None])))[0]
        truth = numbers[row + 1 : row + 4].T.ravel()  # column by column
        errors.append(((made - truth) / np.repeat(train.std(0), 3)) ** 2)
    assert error_of_windows(net, opened, origins, 5) == pytest.approx(np.mean(errors), rel=1e-4)


def test_the_months_of_etth1_are_the_published_ones():
    assert (TRAIN, VALID, TEST, LOOK_BACK) == (8640, 2880, 2880, 96)
    from perturbax.tasks.base import split_in_order

    parts = split_in_order(FILE, VALID / FILE, (FILE - TRAIN - VALID) / FILE)
    assert parts["train"] == (0, 8640)
    assert parts["valid"] == (8640, 11520)


def test_what_training_starts_from_on_etth1_reads_no_farther_back_than_a_window(tmp_path):
    with (tmp_path / "d.csv").open("w", newline="") as file:
        numbers = np.random.default_rng(0).normal(size=(900, 2)).cumsum(0)
        csv.writer(file).writerows([("a", "b"), *numbers.tolist()])
    options = {**BENCHMARK.experiment.task_options, "target": "a,b", "inputs": "a,b", "horizon": "1-3"}
    opened = px.tasks.Series(**options | {"valid": 0.15, "test": 0.15}).open(tmp_path / "d.csv")
    assert opened.encoding.history + 1 <= LOOK_BACK
