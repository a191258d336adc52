"""Forecasts as tasks: several series, targets and horizons, measures, and runs that start at their base."""

import dataclasses
import json
from typing import ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.train_step import _at_border, start
from perturbax.fields import setting
from perturbax.report import write_report
from perturbax.tasks import MackeyGlass, Series
from perturbax.tasks.base import measure
from perturbax.tasks.forecast import Forecast

LENGTHS = (90, 60, 75)


class Rows(Forecast):
    """Several series whose values say which row they are of: a = row, b = -row; c is noise."""

    several: bool = setting(True)
    summary: ClassVar[str] = "rows"
    targets: str = setting("a")

    def open(self, data):
        """Return the task with its series in place."""
        ends = np.cumsum(LENGTHS).tolist()
        segments = [(f"s{i}", end - n, end) for i, (n, end) in enumerate(zip(LENGTHS, ends, strict=True))]
        rows = np.arange(float(ends[-1]))
        columns = {"a": rows, "b": -rows, "c": np.random.default_rng(0).normal(size=ends[-1])}
        targets = tuple(self.targets.split(","))
        cut = segments if self.several else None
        return self._with_series("rows", columns, ("a", "c"), targets, segments=cut)


def opened(**change):
    plain = {"window": 10, "warmup": 5, "lags": 4, "valid": 0.2, "test": 0.2}
    return Rows(**{**plain, **change}).open(None)


def rows_of(task, x):
    """The row numbers in inputs read as levels."""
    return np.rint(np.asarray(x, np.float64)[..., 0] * task.encoding.stds[0] + task.encoding.means[0])


def parts(first, n):
    """(train, valid, test) of one series by hand."""
    held = round(0.2 * n)
    return (
        (first, first + n - 2 * held),
        (first + n - 2 * held, first + n - held),
        (first + n - held, first + n),
    )


def test_windows_and_streams_stay_in_their_series():
    task = opened(horizon=3)
    firsts = (0, 90, 150)
    allowed = set()
    for first, n in zip(firsts, LENGTHS, strict=True):
        (start, end), _, _ = parts(first, n)
        allowed |= {tuple(range(row, row + 10)) for row in range(start, end - 3 - 9)}
    drawn = rows_of(task, task.sample(jr.key(0), 2000)[0])
    assert {tuple(window) for window in drawn.T.astype(int).tolist()} == allowed
    seen = set()
    for i in range(40):
        xs, ys = task.stream(jr.key(0), i, 3)
        rows = rows_of(task, xs)
        assert {tuple(window) for window in rows.T.astype(int).tolist()} <= allowed
        np.testing.assert_allclose(np.asarray(task.in_units(ys))[..., 0], rows + 3, atol=1e-3)
        seen |= set(rows.ravel().tolist())
    assert len(seen) == 10 * sum(
        (end - start - 3) // 10 for start, end in (parts(0, 90)[0], parts(90, 60)[0], parts(150, 75)[0])
    )


@pytest.mark.parametrize("form", ["level", "difference"])
def test_held_out_series_lie_side_by_side(form):
    task = opened(horizon=2, form=form)
    for part, number in (("valid", 1), ("test", 2)):
        held = task.held_out(part)
        assert held.warmup == 5
        lengths = [
            end - first - 2
            for first, end in (parts(f, n)[number] for f, n in zip((0, 90, 150), LENGTHS, strict=True))
        ]
        assert held.xs.shape == (5 + max(lengths), 3, 2)
        asked = ~np.isnan(np.asarray(held.ys)[5:, :, 0])
        assert asked.sum(0).tolist() == lengths
        truth = np.asarray(task.in_units(held.ys, held.base))[5:, :, 0]
        for i, (first, n) in enumerate(zip((0, 90, 150), LENGTHS, strict=True)):
            start = parts(first, n)[number][0]
            np.testing.assert_allclose(truth[: lengths[i], i], start + 2 + np.arange(lengths[i]), atol=1e-3)
    assert task.seen().xs.shape == task.held_out("test").xs.shape


def test_streams_forget_what_was_before_a_border():
    task = opened(horizon=3)
    at = [i for i in range(12) if task.begins_anew(i, 3)]
    assert at[:2] == [0, at[1]]
    rows = [rows_of(task, task.stream(jr.key(0), i, 3)[0]) for i in range(12)]
    for i in range(1, 12):  # all go on from the window before, or all begin another stretch
        goes_on = rows[i][0] == rows[i - 1][-1] + 1
        assert goes_on.all() or i in at
    assert not opened(several=False).begins_anew(1, 3)
    setup = build(px.Experiment(rule="e-prop", units=(3,), batch=3, mode="online"), task).setup
    before = start(setup, 0)
    state = jax.tree.map(lambda leaf: leaf + 1 if leaf.dtype == jnp.float32 else leaf, before.learner.carry)
    learner = before.learner._replace(carry=state)
    xs, ys = task.stream(jr.key(0), 0, 3)
    for step, carry in ((1, state), (at[1], before.learner.carry)):
        here = before._replace(learner=learner, step=jnp.asarray(step))
        found = _at_border(setup, task, here, xs, ys).carry
        jax.tree.map(np.testing.assert_array_equal, found, carry)


def test_a_series_that_is_too_short_is_named():
    with pytest.raises(
        ArgumentError, match="60 rows of series s1 are too few: 36 of them are the train part"
    ):
        opened(window=40)


