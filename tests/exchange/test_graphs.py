"""Graphs of NIR that are no chain: branches, sums, feedback between populations, delays."""

import itertools
import json
from functools import partial
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.devices.simulated import Simulated
from perturbax.errors import ArgumentError, DataError, LayerError, PerturbaxError
from perturbax.exchange.graph import written_out
from perturbax.exchange.wiring import wiring_of
from perturbax.experiment.build import build
from perturbax.experiment.reservoir import solve
from perturbax.experiment.train_step import _step, start
from perturbax.tasks.base import HeldOut

nir = pytest.importorskip("nir")

DT, TAU, UNITS, STEPS = 1e-4, 1e-3, 6, 60
RNG = np.random.default_rng(0)
W = {
    name: scale * RNG.normal(size=(UNITS, n))
    for name, n, scale in [
        ("in", 3, 1.0),
        ("skip", 3, 0.5),
        ("ab", UNITS, 1.5),
        ("ba", UNITS, 1.2),
        ("ac", UNITS, 0.6),
        ("bc", UNITS, 1.5),
    ]
}


def lif(n=UNITS):
    one = np.ones(n)
    return nir.LIF(tau=TAU * one, r=12 * one, v_leak=0.1 * one, v_threshold=one, v_reset=-0.2 * one)


def leaky(n=1):
    return nir.LI(tau=3e-4 * np.ones(n), r=np.ones(n), v_leak=np.zeros(n))


def linear(name):
    return nir.Linear(W[name].astype("f"))


def graph(nodes, edges, n_in=3, n_out=UNITS, metadata=None):
    """A graph from `in` to `out`; edges as words: "in > w > a, a > out"."""
    pairs = []
    for way in edges.split(","):
        names = [name.strip() for name in way.split(">")]
        pairs += itertools.pairwise(names)
    ends = {"in": nir.Input(np.array([n_in])), "out": nir.Output(np.array([n_out]))}
    return nir.NIRGraph(ends | nodes, pairs, metadata=metadata or {}, type_check=False)


def branched():
    """A is read by B and C, C adds what comes from A, B and the input; W_c reads a sum as well."""
    nodes = {"a": lif(), "b": lif(), "c": lif()} | {
        f"w_{k}": linear(k) for k in ("in", "ab", "ac", "bc", "skip")
    }
    edges = "in > w_in > a > w_ab > b > w_bc > c > out, a > w_ac > c, in > w_skip > c, a > w_bc"
    return graph(nodes, edges)


def mutual():
    """A and B read each other; B goes to C through a delay, of its own length for each unit."""
    delay = nir.Delay(DT * np.arange(UNITS))
    nodes = {"a": lif(), "b": lif(), "c": lif(), "d": delay}
    nodes |= {f"w_{k}": linear(k) for k in ("in", "ab", "ba", "bc")}
    return graph(nodes, "in > w_in > a > w_ab > b > w_ba > a, b > d > w_bc > c > out")


def membrane(v, current):
    """One step of `lif()` in numpy."""
    u = v + DT / TAU * (0.1 - v + 12 * current)
    y = u > 1
    return np.where(y, -0.2, u), y.astype(float)


def by_hand(xs, mutually):
    """Spikes of the layer C of `branched`, or of `mutual`, step by step."""
    va = vb = vc = b = np.zeros(UNITS)
    past, found = [np.zeros(UNITS)] * UNITS, []
    for x in xs:
        back = W["ba"] @ b if mutually else 0
        va, a = membrane(va, W["in"] @ x + back)
        vb, b = membrane(vb, W["ab"] @ a)
        past = [b, *past[:-1]]
        late = np.array([past[k][k] for k in range(UNITS)])
        currents = W["bc"] @ late if mutually else W["bc"] @ (b + a) + W["ac"] @ a + W["skip"] @ x
        vc, c = membrane(vc, currents)
        found.append(c)
    return np.array(found)


def same(one, two):
    return jax.tree.structure(one) == jax.tree.structure(two) and all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


@pytest.mark.parametrize("mutually", [False, True], ids=["branched", "mutual"])
def test_spike_for_spike(mutually, tmp_path):
    made = mutual() if mutually else branched()
    nir.write(str(tmp_path / "net.nir"), made)
    net = px.from_nir(tmp_path / "net.nir")
    xs = RNG.normal(size=(STEPS, 1, 3)).astype("f")
    spikes = by_hand(xs[:, 0], mutually)
    assert 20 < spikes.sum() < 300
    np.testing.assert_array_equal(px.forward(net, xs)[:, 0], spikes)
    px.to_nir(net, tmp_path / "again.nir")
    assert same(px.from_nir(tmp_path / "again.nir"), net)
    assert same(px.from_nir(made), net)  # the order in which nodes are named changes nothing


# --- which layers there are, and what they read: no JAX


