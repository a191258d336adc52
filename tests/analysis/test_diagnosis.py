"""The diagnosis of estimates: its statistics against closed forms and enumeration, and its rules."""

import itertools
from typing import ClassVar

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.analysis.diagnosis import Cost
from perturbax.analysis.moments import Moments, cosine_at, samples_needed


class Noisy(px.SequenceRule):
    """The exact gradient, scaled, with Gaussian noise in every weight."""

    scale: float = 1.0
    spread: float = 0.0

    facts: ClassVar[px.Facts] = px.Facts(uses=("derivatives",))

    def update(self, state, net, xs, ys, loss, key):
        value, g = px.bptt(loss)(net, xs, ys)
        leaves, tree = jax.tree.flatten(g)
        keys = jr.split(key, len(leaves))
        noisy = [
            self.scale * v + self.spread * jr.normal(k, v.shape, v.dtype)
            for k, v in zip(keys, leaves, strict=True)
        ]
        return state, value, tree.unflatten(noisy)


def group(groups, name="all"):
    return next(g for g in groups if g.name == name)


def measured(rule, net, data, *, samples=(1,), draws=64, seed=3):
    return px.diagnose(rule, helpers.mse, net, *data, jr.key(seed), samples=samples, draws=draws)


def recurrent(n=3, steps=5, batch=2):
    net = helpers.network(px.CELLS["tanh"], n=n, scale=0.9 / n**0.5)
    return net, helpers.data(steps=steps, batch=batch)


def patterns(n):
    """Every sample of n draws from two points each, in two dimensions of a known mean and covariance."""
    for signs in itertools.product((-1.0, 1.0), repeat=2 * n):
        yield np.array([1.3, -0.4]) + np.array([0.7, 2.0]) * np.array(signs).reshape(n, 2)


def test_squared_bias_variance_and_margin_are_unbiased_over_all_samples():
    g, mean, n = np.array([1.0, 0.5]), np.array([1.3, -0.4]), 4
    found = [Moments.of(x, g) for x in patterns(n)]
    assert np.isclose(np.mean([m.bias()[0] for m in found]), np.sum((mean - g) ** 2), rtol=1e-12)
    assert np.isclose(np.mean([m.variance for m in found]), 0.7**2 + 2.0**2, rtol=1e-12)
    # where <E x, g> is above 0 in every sample the margin's sign is fixed, and it is unbiased too
    g = np.array([1.0, 0.0])
    want = (mean @ g) ** 2 / 0.25 - mean @ mean
    assert np.isclose(np.mean([Moments.of(x, g).margin(0.5)[0] for x in patterns(n)]), want, rtol=1e-12)


def test_standard_errors_are_those_of_leaving_one_out():
    x, g = np.random.default_rng(0).normal(size=(7, 3)) + 0.5, np.array([0.3, -1.0, 0.2])
    for statistic in (lambda m: m.bias(), lambda m: m.margin(0.5)):
        without = np.array([statistic(Moments.of(np.delete(x, i, 0), g))[0] for i in range(7)])
        want = np.sqrt(6 / 7 * np.sum((without - without.mean()) ** 2))
        assert np.isclose(statistic(Moments.of(x, g))[1], want, rtol=1e-9)


