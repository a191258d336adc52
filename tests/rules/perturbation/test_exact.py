"""Exactness: averaged over every sign pattern of its own noise, a rule is the gradient that it says it is."""

import functools
import itertools

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError

pytestmark = pytest.mark.usefixtures("x64")

# One recurrent unit and one or two steps more than the paths to be seen keep the patterns few.
CASES = {
    "tanh": (px.cells.Tanh, {"n": 2}, 3),
    "leaky": (px.cells.Leaky, {"n": 2}, 3),
    "gru": (px.cells.GRU, {"n": 1}, 3),
    "lstm": (px.cells.LSTM, {"n": 1}, 3),
    "dense": (px.cells.Dense, {"n": 2}, 2),
    "two tanh": (px.cells.Tanh, {"n": 1, "depth": 2}, 3),
    "two gru": (px.cells.GRU, {"n": 1, "depth": 2}, 2),
}
SIGMA = 1e-5


def setup(name, decor=False):
    cell, options, steps = CASES[name]
    net = helpers.network(cell, **options)
    if decor:
        net = px.add_decorrelation(net, "hidden+input", 1)
        shift = [
            px.Fixed(D.value + 0.3 * helpers.normal(jr.key(i), D.value.shape))
            for i, D in enumerate(net.decor)
        ]
        net = px.Network(net.layers, shift)
    xs, ys = helpers.data(steps=steps, batch=1)
    return net, xs, ys, steps


whole = jax.jit(px.bptt(helpers.mse))


def full(net, xs, ys):
    return whole(net, xs, ys)[1]


@jax.jit
def cut(net, xs, ys):
    return px.truncated_bptt(helpers.mse, 1)(net, xs, ys, None)[1]


@jax.jit
def discounted(net, xs, ys, gamma, window):
    """The gradient of each loss by the pre-activation k steps earlier, weighted by gamma^k for k < window."""
    steps, shapes = len(xs), net.sites_like(xs[0])
    noise = [jnp.zeros((steps, *s.a.shape)) for s in shapes]

    def losses(noise):
        def body(state, now):
            x, y, e = now
            state, out, sites = net.step(state, x, e)
            return state, (helpers.mse(out, y)[0] / steps, sites)

        return jax.lax.scan(body, net.start(1), (xs, ys, noise))[1]

    slopes = jax.jacrev(lambda e: losses(e)[0])(noise)  # (loss time, noise time, ...)
    lag = jnp.arange(steps)[:, None] - jnp.arange(steps)[None]
    kept = jnp.where((lag >= 0) & (lag < window), gamma ** jnp.maximum(lag, 0), 0.0)
    signal = [jnp.einsum("st,st...->t...", kept, s) for s in slopes]
    flat = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), losses(noise)[1])
    return net.credit(flat, [s.reshape(-1, *s.shape[2:]) for s in signal])


@pytest.mark.parametrize("decor", [False, True], ids=["plain", "decorrelated"])
@pytest.mark.parametrize("name", CASES)
def test_node_and_innovation(name, decor):
    net, xs, ys, steps = setup(name, decor)

    @jax.jit
    def estimates(patterns, net, xs, ys):  # one program: compiling is most of the time
        found = {}
        for rule, credit in itertools.product(("node", "innovation"), ("same-step", "to-go")):
            make = functools.partial(px.RULES[rule], sigma=SIGMA, credit=credit)
            found[rule, credit] = helpers.every_estimate(
                lambda noise, make=make: make(noise=noise), patterns, net, xs, ys
            )
        return found

    targets = {"same-step": cut(net, xs, ys), "to-go": full(net, xs, ys)}
    for (rule, credit), every in estimates(helpers.node_patterns(net, steps), net, xs, ys).items():
        assert helpers.distance(helpers.mean(every), targets[credit]) < 1e-8, (rule, credit)
    if name != "dense":  # negative control: the targets differ
        assert helpers.distance(targets["same-step"], targets["to-go"]) > 1e-4


@pytest.mark.parametrize("name", ["tanh", "gru", "two tanh"])
def test_weight(name):
    cell = {"tanh": px.cells.Tanh, "gru": px.cells.GRU, "two tanh": px.cells.Tanh}[name]
    net = helpers.network(cell, n=1, depth=2 if name == "two tanh" else 1)
    xs, ys = helpers.data(batch=2)
    patterns = helpers.weight_patterns(net)
    make = lambda noise: px.RULES["weight"](sigma=SIGMA, noise=noise)
    mean = helpers.averaged(make, patterns, net, xs, ys)
    assert helpers.distance(mean, full(net, xs, ys)) < 1e-8
    assert helpers.distance(mean, cut(net, xs, ys)) > 1e-4