def wired(nodes, edges, closing=(), **sizes):
    """Layers with what they read, those that are read one step late marked by a star, and the outputs."""
    found = wiring_of(written_out(graph(nodes, edges, **sizes)), closing)
    said = []
    for part in found.parts:
        read = [f"{s}*" if (s, part.name) in found.late else s for s in part.sources]
        said.append(f"{part.name} {'*' if part.own else ''}< {' '.join(read)}")
    return "; ".join(said), " ".join(found.outputs)


SQUARE = {f"w{k}": nir.Linear(np.eye(3)) for k in range(9)}
POPULATIONS = {name: leaky(3) for name in ("a", "b", "c", "d0")}
DELAY = {"d": nir.Delay(np.ones(3))}


def only(*names):
    return {name: (SQUARE | POPULATIONS | DELAY)[name] for name in names}


@pytest.mark.parametrize(
    ("names", "edges", "layers"),
    [
        ("a w0", "in > w0 > a > out", ("a < in", "a")),
        ("a w0 w1", "in > w0 > a > w1 > out", ("a < in; out < a", "out")),
        ("a w0 w1", "in > w0 > w1 > a > out", ("w0 < in; a < w0", "a")),
        ("a w0 w1", "in > w0 > a > w1 > a > out", ("a *< in", "a")),
        ("a w0 w1 w2", "in > w0 > a > w1 > w2 > a > out", ("a < in w1*; w1 < a", "a")),
        ("a b w0", "in > w0 > a > out, w0 > b > out", ("w0 < in; a < w0; b < w0; out < a b", "out")),
        # The edge that closes a cycle is late, whatever the names.
        ("a b", "in > b > a > b, a > out", ("b < a* in; a < b", "a")),
        ("a b", "in > a > b > a, a > out", ("a < b* in; b < a", "a")),
        ("a b", "in > a > b > a, b > out", ("a < b* in; b < a", "b")),
        ("a b c", "in > a > b > c > a, c > b, c > out", ("a < c* in; b < a c*; c < b", "c")),
        ("a b", "in > a > b > a, in > b > out", ("a < b* in; b < a in", "b")),
        ("a b w0", "in > b > a > w0 > b, in > w0, a > out", ("b < in a*; a < b", "a")),
        # Of two that read each other the one that reads A comes first; C, on which none waits, is last.
        (
            "a b c d0",
            "in > a > b > d0 > b, d0 > c > a, a > c, c > out",
            ("a < c* in; b < a d0*; d0 < b; c < a d0", "c"),
        ),
        # Delays close a cycle by themselves; elsewhere they are read in the same step.
        ("a b d", "in > a > b > d > a, b > out", ("a < d* in; b < a; d < b", "b")),
        ("a b d", "in > a > d > b > a, b > out", ("b < d*; a < b in; d < a", "b")),
        ("a d", "in > d > a > out", ("d < in; a < d", "a")),
        ("a d", "in > a > d > a, a > out", ("a < d* in; d < a", "a")),
        ("d w0", "in > w0 > d > w0, d > out", ("d < d* in", "d")),
    ],
)
def test_layers_and_what_they_read(names, edges, layers):
    assert wired(only(*names.split()), edges, closing="d") == layers


@pytest.mark.parametrize(
    ("names", "edges", "words"),
    [
        ("a w0", "in > a > out, w0 > a", "node 'w0' is on no way from the input to the output"),
        ("a b", "in > a > out, a > b", "node 'b' is on no way from the input to the output"),
        ("w0 w1 a", "in > w0 > w1 > w0, w1 > a > out", "nodes 'w0' and 'w1' lead back to themselves without"),
        ("a", "in > a > out > a", "node 'out' is an output in the middle of the graph"),
        ("a", "in > a > out, a > in", "node 'in' is an input in the middle of the graph"),
        ("a", "in > a > out, a > x", "an edge leads from 'a' to 'x', but there is no node 'x'"),
        ("", "in > out", "the graph has neither weights nor populations"),
    ],
)
def test_graphs_that_cannot_be_computed_are_refused(names, edges, words):
    with pytest.raises(DataError) as caught:
        px.from_nir(graph(only(*names.split()), edges, n_out=3))
    assert words in str(caught.value)


