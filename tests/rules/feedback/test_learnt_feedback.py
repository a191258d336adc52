"""Guessed gradients: unbiased whatever the guess, exact where the mirrors are, and of what was learnt from
noise.
"""

import dataclasses
from typing import NamedTuple

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.noise import Noise
from perturbax.learning.sequence import visible_loss
from perturbax.network.network import normalised
from perturbax.rules.feedback.probe import (
    measured_error,
    measured_gains,
    query_signs,
    through_normalisation,
)
from perturbax.rules.feedback.way_back import Sums, WayBack, is_recurrent, solved

CASES = {
    "tanh": (px.cells.Tanh, {"n": 2}, 3),
    "gru": (px.cells.GRU, {"n": 1}, 3),
    "two tanh": (px.cells.Tanh, {"n": 1, "depth": 2}, 3),
}


class Case(NamedTuple):
    net: px.Network
    xs: jax.Array
    ys: jax.Array
    exact: px.Network


def case(cell, options, steps=8, batch=8):
    return case_of(helpers.network(cell, scale=0.6, **options), steps, batch)


def case_of(net, steps=8, batch=8):
    xs, ys = helpers.data(steps=steps, batch=batch)
    return Case(net, xs, ys, exact(net, xs, ys))


@jax.jit
def learnt(rule, c, sequences):
    """What the rule knows after watching noise in one fixed network, and its next estimate."""
    update = px.learner(rule, helpers.mse).update

    def once(i, carry):
        kept, _, _ = carry
        after, _, grads = update(kept, c.net, c.xs, c.ys, jr.fold_in(jr.key(0), i))
        return after, kept, grads

    kept = rule.init_state(c.net, c.xs[0], jr.key(0))
    first = kept, kept, jax.tree.map(jnp.zeros_like, px.weights(c.net))
    return jax.lax.fori_loop(0, sequences + 1, once, first)[1:]


def learnt_by(rule, c, sequences):
    """The same with the rule's numbers as constants: a penalty of 0 then asks nothing of the units."""
    return jax.jit(lambda c: learnt.__wrapped__(rule, c, sequences))(c)


def unlearnt(rule, net, x):
    return jax.jit(lambda net: rule.init_state(net, x, jr.key(0)))(net)


@eqx.filter_jit
def step(rule, kept, net, xs, ys):
    """One sequence, compiled with the rule's numbers as constants."""
    return px.learner(rule, helpers.mse).update(kept, net, xs, ys, jr.key(0))


@jax.jit
def exact(net, xs, ys):
    return px.bptt(helpers.mse)(net, xs, ys, None)[1]


@pytest.mark.parametrize(
    ("name", "by"), [("tanh", "none"), ("gru", "random"), ("gru", "feedback"), ("two tanh", "mirror")]
)
def test_guided_is_unbiased_for_any_guess(x64, name, by):
    cell, options, steps = CASES[name]
    c = case(cell, options, steps, 1)
    table = helpers.node_patterns(c.net, steps)
    rule = px.RULES["guided"](sigma=1e-5, guess_by=by)
    known = unlearnt(rule, c.net, c.xs[0])[1]
    shift = lambda k: jnp.asarray(k + 0.5 * np.asarray(helpers.normal(jr.key(1), k.shape)), k.dtype)
    known = jax.tree.map(shift, jax.tree.map(np.asarray, known))  # a guess of no sense

    rules = {"guided": {"guess_by": by}}
    if by in ("feedback", "mirror"):
        rules[by] = {"lam": 0.0, "rate": 1e-6} if by == "mirror" else {"lam": 0.0}

    @jax.jit
    @jax.vmap
    def every(table):
        found = {}
        for name, fields in rules.items():
            made = px.RULES[name](sigma=1e-5, noise=helpers.Recorded(table), **fields)
            kept = (made.init_state(c.net, c.xs[0], jr.key(0))[0], known)
            found[name] = px.learner(made, helpers.mse).update(kept, c.net, c.xs, c.ys, jr.key(0))[2]
        return found

    means = {name: helpers.mean(found) for name, found in every(table).items()}
    assert helpers.distance(means["guided"], c.exact) < 1e-8
    if by in means:  # negative control: the guess alone is far off
        assert helpers.distance(means[by], c.exact) > 1e-2


