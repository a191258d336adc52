"""AdaS: what arrays have learnt, learning rates that follow it, and when the training loss has levelled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.experiment.adas import (
    Knowledge,
    above_noise,
    by_knowledge_gain,
    has_levelled,
    knowledge,
    knowledge_of,
)


def of_rank(values, noise, sides=(60, 100)):
    """A matrix with these singular values, and noise."""
    draw = np.random.default_rng(0)
    left, right = (np.linalg.qr(draw.standard_normal((n, len(values))))[0] for n in sides)
    return (left * values) @ right.T + noise * draw.standard_normal(sides)


@pytest.fixture(scope="module")
def known():
    """(gain, condition, rank) of known matrices, by name."""
    five = np.array([10.0, 9.8, 9.5, 9.2, 9.0])
    matrices = {
        "noise": of_rank(np.zeros(1), 1.0),
        "five, little noise": of_rank(five, 0.02),
        "five, more noise": of_rank(five, 0.05),
        "five, turned": of_rank(five, 0.02).T,
        "one": of_rank(np.array([3.0]), 0.01),
        "under the noise": of_rank(five, 1.0),
        "nothing": np.zeros((60, 100)),
    }
    with jax.enable_x64(True):
        compiled = jax.jit(lambda found: {name: knowledge(W) for name, W in found.items()})
        return jax.tree.map(float, compiled({name: jnp.asarray(W) for name, W in matrices.items()}))


def test_gains_of_known_matrices(known):
    for name in ("noise", "under the noise", "nothing"):
        assert known[name] == (0, 0, 0)
    ratio = np.mean([10, 9.8, 9.5, 9.2, 9.0]) / 10  # of the singular values to the first
    for name in ("five, little noise", "five, more noise", "five, turned"):
        gain, condition, rank = known[name]
        assert rank == 5
        assert gain == pytest.approx((5 / 60 + 5 / 100) / 2 * ratio, rel=5e-3)
        assert condition == pytest.approx(10 / 9, rel=1e-2)
    assert known["one"] == pytest.approx(((1 / 60 + 1 / 100) / 2, 1, 1))


def test_an_orthogonal_matrix_has_all_gain_unless_it_is_taken_for_noise():
    assert float(knowledge_of(jnp.ones(20), (20, 20)).gain) == pytest.approx(1)
    assert not np.any(above_noise(jnp.ones(20), 20))


def test_values_above_the_noise_are_shrunk(known):
    del known
    s = jnp.asarray(np.linalg.svd(of_rank(np.array([10.0, 9.0]), 0.05), compute_uv=False))
    kept = above_noise(s, 100)
    assert (np.asarray(kept[:2]) < np.asarray(s[:2])).all()
    assert (np.asarray(kept[:2]) > 0.9 * np.asarray(s[:2])).all()
    assert not np.any(kept[2:])


def test_rates_follow_gains(monkeypatch):
    gains = np.array([0.10, 0.14, 0.17, 0.19, 0.20, 0.20, 0.20])
    # The weight says which gain it has: what an SVD finds is tested above.
    monkeypatch.setattr(
        "perturbax.experiment.adas.knowledge",
        lambda W: Knowledge(W[0, 0], 10 * W[0, 0], jnp.ones(())),
    )
    sgd = optax.chain(optax.sgd(1.0), by_knowledge_gain(0.03, every=2))

    @jax.jit
    def rates():
        def one_epoch(state, gain):
            for _ in range(2):
                grads = {"W": jnp.ones((2, 2)), "b": jnp.ones(2)}
                updates, state = sgd.update(grads, state, {"W": jnp.full((2, 2), gain), "b": jnp.ones(2)})
            return state, (
                *(-updates["W"][0, 0], -updates["b"][0], state[1].rates[0]),
                *(state[1].gains[0], state[1].conditions[0]),
            )

        first = sgd.init({"W": jnp.full((2, 2), gains[0]), "b": jnp.ones(2)})
        return jax.lax.scan(one_epoch, first, jnp.asarray(gains))[1]

    of_W, of_b, rate, gain, condition = rates()
    np.testing.assert_allclose(gain, gains, rtol=1e-6)
    np.testing.assert_allclose(condition, 10 * gains, rtol=1e-6)  # can be read, and decides nothing
    np.testing.assert_allclose(rate[0], 0.03)
    np.testing.assert_allclose(rate[1:], [0.064, 0.0812, 0.08496, 0.07797, 0.06237, 0.0499], rtol=1e-3)
    np.testing.assert_allclose(of_W, rate)
    np.testing.assert_allclose(of_b, rate)
    np.testing.assert_allclose(rate[-1] / rate[-2], 0.8, rtol=1e-5)  # a constant gain: it decays


def test_a_run_has_rates_of_its_own_and_ends_where_its_loss_has_levelled(tmp_path):
    e = px.Experiment(
        task="probe-lag1",
        rule="bptt",
        units=4,
        steps=100,
        batch=4,
        logs=50,
        optimiser="sgd",
        lr=0.03,
        schedule="adas",
        plateau=10.0,
    )
    result = px.run(e, tmp_path / "run")
    assert len(result.metrics) == 11  # the first loss is the lowest, and ten have not fallen by 10 since
    assert result.summary["stopped_at"] == 22
    page = px.report([tmp_path / "run"], tmp_path / "page.html").read_text()
    assert "Hosseini" in page


def test_levelled_losses():
    falling = [1 - 0.01 * i for i in range(30)]
    assert not has_levelled(falling, 1e-3)
    assert not has_levelled(falling + [0.71] * 9, 1e-3)
    assert has_levelled(falling + [0.71] * 10, 1e-3)
    assert not has_levelled([1.0] * 30, 0.0)
    assert has_levelled([1 - 0.0001 * i for i in range(11)], 1e-2)