def test_delays_of_no_whole_step_sums_of_other_sizes_and_graphs_within_are_refused():
    for nodes, edges, words in [
        ({"a": nir.Delay(np.full(3, 2.6e-4))}, "in > a > w0 > out", "the nearest is 0.0003 s"),
        (
            {"a": nir.Delay(np.full(3, -1.0))},
            "in > a > w0 > out",
            "node 'a': delay must be seconds, 0 or more",
        ),
        (
            {"a": nir.Delay(np.full(3, 1e6))},
            "in > a > w0 > out",
            "node 'a': a delay of 1e+10 steps is too long",
        ),
        ({"a": nir.Delay(np.full(2, DT))}, "in > a > w0 > out", "node 'a': delay has 2 values for 3 units"),
        (
            {"a": nir.Linear(np.ones((2, 3)))},
            "in > a > c, in > w0 > c > out",
            "node 'c' has 2 units and reads 'w0'",
        ),
        (
            {"a": nir.Linear(np.ones((2, 3)))},
            "in > a > c > w0 > out",
            "node 'w0' has weights for 3 inputs and",
        ),
        (
            {"w9": nir.Linear(np.ones((2, 3))), "y": leaky(2)},
            "in > c > w0 > out, in > w9 > y > w0",
            "adds 3 values and 2",
        ),
        (
            {"a": nir.Linear(np.ones((2, 3)))},
            "in > c > a > c, c > w0 > out",
            "node 'c' has 3 units and reads itself",
        ),
        ({"a": graph({}, "in > out")}, "in > a > w0 > out", None),
        ({"a": graph(only("b"), "in > b > out, x > b")}, "in > a > w0 > out", "there is no node 'a.x'"),
    ]:
        made = graph(only("c", "w0") | nodes if "c" in edges else only("w0") | nodes, edges, n_out=3)
        if words is None:
            assert len(px.from_nir(made).layers) == 1
            continue
        with pytest.raises(DataError) as caught:
            px.from_nir(made)
        assert words in str(caught.value)
    two = graph({"i": nir.Input(np.array([3])), "b": leaky(3)}, "in > b > out, i > b")
    with pytest.raises(DataError, match="node 'a' is a graph with 2 nodes Input"):
        px.from_nir(graph({"a": two} | only("w0"), "in > a > w0 > out"))


def test_several_inputs_and_outputs_lie_side_by_side_in_the_order_of_their_names():
    nodes = {
        "in_b": nir.Input(np.array([2])),
        "w": nir.Linear(np.array([[10.0, 20.0]])),
        "v": nir.Linear(np.array([[1.0, 2.0, 3.0]])),
        "also": nir.Output(np.array([1])),
    }
    net = px.from_nir(graph(nodes, "in > v > out, in_b > w > out, v > also", n_out=1))
    xs = np.array([1, 10, 100, 1000, 10000], "f").reshape(1, 1, 5)  # in, then in_b
    np.testing.assert_allclose(px.forward(net, xs), [[[321.0, 210321.0]]])  # also, then out
    read = px.from_nir(px.to_nir(net))
    np.testing.assert_allclose(px.forward(read, xs), [[[321.0, 210321.0]]])


# --- every rule


def fields(kind, n, **more):
    constants = {"r": 3.0, "v_leak": 0.1, "tau": 4e-4, "tau_mem": 4e-4, "tau_syn": 2e-4, "w_in": 1.5}
    constants |= {"v_threshold": 0.5, "v_reset": 0.0, "threshold": 0.5}
    names = getattr(nir, kind).__dataclass_fields__
    return {name: np.full(n, value) for name, value in (constants | more).items() if name in names}


def population(kind, *shape):
    return getattr(nir, kind)(**fields(kind, shape, **({"r": 1e4} if kind in ("IF", "I") else {})))


def positive(*shape):
    return RNG.uniform(0.2, 0.8, shape).astype("f")


def everything():
    """Three graphs that hold every kind of node between them; e-prop cannot say shared weights.

    Weight perturbation, which asks no more of a node than its forward pass, is tried on one of them.
    """
    kernel = nir.Conv2d((4, 4), positive(2, 1, 3, 3), 1, 1, 1, 1, positive(2))
    image = {
        "conv": kernel,
        "if": population("IF", 2, 4, 4),
        "sum": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "avg": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1),
        "w": nir.Affine(positive(2, 8), positive(2)),
        "v": nir.Linear(positive(2, 8)),
        "li": population("LI", 2),
    }
    line = {
        "conv": nir.Conv1d(4, positive(2, 1, 3), 1, 1, 1, 1, positive(2)),
        "cuba": population("CubaLIF", 2, 4),
        "w": nir.Affine(positive(3, 8), positive(3)),
        "threshold": population("Threshold", 3),
        "v": nir.Linear(positive(2, 3)),
    }
    units = {
        "w": nir.Affine(positive(3, 2), positive(3)),
        "lif": population("LIF", 3),
        "own": nir.Linear(positive(3, 3)),
        "s": nir.Scale(positive(3)),
        "cuba": population("CubaLIF", 3),
        "back": nir.Linear(positive(3, 3)),
        "delay": nir.Delay(np.full(3, DT)),
        "v": nir.Affine(positive(2, 3), positive(2)),
        "i": population("I", 2),
        "skip": nir.Linear(positive(2, 2)),
        "u": nir.Linear(positive(2, 2)),
        "li": population("CubaLI", 2),
    }
    ways = "in > w > lif > own > lif > s > cuba > back > lif, cuba > v > i, lif > delay > v, in > skip > i"
    return {
        "image": (
            graph(image, "in > conv > if > sum > flat > w > li > out, if > avg > v > li", 16, 2),
            (1, 4, 4),
        ),
        "line": (graph(line, "in > conv > cuba > w > threshold > v > out", 4, 2), (1, 4)),
        "units": (graph(units, f"{ways} > u > li > out", 2, 2), (2,)),
    }


