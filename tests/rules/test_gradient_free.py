"""Rules that never run backwards: their mean over designed noise is the gradient that they say they
estimate.
"""

import functools
from typing import NamedTuple

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.noise import Recorded
from perturbax.rules.evolution.evolution import shape_losses
from perturbax.rules.evolution.pes import PES
from perturbax.rules.perturbation.helpers import mean_loss

pytestmark = pytest.mark.usefixtures("x64")

SIGMA = 1e-5
compiled = jax.jit
NETS = {
    "tanh": (px.cells.Tanh, {"n": 2}),
    "gru": (px.cells.GRU, {}),
    "two tanh": (px.cells.Tanh, {"depth": 2}),
}
# The rules see networks as nodes or as weights, whatever these are: two networks for those that are met in
# many settings, one for the others, each of the three with some rule.
TWO = ("tanh", "gru")
STEPS = 4


class Case(NamedTuple):
    """A network, data, and both references."""

    net: px.Network
    xs: jax.Array
    ys: jax.Array
    full: px.Network
    cut: px.Network


@compiled
def full(net, xs, ys):
    return px.bptt(helpers.mse)(net, xs, ys)[1]


@compiled
def cut(net, xs, ys):
    return px.truncated_bptt(helpers.mse, 1)(net, xs, ys)[1]


@functools.cache
def case(name):
    cell, options = NETS[name]
    net, (xs, ys) = helpers.network(cell, **options), helpers.data(steps=STEPS, batch=1)
    return Case(net, xs, ys, full(net, xs, ys), cut(net, xs, ys))


def estimate(rule, net, xs, ys, seed=0):
    """One estimate, compiled: (loss, grads)."""
    return helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(seed))


def balanced(shapes):
    """Sign patterns with the first three moments of all sign patterns: rows of a Hadamard matrix, and their
    negatives.

    Enough for the mean of estimates that, as sigma falls, are of first order in the noise they are paired
    with.
    """
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda s: isinstance(s, tuple))
    sizes = [int(np.prod(s)) for s in leaves]
    H = np.ones((1, 1))
    while len(H) <= sum(sizes):
        H = np.block([[H, H], [H, -H]])
    signs = np.concatenate([H, -H])[:, 1 : 1 + sum(sizes)]
    parts = np.split(signs, np.cumsum(sizes)[:-1], axis=1)
    return tree.unflatten([p.reshape(-1, *s) for p, s in zip(parts, leaves, strict=True)])


def normal(seed, shape):
    return jax.device_put(np.random.default_rng(seed).normal(size=shape))


def in_nodes(net):
    shapes = net.sites_like(jax.ShapeDtypeStruct((1, 1), float))
    return balanced([(STEPS, 1, *site.a.shape) for site in shapes])


def in_weights(net, rows=1):
    leaves, tree = jax.tree.flatten(px.weights(net))
    return tree.unflatten(balanced([(rows, 1, *leaf.shape) for leaf in leaves]))


def mean(make, table, case, kept=lambda kept: kept):
    """The mean estimate over the patterns of the table, by a rule whose memory is what `kept` makes of a
    fresh one.
    """

    def one(table):
        rule = make(Recorded(table))
        return px.learner(rule, helpers.mse).update(
            kept(rule.init_state(case.net, case.xs[0], jr.key(0))), *case[:3], jr.key(0)
        )[2]

    return helpers.mean(compiled(jax.vmap(one))(table))


def by_use(net, xs, ys, weight):
    """The gradient sum_{t, s} weight[t, s] dL_t/dw_s, where w_s are the weights as used at step s."""
    some, rest = px.split(net)

    def losses(every):
        def body(state, now):
            x, y, some = now
            state, out, _ = px.join(some, rest).step(state, x)
            return state, helpers.mse(out, y).mean() / len(xs)

        return jax.lax.scan(body, net.start(xs.shape[1]), (xs, ys, every))[1]

    slopes = compiled(jax.jacrev(losses))(
        jax.tree.map(lambda w: np.broadcast_to(w, (len(xs), *w.shape)), some)
    )
    return jax.tree.map(lambda s: np.tensordot(weight, np.asarray(s), 2), slopes)


def expecting(value):
    """A memory that expects a loss of that value: for the rules that keep an average."""
    return lambda kept: (kept[0], type(kept[1])(np.float64(value), np.ones(())))


