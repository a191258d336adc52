"""Whether a trained network is kept: more than chance against the forecast that training starts from."""

import dataclasses

import numpy as np
import pytest

import perturbax as px
from perturbax.experiment.chance import standard_errors
from perturbax.report import write_report


def test_standard_errors_by_hand():
    gain = np.array([1.0, 3.0, 1.0, 3.0])  # mean 2, std 1
    assert standard_errors(gain, 1) == pytest.approx(4.0)
    assert standard_errors(gain, 4) == pytest.approx(2.0)  # one forecast that does not overlap
    assert standard_errors(-gain, 1) == pytest.approx(-4.0)
    assert standard_errors(np.zeros(4), 1) == 0
    assert standard_errors(np.ones(4), 1) == np.inf


def trained(folder, values, **change):
    path = folder / "data.csv"
    path.write_text("v\n" + "\n".join(f"{value:.5f}" for value in values) + "\n")
    options = {"target": "v", "window": 10, "lags": 2, "form": "linear"}
    e = px.Experiment(task="series", data=str(path), task_options=options, rule="bptt", units=(8,), batch=8)
    return px.run(dataclasses.replace(e, steps=300, lr=0.03, logs=30, **change), folder / "run")


def test_noise_leaves_the_start_and_the_report_says_so(tmp_path):
    noise = np.random.default_rng(0).normal(size=160)
    result = trained(tmp_path, noise, seed=1)
    summary = result.summary
    assert summary["gain"]["step"] > 0  # the best of thirty looks, and no more than that
    assert 0 < summary["gain"]["z"] < 1.645
    assert summary["gain"]["valid_ratio"] < 1
    assert summary["best_step"] == 0
    np.testing.assert_allclose(summary["test"]["mse"], summary["baselines"]["linear"]["mse"], rtol=1e-4)
    assert not np.asarray(result.net.layers[-1].W).any()
    page = write_report([result.folder], tmp_path / "report.html").read_text()
    lowered = f"{100 * (1 - summary['gain']['valid_ratio']):.2g}%"
    assert "keeps the simple forecast that it starts from: training lowered the validation loss by" in page
    assert f"{lowered}, no more than chance." in page


def test_what_a_linear_forecast_cannot_know_is_kept(tmp_path):
    logistic = [0.3]
    for _ in range(399):
        logistic.append(3.9 * logistic[-1] * (1 - logistic[-1]))  # each value from the last, by a parabola
    summary = trained(tmp_path, logistic).summary
    assert summary["gain"]["z"] > 1.645
    assert summary["best_step"] == summary["gain"]["step"] > 0
    assert summary["test"]["mse"] < 0.3 * summary["baselines"]["linear"]["mse"]
    assert summary["valid_loss"] == pytest.approx(summary["gain"]["valid_ratio"], rel=0.3)
