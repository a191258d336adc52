"""Networks to NIR and back: the same network, the same spikes, and one sentence for what cannot be said."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pages
import pytest

import perturbax as px
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError, DataError

nir = pytest.importorskip("nir", reason="an optional package: pip install nir")

RNG = np.random.default_rng(0)
STEPS, INPUTS, UNITS = 30, 3, 6


@pytest.fixture(scope="module")
def xs():
    return jr.normal(jr.key(1), (STEPS, 2, INPUTS))


def lif(**options):
    """A network of lif cells with strong inputs and its readout."""
    layers = stack(px.CELLS["lif"], (INPUTS, 2), (UNITS,), jr.key(0), **options)
    return px.Network((eqx.tree_at(lambda cell: cell.W, layers[0], 3 * layers[0].W), layers[1]))


def same(one, two):
    return jax.tree.structure(one) == jax.tree.structure(two) and all(
        np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)
    )


# --- our own networks


@pytest.mark.parametrize(
    "options",
    [
        {"leak": 0.83, "threshold": 0.7, "kappa": 0.45},
        {"bias": False, "sparsity": 0.5, "surrogate": "sigmoid", "dampening": 0.2, "detach_reset": False},
        {"kappa": 0.0, "pattern": "ring", "sparsity": 0.4},
    ],
)
def test_our_own_file_gives_the_same_network(tmp_path, options):
    net = lif(reset="zero", **options)
    px.to_nir(net, tmp_path / "net.nir")
    assert same(px.from_nir(tmp_path / "net.nir"), net)


def test_what_a_file_of_ours_says():
    """Physical units, vectors, Affine, transposed weights, dt and reset in the metadata."""
    net = lif(reset="zero", leak=0.9, bias=False)
    graph = px.to_nir(net, dt=1e-3)
    cell, node = net.layers[0], graph.nodes["lif_0"]
    assert graph.metadata["dt"] == 1e-3
    assert graph.metadata["reset"] == "zero"
    np.testing.assert_allclose(node.tau, np.full(UNITS, 1e-3 / 0.1))
    np.testing.assert_allclose(node.r, np.full(UNITS, 10.0))
    for name, value in (("v_leak", 0.0), ("v_reset", 0.0), ("v_threshold", 1.0)):
        np.testing.assert_array_equal(getattr(node, name), np.full(UNITS, value))
    assert isinstance(graph.nodes["affine_0"], nir.Affine)
    np.testing.assert_array_equal(graph.nodes["affine_0"].weight, np.asarray(cell.W).T)
    np.testing.assert_array_equal(graph.nodes["recurrent_0"].weight, np.asarray(cell.U).T)
    assert {("lif_0", "recurrent_0"), ("recurrent_0", "lif_0")} <= set(graph.edges)
    assert graph.nodes["li_1"].tau[0] == pytest.approx(1e-3 / 0.1)


def test_without_what_we_wrote_beside_it_the_graph_gives_the_same_spikes_and_outputs(xs):
    """What a reader that knows NIR alone must find."""
    net = lif(reset="zero", leak=0.8)
    graph = px.to_nir(net)
    for node in graph.nodes.values():
        node.metadata.pop("perturbax", None)
    read = px.from_nir(graph)
    assert type(read.layers[0]) is px.cells.LIF  # a LIF of NIR with one leak and r = tau / dt is one
    assert read.layers[0].reset == "zero"
    assert px.differing_spikes(net, read, xs) == (0, STEPS * 2 * UNITS)
    np.testing.assert_allclose(px.forward(read, xs), px.forward(net, xs), atol=1e-5)
    assert 0.05 < np.mean(px.forward(px.Network(net.layers[:1]), xs)) < 0.95


def test_r_may_go_into_the_weights(xs):
    net = lif(reset="zero", leak=0.8)
    graph = px.to_nir(net, r_in_weights=True)
    np.testing.assert_array_equal(graph.nodes["lif_0"].r, 1.0)
    np.testing.assert_array_equal(graph.nodes["li_1"].r, 1.0)
    np.testing.assert_allclose(graph.nodes["affine_0"].weight, 5 * np.asarray(net.layers[0].W).T, rtol=1e-6)
    np.testing.assert_allclose(px.forward(px.from_nir(graph), xs), px.forward(net, xs), atol=1e-4)


def test_matrices_of_decorrelation_are_multiplied_into_the_weights(xs):
    net = px.add_decorrelation(lif(reset="zero"), "hidden+input", INPUTS)
    mixed = [px.Fixed(D.value + 0.1 * jr.normal(jr.key(i), D.value.shape)) for i, D in enumerate(net.decor)]
    net = px.Network(net.layers, mixed)
    read = px.from_nir(px.to_nir(net))
    assert read.decor == (None, None)
    np.testing.assert_allclose(px.forward(read, xs), px.forward(net, xs), atol=1e-4)


def test_what_nir_cannot_say_is_refused_or_measured(tmp_path, xs):
    net = lif()
    with pytest.raises(ArgumentError, match="NIR has no reset by subtraction"):
        px.to_nir(net, tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())
    graph = px.to_nir(net, tmp_path / "net.nir", approximate=xs)
    found = nir.read(str(tmp_path / "net.nir"))
    assert graph.metadata["reset"] == "subtract"
    assert 0 < found.metadata["differing_spikes"] < found.metadata["of_spikes"] == STEPS * 2 * UNITS
    as_zero = px.Network(
        (eqx.tree_at(lambda c: c.W, lif(reset="zero").layers[0], net.layers[0].W), net.layers[1])
    )
    assert px.differing_spikes(net, as_zero, xs).differing == found.metadata["differing_spikes"]
    assert same(px.from_nir(tmp_path / "net.nir"), net)  # perturbax itself knows better
    with pytest.raises(ArgumentError, match="exists already"):
        px.to_nir(net, tmp_path / "net.nir", approximate=xs)


@pytest.mark.parametrize(
    ("cell", "options", "words"),
    [
        ("gru", {}, r"layer 0 \(GRU\) has no counterpart in NIR"),
        ("lif", {"reset": "zero", "refractory": 2}, "NIR has no refractory time"),
        ("alif", {"reset": "zero"}, "NIR has no adaptive threshold"),
    ],
)
def test_other_cells_are_refused_in_one_sentence(cell, options, words):
    net = px.Network(stack(px.CELLS[cell], (2, 1), (3,), jr.key(0), **options))
    with pytest.raises(ArgumentError, match=words):
        px.to_nir(net)


# --- graphs of others


def vector(value, *shape):
    return np.full(shape, value, np.float64)


def population(kind, *shape):
    membrane = {"r": vector(4.0, *shape), "v_leak": vector(0.1, *shape)}
    spike = {"v_threshold": vector(0.5, *shape), "v_reset": vector(-0.2, *shape)}
    cuba = {"tau_syn": vector(2e-4, *shape), "tau_mem": vector(5e-4, *shape), "w_in": vector(1.5, *shape)}
    leaky = {"tau": vector(5e-4, *shape)}
    constants = {
        "LIF": leaky | membrane | spike,
        "LI": leaky | membrane,
        "IF": {"r": vector(1e4, *shape)} | spike,
        "I": {"r": vector(1e4, *shape)},
        "CubaLIF": cuba | membrane | spike,
        "CubaLI": cuba | membrane,
        "Threshold": {"threshold": vector(0.5, *shape)},
    }
    return getattr(nir, kind)(**constants[kind])


def over(node, a, dt=1e-4):
    """The equations of NIR in Euler steps, of inputs a `(T, n)`: outputs `(T, n)`."""
    kind = type(node).__name__
    v, i, ys = np.zeros(a.shape[1]), np.zeros(a.shape[1]), []
    for now in a:
        if kind == "Threshold":
            ys.append(now > node.threshold)
            continue
        if "Cuba" in kind:
            i = now = i + dt / node.tau_syn * (-i + node.w_in * now)
        if kind in ("IF", "I"):
            v = v + dt * node.r * now
        else:
            tau = node.tau_mem if "Cuba" in kind else node.tau
            v = v + dt / tau * (node.v_leak - v + node.r * now)
        spiking = hasattr(node, "v_threshold")
        y = v > node.v_threshold if spiking else v.copy()
        v = np.where(y, node.v_reset, v) if spiking else v
        ys.append(y)
    return np.array(ys, float)


@pytest.mark.parametrize("kind", ["LIF", "LI", "IF", "I", "CubaLIF", "CubaLI", "Threshold"])
def test_populations_are_their_equations(kind):
    node = population(kind, 4)
    net = px.from_nir(nir.NIRGraph.from_list(node))
    a = RNG.normal(size=(20, 4))
    found = net.layers[0].neurons
    h, ys = found.start(4), []
    for now in jnp.asarray(a, jnp.float32):
        h, y = found.advance(h, now)
        ys.append(y)
    np.testing.assert_allclose(np.stack(ys), over(node, a), atol=1e-5)
    assert np.stack(ys).any()


def images():
    """Conv2d, IF, pools, Flatten, Affine, CubaLIF: 2 channels of 6 x 5."""
    kernel = RNG.normal(size=(3, 2, 3, 3)).astype("f")
    conv = nir.Conv2d((6, 5), kernel, (2, 1), (1, 0), (1, 1), 1, RNG.normal(size=3).astype("f"))
    nodes = {
        "input": nir.Input({"input": np.array([2, 6, 5])}),
        "conv": conv,
        "if": population("IF", 3, 3, 3),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([1, 1]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([3, 2, 2])}, 0, -1),
        "affine": nir.Affine(RNG.normal(size=(4, 12)).astype("f"), RNG.normal(size=4).astype("f")),
        "cuba": population("CubaLIF", 4),
        "output": nir.Output({"output": np.array([4])}),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(itertools.pairwise(names)))


def test_images_and_pools_go_in_and_out():
    graph = images()
    net = px.from_nir(graph)
    assert [layer.n for layer in net.layers] == [27, 4]
    x = RNG.normal(size=60)
    kernel, image = (
        np.asarray(graph.nodes["conv"].weight),
        np.pad(x.reshape(2, 6, 5), ((0, 0), (1, 1), (0, 0))),
    )
    wanted = np.array(
        [
            [[(kernel[o] * image[:, 2 * i : 2 * i + 3, j : j + 3]).sum() for j in range(3)] for i in range(3)]
            for o in range(3)
        ]
    ) + graph.nodes["conv"].bias.reshape(3, 1, 1)
    found = net.layers[0].drive(jnp.asarray(x, jnp.float32), jnp.zeros(27))
    np.testing.assert_allclose(found, wanted.ravel(), rtol=1e-4, atol=1e-4)
    pooled = net.layers[1].before[0](jnp.arange(27.0))
    np.testing.assert_allclose(pooled[:4], [2.0, 3.0, 5.0, 6.0])  # means of 2 x 2 of 0 .. 8
    assert same(px.from_nir(px.to_nir(net)), net)


def nested():
    """A recurrent population as snntorch writes it: a graph in the graph."""
    inner = nir.NIRGraph(
        {
            "input": nir.Input([5]),
            "lif": population("LIF", 5),
            "w_rec": nir.Linear(RNG.normal(size=(5, 5)).astype("f")),
            "output": nir.Output([5]),
        },
        [("input", "lif"), ("lif", "w_rec"), ("w_rec", "lif"), ("lif", "output")],
    )
    nodes = {
        "input": nir.Input([3]),
        "0": nir.Linear(RNG.normal(size=(5, 3)).astype("f")),
        "1": inner,
        "2": nir.Affine(RNG.normal(size=(2, 5)).astype("f"), np.zeros(2, "f")),
        "output": nir.Output([2]),
    }
    return nir.NIRGraph(nodes, [("input", "0"), ("0", "1"), ("1", "2"), ("2", "output")])


def test_nested_graphs_feedback_and_readouts(tmp_path, xs):
    nir.write(str(tmp_path / "net.nir"), nested())
    net = px.from_nir(tmp_path / "net.nir")
    population, readout = net.layers
    assert population.own is not None
    assert type(readout) is px.cells.Readout
    assert population.below.b is None
    np.testing.assert_array_equal(readout.b, 0)
    for rule in ("node", "weight", "e-prop", "rtrl", "bptt", "feedback"):
        grads = px.learner(px.RULES[rule](), lambda y, t: jnp.mean((y - t) ** 2, -1))
        state = grads.init(net, xs[0], jr.key(0))
        out = jax.eval_shape(grads.update, state, net, xs[:4], xs[:4, :, :2], jr.key(0))
        assert jax.tree.structure(out[-1]) == jax.tree.structure(px.weights(net)), rule


def test_rules_with_traces_are_exact_without_feedback():
    """Below a population of gain 0.8 there are weights, or none: then the readout above it learns. OTTT is
    exact where a spike takes away what counts as constant.
    """
    loss = lambda y, target: jnp.mean((y - target) ** 2, -1)
    below = nir.Affine(RNG.normal(size=(3, 3)), np.ones(3))
    above = nir.Affine(RNG.normal(size=(2, 3)), np.zeros(2))
    xs, ys = jr.normal(jr.key(0), (5, 2, 3)), jnp.ones((5, 2, 2))
    for nodes, rules in (((below,), ("e-prop", "ottt")), ((), ("e-prop",))):
        graph = nir.NIRGraph.from_list(*nodes, population("LIF", 3), above)
        net = px.from_nir(graph, reset="subtract" if "ottt" in rules else "zero")
        wanted = jax.jit(px.bptt(loss))(net, xs, ys)[1]
        for rule in rules:
            found = jax.jit(px.value_and_estimate(px.RULES[rule](), loss))(net, xs, ys, jr.key(0))[1]
            for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)
                assert np.any(other)


def test_reset_by_subtraction_may_be_said_when_a_file_is_read():
    graph = nested()
    read = px.from_nir(graph, reset="subtract", surrogate="sigmoid", dt=2e-4)
    neurons = read.layers[0].neurons
    assert neurons.reset is None
    assert neurons.surrogate == "sigmoid"
    np.testing.assert_allclose(neurons.decay.value, 1 - 2e-4 / 5e-4, rtol=1e-6)
    assert same(px.from_nir(px.to_nir(read, approximate=np.zeros((2, 1, 3), "f"), dt=2e-4)), read)


def chain(*nodes, edges=(), **more):
    named = {"input": nir.Input([3]), **{f"n{i}": node for i, node in enumerate(nodes)}, **more}
    named["output"] = nir.Output([3])
    names = ["input", *(f"n{i}" for i in range(len(nodes))), "output"]
    return nir.NIRGraph(named, [*itertools.pairwise(names), *edges], type_check=False)


def replaced(name, **values):
    """The graph of images with other values in a node: nir itself does not look at them."""
    graph = images()
    for field, value in values.items():
        setattr(graph.nodes[name], field, value)
    return graph


SQUARE = nir.Linear(np.eye(3))


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (
            lambda: chain(SQUARE, SQUARE, edges=[("side", "n1")], side=nir.Linear(np.eye(3))),
            "node 'side' is on no way from the input to the output",
        ),
        (lambda: chain(nir.Linear(np.ones((3, 4)))), "node 'n0' has weights for 4 inputs and reads 3"),
        (lambda: chain(nir.Linear(np.full((3, 3), np.nan))), "node 'n0': weight is not finite everywhere"),
        (
            lambda: chain(nir.LI(tau=vector(1e-5, 3), r=vector(1, 3), v_leak=vector(0, 3))),
            "tau of 1e-05 s is shorter than a step of 0.0001 s",
        ),
        (lambda: chain(population("LIF", 4)), "tau has 4 values for 3 units"),
        (lambda: replaced("conv", stride=b"two"), "node 'conv' cannot be read: it must hold whole numbers"),
        (lambda: replaced("conv", stride=0), "node 'conv' cannot be read: "),
        (lambda: replaced("pool", kernel_size=np.array([9, 1])), "leave nothing of (3, 3, 3)"),
        (lambda: replaced("if", r="fast"), "node 'if': r holds no numbers, but <U4"),
        (lambda: replaced("input", input_type=None), "node 'input' cannot be read: "),
    ],
)
def test_graphs_that_are_no_network_are_refused(graph, words):
    with pytest.raises(DataError) as caught:
        px.from_nir(graph())
    assert words in str(caught.value)


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pages.run_page(pages.ROOT / "docs" / "nir.md", tmp_path)
    assert "(50, 1, 2) Differing(differing=0, of=1000)" in capsys.readouterr().out


def test_files_that_are_no_graph_are_refused(tmp_path):
    (tmp_path / "text.nir").write_text("no graph")
    with pytest.raises(DataError, match="cannot be read as a graph of NIR"):
        px.from_nir(tmp_path / "text.nir")
    with pytest.raises(ArgumentError, match="no such file"):
        px.from_nir(tmp_path / "none.nir")
    with pytest.raises(ArgumentError, match="did you mean 'snntorch'"):
        px.from_nir(nested(), written_by="snntorh")
    graph = px.to_nir(lif(reset="zero"))
    graph.nodes["lif_0"].metadata["perturbax"] = '{"cell": "lif", "surrogate": "none", "reset": "never"}'
    with pytest.raises(DataError, match="metadata of perturbax"):
        px.from_nir(graph)