@pytest.mark.parametrize("name", TWO)
def test_forward_gradients(name):
    one = case(name)
    nodes = in_nodes(one.net)
    make = lambda noise, **options: px.RULES["forward"](noise=noise, **options)
    assert helpers.distance(mean(make, nodes, one), one.full) < 1e-12
    if name == "gru":
        along = mean(lambda noise: make(noise, tangents="weights"), in_weights(one.net), one)
        assert helpers.distance(along, one.full) < 1e-12
        assert (
            helpers.distance(mean(lambda noise: make(noise, credit="same-step"), nodes, one), one.cut) < 1e-12
        )
    assert helpers.distance(one.cut, one.full) > 1e-3  # negative control: the targets differ


@pytest.mark.parametrize(("tangents", "rule"), [("nodes", "node"), ("weights", "weight")])
def test_forward_gradients_are_perturbation_without_sigma(tangents, rule):
    net, (xs, ys) = case("tanh").net, helpers.data(steps=5)
    like = px.weights(net) if rule == "weight" else [s.a for s in net.sites_like(xs[0])]
    leaves, tree = jax.tree.flatten(like)
    noise = Recorded(tree.unflatten([normal(i, (5, 3, *leaf.shape)) for i, leaf in enumerate(leaves)]))
    credit = {"credit": "to-go"} if rule == "node" else {}
    got = estimate(px.RULES["forward"](tangents=tangents, samples=3, noise=noise), net, xs, ys)
    want = estimate(px.RULES[rule](sigma=1e-6, samples=3, noise=noise, **credit), net, xs, ys)
    assert float(got[0]) == pytest.approx(float(want[0]), rel=1e-12)
    assert helpers.distance(got[1], want[1]) < 1e-4


@pytest.mark.parametrize("name", TWO)
def test_evolution_is_unbiased_without_shaping(name):
    """Over every sign of sides and biases: the mean of products of sides needs their fourth moments."""
    one = case(name)
    one = one._replace(net=one.net, xs=one.xs[:2], ys=one.ys[:2])
    want = full(*one[:3])
    flat, shapes = jax.tree.flatten(
        [_sides(w) for w in jax.tree.leaves(px.weights(one.net))], is_leaf=_is_shape
    )
    table = shapes.unflatten(helpers.every_sign([(1, 1, *s) for s in flat]))
    make = lambda noise: px.RULES["evolution"](sigma=SIGMA, population=2, noise=noise)
    assert helpers.distance(mean(make, table, one), want) < 1e-8


def _sides(w):
    return w.shape if w.ndim < 2 else ((w.shape[0], 1), (1, w.shape[1]))


def _is_shape(s):
    return isinstance(s, tuple) and isinstance(s[0], int)


@pytest.mark.parametrize("pairs", [1, 5])
def test_evolution_of_full_rank_is_antithetic_weight_perturbation(pairs):
    """Recorded noise starts anew for each member: a population of the same pair is that pair."""
    net, xs, ys, *_ = case("tanh")
    table = jax.tree.map(lambda t: jax.device_put(t[5]), in_weights(net))
    flat = Recorded(jax.tree.leaves(table))
    rule = px.RULES["evolution"](sigma=1e-3, population=2 * pairs, rank=0, abreast=2, noise=flat)
    other = px.RULES["weight"](sigma=1e-3, difference="antithetic", noise=Recorded(table))
    assert helpers.distance(estimate(rule, net, xs, ys)[1], estimate(other, net, xs, ys)[1]) < 1e-9