@pytest.mark.parametrize("name", ["image", "line", "units"])
def test_every_kind_of_node_gives_gradients_with_every_kind_of_rule(name):
    made, shape = everything()[name]
    made.nodes["in"] = nir.Input(np.array(shape))
    net = px.from_nir(made, surrogate="fast-sigmoid")
    xs = jnp.asarray(positive(4, 2, int(np.prod(shape))))
    ys = jnp.zeros((4, 2, 2))
    rules = {
        rule: px.RULES[rule](**({} if rule == "bptt" or rule == "e-prop" else {"sigma": 0.3}))
        for rule in RULES
        if rule != "weight" or name == "units"
    }
    if name != "units":
        with pytest.raises(LayerError, match="traces need weights whose last axis is their unit"):
            px.value_and_estimate(rules.pop("e-prop"), helpers.mse)(net, xs, ys, jr.key(0))

    @jax.jit
    def gradients(net, xs, ys):
        return {
            rule: px.value_and_estimate(made, helpers.mse)(net, xs, ys, jr.key(0))[1]
            for rule, made in rules.items()
        }

    for rule, found in gradients(net, xs, ys).items():
        for path, g in jax.tree_util.tree_flatten_with_path(found)[0]:
            assert np.isfinite(g).all(), (rule, path)
            assert np.any(g), (rule, path)


RULES = ("node", "weight", "bptt", "e-prop")


def test_node_perturbation_of_a_branched_graph_has_the_true_gradient_for_its_mean(x64):
    """Over all signs of the noise: one unit each, A read by B and C, C adds both; C feeds back to A."""
    nodes = {name: leaky() for name in "abc"}
    nodes |= {f"w{k}": nir.Linear(np.array([[0.5 + 0.2 * k]])) for k in range(5)}
    edges = "in > w0 > a > w1 > b > w2 > c > out, a > w3 > c > w4 > a"
    net = px.from_nir(graph(nodes, edges, 1, 1))
    assert [s.late for s in net.sources(0)] == [False, True]
    xs, ys = helpers.data(batch=1)
    make = lambda noise: px.RULES["node"](sigma=1e-5, credit="to-go", noise=noise)
    table = helpers.every_sign([(helpers.T, 1, 1, 1)] * 3)
    true = px.bptt(helpers.mse)(net, xs, ys, None)[1]
    assert helpers.distance(helpers.averaged(make, table, net, xs, ys), true) < 1e-8


def test_a_readout_that_others_read_is_not_solved_for_and_no_simulated_device_is_a_graph():
    net = px.from_nir(graph(only("a", "b"), "in > a > b > a, b > out", n_out=3))
    with pytest.raises(ArgumentError, match="other layers read what the last layer puts out"):
        solve(net, px.TASKS["copy"](), HeldOut(jnp.zeros((1, 1, 3)), jnp.zeros((1, 1, 3))), jr.key(0))
    with pytest.raises(ArgumentError, match="a simulated device is a stack of layers alone: no graph"):
        Simulated("tanh", net=net)


def test_rules_that_do_not_train_a_graph_say_why_before_anything_is_compiled(tmp_path):
    """What `benchmarks/nir_rules.py` found as it trained with every rule."""
    import nir_rules

    found = json.loads((Path(nir_rules.__file__).parent / "results" / "nir-rules-cpu.json").read_text())
    assert {*found["trains"], *found["refused"]} <= set(px.RULES)
    assert {"node", "weight", "bptt", "e-prop"} <= set(found["trains"])
    file = tmp_path / "branched.nir"
    nir.write(str(file), nir_rules.graph())

    def traced(rule):
        e = px.Experiment("probe-lag1", rule, cell="nir", cell_options={"file": str(file)}, batch=2)
        setup = build(e).setup
        state = jax.eval_shape(partial(start, setup, 0))
        jax.eval_shape(partial(_step, setup, setup.task), state)

    one_of = {why.split(": ")[-1]: rule for rule, why in found["refused"].items()}  # for every reason
    assert len(one_of) == 5
    for rule in one_of.values():
        why = found["refused"][rule]
        with pytest.raises(PerturbaxError) as error:
            traced(rule)
        assert str(error.value) == why
        assert "\n" not in why
