"""Convolutional layers: what they compute, that every family of rules trains them, and patch-wise D."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.cells.image import Geometry, Maps, Pool
from perturbax.cells.stack import stack
from perturbax.errors import ArgumentError
from perturbax.experiment.build import Architecture
from perturbax.experiment.resolve import resolve
from perturbax.network.decorrelation import apply_decorrelation, decorrelation_update

RNG = np.random.default_rng(0)


def by_hand(image, W, b, kernel, stride, padding):
    """A convolution as its definition says, place by place: image (channels, height, width)."""
    padded = np.pad(image, ((0, 0), (padding,) * 2, (padding,) * 2))
    rows, columns = ((side - kernel) // stride + 1 for side in padded.shape[1:])
    out = np.zeros((W.shape[1], rows, columns))
    for y in range(rows):
        for x in range(columns):
            top, left = y * stride, x * stride
            patch = padded[:, top : top + kernel, left : left + kernel]
            out[:, y, x] = patch.reshape(-1) @ W + b
    return out


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 0), (2, 2, 0), (3, 2, 1)])
def test_a_layer_is_its_definition(kernel, stride, padding, x64):
    pixels = RNG.normal(size=(5, 4, 2))  # colours last, as tasks have them
    settings = {"kernel": kernel, "stride": stride, "padding": padding, "pool": 1, "activation": "tanh"}
    layer = px.cells.Conv(40, 3, image="5x4x2", key=jr.key(0), **settings)
    W, b = RNG.normal(size=layer.W.shape), RNG.normal(size=3)
    some, rest = px.split(layer)
    leaves, tree = jax.tree.flatten(some)
    assert [leaf.shape for leaf in leaves] == [W.shape, (3,)]
    layer = px.join(tree.unflatten([jnp.asarray(W), jnp.asarray(b)]), rest)
    a = layer.drive(jnp.asarray(pixels.ravel()), layer.start()[1])
    want = by_hand(np.moveaxis(pixels, -1, 0), W, b, kernel, stride, padding)
    np.testing.assert_allclose(a, want.ravel(), atol=1e-12)
    np.testing.assert_allclose(layer.advance((), a)[1], np.tanh(a), atol=1e-12)
    assert layer.maps == want.shape


@pytest.mark.parametrize("kind", ["sum", "mean", "max"])
def test_pools_are_their_definition(kind):
    image = RNG.normal(size=(2, 5, 7))
    over = {"sum": np.sum, "mean": np.mean, "max": np.max}[kind]
    for kernel, stride in (((2, 3), (2, 3)), ((2, 3), (1, 2))):
        got = Pool(kind, image.shape, kernel, stride, ((0, 0), (0, 0)))(jnp.asarray(image.ravel()))
        rows = range(0, 5 - kernel[0] + 1, stride[0])
        columns = range(0, 7 - kernel[1] + 1, stride[1])
        want = [
            over(image[c, y : y + kernel[0], x : x + kernel[1]])
            for c in (0, 1)
            for y in rows
            for x in columns
        ]
        np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(("size", "kernel", "padding", "pool"), [(9, 3, 0, 2), (8, 5, 2, 3), (7, 2, 1, 1)])
def test_pooled_at_once_is_convolution_and_pool(size, kernel, padding, pool, x64):
    W, z = RNG.normal(size=(2 * kernel**2, 3)), jnp.asarray(RNG.normal(size=2 * size * (size + 1)))
    for pooling in ("average", "max"):
        move = Geometry.of(Maps(2, size, size + 1), kernel, 1, padding, pool, pooling)
        want = move.pooled(move.convolve(jnp.asarray(W), None, z))
        np.testing.assert_allclose(move.pooled_at_once(jnp.asarray(W), z), want, atol=1e-12)


@pytest.mark.parametrize(
    ("n_in", "settings", "words"),
    [
        (28, {}, "28 inputs are no square image: read images whole"),
        (30, {"image": "5x5"}, "30 inputs are no image of 5x5"),
        (25, {"image": "wide"}, "image must be the shape of an image"),
        (25, {"kernel": 6, "padding": 0}, "kernel of 6x6 is larger than what it reads, an image of 5x5$"),
        (25, {"stride": 0}, "stride must be a whole number of at least 1, not 0"),
        (25, {"padding": -1}, "padding must be a whole number of at least 0"),
        (25, {"pool": 6}, "pool must be a whole number from 1 to 5, as 5x5 values are left"),
        (25, {"pooling": "median"}, "pooling"),
        (25, {"activation": "step"}, "activation"),
        (25, {"convolved": -1}, "convolved"),
    ],
)
def test_what_does_not_fit_is_refused(n_in, settings, words):
    with pytest.raises(ArgumentError, match=words):
        px.cells.Conv(n_in, 3, key=jr.key(0), **settings)


def test_a_stack_reads_maps_as_images():
    layers = stack(px.cells.Conv, (36, 10), (2, 3, 5), jr.key(0), convolved=2, pool=1, kernel=3, padding=0)
    assert [type(layer).__name__ for layer in layers] == ["Conv", "Conv", "Dense", "Readout"]
    assert [layer.width for layer in layers] == [2 * 4 * 4, 3 * 2 * 2, 5, 10]
    assert layers[1].geometry.before == Maps(2, 4, 4)
    with pytest.raises(
        ArgumentError, match="kernel of 7x7 is larger than what it reads, an image of 2x2 with 1 zeros"
    ):
        stack(px.cells.Conv, (36, 10), (2, 3), jr.key(0), kernel=7, padding=1, pool=1)


def test_a_run_takes_the_shape_of_the_images_of_its_task():
    digits = px.Experiment(task="digits", task_options={"order": "whole"}, cell="conv", units=(3,))
    e = resolve(digits)
    for sizes, image, maps in (
        ((60, 2), (10, 6), (1, 10, 6)),
        ((72, 2), (4, 6, 3), (3, 4, 6)),
        ((64, 2), (), (1, 8, 8)),
    ):
        layer = Architecture.of(e, sizes, image).network(jr.key(0)).layers[0]
        assert layer.geometry.before == maps
    typed = resolve(dataclasses.replace(digits, cell_options={"image": "6x10"}))
    assert Architecture.of(typed, (60, 2), (10, 6)).network(jr.key(0)).layers[0].geometry.before == (1, 6, 10)


# --- learning


def tiny(pooling, hidden=1):
    """Three layers over images of 3 x 3 with outputs of two, strong weights."""
    layers = stack(
        px.cells.Conv, (9, 2), (1, hidden), jr.key(0), convolved=1, kernel=2, padding=0, pooling=pooling
    )
    some, rest = px.split(px.Network(layers))
    leaves, tree = jax.tree.flatten(some)
    drawn = [helpers.normal(jr.key(i), leaf.shape) for i, leaf in enumerate(leaves)]
    return px.join(tree.unflatten(drawn), rest)


@functools.cache
def data():
    return helpers.data(9, 2, steps=1, batch=1)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_rules_estimate_its_gradient(pooling, x64):
    """Averaged over the signs of their noise those that draw any, and all others outright; `activity`, whose
    upper layers take the noise of those below for their own, in its direction.
    """
    net, (xs, ys) = tiny(pooling), data()
    other = px.Network(tiny("max" if pooling == "average" else "average").layers)

    @jax.jit
    def outright(net, other, xs, ys):
        def loss(some):
            return helpers.mse(px.forward(px.join(some, px.split(net)[1]), xs), ys).mean()

        exact = px.bptt(helpers.mse)
        rules = {
            rule: helpers.fresh(px.RULES[rule](), helpers.mse) for rule in ("predictive-coding", "e-prop")
        }
        found = {rule: estimate(net, xs, ys, jr.key(0))[1] for rule, estimate in rules.items()}
        return exact(net, xs, ys)[1], exact(other, xs, ys)[1], jax.grad(loss)(px.weights(net)), found

    exact, another, by_autodiff, found = outright(net, other, xs, ys)
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(by_autodiff), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
        assert np.abs(a).max() > 1e-3  # alive
    patterns = helpers.every_sign([(1, 1, *site.a.shape) for site in net.sites_like(xs[0])])
    thrice = [np.repeat(np.asarray(signs), 3, axis=2) for signs in patterns]  # a sample for each layer
    in_weights = helpers.weight_patterns(net)
    make = {
        "node": (px.rules.Node, {}, patterns),
        "innovation": (px.rules.Innovation, {}, patterns),
        "activity": (px.rules.Activity, {}, patterns),
        "iterative": (px.rules.Iterative, {"samples": 3}, thrice),
        "weight": (px.rules.Weight, {"difference": "antithetic"}, in_weights),
        "evolution": (px.rules.Evolution, {"rank": 0, "population": 2}, jax.tree.leaves(in_weights)),
    }

    names = list(make) if pooling == "average" else ["node", "innovation"]

    @jax.jit
    def averages(tables, net, xs, ys):
        def average(name):
            rule, settings, _ = make[name]
            made = lambda noise: rule(sigma=1e-5, noise=noise, **settings)
            return helpers.every_estimate(made, tables[name], net, xs, ys)

        return {name: average(name) for name in tables}

    for name, every in averages({name: make[name][-1] for name in names}, net, xs, ys).items():
        if name != "activity":
            assert helpers.distance(helpers.mean(every), exact) < 1e-7, name
            continue
        for got, want in zip(*map(jax.tree.leaves, (helpers.mean(every), exact)), strict=True):
            along = np.vdot(got, want) / np.linalg.norm(got) / np.linalg.norm(want)
            assert along > 0.5, (name, along)
    for rule, got in found.items():
        assert helpers.distance(got, exact) < 1e-10, rule
    assert helpers.distance(another, exact) > 1e-2  # negative control


def test_it_learns_images():
    """Digits, where a readout alone, of kernels as they start, does not get as far in as many steps."""
    pytest.importorskip("sklearn")
    settings = {"task": "digits", "task_options": {"order": "whole"}, "cell": "conv", "units": (4, 8)}
    given = {**settings, "batch": 20, "steps": 150, "lr": 3e-2, "logs": 1}
    learnt, frozen = (px.run(px.Experiment(**given, rule=rule)).summary for rule in ("bptt", "frozen"))
    assert learnt["test"]["loss"] < 0.6 * frozen["test"]["loss"]
    assert learnt["test"]["loss"] < 0.6 * learnt["baselines"]["constant"]["loss"]


def test_patches_are_decorrelated(x64):
    """One D of the size of a patch, shared over places; its update is its definition, and credit reads it."""
    (conv, *above), zs = tiny("average").layers, RNG.normal(size=(6, 9))
    net = px.add_decorrelation(px.Network((conv, *above)), "hidden+input", 9)
    assert [D if D is None else D.value.shape for D in net.decor] == [None, (1, 1), (1, 1)]
    assert net.layers[0].D.value.shape == (4, 4)
    x = jnp.asarray(zs)[None]
    forward = jax.jit(px.forward)
    np.testing.assert_allclose(forward(net, x), forward(px.Network((conv, *above)), x), atol=1e-12)
    D = np.eye(4) + 0.3 * RNG.normal(size=(4, 4))
    net = px.Network((net.layers[0].through(px.Fixed(jnp.asarray(D.T))), *above))
    patches = [np.ravel(z.reshape(3, 3)[i : i + 2, j : j + 2]) for z in zs for i in (0, 1) for j in (0, 1)]
    read = np.array(patches) @ D.T  # (places of all rows, 4)
    C = read.T @ read / len(read)
    want = (C - np.diag(np.diag(C))) @ D

    @jax.jit
    def step(net, zs, signals):
        sites = net.step(net.start(6), zs)[2]
        update = decorrelation_update(net, sites)
        credit = net.credit(sites, signals)
        return sites[0].a, update, apply_decorrelation(net, update, 0.1), credit.layers[0]

    shapes = jax.eval_shape(lambda: [site.a for site in net.step(net.start(6), jnp.asarray(zs))[2]])
    signal = [RNG.normal(size=like.shape) for like in shapes]
    a, update, after, got = step(net, jnp.asarray(zs), signal)
    np.testing.assert_allclose(update[0].T, want, atol=1e-12)
    np.testing.assert_allclose(after.layers[0].D.value.T, D - 0.1 * want, atol=1e-12)
    W = np.asarray(conv.W)
    np.testing.assert_allclose(np.ravel(a), np.ravel(read @ W + np.asarray(conv.b)), atol=1e-12)
    np.testing.assert_allclose(got.W, read.T @ np.reshape(signal[0], (-1, 1)), atol=1e-12)
    assert got.D is None
    whole = px.add_decorrelation(net, "off", 9)
    assert whole.layers[0].D is None


def test_decorrelation_of_patches_decorrelates():
    """Neighbouring pixels are alike; what a kernel reads is not in the end."""
    smooth = RNG.normal(size=(200, 6, 6)).cumsum(1).cumsum(2)
    smooth = smooth / smooth.std((1, 2), keepdims=True)
    xs = jnp.asarray(smooth.reshape(1, 200, 36), jnp.float32)
    net = px.Network(stack(px.cells.Conv, (36, 2), (2,), jr.key(0), kernel=2, padding=0))
    net = px.add_decorrelation(net, "hidden+input", 36)

    def correlated(net):
        read = np.concatenate([np.asarray(net.layers[0].patches(x)) for x in xs[0][:20]])
        C = np.corrcoef(read.T)
        return np.abs(C - np.diag(np.diag(C))).mean()

    before, update = correlated(net), jax.jit(px.decorrelate)
    for _ in range(300):
        net = update(net, xs, 0.05)
    assert before > 0.5
    assert correlated(net) < 0.1 * before
