"""Every cell with two rules, every rule on cells that differ: equal to the gradient that it says it is,
alive, not another.

The pairs are chosen, as most rules share their code. RTRL, and one of e-prop, D-RTRL and RFLO (the same
code with the same traces), have all networks; only a leaky readout on tanh has traces alone. Every other
rule has networks that its own code tells apart: with and without hidden state, with several gates, spikes,
a leaky readout, two layers, sparse or decorrelated wiring. Resets of a spike to zero and by subtraction are
both among the spiking networks, each with and without its derivative.
"""

import functools
from typing import NamedTuple

import helpers
import helpers as ref
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.rules import RULES

pytestmark = pytest.mark.usefixtures("x64")

STEPS = 4
NETS = {
    **{
        cell: (cell, {}) for cell in ("tanh", "leaky", "gru", "mingru", "lstm", "lru", "lif", "alif", "dense")
    },
    "sparse-tanh": ("sparse-tanh", {"sparsity": 0.5}),
    "rate": ("leaky", {"form": "rate"}),
    "binary": ("binary", {"surrogate": "sigmoid"}),
    "resting lif": ("lif", {"refractory": 1, "detach_reset": False}),
    "two gru": ("gru", {"depth": 2}),
    "two lif": ("lif", {"depth": 2}),
    "lif to zero": ("lif", {"reset": "zero"}),
    "residual": ("tanh", {"depth": 3}),
    "plain alif": ("alif", {"kappa": 0.0, "reset": "zero", "detach_reset": False}),
    "decorrelated lru": ("lru", {}),
    "decorrelated sparse-tanh": ("sparse-tanh", {"sparsity": 0.5}),
    "encoded lru": ("lru", {}),
    "tanh under a leak": ("tanh", {}),
}
# rule: settings, networks on which it is the full gradient
EXACT = {
    "rtrl": ({}, tuple(name for name in NETS if name != "tanh under a leak")),
    "forward-sensitivity": ({}, ("two gru",)),
    "m-order": ({"m": 4}, ("tanh", "lstm", "two lif", "residual")),
    "truncated": ({"window": 9}, ("tanh", "two lif")),
    "truncated-rolling": ({"window": 9}, ("gru", "lif")),
    "lra": ({"rate": 1.0, "inner": 1, "clip": 0.0}, ("resting lif", "lif to zero", "two gru", "dense")),
}
BY_D_RTRL = ("leaky", "resting lif", "plain alif", "decorrelated lru", "residual")
BY_RFLO = ("rate",)
# rule: settings, the reference that it equals, networks
CUT = {
    "e-prop": ({}, "r", tuple(name for name in NETS if name not in BY_D_RTRL + BY_RFLO)),
    "d-rtrl": ({}, "r", BY_D_RTRL),
    "rflo": ({"feedback": "symmetric"}, "r", ("tanh", "two lif", "lif to zero", *BY_RFLO)),
    "m-order": ({"m": 1}, "r", ("gru", "alif", "lif to zero")),
    "ottt": ({}, "r, no filter", ("lif", "two lif")),
    "sltt": ({}, "step", ("alif", "two lif", "lif to zero")),
    "truncated": ({"window": 1}, "step", ("tanh",)),
    "dsf": ({"decay": 0.0}, "step", ("tanh", "two gru")),
    "snap": ({"n": 1}, "1", ("tanh", "gru", "plain alif", "decorrelated sparse-tanh")),
    "snap 2": ({"n": 2}, "2", ("sparse-tanh", "plain alif", "decorrelated sparse-tanh")),
    "d-rtrl mixing": ({"mixing": True}, "1", ("lstm", "decorrelated lru")),
}
NOTHING_TO_LOSE = ("mingru", "lru", "dense")  # one-layer networks whose credit never crosses units, or time
# network: rules of CUT and references that two tests below ask for, beyond these tables
MORE = {
    "tanh": (["snap 2", "d-rtrl"], ["step"]),
    "mingru": (["d-rtrl"], ["step"]),
    "lru": (["snap"], ["step"]),
    "alif": (["ottt"], ["r, no filter"]),
    "resting lif": (["ottt"], ["r, no filter"]),
    "lif to zero": (["ottt"], ["r, no filter"]),
}


@functools.cache
def network(name):
    """Strong random weights, all of them: spiking layers fire, decorrelation mixes."""
    cell, options = NETS[name]
    scale = {"lru": 0.4, "lif": 1.6, "alif": 1.6}.get(cell, 0.8)
    net = helpers.strong(cell, scale=scale, **{"n": 4 if "sparse" in name else 3, **options})
    if name == "encoded lru":
        encoder = px.cells.Dense(2, 2, key=jr.key(8))
        net = px.Network((encoder, *net.layers))
    if name == "tanh under a leak":
        net = px.Network((net.layers[0], px.cells.LeakyReadout(3, 2, key=jr.key(8), kappa=0.7)))
    if name.startswith("decorrelated"):
        net = px.add_decorrelation(net, "hidden+input", 2)
        mixed = [
            px.Fixed(D.value + 0.3 * helpers.normal(jr.key(i), D.value.shape))
            for i, D in enumerate(net.decor)
        ]
        net = px.Network(net.layers, mixed)
    if name == "residual":
        net = px.Network(net.layers, residual=True, normalise=True)
    return net


