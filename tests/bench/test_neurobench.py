"""The chaotic series of NeuroBench, and what its closed loop is judged by."""

import importlib.util
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest
from helpers import drawn

import perturbax as px
from perturbax.bench import closed_loop
from perturbax.bench.chaotic import BETWEEN, JUDGED, LEARNT, Chaotic, mackey_glass
from perturbax.tasks.base import draw_batch

SCRIPT = Path(__file__).parents[3] / "shared" / "data" / "neurobench_mackey_glass.py"
FIRST = (1.2667777302367338, 1.3034007827142546, 1.2823045380633082)  # of the public file


def test_the_series_is_the_public_one():
    """As far as it can be: errors grow e-fold in 75 samples."""
    x = mackey_glass(80)
    np.testing.assert_allclose(x[:3], FIRST, atol=5e-11)
    finer = mackey_glass(80, step=0.025)
    assert 0 < np.abs(x - finer).max() < 1e-7
    assert np.abs(x - mackey_glass(80, past=0.72)).max() > 1e-3


@pytest.mark.skipif(not SCRIPT.is_file(), reason=f"no script that makes the series at {SCRIPT}")
def test_the_series_is_that_of_another_program():
    spec = importlib.util.spec_from_file_location("neurobench_mackey_glass", SCRIPT)
    other = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other)
    np.testing.assert_allclose(mackey_glass(150), other.series(pts=150), atol=1e-12)


def test_smape_by_hand():
    """|2 - 1| / 3, |1 - 1| / 2, |-1 - 1| / 2: 200 times the mean of 1/3, 0 and 1."""
    assert closed_loop.smape([2.0, 1.0, -1.0], [1.0, 1.0, 1.0]) == pytest.approx(200 * (1 / 3 + 0 + 1) / 3)
    assert closed_loop.smape([np.nan, 1.0], [1.0, 1.0]) == 200  # as NeuroBench has it


@pytest.fixture(scope="module")
def task():
    return Chaotic(start=2, window=30, settle=10).open(None)


@pytest.fixture(scope="module")
def net():
    cell, readout = px.cells.Leaky, px.cells.Readout
    key = jr.key(0)
    return drawn(lambda: px.Network((cell(2, 12, key=key, form="rate"), readout(12, 1, key=key))), key, 0.3)


def test_a_piece_of_the_series_is_learnt_one_step_ahead(task):
    first = int(2 * BETWEEN)
    series = mackey_glass(first + 1501)[first:]
    np.testing.assert_allclose(closed_loop.truth(task), series[LEARNT + 1 :], rtol=1e-5)
    xs, ys = draw_batch(task, jr.key(1), 3)
    assert (xs.shape, ys.shape) == ((30, 3, 2), (30, 3, 1))
    assert np.isnan(ys[:10]).all()
    v = np.asarray(task.opened.v)
    test = task.held_out("test")
    now = np.asarray(test.xs[test.warmup :, 0, 0])
    np.testing.assert_array_equal(now, v[LEARNT : LEARNT + JUDGED])
    after = now + np.asarray(test.ys[test.warmup :, 0, 0]) * float(task.opened.change)
    np.testing.assert_allclose(after, v[LEARNT + 1 :], atol=1e-5)
    assert abs(v[: LEARNT + 1].mean()) < 1e-5  # scaled by what is learnt from alone
    assert abs(v[: LEARNT + 1].std() - 1) < 1e-5


def heard(net, task, v, h=None):
    """States `(T, 12)` of the network in numpy, at scaled values one after the other."""
    layer = net.layers[0]
    W, U, bias, alpha = (np.asarray(a, np.float64) for a in (layer.W, layer.U, layer.b, layer.alpha.value))
    h, states = np.zeros(12) if h is None else h, []
    for value in v:
        a = np.array([task.scale * value, 1]) @ W + h @ U + bias
        h = (1 - alpha) * h + alpha * np.tanh(a)
        states.append(h)
    return np.array(states)


def test_the_loop_is_closed(task, net):
    """After what is known the network reads its own forecasts, and nothing of the series ahead."""
    v, change = np.asarray(task.opened.v, np.float64), float(task.opened.change)
    W, b = (np.asarray(a, np.float64) for a in (net.layers[-1].W[:, 0], net.layers[-1].b[0]))
    h, value, expected = heard(net, task, v[:LEARNT])[-1], v[LEARNT], []
    for _ in range(5):
        h = heard(net, task, [value], h)[-1]
        value = value + change * (h @ W + b)
        expected.append(value * float(task.opened.std) + float(task.opened.mean))
    made = closed_loop.forecasts(net, task)
    assert made.shape == (JUDGED,)
    np.testing.assert_allclose(made[:5], expected, rtol=1e-5)
    assert np.abs(made[:5] - closed_loop.truth(task)[:5]).min() > 1e-4


def test_the_readout_is_solved_on_what_was_learnt_from(task, net):
    """As ridge regression of the states, by least squares on rows that are added."""
    ridge, after = 1e-3, slice(closed_loop.SETTLING, None)
    v = np.asarray(task.opened.v, np.float64)[: LEARNT + 1]
    z = heard(net, task, v[:-1])[after]
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    y = np.diff(v)[after] / float(task.opened.change)
    added = np.sqrt(ridge * len(z)) * np.eye(13)
    expected = np.linalg.lstsq(np.vstack([z, added]), np.append(y, np.zeros(13)), rcond=None)[0]
    solved = closed_loop.with_solved_readout(net, task, ridge).layers[-1]
    np.testing.assert_allclose(np.append(solved.W, solved.b), expected, rtol=1e-3, atol=1e-4)


def test_bytes_and_operations(net):
    """W 2 x 12, U 12 x 12, biases and leaks 12 + 12, readout 12 + 1, state and output 12 + 12."""
    floats = 24 + 144 + 12 + 12 + 12 + 1 + 12 + 12 + 1
    assert closed_loop.footprint(net) == 4 * floats
    assert closed_loop.operations(net) == 24 + 144 + 12
