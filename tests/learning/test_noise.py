"""Kinds of noise: unit variance, no bias, and what each adds."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.noise import (
    NOISES,
    Correlated,
    Gaussian,
    LowRank,
    Orthogonal,
    Rademacher,
    Scaled,
    as_noise,
)

LIKE = [jax.ShapeDtypeStruct((4, 3, 8), jnp.float32), jax.ShapeDtypeStruct((4, 3, 2, 5), jnp.float32)]


def draw(noise, state, keys, like=LIKE):
    """(state, noise) in one compiled program: step by step, every operation is a program of its own."""
    return jax.jit(lambda state, keys: noise.draw(state, keys, like))(state, keys)


def draws(noise, steps=3000, like=LIKE):
    return draw(noise, noise.init(like), jr.split(jr.key(0), steps), like)[1]


@pytest.mark.parametrize("name", NOISES)
def test_zero_mean_unit_variance_uncorrelated(name):
    for xi in draws(NOISES[name]()):
        flat = np.asarray(xi[::10] if name == "correlated" else xi, float)  # ten steps apart it has forgotten
        flat = flat[:, 0].reshape(
            len(flat), -1
        )  # one sample: orthogonal ones depend on each other, by design
        corr = flat.T @ flat / len(flat)
        assert np.abs(flat.mean(0)).max() < 5 / np.sqrt(len(flat))
        assert np.abs(corr - np.eye(len(corr))).max() < 7 / np.sqrt(len(flat))


@pytest.mark.parametrize("name", NOISES)
def test_drawn_in_pieces_it_is_the_same(name):
    """A function of the keys alone: what was drawn can be drawn again, in blocks of any length."""
    noise, keys = NOISES[name](), jr.split(jr.key(1), 12)

    @jax.jit
    def pieces(keys):
        state, first = noise.draw(noise.init(LIKE), keys[:5], LIKE)
        return noise.draw(noise.init(LIKE), keys, LIKE)[1], first, noise.draw(state, keys[5:], LIKE)[1]

    whole, first, rest = pieces(keys)
    for w, a, b in zip(whole, first, rest, strict=True):
        np.testing.assert_allclose(w, np.concatenate([a, b]), rtol=2e-6, atol=2e-6)


def test_orthogonal_samples_are_orthogonal():
    xi = draws(Orthogonal(), 50)[0]  # 4 samples of 8 units
    products = jnp.einsum("tkbn,tlbn->tbkl", xi, xi)
    np.testing.assert_array_equal(products, jnp.broadcast_to(8 * jnp.eye(4), products.shape))
    white = draws(Rademacher(), 50)[0]
    assert (jnp.einsum("tkbn,tlbn->tbkl", white, white) != products).any()  # negative control


def test_orthogonal_samples_have_less_variance():
    """With as many orthogonal samples as units, one layer and one step are estimated without any noise."""
    net = px.Network((px.cells.Readout(2, 8, key=jr.key(0)),))
    xs, ys = helpers.data(n_in=2, n_out=8, steps=1, batch=2)
    want = px.bptt(helpers.mse)(net, xs, ys, None)[1]

    def miss(noise):
        rule = px.RULES["node"](samples=8, noise=noise, difference="linearised")
        return helpers.distance(helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1], want)

    assert miss("orthogonal") < 1e-3 < 0.1 < miss("rademacher")


@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank(rank):
    xi = np.asarray(draws(LowRank(rank), 5, [jax.ShapeDtypeStruct((3, 6, 7), jnp.float32)])[0])
    assert {int(np.linalg.matrix_rank(m)) for m in xi.reshape(-1, 6, 7)} <= set(range(1, rank + 1))


def test_correlated_noise_remembers():
    xi = np.asarray(draws(Correlated(steps=4.0), 4000)[0], float).reshape(4000, -1)
    lag = lambda k: (xi[500:-k] * xi[500 + k :]).mean() if k else (xi * xi).mean()
    for k in (0, 1, 2, 4):
        assert lag(k) == pytest.approx(np.exp(-k / 4), abs=0.03)
    assert abs(lag(13)) < 0.03
    assert (xi[:5] ** 2).mean() == pytest.approx(1, abs=0.3)  # from the first step on


def test_scaled_noise_follows_activity_and_stays_unbiased(x64):
    state = Scaled(rate=0.5).init([jnp.zeros((1, 1, 2))])
    for _ in range(30):
        state = Scaled(rate=0.5).adapt(state, [jnp.asarray([[1.0, 3.0], [-1.0, -3.0]])])
    spread = Scaled().spread(state)[0]
    assert float(spread[1] / spread[0]) == pytest.approx(3, rel=0.05)
    assert float(jnp.mean(spread**2)) == pytest.approx(1)

    class Uneven(helpers.Recorded):
        def spread(self, state):
            return [jnp.asarray([0.5, 2.0]), jnp.asarray([3.0])]

    net, (xs, ys) = helpers.network(px.cells.Tanh, n=2), helpers.data(batch=1)
    want = jax.jit(px.bptt(helpers.mse))(net, xs, ys, None)[1]
    for rule in ("node", "innovation"):
        make = lambda table, rule=rule: px.RULES[rule](sigma=1e-5, credit="to-go", noise=Uneven(table.table))
        got = helpers.averaged(make, helpers.node_patterns(net, helpers.T), net, xs, ys)
        assert helpers.distance(got, want) < 1e-8


def test_scaled_noise_is_learnt_over_sequences():
    """What was learnt of the units is kept from one sequence to the next."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data()
    rule = px.RULES["node"](noise="scaled")
    before = rule.init_state(net, xs[0], jr.key(0))
    update = jax.jit(px.learner(rule, helpers.mse).update)
    kept, _, _ = update(before, net, xs, ys, jr.key(0))
    again, _, _ = update(kept, net, xs, ys, jr.key(0))
    assert (before[0] != kept[0]).all()
    assert (again[0] != kept[0]).all()


