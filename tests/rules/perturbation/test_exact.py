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
    "gru": (px.cells.GRU, {"n": 1}, 3),
    "lstm": (px.cells.LSTM, {"n": 1}, 3),
    "two tanh": (px.cells.Tanh, {"n": 1, "depth": 2}, 3),
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


# Noise goes into pre-activations, whatever the cell. One has no hidden state, one a state that gates read,
# one a state that they do not read, one stands on another; two of them with decorrelation.
PAIRS = [("tanh", "plain"), ("gru", "decorrelated"), ("lstm", "plain"), ("two tanh", "decorrelated")]


@pytest.mark.parametrize(("name", "decor"), PAIRS)
def test_node_and_innovation(name, decor):
    net, xs, ys, steps = setup(name, decor == "decorrelated")

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
    assert helpers.distance(targets["same-step"], targets["to-go"]) > 1e-4  # negative control: they differ


@pytest.mark.parametrize("name", ["tanh", "gru"])
def test_weight(name):
    net = helpers.network({"tanh": px.cells.Tanh, "gru": px.cells.GRU}[name], n=1)
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
    def together_and_alone(xs, ys, table):
        def estimate(xs, ys, table):
            rule = px.RULES["node"](sigma=1e-2, credit="to-go", noise=helpers.Recorded(table))
            return helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1]

        by_example = lambda array, axis: jnp.expand_dims(jnp.moveaxis(array, axis, 0), axis + 1)
        each = by_example(xs, 1), by_example(ys, 1), [by_example(t, 2) for t in table]
        return estimate(xs, ys, table), jax.vmap(estimate)(*each)

    together, alone = together_and_alone(xs, ys, table)
    assert helpers.distance(together, helpers.mean(alone)) < 1e-12


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

    @jax.jit
    def together_and_alone(table):
        def estimate(table, samples):
            made = px.RULES[rule](sigma=1e-4, samples=samples, noise=helpers.Recorded(table))
            return helpers.fresh(made, helpers.mse)(net, xs, ys, jr.key(0))[1]

        each = jax.tree.map(lambda t: jnp.moveaxis(t, 1, 0)[:, :, None], table)  # (3, rows, 1, ...)
        return estimate(table, 3), jax.vmap(lambda t: estimate(t, 1))(each)

    together, alone = together_and_alone(table)
    assert helpers.distance(together, helpers.mean(alone)) < 1e-10


@pytest.mark.parametrize("name", ["gru", "two tanh"])
def test_one_step_and_frozen(name):
    net, xs, ys, _ = setup(name, decor=True)

    @jax.jit
    def both(net, xs, ys):
        rules = (px.RULES["one-step"](), px.RULES["frozen"]())
        return [helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1] for rule in rules]

    one, frozen = both(net, xs, ys)
    assert helpers.distance(one, cut(net, xs, ys)) < 1e-12
    assert helpers.distance(frozen.layers[-1], full(net, xs, ys).layers[-1]) < 1e-12
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(frozen.layers[:-1]))
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(one.layers[:-1]))


def test_truncated_bptt():
    """Rolling equals the sum over losses of the gradient through their last steps; windows cut where they
    say.
    """
    net, (xs, ys) = helpers.network(px.cells.Leaky, n=3), helpers.data(steps=7)

    @jax.jit
    def through_last(net, xs, ys):
        """The mean over losses of the gradient of each through its last three steps, written out."""
        some, rest = px.split(net)

        def late(some, state, xs, y):
            for x in xs:
                state, out, _ = px.join(some, rest).step(state, x)
            return helpers.mse(out, y).mean()

        states = jax.lax.scan(lambda s, x: (net.step(s, x)[0], s), net.start(helpers.B), xs)[1]
        before = lambda t: jax.tree.map(lambda s: s[t], states)
        whole = jnp.arange(2, 7)  # losses whose three steps there are
        early = [jax.grad(late)(some, before(0), xs[: t + 1], ys[t]) for t in (0, 1)]
        later = jax.vmap(lambda t: jax.grad(late)(some, before(t - 2), [xs[t - 2], xs[t - 1], xs[t]], ys[t]))
        return jax.tree.map(lambda a, b, c: (a + b + c.sum(0)) / 7, *early, later(whole))

    @jax.jit
    def truncated(net, xs, ys):
        windows = {"all": (7, False), "all, rolling": (7, True), "one": (1, True)}
        windows |= {"three": (3, False), "three, rolling": (3, True)}
        return {
            name: px.truncated_bptt(helpers.mse, *window)(net, xs, ys) for name, window in windows.items()
        }

    (loss, exact), found = whole(net, xs, ys), truncated(net, xs, ys)
    grads, mean = {name: g for name, (_, g) in found.items()}, through_last(net, xs, ys)
    assert helpers.distance(grads["all"], exact) < 1e-12
    assert helpers.distance(grads["all, rolling"], exact) < 1e-12
    assert helpers.distance(grads["one"], cut(net, xs, ys)) < 1e-12
    assert helpers.distance(grads["three, rolling"], mean) < 1e-12
    assert float(found["three, rolling"][0]) == pytest.approx(float(loss), rel=1e-12)
    assert helpers.distance(grads["three"], mean) > 1e-3


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


@pytest.mark.parametrize(
    ("rule", "difference"),
    [("node", "one-sided"), ("innovation", "noisy"), ("innovation", "antithetic")],
)
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