@pytest.mark.parametrize(("cell", "depth"), [("Leaky", 1), ("GRU", 2)])
def test_mirror_becomes_bptt(x64, cell, depth):
    """Learnt from noise alone, the backward recursion is the exact gradient, through gates and layers too."""
    c = case(getattr(px.cells, cell), {"n": 3, "depth": depth})
    slow = px.RULES["mirror"](sigma=1e-5, rate=1e-3)
    assert helpers.distance(learnt(slow, c, 0)[1], c.exact) > 1e-2  # not before it has learnt
    assert helpers.distance(learnt(px.RULES["mirror"](sigma=1e-5), c, 5)[1], c.exact) < 1e-7


def test_feedback_weights_are_what_solves_the_sums(x64):
    """Where inputs were seen: there, least squares; elsewhere, what was known before stays."""
    sizes = (20, 6), (6, 3), (6, 3)
    read, right, V = (np.asarray(helpers.normal(jr.key(i), size)) for i, size in enumerate(sizes))
    read = read * (np.arange(6) < 4)  # the last two are never seen
    A = read.T @ read
    steps = jax.jit(solved, static_argnums=3)
    found = steps(Sums(A), A @ right, V, 20)
    np.testing.assert_allclose(found[:4], right[:4], atol=1e-12)
    np.testing.assert_array_equal(found[4:], V[4:])
    assert (
        np.abs(steps(Sums(A), A @ right, V, 1)[:4] - right[:4]).max() > 0.01
    )  # not before it has made its steps


def test_columns_that_read_values_of_their_own_are_solved_each(x64):
    """Three values that all columns read, two of its own for each: what one system per column has."""
    every, own, right = (
        np.asarray(helpers.normal(jr.key(i), s)) for i, s in enumerate([(30, 3), (30, 2, 4), (5, 4)])
    )
    read = [np.concatenate([every, own[:, :, j]], 1) for j in range(4)]  # (30, 5) of each column
    A = [r.T @ r for r in read]
    sums = Sums(A[0][:3, :3], np.stack([a[3:, :3] for a in A], -1), np.stack([a[3:, 3:] for a in A], -1))
    C = np.stack([a @ right[:, j] for j, a in enumerate(A)], 1)
    found = jax.jit(solved, static_argnums=3)(sums, C, np.zeros((5, 4)), 20)
    np.testing.assert_allclose(found, right, atol=1e-10)


