"""Products of less than float32, as a GPU makes them: where passes are compared, they run in full float32."""

import contextlib

import equinox as eqx
import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.devices.faults import Faults
from perturbax.devices.simulated_pass import run_compiled
from perturbax.errors import ArgumentError
from perturbax.learning import products
from perturbax.rules.perturbation.node import Node

TF32, BF16 = 2.0**-10, 2.0**-7  # eps of 11 and of 8 significant bits
# Products of float32 matrices that the CPU rounds to 11 significant bits, as TF32 does.
COARSE = "F16_F16_F16"


class AsItComes(Node):
    """Node perturbation without the guard."""

    def compared_noise(self):
        return None


@pytest.fixture
def on(monkeypatch):
    """Programs are traced as for another platform."""
    return lambda name: monkeypatch.setattr(products, "_platform", lambda: name)


@pytest.mark.parametrize(
    ("platform", "setting", "eps"),
    [
        ("cpu", None, None),
        ("cpu", "bfloat16", None),
        ("cpu", COARSE, TF32),
        ("cpu", "BF16_BF16_F32_X9", None),
        ("gpu", None, TF32),
        ("gpu", "default", TF32),
        ("gpu", "tensorfloat32", TF32),
        ("gpu", "high", TF32),
        ("gpu", "highest", None),
        ("gpu", "float32", None),
        ("gpu", "TF32_TF32_F32_X3", 2.0**-21),
        ("tpu", None, BF16),
        ("tpu", "high", 2.0**-15),
        ("tpu", "highest", None),
        ("unheard of", None, BF16),
        ("unheard of", "highest", None),
    ],
)
def test_rounding_follows_backend_and_setting(on, platform, setting, eps):
    on(platform)
    with jax.default_matmul_precision(setting) if setting else contextlib.nullcontext():
        assert products.product_eps("float32") == (eps or np.finfo("float32").eps)
        assert products.product_eps("complex64") == products.product_eps("float32")
        assert products.product_eps("bfloat16") == max(BF16, eps or 0)
        if setting is None or "_" not in setting:  # levels speak of 32 bits, algorithms of all
            assert products.product_eps("float64") == np.finfo("float64").eps


def test_a_setting_that_is_not_known_is_taken_for_coarse(monkeypatch):
    monkeypatch.delitem(products.ALGORITHMS, "TF32_TF32_F32_X3")
    with jax.default_matmul_precision("TF32_TF32_F32_X3"):
        assert products.product_eps("float32") == BF16


def test_platform_is_that_of_the_default_device():
    assert products._platform() == jax.default_backend()
    with jax.default_device(jax.devices("cpu")[0]):
        assert products._platform() == "cpu"


