"""Every rule on every cell, from one table: equal to the gradient that it says it is, alive, and not
another.
"""

import functools

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
    "two tanh": ("tanh", {"depth": 2}),
    "two gru": ("gru", {"depth": 2}),
    "two lif": ("lif", {"depth": 2}),
    "decorrelated": ("tanh", {}),
    "residual": ("tanh", {"depth": 3}),
    "plain lif": ("lif", {"kappa": 0.0}),
    "plain alif": ("alif", {"kappa": 0.0}),
    "decorrelated lru": ("lru", {}),
    "decorrelated sparse-tanh": ("sparse-tanh", {"sparsity": 0.5}),
    "encoded lru": ("lru", {}),
    "tanh under a leak": ("tanh", {}),
}
DEEP = [name for name in NETS if name.startswith("two") or name in ("residual", "encoded lru")]
SPIKING = ("lif", "alif", "resting lif", "two lif", "plain lif", "plain alif")
LEAKY = ("lif", "alif", "resting lif", "two lif", "tanh under a leak")

EXACT = {
    "rtrl": {},
    "forward-sensitivity": {},
    "m-order": {"m": 4},
    "truncated": {"window": 9},
    "truncated-rolling": {"window": 9},
    "lra": {"rate": 1.0, "inner": 1, "clip": 0.0},
}
# rule, settings -> the reference that it equals
CUT = {
    "e-prop": {},
    "d-rtrl": {},
    "rflo": {"feedback": "symmetric"},
    "m-order": {"m": 1},
    "ottt": {},
    "sltt": {},
    "truncated": {"window": 1},
    "dsf": {"decay": 0.0},
    "snap": {"n": 1},
    "snap 2": {"n": 2},
    "d-rtrl mixing": {"mixing": True},
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


def estimated(rule, options, name):
    return helpers.fresh(RULES[rule](**options), helpers.mse)(network(name), *data(), jr.key(0))[1]


@functools.cache
def reference(kind, name):
    net, (xs, ys) = network(name), data()
    if kind == "full":
        return jax.jit(px.bptt(helpers.mse))(net, xs, ys)[1]
    if kind == "step":
        return jax.jit(px.truncated_bptt(helpers.mse, 1))(net, xs, ys)[1]
    if kind in ("r", "r, no filter"):
        return jax.jit(lambda: ref.layer_by_layer(net, xs, ys, ref.without_r(net, kind == "r")))()
    wiring = net.layers[0].wiring()
    n = 4 if "sparse" in name else 3
    wiring = np.ones((n, n), bool) if wiring is None or net.decor[1] else wiring
    return jax.jit(lambda: ref.masked(net, xs, ys, jnp.asarray(ref.spread(wiring, int(kind) - 1))))()


def test_reference_networks_are_alive():
    for name in NETS:
        grads = reference("full", name)
        for leaf in jax.tree.leaves(grads):
            gates = np.moveaxis(np.asarray(leaf), -2, 0) if leaf.ndim == 3 else np.asarray(leaf)[None]
            assert all(np.any(gate) for gate in gates), (name, leaf.shape)


FEW = ("tanh", "gru", "lif", "two tanh")  # for what autodiff does alone


@pytest.mark.parametrize(
    ("rule", "name"),
    [(rule, name) for rule in EXACT for name in NETS if name in FEW or rule in ("rtrl", "m-order", "lra")],
)
def test_exact(rule, name):
    got = estimated(rule, EXACT[rule], name)
    assert helpers.distance(got, reference("full", name)) < 1e-10
    if name != "dense":  # negative control: what carries no credit through time is something else
        assert helpers.distance(got, reference("step", name)) > 1e-4


def _reference_of(rule, name):
    """The reference of a rule that cuts; None where the pair does not apply, or its reference speaks of one
    layer.
    """
    one = name not in DEEP
    if rule in ("sltt", "ottt") and name not in SPIKING:
        return None
    if rule == "ottt" and name in ("alif", "resting lif", "plain alif"):
        return None
    if rule == "rflo" and NETS[name][0] in ("gru", "mingru", "lstm", "lru", "alif"):
        return None
    if rule in ("snap", "d-rtrl mixing", "snap 2"):
        return ("2" if rule == "snap 2" else "1") if one and name not in (*LEAKY, "dense") else None
    if rule == "m-order":
        return "r" if one else None
    if rule == "dsf":
        return None if name in LEAKY else "step"
    return {"ottt": "r, no filter", "sltt": "step", "truncated": "step"}.get(rule, "r")


@pytest.mark.parametrize("name", ["alif", "resting lif"])
def test_ottt_takes_adaptation_and_reset_for_constants(name):
    assert helpers.distance(estimated("ottt", {}, name), reference("r, no filter", name)) > 1e-6


PAIRS = [
    (rule, name, kind)
    for rule in CUT
    for name in NETS
    if (kind := _reference_of(rule, name)) and (name in FEW or rule not in ("truncated", "dsf"))
]


@pytest.mark.parametrize(("rule", "name", "kind"), PAIRS)
def test_cut(rule, name, kind):
    got, want = estimated(rule.split()[0], CUT[rule], name), reference(kind, name)
    if isinstance(kind, str) and kind.isdigit():
        got = got.layers[0]
    assert helpers.distance(got, want) < 1e-10
    exact = reference("full", name)
    if (
        rule != "snap 2" and NETS[name][0] not in ("mingru", "dense") and name != "lru"
    ):  # those have no credit to lose
        assert helpers.distance(got, exact.layers[0] if kind.isdigit() else exact) > 1e-4


def test_exact_where_they_say_so():
    """All memory in hidden state; each unit reading itself alone; full wiring within two steps."""
    for rule, name in (("e-prop", "mingru"), ("d-rtrl", "mingru"), ("snap", "lru"), ("snap 2", "tanh")):
        assert (
            helpers.distance(estimated(rule.split()[0], CUT[rule], name), reference("full", name)) < 1e-10
        ), rule
    assert helpers.distance(estimated("d-rtrl", {}, "tanh"), reference("step", "tanh")) < 1e-12
    assert "exact" not in RULES["d-rtrl"]().described().target.split(";")[0]