@pytest.mark.parametrize(("window", "discount"), [(2, 1.0), (3, 0.6), (2, 0.0), (9, 0.7)])
def test_windows_and_discounts(window, discount):
    net, xs, ys, steps = setup("tanh")
    got = helpers.mean(windowed(net, xs, ys, helpers.node_patterns(net, steps), window, discount))
    assert helpers.distance(got, discounted(net, xs, ys, discount, window)) < 1e-8


@functools.partial(jax.jit, static_argnames="window")
def windowed(net, xs, ys, patterns, window, discount):
    def make(noise):
        rule = px.RULES["node"](sigma=SIGMA, credit="window", window=window, noise=noise)
        return eqx.tree_at(lambda r: r.discount, rule, discount)

    return helpers.every_estimate(make, patterns, net, xs, ys)


@pytest.mark.parametrize("difference", ["antithetic", "noisy"])
@pytest.mark.parametrize("rule", ["node", "innovation"])
def test_differences(rule, difference):
    net = helpers.network(px.cells.Tanh, n=1)
    xs, ys = helpers.data(batch=1)
    patterns = helpers.node_patterns(net, helpers.T, samples=2 if difference == "noisy" else 1)
    make = lambda noise: px.RULES[rule](sigma=SIGMA, credit="to-go", difference=difference, noise=noise)
    assert helpers.distance(helpers.averaged(make, patterns, net, xs, ys), full(net, xs, ys)) < 1e-8


def test_activity_is_unbiased_for_one_layer_and_one_step():
    """All differences of pre-activation have the same norm there, and N makes up for it."""
    readout = px.cells.Readout(2, 3, key=jr.key(0))
    net, (xs, ys) = px.Network((readout,)), helpers.data(n_in=2, n_out=3, steps=1, batch=1)
    make = lambda noise: px.RULES["activity"](sigma=SIGMA, noise=noise)
    got = helpers.averaged(make, helpers.node_patterns(net, 1), net, xs, ys)
    assert helpers.distance(got, full(net, xs, ys)) < 1e-8


def test_activity_is_biased_through_time():
    net, xs, ys, steps = setup("tanh")
    make = lambda noise: px.RULES["activity"](sigma=SIGMA, noise=noise)
    got = helpers.averaged(make, helpers.node_patterns(net, steps), net, xs, ys)
    assert helpers.distance(got, cut(net, xs, ys)) > 1e-4
    assert helpers.distance(got, full(net, xs, ys)) > 1e-2


def test_batches_are_averaged_with_noise_of_their_own():
    """With per-example deltas the estimate of a batch is the mean of the estimates of its examples."""
    net = helpers.network(px.cells.Tanh, n=3)
    xs, ys = helpers.data(batch=4)
    shapes = net.sites_like(xs[0])
    signs = np.random.default_rng(0)
    table = [signs.choice([-1.0, 1.0], (helpers.T, 1, *s.a.shape)) for s in shapes]

    @jax.jit
    def estimate(xs, ys, table):
        rule = px.RULES["node"](sigma=1e-2, credit="to-go", noise=helpers.Recorded(table))
        return helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1]

    xs, ys = np.asarray(xs), np.asarray(ys)
    alone = [estimate(xs[:, [b]], ys[:, [b]], [t[:, :, [b]] for t in table]) for b in range(4)]
    mean = jax.tree.map(lambda *g: np.mean(g, 0), *alone)
    assert helpers.distance(estimate(xs, ys, table), mean) < 1e-12


@pytest.mark.parametrize("rule", ["node", "activity", "innovation", "weight"])
def test_samples_average(rule):
    """K samples against one clean pass are the mean of K estimates from one sample each."""
    net = helpers.network(px.cells.Tanh, n=2)
    xs, ys = helpers.data(batch=2)
    like = px.weights(net) if rule == "weight" else [s.a for s in net.sites_like(xs[0])]
    leaves, tree = jax.tree.flatten(like)
    rows = 1 if rule == "weight" else helpers.T
    normal = np.random.default_rng(0).normal
    table = tree.unflatten([normal(size=(rows, 3, *leaf.shape)) for leaf in leaves])

    @functools.partial(jax.jit, static_argnames="samples")
    def estimate(table, samples):
        made = px.RULES[rule](sigma=1e-4, samples=samples, noise=helpers.Recorded(table))
        return helpers.fresh(made, helpers.mse)(net, xs, ys, jr.key(0))[1]

    alone = [estimate(jax.tree.map(lambda t, k=k: t[:, [k]], table), 1) for k in range(3)]
    mean = jax.tree.map(lambda *g: np.mean(g, 0), *alone)
    assert helpers.distance(estimate(table, 3), mean) < 1e-10


def test_one_step_and_frozen():
    for name in ("leaky", "gru", "dense", "two tanh"):
        net, xs, ys, _ = setup(name, decor=True)
        one, frozen = (
            helpers.fresh(px.RULES[r](), helpers.mse)(net, xs, ys, jr.key(0))[1]
            for r in ("one-step", "frozen")
        )
        assert helpers.distance(one, cut(net, xs, ys)) < 1e-12
        assert helpers.distance(frozen.layers[-1], full(net, xs, ys).layers[-1]) < 1e-12
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(frozen.layers[:-1]))
        assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(one.layers[:-1]))


