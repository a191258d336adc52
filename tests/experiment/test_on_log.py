"""One's own logger, a run that it stops early, and an optimiser as an object."""

import json
import shutil

import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.build import build
from perturbax.experiment.train_step import start
from perturbax.network.arrays import to_named_arrays

TINY = {"task": "probe-lag1", "rule": "node", "units": 2, "batch": 2, "steps": 8, "logs": 4}


def test_on_log_is_told_of_every_chunk_and_stops_the_run(tmp_path):
    told = []

    def on_log(step, metrics, network):
        told.append((step, metrics["valid_loss"], network))
        if step == 2:
            shutil.copytree(tmp_path / "r", tmp_path / "cut")
        return step == 4

    stopped = px.run(**TINY, out=tmp_path / "r", on_log=on_log)
    assert [step for step, _, _ in told] == [2, 4]
    assert type(told[0][2]) is px.Network
    assert [line["valid_loss"] for line in stopped.metrics] == [loss for _, loss, _ in told]
    assert (stopped.summary["status"], stopped.summary["steps"]) == ("finished", 4)
    assert stopped.summary["stopped_at"] == 4
    assert px.resume(tmp_path / "r").summary == stopped.summary  # it has ended
    whole = px.run(**TINY)
    assert "stopped_at" not in whole.summary
    assert [m["loss"] for m in whole.metrics[:2]] == [m["loss"] for m in stopped.metrics]
    resumed = px.resume(tmp_path / "cut", on_log=lambda step, metrics, network: None)
    assert [m["loss"] for m in resumed.metrics] == [m["loss"] for m in whole.metrics]
    assert resumed.summary["test"] == whole.summary["test"]


def test_an_optimiser_may_be_an_object(tmp_path):
    def on_log(step, metrics, network):
        if step == 4:
            shutil.copytree(tmp_path / "r", tmp_path / "cut")

    def adamw():
        return optax.adamw(1e-2)

    whole = px.run(**TINY, optimiser=adamw(), out=tmp_path / "r", on_log=on_log)
    stored = json.loads((tmp_path / "r" / "config.json").read_text())["experiment"]["optimiser"]
    assert stored.startswith("GradientTransformation")
    assert "0x" not in stored
    with pytest.raises(ArgumentError, match="give it again"):
        px.resume(tmp_path / "cut")
    resumed = px.resume(tmp_path / "cut", optimiser=adamw())
    for a, b in zip(resumed.metrics, whole.metrics, strict=True):
        assert a["loss"] == b["loss"]
    np.testing.assert_array_equal(px.load(tmp_path / "cut").net.layers[0].W, whole.net.layers[0].W)


@pytest.mark.parametrize("mode", ["sequence", "online"])
def test_an_optimiser_draws_noise_by_the_seed_of_the_run(mode):
    setup = build(px.Experiment(**TINY, mode=mode, optimiser="noisy_sgd")).setup
    keys = []
    for seed in (0, 1):
        arrays = to_named_arrays(start(setup, seed)._replace(hyperparameters=None))
        keys += [tuple(value.tolist()) for name, value in arrays.items() if "rng_key" in name]
    assert len(keys) == len(set(keys)) == 2
    assert keys[0] == (0, 0)  # seed 0 has the noise of version 0.1.0