def test_way_back_through_normalisation_is_measured(x64):
    z, worth = np.asarray(helpers.normal(jr.key(0), (3, 5))), np.asarray(helpers.normal(jr.key(1), (3, 5)))
    exact = jax.jit(lambda z: jax.vjp(normalised, z)[1](worth)[0])(z)
    measured = jax.jit(through_normalisation)
    np.testing.assert_allclose(measured(z, worth), exact, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(measured(z, 0 * worth), 0 * worth)


@pytest.mark.parametrize("cell", ["tanh", "lru", "gru"])
@pytest.mark.parametrize(
    "how", [{"residual": True}, {"normalise": True}, {"residual": True, "normalise": True}]
)
def test_mirror_goes_back_through_what_is_added_and_normalised(x64, cell, how):
    """Three layers of one width, and outputs of the second are added to what it read; exact in each case."""
    layers = helpers.strong(cell, n_in=1, n=3, n_out=1, depth=3, scale=0.6).layers
    c = case_of(px.Network(layers, **how))
    assert helpers.distance(exact(px.Network(layers), c.xs, c.ys), c.exact) > 1e-2  # the plain stack differs
    assert helpers.distance(learnt_by(px.RULES["mirror"](sigma=1e-5), c, 5)[1], c.exact) < 1e-6


def test_units_that_read_themselves_alone_keep_as_few_feedback_weights(x64):
    """An lru of n complex units has 2 x 2 of them per unit, not a matrix of 2 n x 2 n, and they are exact."""
    c = case_of(helpers.strong("lru", n_in=1, n=3, n_out=1, depth=2, scale=0.6))
    (_, known), found = learnt_by(px.RULES["mirror"](sigma=1e-5), c, 5)
    assert [V.shape for V in known[:2]] == [(2, 6), (6 + 2, 6)]
    assert helpers.distance(found, c.exact) < 1e-7
    re, im = np.asarray(c.net.layers[0].lam)
    turns = np.stack([np.concatenate([re, im]), np.concatenate([-im, re])])  # (value read, entry and unit)
    np.testing.assert_allclose(known[0], turns, atol=1e-6)
    mixed = px.Network(c.net.layers, [None, px.Fixed(jnp.eye(6)), None])  # a matrix mixes what is read
    assert WayBack.of(mixed, 0, c.net.sites_like(c.xs[0])[0]).rows == 6


@pytest.mark.parametrize(("cell", "recurs"), [("Tanh", True), ("MinGRU", False)])
def test_nothing_is_fitted_where_no_synapse_reads_its_own_layer(x64, cell, recurs):
    c = case(getattr(px.cells, cell), {"n": 3, "depth": 2})
    sites = c.net.sites_like(c.xs[0])
    assert [is_recurrent(*one) for one in zip(c.net.layers, sites, strict=True)] == [recurs, recurs, False]
    (_, known), found = learnt(px.RULES["mirror"](sigma=1e-5), c, 5)
    own = [V[-layer.width :] for V, layer in zip(known, c.net.layers, strict=True)]
    assert [bool(np.asarray(V).any()) for V in own] == [recurs, recurs, False]
    assert helpers.distance(found, c.exact) < 1e-7


@pytest.mark.parametrize("fields", [{"lam": 0.5}, {"ambient": 1e-3}, {}])
def test_every_example_has_noise_where_it_is_corrected_by_it_or_has_noise_of_its_own(fields):
    """The number of examples is of the fit alone; a weight that is an array may become any."""
    assert px.RULES["mirror"](fit_examples=3).examples_of(64) == 3
    assert px.RULES["mirror"](fit_examples=3).examples_of(2) == 2
    assert px.RULES["mirror"](fit_examples=0).examples_of(64) == 64
    few, every = (px.RULES["mirror"](fit_examples=n, **fields) for n in (3, 0))
    if not fields:
        few = eqx.tree_at(lambda rule: rule.lam, few, jnp.zeros(()))
    assert few.examples_of(64) == 64
    c = case(px.cells.Tanh, {"n": 2})
    kept = few.init_state(c.net, c.xs[0], jr.key(0))
    same = [step(rule, kept, c.net, c.xs, c.ys) for rule in (few, every)]
    assert helpers.distance(*same) == 0


@pytest.mark.parametrize("error", ["told", "measured"])
def test_few_examples_with_noise_show_the_whole_way_back(x64, error):
    """Two of eight examples: 16 rows for 4 unknowns. All eight learn by what these have shown."""
    c = case(px.cells.GRU, {"n": 3})
    few = px.RULES["mirror"](sigma=1e-5, error=error, fit_examples=2)
    assert helpers.distance(learnt_by(few, c, 5)[1], c.exact) < (1e-7 if error == "told" else 1e-4)
    hidden = c.xs.at[:, 2:].set(0)  # what the others read is not looked at by the fit
    for rule in (few, px.RULES["mirror"](sigma=1e-5, error=error)):
        begun = dataclasses.replace(rule, fits=1)  # of which the way back is still that of the examples
        kept = rule.init_state(c.net, c.xs[0], jr.key(0))
        (seen, loss, _), (other, _, _) = (step(begun, kept, c.net, xs, c.ys) for xs in (c.xs, hidden))
        assert (helpers.distance(seen[1], other[1]) == 0) == (rule is few)
        np.testing.assert_allclose(loss, step(few, kept, c.net, c.xs, c.ys)[1], rtol=1e-12)  # of all


def test_noise_with_a_state_is_that_of_the_examples_with_noise():
    class Alternating(Noise):
        """Signs that are turned around from one step to the next."""

        def init(self, like):
            return jax.tree.map(lambda e: jnp.ones(e.shape, e.dtype), like)

        def draw(self, state, keys, like):
            turns = (-1.0) ** jnp.arange(len(keys))
            xi = jax.tree.map(lambda s: s[None] * turns.reshape(-1, *[1] * s.ndim), state)
            return jax.tree.map(lambda s: -s, state), xi

    c = case(px.cells.Tanh, {"n": 2})
    rule = px.RULES["mirror"](noise=Alternating(), fit_examples=3)
    state = rule.init_state(c.net, c.xs[0], jr.key(0))
    assert {leaf.shape[1] for leaf in jax.tree.leaves(state[0])} == {3}
    after = step(rule, state, c.net, c.xs, c.ys)[0]
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, after)