def test_scaled_noise_is_not_for_weights():
    with pytest.raises(ArgumentError, match="pre-activations"):
        px.RULES["weight"](noise="scaled")


def test_any_function_is_noise():
    made = as_noise(lambda key, shape, dtype: jr.laplace(key, shape, dtype) / 2**0.5)
    assert float(jnp.var(draws(made)[0])) == pytest.approx(1, rel=0.05)
    assert draws(as_noise("jax.random:normal"), 2)[0].shape == (2, 4, 3, 8)
    for wrong in ("jax.random:nothing", "no_such_module:x", "jax.random:PRNGKey:x", "pink", 3):
        with pytest.raises(ArgumentError):
            as_noise(wrong)


def test_one_word_makes_thirty_two_signs():
    """The cost of drawing is in random words: signs take one 32nd of what normal values take."""

    def words(noise):
        jaxpr = jax.make_jaxpr(lambda key: noise.sample(key, (64, 1024), jnp.float32))(jr.key(0))
        found = []

        def visit(jaxpr):
            for e in jaxpr.eqns:
                if e.primitive.name in ("random_bits", "threefry2x32"):
                    found.append(e.outvars[0].aval.size)
                for value in e.params.values():
                    if hasattr(value, "jaxpr"):
                        visit(value.jaxpr)

        visit(jaxpr.jaxpr)
        return max(found)

    assert words(NOISES["gaussian"]()) >= 32 * words(Rademacher())


def bad(key, shape, dtype):
    return jnp.zeros((2, 2), dtype)


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("node", {"noise": "orthogonal", "difference": "noisy"}, "share their signs"),
        ("evolution", {"noise": "orthogonal"}, "one at a time"),
        ("guided", {"noise": "scaled"}, "unit variance"),
        ("feedback", {"noise": "correlated"}, "white"),
        ("pes", {"noise": "correlated"}, "white"),
        ("node", {"noise": bad}, "must return"),
        ("node", {"noise": lambda: 3}, "failed"),
        ("node", {"noise": "perturbax.learning.noise:Independent"}, "cannot be made"),
        ("node", {"noise": "perturbax.learning.noise:Recorded"}, "cannot be made"),
        ("feedback", {"rate": -1.0}, "rate"),
        ("feedback", {"penalty": -1.0}, "penalty"),
        ("mirror", {"rate": 2.5}, "rate"),
        ("mirror", {"fits": 0}, "fits"),
        ("mirror", {"discount": 0.9}, "no discount"),
        ("guided", {"lam": -0.1}, "lam"),
    ],
)
def test_what_cannot_be_right_is_refused(rule, options, words):
    with pytest.raises(ArgumentError, match=words):
        px.RULES[rule](**options)


def test_correlated_noise_says_that_it_is_biased():
    for credit in ("same-step", "to-go"):
        assert "biased" in px.RULES["node"](noise="correlated", credit=credit).described().target
        assert "biased" not in px.RULES["node"](credit=credit).described().target
    assert "biased" in px.RULES["guided"](lam=0.5).described().target
    assert px.RULES["weight"](hold_steps=1).described().target == "gradient cut at every step"


@pytest.mark.parametrize("kind", [Rademacher, Gaussian])
def test_noise_is_white_and_a_function_of_its_keys(kind):
    keys = jr.split(jr.key(0), 400)
    like = [jax.ShapeDtypeStruct((2, 5, 33), jnp.float32), jax.ShapeDtypeStruct((), jnp.float32)]
    _, (xi, scalar) = draw(kind(), (), keys, like)
    assert xi.shape == (400, 2, 5, 33)
    assert scalar.shape == (400,)
    flat = np.asarray(xi, float).reshape(-1, 33)
    assert abs(flat.mean()) < 4 / np.sqrt(flat.size)
    assert abs((flat**2).mean() - 1) < 0.02
    corr = flat.T @ flat / len(flat) - np.diag((flat**2).mean(0))
    assert np.abs(corr).max() < 6 / np.sqrt(len(flat))
    again = draw(kind(), (), keys[7:9], like)[1][0]
    np.testing.assert_array_equal(again, xi[7:9])
    assert (len(np.unique(np.asarray(xi))) == 2) == (kind is Rademacher)