def test_truncated_bptt():
    """Rolling equals the sum over losses of the gradient through their last steps; windows cut where they
    say.
    """
    net, (xs, ys) = helpers.network(px.cells.Leaky, n=3), helpers.data(steps=7)
    loss, exact = whole(net, xs, ys)
    for rolling in (True, False):
        assert helpers.distance(px.truncated_bptt(helpers.mse, 7, rolling)(net, xs, ys)[1], exact) < 1e-12
    one_step = px.truncated_bptt(helpers.mse, 1, rolling=True)(net, xs, ys)[1]
    assert helpers.distance(one_step, cut(net, xs, ys)) < 1e-12

    @jax.jit
    @jax.grad
    def late(some, state, xs, y):
        """The slope of the last loss through the few steps of xs."""
        for x in xs:
            state, out, _ = px.join(some, px.split(net)[1]).step(state, x)
        return helpers.mse(out, y).mean()

    step = jax.jit(lambda state, x: net.step(state, x)[0])
    xs, ys, states = np.asarray(xs), np.asarray(ys), [jax.jit(lambda: net.start(helpers.B))()]
    for x in xs:
        states.append(step(states[-1], x))
    slopes = []
    for t in range(7):
        first = max(0, t - 2)
        slopes.append(late(px.weights(net), states[first], xs[first : t + 1], ys[t]))
    mean = jax.tree.map(lambda *g: np.mean(g, 0), *slopes)
    rolled = px.truncated_bptt(helpers.mse, 3, rolling=True)(net, xs, ys)
    assert helpers.distance(rolled[1], mean) < 1e-12
    assert float(rolled[0]) == pytest.approx(float(loss), rel=1e-12)
    windows = px.truncated_bptt(helpers.mse, 3)(net, xs, ys)[1]
    assert helpers.distance(windows, mean) > 1e-3


@pytest.mark.parametrize("samples", [3, 4])
def test_iterative_is_unbiased_through_layers(samples):
    """Each layer's own noise is all that its activity shows, however deep it lies."""
    net = helpers.network(px.cells.Dense, n=2, depth=2)
    xs, ys = helpers.data(steps=1, batch=1)
    patterns = helpers.node_patterns(
        net, 1
    )  # every pass has the same signs: each layer is noised in its own passes
    repeated = jax.tree.map(lambda p: np.repeat(p, samples, 2), patterns)
    make = lambda noise: px.RULES["iterative"](sigma=SIGMA, samples=samples, noise=noise)
    assert helpers.distance(helpers.averaged(make, repeated, net, xs, ys), full(net, xs, ys)) < 1e-8


def test_activity_is_biased_through_layers():
    """Negative control: noise in all layers at once is not unbiased."""
    net = helpers.network(px.cells.Dense, n=2, depth=2)
    xs, ys = helpers.data(steps=1, batch=1)
    make = lambda noise: px.RULES["activity"](sigma=SIGMA, noise=noise)
    got = helpers.averaged(make, helpers.node_patterns(net, 1), net, xs, ys)
    assert helpers.distance(got, full(net, xs, ys)) > 1e-3


def test_iterative_needs_a_pass_for_every_layer():
    net = helpers.network(px.cells.Dense, n=2, depth=2)
    with pytest.raises(ArgumentError, match="samples must be 3 or more"):
        helpers.fresh(px.RULES["iterative"](samples=2), helpers.mse)(net, *helpers.data(), jr.key(0))


@pytest.mark.parametrize("difference", ["one-sided", "noisy", "antithetic"])
@pytest.mark.parametrize("rule", ["node", "innovation"])
def test_noise_that_no_rule_is_told_of_is_averaged_out(rule, difference):
    """Ambient noise in every row: node pairs with its own noise, innovation sees all of it; both stay
    unbiased.
    """
    net = px.Network((px.cells.Readout(2, 2, key=jr.key(3)),))
    xs, ys = helpers.data(n_in=2, n_out=2, steps=1, batch=2)
    want = full(net, xs, ys)

    @jax.jit
    @jax.vmap
    def estimates(key):
        made = px.RULES[rule](sigma=0.05, ambient=0.1, difference=difference)
        return helpers.fresh(made, helpers.mse)(net, xs, ys, key)[1]

    found = estimates(jr.split(jr.key(5), 40_000))
    for g, w in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        g, w = np.asarray(g), np.asarray(w)
        error = g.std(0) / len(g) ** 0.5
        assert np.max(np.abs(g.mean(0) - w) / error) < 4.5
        assert np.max(error / np.abs(w)) < 0.2  # a factor of 1 + 2 (0.1 / 0.05)^2 would show