@pytest.mark.parametrize("lam", [0.0, 0.5])
def test_no_correction_is_made_where_its_weight_is_zero(x64, lam):
    """The weight is open in a compiled program, where 0 skips the correction."""
    c = case(px.cells.Tanh, {"n": 2})
    rule = px.RULES["mirror"](sigma=1e-5, rate=1e-3, lam=1.0)  # a poor guess, with much to correct
    seen = rule.observe(c.net, rule.init_noise(c.net, c.xs[0]), c.xs, c.ys, helpers.mse, jr.key(0))[1]
    guesses = [jnp.ones_like(site.a) for site in seen.sites]
    got = jax.jit(lambda lam: rule.corrected(guesses, seen, lam))(lam)
    assert (helpers.distance(got, guesses) == 0) == (lam == 0)


def test_mirror_sees_through_decorrelation(x64):
    c = case(px.cells.Tanh, {"n": 3})
    D = np.eye(3) + 0.2 * np.asarray(helpers.normal(jr.key(0), (3, 3)))
    net = px.Network(c.net.layers, [None, px.Fixed(jax.device_put(D))])
    c = Case(net, c.xs, c.ys, exact(net, c.xs, c.ys))
    assert helpers.distance(learnt(px.RULES["mirror"](sigma=1e-5), c, 5)[1], c.exact) < 1e-7


@pytest.mark.parametrize("fit_to", ["outputs", "score"])
def test_feedback_learns_the_lagged_gradient(x64, fit_to):
    """In a nearly linear network the lag map exists: the guess alone comes close to the exact gradient."""
    c = case(px.cells.Tanh, {"n": 4}, steps=6, batch=64)
    net = jax.tree.map(lambda w: jax.device_put(0.3 * np.asarray(w)), c.net)
    c = Case(net, c.xs, c.ys, exact(net, c.xs, c.ys))
    rule = px.RULES["feedback"](sigma=1e-5, lam=0.0, penalty=0.0, lags=6, gate=False, fit_to=fit_to)
    kept, grads = learnt(rule, c, 150)
    assert helpers.distance(grads.layers[0], c.exact.layers[0]) < 0.1
    assert helpers.distance(learnt(rule, c, 0)[1].layers[0], c.exact.layers[0]) > 0.5
    if fit_to == "outputs":
        assert float(kept[1].explained) > 0.95
        assert float(rule.correction_weight(kept[1])) == 0.0  # nothing left to correct


