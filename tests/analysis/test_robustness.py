"""Attacks on images: what they may change, and networks that only look robust."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.analysis.robustness import ATTACKS, Pictures, _attacks, masked, measure_robustness
from perturbax.cli import main
from perturbax.errors import ArgumentError
from perturbax.report.robustness import labels, look

EPS, SEEN = (0.05, 0.2), {"steps": 10, "images": 100}


@pytest.fixture(scope="module")
def digits():
    return px.tasks.Digits(order="whole").open(None)


@pytest.fixture(scope="module")
def net(digits):
    """Random features, and the readout that least squares finds."""
    hidden, readout = (
        px.cells.Dense(64, 200, activation="relu", key=jr.key(0)),
        px.cells.Readout(200, 10, key=jr.key(1)),
    )
    train = digits.opened["train"]
    features = np.asarray(jax.nn.relu(train.x[:, 0] / 16 @ hidden.W))  # (N, 200)
    answers = 10 * np.eye(10)[np.asarray(train.label)]
    W = np.linalg.solve(features.T @ features + np.eye(200), features.T @ answers)
    return px.Network((hidden, eqx.tree_at(lambda layer: layer.W, readout, jnp.asarray(W, jnp.float32))))


@pytest.fixture(scope="module")
def measured(net, digits):
    return measure_robustness(net, digits, EPS, **SEEN)


def test_attacks_change_pixels_by_at_most_eps_and_keep_them_in_range(net, digits):
    held = digits.held_out("test")
    pictures = Pictures(held.xs[:, :20], held.ys[:, :20])
    found = jax.jit(lambda p: _attacks(net, digits, p, jnp.float32(0.1), 5, jr.key(0)))(pictures)
    assert set(found) == set(ATTACKS)
    for image in found.values():
        assert image.shape == pictures.image.shape
        assert jnp.abs(image - pictures.image).max() <= 0.1 + 1e-6
        assert image.min() >= 0
        assert image.max() <= 1
        assert jnp.abs(image - pictures.image).mean() > 0.03


def test_attacks_along_the_gradient_do_the_harm(measured):
    assert measured["natural"] > 0.85
    assert measured["images"] == 100
    assert measured["random"][0] > measured["pgd"][0] + 0.05
    assert measured["fgsm"][1] < measured["fgsm"][0] < measured["natural"]
    assert measured["pgd"][1] <= measured["fgsm"][1]
    for name in ATTACKS:
        assert all(worst <= one for worst, one in zip(measured["worst"], measured[name], strict=True))
    assert not masked(measured)


def test_a_network_with_huge_outputs_only_looks_robust(net, digits, measured):
    """The same decisions, outputs a million times larger: no gradient of the loss, but one of the margin."""
    huge = eqx.tree_at(lambda net: net.layers[1].W, net, 1e6 * net.layers[1].W)
    found = measure_robustness(huge, digits, EPS, **SEEN)
    np.testing.assert_allclose(found["natural"], measured["natural"])
    assert found["outputs"] > 1e5 * measured["outputs"]
    assert found["zero_gradient"] > 0.9 * found["natural"] > 0
    assert measured["zero_gradient"] == 0
    assert found["pgd"][0] > measured["pgd"][0] + 0.1
    assert found["pgd"][1] - found["margin"][1] > 0.3
    np.testing.assert_allclose(found["margin"], measured["margin"], atol=0.021)
    said = " ".join(masked(found))
    assert "gradient of exactly 0" in said
    assert "attacks on the margin do more harm" in said


def test_images_that_are_held_are_changed_alike_at_every_step():
    task = px.tasks.Digits(order="whole", hold=3).open(None)
    cell = px.cells.Settling(64, 12, key=jr.key(0))
    net = px.Network((cell, cell.readout(10, key=jr.key(1))))
    found = measure_robustness(net, task, [0.1], steps=2, images=10)
    assert set(found) == {"natural", "zero_gradient", "outputs", "images", "worst", *ATTACKS}


def test_what_cannot_be_attacked_is_refused(net, digits):
    with pytest.raises(ArgumentError, match=r"pixels are in \[0, 1\]; not on Copy"):
        measure_robustness(net, px.tasks.Copy(), EPS)
    with pytest.raises(ArgumentError, match="eps must be above 0"):
        measure_robustness(net, digits, [0.1, 0.0])


def test_the_command(tmp_path, capsys):
    folder, out = tmp_path / "run", tmp_path / "out"
    small = ["--task.order", "whole", "--cell", "dense", "--units", "8", "--batch", "8", "--steps", "5"]
    assert (
        main(["run", "--task", "digits", "--rule", "bptt", *small, "--logs", "1", "--out", str(folder)]) == 0
    )
    attack = ["robustness", str(folder), "--eps", "0.1,0.3", "--images", "20", "--attack-steps", "2"]
    capsys.readouterr()
    assert main([*attack, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    data = json.loads((out / "robustness.json").read_text())
    (run,) = data["runs"]
    assert data["eps"] == [0.1, 0.3]
    assert (run["task"], run["rule"], run["images"]) == ("digits", "bptt", 20)
    assert f"{100 * run['natural']:.1f}" in said
    page = (out / "robustness.html").read_text()
    assert f"<td>{100 * run['worst'][1]:.1f}</td>" in page
    assert (out / "robustness.svg").read_text().startswith("<svg")
    assert main([*attack, "--out", str(out)]) == 2  # the folder is occupied
    assert main(["robustness", str(folder), "--eps", "-1"]) == 2


def test_networks_are_told_apart_by_as_much_of_their_paths_as_it_takes():
    def named(*folders):
        return labels({"runs": [{"folder": folder} for folder in folders]})

    assert named("runs/a/bptt-s0", "runs/a/node-s0") == ["bptt-s0", "node-s0"]
    assert named("runs/a/bptt-s0", "runs/b/bptt-s0") == ["a/bptt-s0", "b/bptt-s0"]


def test_many_networks_are_told_apart_in_the_figure():
    assert len({look(i) for i in range(35)}) == 35