def test_moments_of_groups_add_up_to_those_of_all_weights():
    x, g = np.random.default_rng(1).normal(size=(5, 6)), np.arange(6.0)
    both, whole = Moments.of(x[:, :2], g[:2]) + Moments.of(x[:, 2:], g[2:]), Moments.of(x, g)
    for a, b in zip(both, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_reach_knows_what_is_settled():
    assert samples_needed(2.0, 0.1, 10.0) == ("yes", 5)
    assert samples_needed(3.0, 0.0, 0.0) == ("yes", 1)
    assert samples_needed(-1.0, 0.2, 10.0) == ("never", None)
    assert samples_needed(0.0, 0.0, 0.0) == ("never", None)  # a rule that leaves weights alone
    assert samples_needed(0.2, 0.1, 10.0) == ("unsettled", 20)


def test_a_scaled_noisy_gradient_shows_its_scale_and_its_noise(x64):
    net, data = recurrent()
    size = sum(w.size for w in jax.tree.leaves(px.weights(net)))
    g = np.sqrt(sum(float(jnp.sum(v**2)) for v in jax.tree.leaves(px.bptt(helpers.mse)(net, *data)[1])))
    spread = g / np.sqrt(size)  # one sample: as much noise as gradient
    one = group(measured(Noisy(0.6, spread), net, data, samples=(1, 4, 16), draws=100))
    assert np.isclose(one.gradient, g)
    assert one.biased
    assert abs(one.bias_squared - 0.16) < 3 * one.bias_squared_error
    assert one.bias_squared_error < 0.02
    assert abs(one.along - 0.6) < 0.02
    assert abs(one.variance - 1) < 4 * np.sqrt(2 / (100 * size))
    for a in one.averages:
        assert abs(a.cosine - cosine_at(0.6, 0.36, 1.0, a.samples)) < 3 * a.cosine_error < 0.05
        assert np.isclose(a.snr * a.variance, 1)
    assert one.reach == "yes"
    assert one.reach_samples == 1  # 0.36 / 0.25 - 0.36 > 1


def test_node_perturbation_of_one_linear_layer_has_its_textbook_variance(x64):
    """For one example and step (g . xi) xi has the mean g and, with signs, the variance (n - 1) |g|^2."""
    net, data = px.Network([px.cells.Readout(3, 6, key=jr.key(1))]), helpers.data(3, 6, steps=1, batch=1)
    for g in measured(px.RULES["node"](sigma=1e-6), net, data, samples=(1, 5), draws=400):
        assert not g.biased, g.name
        assert g.bias_bound < 0.2
        for a in g.averages:
            assert abs(a.variance * a.samples - 5) < 1.0


def test_variance_falls_with_the_number_of_samples(x64):
    net, data = recurrent()
    averages = group(
        measured(px.RULES["node"](credit="to-go"), net, data, samples=(1, 4, 16, 64), draws=200)
    ).averages
    slope = np.polyfit(np.log([a.samples for a in averages]), np.log([a.variance for a in averages]), 1)[0]
    assert abs(slope + 1) < 0.05
    assert [a.passes for a in averages] == [2, 5, 17, 65]


@pytest.mark.parametrize("rule", ["bptt", "one-step", "frozen"])
def test_exact_rules_have_no_variance_and_the_bias_of_what_they_cut(x64, rule):
    net, data = recurrent()
    exact = jax.jit(px.bptt(helpers.mse))(net, *data)[1]
    groups = measured(px.RULES[rule](), net, data, draws=4)
    got = helpers.fresh(px.RULES[rule](), helpers.mse)(net, *data, jr.key(0))[1]
    for name in ("layers[0].U", "layers[1].W"):
        found = group(groups, name)
        pick = (lambda n: n.layers[0].U) if name == "layers[0].U" else (lambda n: n.layers[1].W)
        want = jnp.linalg.norm(pick(got) - pick(exact)) / jnp.linalg.norm(pick(exact))
        assert found.variance == 0
        assert found.averages[0].snr == np.inf
        assert np.isclose(found.bias, want, rtol=1e-6, atol=1e-9)
        assert found.biased == bool(want > 1e-3)
        if rule == "bptt" or name == "layers[1].W":
            assert np.isclose(found.averages[0].cosine, 1)
            assert found.reach == "yes"
    if rule == "frozen":
        still = group(groups, "layers[0].U")
        assert (still.reach, still.bias, still.averages[0].norm) == ("never", 1.0, 0.0)


def test_bias_tells_full_credit_from_credit_of_the_same_step(x64):
    net, data = recurrent()
    kinds = {
        credit: measured(px.RULES["node"](credit=credit), net, data, samples=(64,), draws=100)
        for credit in ("to-go", "same-step")
    }
    assert not any(g.biased for g in kinds["to-go"])
    cut, exact = (f(helpers.mse)(net, *data)[1] for f in (lambda loss: px.truncated_bptt(loss, 1), px.bptt))
    found = group(kinds["same-step"], "layers[0].U")
    want = jnp.sum((cut.layers[0].U - exact.layers[0].U) ** 2) / jnp.sum(exact.layers[0].U ** 2)
    assert found.biased
    assert want > 0.05
    assert abs(found.bias_squared - want) < 3.5 * found.bias_squared_error
    assert not group(kinds["same-step"], "layers[1].W").biased


def test_predicted_samples_give_the_cosine_that_was_asked_for(x64):
    net, data = recurrent(n=10, steps=12, batch=4)
    rule = px.RULES["node"](credit="to-go")
    k = group(measured(rule, net, data, samples=(32,), draws=400), "layers[0].U").reach_samples
    assert k > 60
    direct = group(measured(rule, net, data, samples=(k,), draws=200, seed=11), "layers[0].U").averages[0]
    assert abs(direct.cosine - 0.5) < 0.03


def test_what_points_away_never_gets_there(x64):
    net, data = recurrent()
    away = group(measured(Noisy(-1.0, 1e-3), net, data))
    assert (away.reach, away.reach_passes) == ("never", None)
    assert away.averages[0].cosine < -0.9


def test_a_gradient_of_zero_leaves_nothing_to_compare(x64):
    net, data = recurrent()
    readout = net.layers[1]
    still = type(readout)(3, 1, key=jr.key(0))
    object.__setattr__(still, "W", jnp.zeros_like(readout.W))
    groups = measured(px.RULES["node"](credit="to-go"), px.Network([net.layers[0], still]), data, draws=4)
    assert group(groups, "layers[0].U").reach == "unknown"
    assert np.isnan(group(groups, "layers[0].U").bias)
    assert group(groups).reach != "unknown"


def test_costs_follow_the_rule():
    assert Cost.of(px.RULES["node"]()).passes(64) == 65
    assert Cost.of(px.RULES["node"](samples=8)).passes(64) == 65
    assert Cost.of(px.RULES["node"](difference="antithetic")).passes(3) == 6
    assert Cost.of(px.RULES["bptt"]()).passes(4) == 12


@pytest.mark.parametrize(("samples", "draws"), [((), 8), ((0,), 8), ((1,), 3)])
def test_numbers_that_mean_nothing_are_refused(samples, draws):
    net, data = recurrent()
    with pytest.raises(px.PerturbaxError):
        measured(px.RULES["node"](), net, data, samples=samples, draws=draws)