@functools.cache
def data():
    return helpers.data(2, 2, steps=STEPS, batch=2)


def estimated(rule, options, net, xs, ys):
    learn = px.learner(RULES[rule.split()[0]](**options), helpers.mse)
    return learn.update(learn.init(net, xs[0], jr.key(0)), net, xs, ys, jr.key(0))[2]


def reference(kind, net, xs, ys):
    """The gradient: "full", cut in every "step", without "r", or an influence of so many steps."""
    if kind == "full":
        return px.bptt(helpers.mse)(net, xs, ys)[1]
    if kind == "step":
        return px.truncated_bptt(helpers.mse, 1)(net, xs, ys)[1]
    if kind in ("r", "r, no filter"):
        return ref.layer_by_layer(net, xs, ys, ref.without_r(net, kind == "r"))
    n, wiring = net.layers[0].W.shape[-1], net.layers[0].wiring()
    wiring = np.ones((n, n), bool) if wiring is None or net.decor[1] else wiring
    return ref.masked(net, xs, ys, jnp.asarray(ref.spread(wiring, int(kind) - 1)))


class Gradients(NamedTuple):
    """Of one network: references by their kind, estimates by their rule, as in EXACT and in CUT."""

    true: dict
    exact: dict
    cut: dict


@functools.cache
def gradients(name):
    """All that is asked of a network, references and estimates: one program, as compiling takes longest."""
    rules, kinds = MORE.get(name, ([], []))
    exact = [rule for rule, (_, names) in EXACT.items() if name in names]
    cut = [*rules, *(rule for rule, (_, _, names) in CUT.items() if name in names)]
    kinds = ["full", "r", *kinds, *(kind for _, kind, names in CUT.values() if name in names)]

    @jax.jit
    def all_of_them(net, xs, ys):
        return (
            {kind: reference(kind, net, xs, ys) for kind in dict.fromkeys(kinds)},
            {rule: estimated(rule, EXACT[rule][0], net, xs, ys) for rule in exact},
            {rule: estimated(rule, CUT[rule][0], net, xs, ys) for rule in cut},
        )

    return Gradients(*all_of_them(network(name), *data()))


def test_reference_networks_are_alive():
    for name in NETS:
        for leaf in jax.tree.leaves(gradients(name).true["full"]):
            gates = np.moveaxis(np.asarray(leaf), -2, 0) if leaf.ndim == 3 else np.asarray(leaf)[None]
            assert all(np.any(gate) for gate in gates), (name, leaf.shape)


@pytest.mark.parametrize(
    ("rule", "name"), [(rule, name) for rule, (_, names) in EXACT.items() for name in names]
)
def test_exact(rule, name):
    found = gradients(name)
    got = found.exact[rule]
    assert helpers.distance(got, found.true["full"]) < 1e-10
    if name != "dense":  # negative control: what carries less credit through time is something else
        assert helpers.distance(got, found.true["step" if name in NOTHING_TO_LOSE else "r"]) > 1e-4


@pytest.mark.parametrize(
    ("rule", "name", "kind"), [(rule, name, kind) for rule, (_, kind, names) in CUT.items() for name in names]
)
def test_cut(rule, name, kind):
    found = gradients(name)
    got, want, exact = found.cut[rule], found.true[kind], found.true["full"]
    if kind.isdigit():
        got, exact = got.layers[0], exact.layers[0]
    assert helpers.distance(got, want) < 1e-10
    if rule != "snap 2" and name not in NOTHING_TO_LOSE:
        assert helpers.distance(got, exact) > 1e-4


@pytest.mark.parametrize("name", ["alif", "resting lif", "lif to zero"])
def test_ottt_takes_adaptation_and_reset_for_constants(name):
    found = gradients(name)
    assert helpers.distance(found.cut["ottt"], found.true["r, no filter"]) > 1e-6


def test_exact_where_they_say_so():
    """All memory in hidden state; each unit reading itself alone; full wiring within two steps."""
    for rule, name in (("d-rtrl", "mingru"), ("snap", "lru"), ("snap 2", "tanh")):
        found = gradients(name)
        assert helpers.distance(found.cut[rule], found.true["full"]) < 1e-10, rule
    found = gradients("tanh")
    assert helpers.distance(found.cut["d-rtrl"], found.true["step"]) < 1e-12
    assert "exact" not in RULES["d-rtrl"]().described().target.split(";")[0]