def test_passes_run_in_full_where_sigma_asks_for_it(on):
    net = helpers.network(px.cells.Tanh, n=4)
    half = jax.tree.map(lambda w: w.astype("bfloat16"), net)
    assert not products.in_full(Node(), net)
    on("gpu")
    assert products.rounds_products(net)
    assert not products.rounds_products(half)
    for name in ("node", "activity", "weight", "evolution", "pes", "mirror"):
        rule = px.RULES[name]()
        assert products.in_full(rule, net)
        assert not products.in_full(rule, half)  # its weights are no finer than its products
    assert products.in_full(Node().second_pass(), net)
    assert products.in_full(Node(sigma=0.19), net)
    assert not products.in_full(Node(sigma=0.2), net)
    for name in ("reward", "ou", "bptt", "forward", "frozen", "one-step"):  # nothing is compared
        assert not products.in_full(px.RULES[name](), net)
    traced = eqx.tree_at(lambda rule: rule.sigma, Node(), jnp.ones(()))  # as `sigma auto` measures it
    assert products.in_full(traced, net)
    assert products.difference_error(traced, net) is None
    assert products.difference_error(Node(), net) == pytest.approx(1.8e-4, rel=0.01)
    assert products.difference_error(Node(sigma=0.2), net) == pytest.approx(9.8e-4, rel=0.01)
    assert products.difference_error(Node(sigma=0.1), half) == pytest.approx(1.6e-2, rel=0.03)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("node", {"credit": "replay"}),
        ("weight", {}),
        ("evolution", {}),
        ("pes", {}),
        ("reward", {}),
    ],
)
def test_programs_for_a_gpu(on, name, options):
    """The passes of rules that compare them ask for the highest precision, of others for none."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=4), helpers.data()

    def products_at_highest():
        init, update = px.learner(px.RULES[name](**options), helpers.mse)
        program = lambda key: update(init(net, xs[0], key), net, xs, ys, key)
        return jax.jit(program).lower(jr.key(0)).as_text().count("precision = [HIGHEST, HIGHEST]")

    assert products_at_highest() == 0
    on("gpu")
    assert bool(products_at_highest()) == (name != "reward")


def in_half(z, W):
    return (z.astype("bfloat16") @ W.astype("bfloat16")).astype(W.dtype)


def rounded(z, W):
    return jax.lax.reduce_precision(z @ W, exponent_bits=8, mantissa_bits=10)


def named(z, W):
    return jnp.dot(z, W, precision="F16_F16_F16")


@pytest.mark.parametrize(
    ("product", "bits", "least"), [(in_half, 8, 0.078), (rounded, 11, 0.0098), (named, 11, 0.0098)]
)
def test_noise_that_a_network_rounds_away_itself_is_refused(product, bits, least):
    class Own(px.cells.Tanh):
        def drive(self, z, r):
            return product(z, self.W) + r @ self.U + self.b

    net, data = helpers.network(Own, n=4), helpers.data()
    words = (
        f"sigma 0.001 is lost where the network itself rounds to {bits} significant bits, .* at least {least}"
    )
    learn = lambda rule: jax.eval_shape(px.value_and_estimate(rule, helpers.mse), net, *data, jr.key(0))
    for name in ("node", "evolution"):
        with pytest.raises(ArgumentError, match=words):
            learn(px.RULES[name](sigma=1e-3))
    learn(Node(sigma=0.08))
    init, _ = px.online(Node(), helpers.mse, optax.sgd(0.1))
    with pytest.raises(ArgumentError, match=words):
        init(net, data[0][0], data[1][0], jr.key(0))


def test_levels_that_a_network_names_are_those_of_the_backend(on):
    class Own(px.cells.Tanh):
        def drive(self, z, r):
            return jnp.dot(z, self.W, precision="default") + r @ self.U + self.b

    net, data = helpers.network(Own, n=4), helpers.data()
    learn = lambda: jax.eval_shape(px.value_and_estimate(Node(), helpers.mse), net, *data, jr.key(0))
    learn()
    on("gpu")
    with pytest.raises(ArgumentError, match="rounds to 11 significant bits"):
        learn()


def test_simulated_devices_are_exact_on_coarse_hardware():
    """Who compares their trials cannot know in what they are computed."""
    net, (xs, _) = helpers.network(px.cells.Tanh, n=4), helpers.data()
    found = []
    for setting in ("default", COARSE):
        with jax.default_matmul_precision(setting):
            found.append(run_compiled(net, xs, [None, None], [None, None], jr.key(0), Faults(), ())[0])
            plain = jax.jit(px.forward)(net, xs)
    np.testing.assert_array_equal(*found)
    assert np.abs(plain - found[1]).max() > 1e-5


def test_coarse_products_leave_a_difference_of_losses_alone(x64):
    """At the default sigma they ruin it without the guard; with it the same bits come as from the CPU."""
    net, data = helpers.network(px.cells.Tanh, n=16, scale=0.4), helpers.data(steps=10, batch=4)

    def estimate(learn, dtype, setting):
        cast = jax.tree.map(lambda w: w.astype(dtype), (net, *data))
        with jax.default_matmul_precision(setting):
            loss, grads = learn(*cast, jr.key(0))
        flat = jnp.concatenate([g.astype("float64").ravel() for g in jax.tree.leaves(grads)])
        return loss, flat

    guarded, plain = (px.value_and_estimate(rule(), helpers.mse) for rule in (Node, AsItComes))
    exact = estimate(guarded, "float64", "default")[1]
    errors = {}
    for name, learn in (("guarded", guarded), ("plain", plain)):
        for setting in ("default", COARSE):
            off = estimate(learn, "float32", setting)[1] - exact
            errors[name, setting] = float(jnp.linalg.norm(off) / jnp.linalg.norm(exact))
    assert errors["guarded", "default"] == errors["plain", "default"] < 1e-3
    assert errors["plain", COARSE] > 1e-2
    assert errors["guarded", COARSE] < 1e-3
