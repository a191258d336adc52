"""The published code's own numbers: recorded noise in, recorded weights out."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.learning.noise import Recorded

FOLDER = Path(os.environ.get("PERTURBAX_GOLDEN", Path(__file__).parents[4] / "shared" / "golden"))
INDEX = json.loads((FOLDER / "index.json").read_text()) if (FOLDER / "index.json").is_file() else []
TOLERANCE = 1e-9

pytestmark = [
    pytest.mark.skipif(not INDEX, reason=f"no golden vectors at {FOLDER} (set PERTURBAX_GOLDEN)"),
    pytest.mark.usefixtures("x64"),
]


def mse(y, target):
    return jnp.mean((y - target) ** 2, -1)


def network(g, case):
    """The recorded network; recorded matrices map from their second axis to their first, ours the other
    way.
    """
    n_in, n, n_out = case["net"]
    tanh = px.cells.Tanh(n_in, n, key=jr.key(0), bias=False)
    readout = px.cells.Readout(n, n_out, key=jr.key(0), bias=False)
    layers = [with_weights(tanh, W=g.W0.T, U=g.R.T), with_weights(readout, W=g.W1.T)]
    D0, D1 = (px.Fixed(jnp.asarray(D).T) for D in (g.D0, g.D1))
    return px.Network(layers, (D0 if case["decor_input"] else None, D1 if case["decor_hidden"] else None))


def with_weights(layer, **arrays):
    for name, value in arrays.items():
        object.__setattr__(layer, name, jnp.asarray(value))
    return layer


def matrices(net):
    hidden, readout = net.layers
    D = [None if d is None else d.value.T for d in net.decor]
    return {"W0": hidden.W.T, "R": hidden.U.T, "W1": readout.W.T, "D0": D[0], "D1": D[1]}


def recorded(g, case, name):
    """The noise of the files, in units of sigma, with an axis for the one noisy pass."""
    if name == "weight":
        like = px.weights(network(g, case))
        hidden, readout = (with_weights(layer) for layer in like.layers)
        rows = {"W0": g.eps_W0, "R": g.eps_R, "W1": g.eps_W1}
        turned = {k: jnp.asarray(np.swapaxes(v, 1, 2)[:, None] / case["sigma"]) for k, v in rows.items()}
        hidden, readout = (
            with_weights(hidden, W=turned["W0"], U=turned["R"]),
            with_weights(readout, W=turned["W1"]),
        )
        return Recorded(px.Network((hidden, readout), (None, None)))
    return Recorded([jnp.asarray(e[:, None] / case["sigma"]) for e in (g.eps_hidden, g.eps_out)])


def published(g, case):
    name = {"WP": "weight", "NP": "node", "ANP": "activity"}[case["rule"]]
    extra = {"over_batch": case["mode"] == "online"} if name == "activity" else {}
    return px.RULES[f"published-{name}"](sigma=case["sigma"], noise=recorded(g, case, name), **extra)


@jax.jit
def sequence(rule, net, x, y, lr, lr_decor):
    """Decorrelate from a clean pass, then update once; estimates are averages over time, hence lr T."""
    loss = mse(px.forward(net, x), y).mean()
    net = px.decorrelate(net, x, lr_decor)
    _, grads = helpers.fresh(rule, mse)(net, x, y, jr.key(0))
    some, rest = px.split(net)
    moved = jax.tree.map(lambda w, g: w - lr * len(x) * g, some, grads)
    return loss, px.join(moved, rest)


@jax.jit
def online(rule, net, x, y, lr, lr_decor):
    init, run = px.online(rule, mse, optax.sgd(lr), decor_lr=lr_decor)
    stream, losses = run(init(net, x[0], y[0], jr.key(0)), x, y)
    return losses, stream.net


@jax.jit
def gradients(net, x, y, lr_decor):
    loss, bptt = px.bptt(mse)(net, x, y)
    one = px.value_and_estimate(px.RULES["one-step"](), mse)(net, x, y, jr.key(0))[1]
    return loss, bptt, one, px.decorrelate(net, x, lr_decor)


def relative(got, want):
    scale = np.max(np.abs(want))
    return np.max(np.abs(np.asarray(got) - want)) / (scale if scale else 1.0)


def load(case):
    with np.load(FOLDER / case["file"], allow_pickle=False) as arrays:
        return SimpleNamespace(**{k: arrays[k] for k in arrays.files})


def is_taken(case):
    """Of pairs of batch and decorrelation one half, which has all of both for every rule and mode."""
    decorrelates_least_or_most = case["decor_input"] or (
        case["mode"] == "online" and not case["decor_hidden"]
    )
    return ("_b1_" in case["name"]) == decorrelates_least_or_most


@pytest.mark.parametrize("case", [*filter(is_taken, INDEX)], ids=lambda case: case["name"])
def test_replays_the_recorded_update(case):
    g = load(case)
    net, x, y = network(g, case), jnp.asarray(g.x), jnp.asarray(g.y)
    lr_decor = case["lr_decor"] or 0.0
    errors = {}
    if case["mode"] == "gradient":
        loss, bptt, one, after = gradients(net, x, y, lr_decor)
        errors["loss"] = relative(loss, g.loss_sequence)
        for name, value in matrices(bptt).items():
            if value is not None:
                errors[f"bptt_{name}"] = relative(value, getattr(g, f"bptt_{name}"))
        for name, value in matrices(one).items():
            if value is not None:
                errors[f"one-step {name}"] = relative(value, getattr(g, f"grad_{name}"))
        changed = ("D0", "D1")
    elif case["mode"] == "sequence":
        loss, after = sequence(published(g, case), net, x, y, case["lr"], lr_decor)
        errors["loss"] = relative(loss, g.loss_sequence)
        changed = ("W0", "R", "W1", "D0", "D1")
    else:
        losses, after = online(published(g, case), net, x, y, case["lr"], lr_decor)
        errors["loss"] = relative(losses, g.loss_clean)
        changed = ("W0", "R", "W1", "D0", "D1")
    before, after = matrices(net), matrices(after)
    for name in changed:
        if after[name] is not None:
            want = getattr(g, f"{name}_after") - getattr(g, name)
            errors[name] = relative(after[name] - before[name], want)
    assert max(errors.values()) < TOLERANCE, errors
    assert len(errors) >= 4 or case["mode"] == "gradient"


@pytest.mark.parametrize("field", ["eps_hidden", "x"])
def test_notices_a_changed_recording(field):
    """Negative control: another noise or input does not give the recorded weights."""
    case = next(c for c in INDEX if c["rule"] == "NP" and c["mode"] == "sequence")
    g = load(case)
    setattr(g, field, getattr(g, field)[::-1].copy())
    after = sequence(
        published(g, case), network(g, case), jnp.asarray(g.x), jnp.asarray(g.y), case["lr"], 0.0
    )[1]
    assert relative(matrices(after)["R"] - g.R, g.R_after - g.R) > 1e-3