def test_the_estimate_of_a_population_is_the_mean_over_its_pairs():
    """The contraction of sides equals the sum of the directions that were run."""
    net, xs, ys, *_ = case("gru")
    rule = px.RULES["evolution"](sigma=1e-2, population=4, rank=2, abreast=1)
    some, rest = px.split(net)

    @compiled
    def by_hand():
        members, total = rule._draw(some, jr.key(1), rule.population // 2), jax.tree.map(jnp.zeros_like, some)
        for j in range(2):
            sides = jax.tree.map(lambda e, j=j: e[j], members)
            full = lambda w, e: e if w.ndim < 2 else (e[0] @ e[1] / 2**0.5).reshape(w.shape)
            leaves, tree = jax.tree.flatten(some)
            xi = tree.unflatten([full(w, e) for w, e in zip(leaves, sides, strict=True)])
            ends = [jax.tree.map(lambda w, e, s=s: w + s * 1e-2 * e, some, xi) for s in (1, -1)]
            up, down = (mean_loss(px.join(end, rest), xs, ys, helpers.mse) for end in ends)
            total = jax.tree.map(lambda g, e, d=up - down: g + d / (2e-2 * 2) * e, total, xi)
        return total

    assert helpers.distance(estimate(rule, net, xs, ys, seed=1)[1], by_hand()) < 1e-10


def test_shapings():
    losses = jnp.array([[3.0, 1.0], [2.0, 100.0], [2.0, 0.0]])
    assert shape_losses(losses, "none") is losses

    @compiled
    def shaped(losses):
        alike = jnp.ones((2, 2))
        return [[shape_losses(some, kind) for some in (losses, alike)] for kind in ("z-score", "rank")]

    (z, no_z), (rank, no_rank) = jax.tree.map(np.asarray, shaped(losses))
    assert abs(z.mean()) < 1e-12
    assert abs(z.std() - 1) < 1e-12
    np.testing.assert_allclose(rank, [[0.3, -0.3], [0, 0.5], [0, -0.5]], atol=1e-12)
    assert not no_z.any()
    assert not no_rank.any()


@pytest.mark.parametrize("shaping", ["z-score", "rank"])
def test_shaped_evolution_points_downhill_but_is_not_the_gradient(shaping):
    one = case("tanh")
    rule = px.RULES["evolution"](sigma=1e-2, population=256, shaping=shaping, noise="gaussian")
    got = estimate(rule, *one[:3])[1]
    a, b = (np.concatenate([np.ravel(v) for v in jax.tree.leaves(t)]) for t in (got, one.full))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9
    assert helpers.distance(got, one.full) > 0.5


class Forgetful(PES):
    """Truncated evolution strategy: noise of earlier windows earns nothing."""

    remembers = False


def test_persistent_and_reused_noise_see_the_whole_episode():
    one = case("two tanh")
    windows = in_weights(one.net, 2)
    assert (
        helpers.distance(mean(lambda noise: PES(sigma=SIGMA, window=2, noise=noise), windows, one), one.full)
        < 1e-8
    )
    reused = mean(lambda noise: px.RULES["nres"](sigma=SIGMA, noise=noise), in_weights(one.net), one)
    assert helpers.distance(reused, one.full) < 1e-8


def test_truncated_noise_misses_the_paths_between_windows():
    """Negative control: without the sum over windows it is the gradient cut between them."""
    one = case("gru")
    make = lambda noise: Forgetful(sigma=SIGMA, window=2, noise=noise)
    truncated = mean(make, in_weights(one.net, 2), one)
    t, s = np.arange(STEPS)[:, None], np.arange(STEPS)[None]
    within = by_use(*one[:3], np.where((t // 2 == s // 2) & (s <= t), 1.0, 0.0))
    assert helpers.distance(truncated, within) < 1e-8
    assert helpers.distance(truncated, one.full) > 1e-3


@pytest.mark.parametrize("rule", ["pes", "nres"])
def test_an_episode_ends_where_it_is_reset(rule):
    """Two episodes in one sequence are two sequences: states start anew and no noise is carried over."""
    net, xs, ys, *_ = case("tanh")
    table = jax.tree.map(lambda w: normal(w.size, (4, 2, *w.shape)), px.weights(net))
    options = {"window": 1} if rule == "pes" else {}

    @functools.partial(compiled, static_argnames="reset")
    def run(xs, ys, table, reset=0):
        made = px.RULES[rule](sigma=1e-3, samples=2, reset=reset, noise=Recorded(table), **options)
        return helpers.fresh(made, helpers.mse)(net, xs, ys, jr.key(0))

    loss, whole = run(xs, ys, table, reset=2)
    later = jax.tree.map(lambda t: np.roll(t, -2 if rule == "pes" else -1, 0), table)
    xs, ys = np.asarray(xs), np.asarray(ys)
    first, second = run(xs[:2], ys[:2], table), run(xs[2:], ys[2:], later)
    assert float(loss) == pytest.approx(float(first[0] + second[0]) / 2, rel=1e-12)
    assert helpers.distance(whole, jax.tree.map(lambda *g: np.mean(g, 0), first[1], second[1])) < 1e-10
    if rule == "pes":
        assert helpers.distance(whole, run(xs, ys, table)[1]) > 1e-3  # negative control


def test_ou_with_fresh_deviations_is_weight_perturbation_against_a_baseline():
    one = case("gru")
    make = lambda noise, **options: px.RULES["ou"](sigma=SIGMA, noise=noise, **options)
    assert helpers.distance(mean(make, in_weights(one.net), one, expecting(0.3)), one.full) < 1e-7
    moving = mean(lambda noise: make(noise, hold_steps=1, rate=0.3), in_weights(one.net, STEPS), one)
    assert helpers.distance(moving, one.cut) < 1e-7


def test_ou_weighs_paths_by_the_correlation_of_deviations():
    """And takes off what its baseline knows of them, both as its docstring says."""
    one, rho, rate = case("two tanh"), 0.6, 0.25
    make = lambda noise: px.RULES["ou"](sigma=SIGMA, noise=noise, hold_steps=1, rho=rho, rate=rate)
    got = mean(make, in_weights(one.net, STEPS), one)
    t, s = np.arange(STEPS)[:, None], np.arange(STEPS)[None]
    share = np.zeros((STEPS, STEPS))  # of loss s in the baseline of step t
    for now in range(1, STEPS):
        decayed = (1 - rate) ** np.arange(now)[::-1]
        share[now, :now] = decayed / decayed.sum()
    # Step t pairs its deviation with L_t and with every L_s of its baseline; the weights of step u made L_s
    # if u <= s.
    correlation = rho ** np.abs(t - s)
    weight = np.zeros((STEPS, STEPS))
    for now in range(STEPS):
        for made in range(STEPS):
            part = (made == now) - share[now, made]
            weight[made] += part * correlation[now]
    assert helpers.distance(got, by_use(*one[:3], weight)) < 1e-7
    assert helpers.distance(got, one.full) > 1e-2


@pytest.mark.parametrize("name", TWO)
def test_reward_is_unbiased_against_any_earlier_baseline(name):
    one = case(name)
    patterns = in_nodes(one.net)
    make = lambda noise, **options: px.RULES["reward"](sigma=SIGMA, noise=noise, **options)
    asked = [({}, one.full)]
    if name == "gru":
        asked += [({"delay": "end"}, one.full), ({"credit": "same-step", "rate": 0.5}, one.cut)]
        asked += [({"credit": "window", "window": STEPS, "rate": 0.5}, one.full)]
    for options, want in asked:
        got = mean(lambda noise, options=options: make(noise, **options), patterns, one, expecting(0.3))
        assert helpers.distance(got, want) < 1e-7, options


def test_a_baseline_that_knows_the_noise_is_biased():
    """Negative control: credit trace follows losses within the sequence, as online it must."""
    one = case("tanh")
    make = lambda noise: px.RULES["reward"](sigma=SIGMA, noise=noise, credit="trace", rate=0.5)
    assert helpers.distance(mean(make, in_nodes(one.net), one), one.full) > 1e-2


def test_the_average_loss_is_kept_from_sequence_to_sequence():
    net, xs, ys, *_ = case("gru")
    for name in ("reward", "ou"):
        rule = px.RULES[name](sigma=1e-3, rate=0.5)

        @compiled
        def twice(rule=rule):
            """What is kept after each of two updates, and their losses."""

            def once(kept, _):
                kept, loss, _ = px.learner(rule, helpers.mse).update(kept, net, xs, ys, jr.key(0))
                return kept, (kept, loss)

            return jax.lax.scan(once, rule.init_state(net, xs[0], jr.key(0)), None, 2)[1]

        (deviation, average), losses = twice()
        assert float(average.weight[0]) == pytest.approx(1 - 0.5**STEPS)
        assert 0.5 * float(losses[0]) < float(average.value[0]) < 2 * float(losses[0])
        assert float(average.weight[1]) == pytest.approx(1 - 0.5 ** (2 * STEPS))
        if name == "ou":  # with rho 0 the deviation of the last sequence is forgotten
            first, again = (jax.tree.map(lambda e, i=i: np.asarray(e)[i], deviation) for i in (0, 1))
            assert helpers.distance(again, first) < 1e-12


RULES = {
    "forward": {},
    "evolution": {"population": 4},
    "pes": {"window": 2},
    "nres": {},
    "ou": {},
    "reward": {},
}


@pytest.mark.parametrize("rule", RULES)
def test_means_and_variances_of_drawn_noise(rule):
    """Estimates of real noise have the right mean (z-test), repeat for the same key, and average as 1 / K."""
    net, xs, ys, want, _ = case("tanh")
    options = {} if rule == "forward" else {"sigma": 1e-3}
    many = [{"samples": 1}, {"samples": 4}] if rule == "forward" else [{"population": 2}, {"population": 8}]
    draws = 2048
    along = jax.tree.map(lambda w: np.asarray(normal(7 + w.size, w.shape)), px.weights(net))

    def project(made):
        def one(key):
            grads = helpers.fresh(made, helpers.mse)(net, xs, ys, key)[1]
            return sum(jax.tree.leaves(jax.tree.map(lambda g, p: jnp.sum(g * p), grads, along)))

        run = compiled(jax.vmap(one))
        found, again = (np.asarray(run(jr.split(jr.key(3), draws))) for _ in range(2))
        np.testing.assert_array_equal(found, again)
        return found

    truth = sum(jax.tree.leaves(jax.tree.map(lambda g, p: np.sum(np.asarray(g) * p), want, along)))
    variances = []
    for more in many if rule in ("forward", "evolution") else [{}]:
        found = project(px.RULES[rule](**{**RULES[rule], **options, **more}))
        assert abs(found.mean() - truth) < 4 * found.std() / draws**0.5
        assert found.std() > 0.05 * abs(truth)
        variances.append(found.var())
    if len(variances) == 2:
        assert 3.2 < variances[0] / variances[1] < 4.9


@pytest.mark.parametrize("rule", ["pes", "nres", "ou", "reward", "forward"])
def test_online(rule):
    """They learn a constant from a stream; those that need the end of a sequence say so."""
    options = {
        "pes": {"window": 2, "reset": 4, "samples": 4},
        "nres": {"reset": 4, "samples": 4},
        "ou": {"hold_steps": 2},
        "reward": {"credit": "window", "window": 2},
        "forward": {"credit": "window", "window": 2},
    }
    with pytest.raises(ArgumentError, match=r"online|sequence"):
        px.online(px.RULES[rule](), helpers.mse, optax.sgd(0.1))
    net = helpers.network(px.cells.Tanh, n=2)
    init, run = px.online(px.RULES[rule](**options[rule]), helpers.mse, optax.adam(0.02), every=2)
    xs, ys = jnp.ones((800, 4, 1)), jax.device_put(np.full((800, 4, 1), 0.7))
    losses = np.asarray(compiled(lambda: run(init(net, xs[0], ys[0], jr.key(0)), xs, ys)[1])())
    assert losses[-40:].mean() < 0.2 * losses[:40].mean()


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("forward", {"tangents": "units"}),
        ("forward", {"credit": "later"}),
        ("forward", {"noise": "scaled"}),
        ("evolution", {"population": 3}),
        ("evolution", {"rank": -1}),
        ("evolution", {"shaping": "sorted"}),
        ("pes", {"window": 0}),
        ("nres", {"reset": -1}),
        ("pes", {"noise": "scaled"}),
        ("ou", {"rho": 1.0}),
        ("ou", {"rate": 0.0}),
        ("ou", {"hold_steps": -1}),
        ("reward", {"delay": "late"}),
        ("reward", {"delay": "end", "credit": "window"}),
        ("reward", {"rate": 2.0}),
    ],
)
def test_refusals(rule, options):
    with pytest.raises(ArgumentError):
        px.RULES[rule](**options)


def test_costs_and_seals():
    costs = {"forward": 4, "evolution": 32, "pes": 6, "nres": 6, "ou": 1, "reward": 1}
    for name, passes in costs.items():
        options = {"samples": 3} if name in ("forward", "pes", "nres") else {}
        rule = px.RULES[name](**options)
        assert rule.described().passes == passes
        assert rule.described().differentiates == (name == "forward")