def test_the_error_can_be_measured_by_the_score(x64):
    """Over all signs its mean is dL/dy, for any number of queries; outputs that one query moves together hide
    each other, and no others: the variance is that of these pairs.
    """
    y = helpers.normal(jr.key(0), (1, 4))  # (B, n_out)
    score = lambda out: optax.softmax_cross_entropy_with_integer_labels(out, jnp.array([2]))
    table = helpers.every_sign((4,))  # (16, 4)
    groups = {1: [(0, 1, 2, 3)], 2: [(0, 2), (1, 3)], 3: [(0, 3), (1,), (2,)], 4: [(0,), (1,), (2,), (3,)]}

    @jax.jit
    def measured():
        found = {}
        for queries in groups:
            asks = jnp.abs(query_signs(jr.key(1), queries, y))
            of_signs = lambda s, asks=asks: measured_error(score, y, asks * s[None, None], 1e-5)
            found[queries] = asks, jax.vmap(of_signs)(table)
        error = jax.grad(lambda out: score(out).sum())(y)
        return error, found, query_signs(jr.key(1), 1, y)

    error, found, one = jax.tree.map(np.asarray, measured())
    for queries, together in groups.items():
        asks, every = found[queries]
        assert [tuple(np.flatnonzero(row)) for row in asks[:, 0]] == together
        assert helpers.distance(every.mean(0), error) < 1e-9
        squares = [np.sum(error[0, list(group)] ** 2) for group in together]
        hidden = sum((len(group) - 1) * square for group, square in zip(together, squares, strict=True))
        variance = np.mean(np.sum((every - error[None]) ** 2, (1, 2)))
        assert abs(variance - hidden) < 1e-4
    assert set(np.unique(one)) == {-1.0, 1.0}


@pytest.mark.parametrize("name", ["mirror", "feedback"])
def test_the_score_alone_is_as_good_as_the_error(x64, name):
    """With a query for every output, estimates are those of the rule that is told the error."""
    net, (xs, ys) = (
        helpers.network(px.cells.Tanh, n=3, n_out=2, scale=0.6),
        helpers.data(n_out=2, steps=8, batch=8),
    )
    c = Case(net, xs, ys, exact(net, xs, ys))
    told = px.RULES[name](sigma=1e-5)
    asked = px.RULES[name](sigma=1e-5, error="measured", queries=2)
    assert helpers.distance(learnt(asked, c, 3)[1], learnt(told, c, 3)[1]) < 1e-4


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_measured_error_is_of_the_outputs_dtype(dtype):
    """So that a network of few bits can send it back, whatever the score is computed in."""
    y, target = jnp.ones((3, 2), dtype), jnp.zeros((3, 2), jnp.float32)
    error = measured_error(lambda y: helpers.mse(y, target), y, query_signs(jr.key(0), 2, y), 0.25)
    assert error.dtype == dtype
    np.testing.assert_allclose(error.astype(jnp.float32), jnp.ones((3, 2)), atol=0.2)


@pytest.mark.parametrize("name", ["mirror", "feedback", "guided"])
def test_a_measured_error_costs_passes_and_needs_no_derivative(name):
    told, asked = px.RULES[name](), px.RULES[name](error="measured", queries=2)
    assert "output error" in told.described().uses
    assert "output error" not in asked.described().uses  # and so the learner seals the score
    assert asked.described().passes == told.described().passes + 2
    y = jnp.ones((3, 2))
    with pytest.raises(TypeError, match="must not differentiate"):
        jax.grad(lambda y: visible_loss(asked, helpers.mse)(y, y).sum())(y)


def test_feedback_without_knowledge_is_node_perturbation(x64):
    """With M = 0, lam 1 and no penalty, hidden layers learn by node perturbation and the readout by its
    error.
    """
    c = case(px.cells.Tanh, {"n": 3})
    rules = px.RULES["feedback"](lam=1.0, penalty=0.0), px.RULES["guided"](guess_by="none")
    both = jax.jit(lambda: [helpers.fresh(rule)(c.net, c.xs, c.ys, jr.key(0))[1] for rule in rules])
    feedback, guided = both()
    assert helpers.distance(feedback, guided) < 1e-12