@pytest.mark.parametrize("several", [False, True])
def test_measures_of_the_base_are_those_of_the_naive_forecast(several):
    task = opened(several=several, form="difference", horizon="1,4", targets="a,c")
    assert task.sizes == (2, 4)
    held, baselines = task.held_out("test"), task.baselines()
    assert held.base is not None
    ys, base = held.ys[held.warmup :], held.base[held.warmup :]
    zero = jnp.zeros_like(ys)
    got = {**measure(task, zero, ys), **task.measures(zero, ys, base)}
    want = baselines["persistence"]
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, err_msg=name)
    each = task.measures_of_outputs(zero, ys, base)
    assert task.output_names()[1] == {"target": "a", "horizon": 4}
    np.testing.assert_allclose(each["mae"][:2], [1, 4], rtol=1e-4)  # rows ahead
    np.testing.assert_allclose(each["mase"][:2], [1, 4], rtol=1e-4)
    nothing = task.measures(ys, ys, base)
    np.testing.assert_allclose([nothing[n] for n in ("mae", "rmse", "smape", "mase")], 0, atol=1e-6)


def test_baselines_by_hand():
    task = MackeyGlass(length=600, horizon=3, season=20, form="seasonal", window=20).open(None)
    v = task.record.columns["x"]
    rows = np.arange(*task.bounds("test"))
    got = task.baselines()
    truth, training = v[rows + 3], v[:420]
    for name, forecast in (
        ("mean", training.mean()),
        ("persistence", v[rows]),
        ("seasonal naive", v[rows + 3 - 20]),
    ):
        wrong = np.abs(forecast - truth)
        np.testing.assert_allclose(got[name]["mse"], np.mean(wrong**2), rtol=1e-6)
        np.testing.assert_allclose(got[name]["mae"], np.mean(wrong), rtol=1e-6)
        np.testing.assert_allclose(
            got[name]["mase"], wrong.mean() / np.abs(training[20:] - training[:-20]).mean(), rtol=1e-6
        )
        relative = 200 * wrong / (np.abs(forecast) + np.abs(truth))
        np.testing.assert_allclose(got[name]["smape"], relative.mean(), rtol=1e-6)
        np.testing.assert_allclose(got[name]["mse_scaled"], got[name]["mse"] / training.var(), rtol=1e-6)
    assert got["linear"]["mse"] < got["seasonal naive"]["mse"]


def test_recall_has_no_base():
    with pytest.raises(ArgumentError, match="form difference is for forecasts"):
        MackeyGlass(direction="recall", form="difference")


def test_notes_say_what_was_chosen_and_what_is_unusual():
    task = opened(several=False, form="auto", horizon=2)
    form, outside = task.notes()[0], task.notes()[-1]
    assert form.startswith(
        "form combined: what is forecast is what the mean of simple forecasts leaves (weighted by"
    )
    assert outside == "100 % of the test values of a lie outside the range of its training values"
    facts = json.loads(json.dumps(task.facts()))
    assert set(facts["validation"]) >= {"level", "difference", "linear"}
    assert set(facts["weights"]) <= set(facts["validation"])
    assert facts["outside"] == {"a": 1.0}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on a short series: one that learns nothing, one that does; both in folders."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    t = np.arange(160)
    values = 0.02 * t**1.5 + np.sin(2 * np.pi * t / 8) + 0.1 * rng.normal(size=160)
    path = folder / "data.csv"
    path.write_text("v\n" + "\n".join(f"{v:.5f}" for v in values) + "\n")
    plain = px.Experiment(
        task="series",
        data=str(path),
        task_options={"target": "v", "horizon": "1-2", "form": "seasonal", "season": 8, "window": 10},
        rule="bptt",
        units=(4,),
        batch=4,
        steps=4,
        logs=2,
    )
    wild = dataclasses.replace(plain, lr=1e3)
    return {name: px.run(e, folder / name) for name, e in (("plain", plain), ("wild", wild))}


def test_training_starts_at_the_base_which_counts(runs):
    wild, baselines = runs["wild"].summary, runs["wild"].summary["baselines"]
    assert wild["best_step"] == 0
    assert wild["valid_loss"] <= min(line["valid_loss"] for line in runs["wild"].metrics)
    assert not np.asarray(runs["wild"].net.layers[-1].W).any()
    for name, value in baselines["seasonal naive"].items():
        np.testing.assert_allclose(wild["test"][name], value, rtol=1e-4, err_msg=name)
    assert [line["horizon"] for line in wild["outputs"]] == [1, 2]
    config = json.loads((runs["wild"].folder / "config.json").read_text())
    assert config["facts"]["encoding"]["form"] == "seasonal"
    assert config["experiment"]["task_options"]["horizon"] == "1-2"
    shown = np.load(runs["wild"].folder / "predictions.npz")
    values = np.loadtxt(runs["wild"].folder.parent / "data.csv", skiprows=1)
    np.testing.assert_allclose(shown["truth"][:, 0], values[137:159], rtol=1e-5)
    np.testing.assert_allclose(shown["prediction"][:, 0], values[129:151], rtol=1e-5)


def test_a_report_says_what_lies_outside_of_training(runs):
    page = write_report([runs["wild"].folder], runs["wild"].folder / "report.html").read_text()
    assert "100% of the test values of v lie outside the range of its training values." in page


def test_a_run_with_a_base_is_resumed(runs, tmp_path):
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(runs["plain"].folder, folder)
    last = sorted((folder / "checkpoint").iterdir())[-1]
    (folder / "result.json").unlink()
    assert px.resume(folder).summary["test"] == runs["plain"].summary["test"]
    assert last.exists()
    assert px.load(folder).scaling["form"] == "seasonal"


def test_tasks_without_a_base_say_so():
    assert MackeyGlass(length=600).open(None).starts_at_zero is False
    assert jax.tree.leaves(Series()) == []