@pytest.mark.parametrize(("name", "cell"), [("feedback", "tanh"), ("mirror", "lru"), ("mirror", "lstm")])
def test_penalty_is_local_activity(x64, name, cell):
    """The slope of squared outputs within a step, of all outputs that a unit has."""
    c = case_of(helpers.strong(cell, n_in=1, n=3, n_out=1, scale=0.6))
    rules = [px.RULES[name](penalty=p) for p in (0.1, 0.0)]
    with_it, without = (learnt_by(rule, c, 0)[1] for rule in rules)

    @jax.jit
    @jax.grad
    def slope(some):
        before = jax.lax.scan(lambda s, x: (c.net.step(s, x)[0], s), c.net.start(c.xs.shape[1]), c.xs)[1]
        net = px.join(some, px.split(c.net)[1])
        after = jax.vmap(net.step, in_axes=(0, 0))(before, c.xs)[0]
        return 0.1 / 2 * jnp.sum(after[0][1] ** 2) / (len(c.xs) * c.xs.shape[1])

    want = slope(px.weights(c.net))
    got = jax.tree.map(jnp.subtract, with_it, without)
    assert helpers.distance(got.layers[0], want.layers[0]) < 1e-8


def test_gains_are_the_slopes_of_the_neurons(x64):
    c = case(px.cells.Tanh, {"n": 3, "depth": 2})

    @jax.jit
    def measured(net):
        seen = px.RULES["mirror"]().observe(net, (), c.xs, c.ys, helpers.mse, jr.key(0))[1]
        return measured_gains(net, seen.before, seen.sites), seen.y[:-1]

    for psi, y in zip(*measured(c.net), strict=True):
        np.testing.assert_allclose(psi, 1 - y**2, atol=1e-9)


@pytest.mark.parametrize("name", ["feedback", "mirror", "guided"])
def test_no_derivative_of_the_dynamics(name):
    """Neurons whose derivative is an error can still be trained."""

    @jax.custom_jvp
    def spike(a):
        return jnp.tanh(3 * a)

    @spike.defjvp
    def _refuse(primals, tangents):
        raise TypeError("differentiated")

    class Sealed(px.cells.Tanh):
        def advance(self, h, a):
            return (), spike(a)

    net, (xs, ys) = helpers.network(Sealed, n=3), helpers.data()
    rule = px.RULES[name]()
    grads = helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1]
    assert all(np.asarray(g).any() for g in jax.tree.leaves(grads.layers[-1]))
    with pytest.raises(TypeError, match="differentiated"):
        px.bptt(helpers.mse)(net, xs, ys, None)


def test_the_fit_survives_what_is_not_finite():
    c = case(px.cells.Tanh, {"n": 3})
    for name in ("feedback", "mirror"):
        rule = px.RULES[name]()
        kept = step(rule, unlearnt(rule, c.net, c.xs[0]), c.net, c.xs, c.ys)[0]
        bad = step(rule, kept, c.net, c.xs, c.ys * jnp.inf)[0]
        broken = step(rule, kept, jax.tree.map(lambda w: w * jnp.nan, c.net), c.xs, c.ys)[0]
        for after in (bad, broken):
            assert all(np.isfinite(v).all() for v in jax.tree.leaves(after))


def test_refusals():
    with pytest.raises(ArgumentError, match="rate"):
        px.RULES["mirror"](rate=1.5)
    with pytest.raises(ArgumentError, match="to-go"):
        px.RULES["mirror"](credit="window")
    with pytest.raises(ArgumentError, match="guess_by"):
        px.RULES["guided"](guess_by="gradient")
    cells = lambda: (px.cells.Tanh(1, 3, key=jr.key(0)), px.cells.GRU(3, 1, key=jr.key(1)))
    net = helpers.drawn(lambda: px.Network(cells()), jr.key(0), 1.0)
    with pytest.raises(ArgumentError, match="linear readout"):
        px.RULES["mirror"]().init_state(net, jnp.ones((2, 1)), jr.key(0))
    readout, many = helpers.network(px.cells.Tanh, n=3, n_out=2), {"error": "measured", "queries": 3}
    with pytest.raises(ArgumentError, match=r"queries must be at most the number of outputs, 2, .* not 3"):
        px.RULES["mirror"](**many).init_state(readout, jnp.ones((2, 1)), jr.key(0))
    px.RULES["mirror"](queries=3).init_state(readout, jnp.ones((2, 1)), jr.key(0))  # none is asked
    with pytest.raises(ArgumentError, match="online"):
        px.online(px.RULES["feedback"](), helpers.mse, optax.sgd(1e-3))
