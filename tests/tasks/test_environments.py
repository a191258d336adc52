"""Environments: the physics of the cart and pole, when the bandit pays, and what a task says of a world."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.tasks.contract import check_task, held_out

# Gymnasium 1.4.0: env = gym.make("CartPole-v1"); env.reset(seed=0); env.unwrapped.state after these actions.
START = [0.013696168732145436, -0.02302132862361297, -0.045902647606380534, -0.04834723644714709]
ACTIONS = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1]
STATES = {
    0: [0.013235742159673177, 0.17272774640672584, -0.04686959233532348, -0.3551522026891103],
    2: [0.016256346147618075, -0.21600589442993173, -0.05552481936151207, 0.1975687015569655],
    6: [0.02247778973817615, 0.1773183796328068, -0.07682237276589868, -0.4572818680127474],
    11: [0.07945109645625201, 1.158834003447458, -0.18640633227519915, -2.078583504579418],
    12: [0.10262777652520116, 1.3552928754202545, -0.2279780023667875, -2.422653439517855],
}


def test_the_cart_moves_as_in_gymnasium():
    task = px.tasks.CartPole()
    assert (task.steps, task.best, task.sizes) == (500, 500.0, (4, 2))
    with jax.enable_x64(True):
        act = jax.jit(task.act)
        world = jnp.asarray(START)
        for i, action in enumerate(ACTIONS):
            world, reward, ended = act(world, jnp.eye(2)[action], jnp.zeros(4))
            assert (float(reward), bool(ended)) == (1.0, i == 12)  # 0.228 rad: beyond 12 degrees
            if i in STATES:
                np.testing.assert_allclose(world, STATES[i], rtol=1e-12)
        np.testing.assert_allclose(task.begin(jnp.array([0.0, 0.5, 1.0, 0.75])), [-0.05, 0, 0.05, 0.025])


def test_after_its_end_an_episode_shows_and_pays_nothing():
    task = px.tasks.CartPole(length=30)
    chance = task.sample(jr.key(0), 1)[0][:, 0]  # (T, draws)

    @jax.jit
    def pushed_right(chance):
        def step(life, now):
            life, seen = task.awake(life, now)
            life, reward = task.lived(life, jnp.array([0.0, 1.0]), now)
            return life, (seen, reward, life.alive)

        return jax.lax.scan(step, task.unborn(), jnp.concatenate([chance, chance]))[1]

    seen, rewards, alive = pushed_right(chance)
    falls = int(np.argmin(alive))  # the step of the fall is still paid
    assert 5 < falls < 15
    np.testing.assert_array_equal(rewards[: falls + 1], 1)
    np.testing.assert_array_equal(rewards[falls + 1 : 30], 0)
    np.testing.assert_array_equal(seen[falls + 1 : 30], 0)
    np.testing.assert_array_equal(rewards[30:], rewards[:30])  # then the next one begins
    np.testing.assert_array_equal(seen[30:], seen[:30])


def test_the_bandit_shows_asks_and_pays():
    task = px.tasks.Bandit(arms=2, wait=1, delay=3, odds=1.0)
    assert (task.steps, task.sizes) == (5, (5, 2))

    @jax.jit
    def episode(outputs, chance):
        def step(life, now):
            u, chance = now
            life, seen = task.awake(life, chance)
            life, reward = task.lived(life, u, chance)
            return life, (seen, reward)

        return jax.lax.scan(step, task.unborn(), (outputs, chance))[1]

    right = jnp.tile(jnp.array([0.0, 1.0]), (5, 1))
    seen, rewards = episode(right, jnp.full((5, 1), 0.7))  # arm 1 is good
    np.testing.assert_array_equal(seen, [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0] * 5, [0] * 5])
    np.testing.assert_array_equal(rewards, [0, 0, 0, 0, 1])
    other = right.at[1].set(jnp.array([1.0, 0.0]))
    np.testing.assert_array_equal(episode(other, jnp.full((5, 1), 0.7))[1], 0)
    elsewhere = right.at[0].set(jnp.array([1.0, 0.0]))  # outputs count at the step of go alone
    np.testing.assert_array_equal(episode(elsewhere, jnp.full((5, 1), 0.7))[1], [0, 0, 0, 0, 1])


def test_loss_is_the_missed_share_of_the_best_return():
    task = px.tasks.Bandit(arms=2, delay=4, odds=0.8)
    ys = task.sample(jr.key(0), 2)[1]
    rewards = jnp.zeros((5, 2, 1)).at[-1, 0].set(1)
    got = task.metrics(rewards, ys)
    assert {name: pytest.approx(float(v)) for name, v in got.items()} == {
        "loss": 1 - 0.5 / 0.8,
        "return": 0.5,
    }
    assert float(task.return_of(got["loss"])) == pytest.approx(0.5)
    losses = jax.vmap(task.loss)(rewards, ys)
    assert float(losses.mean()) == pytest.approx(float(got["loss"]))
    assert set(task.baselines()) == {"random"}


def test_a_world_of_ones_own_is_a_task():
    class Hold(px.Environment):
        sizes = property(lambda self: (1, 1))
        steps = property(lambda self: 20)

        def begin(self, chance):
            return 2 * chance - 1

        def observe(self, world):
            return world

        def act(self, world, u, chance):
            world = world + 0.1 * u + 0.1 * (chance - 0.5)
            return world, -(world[0] ** 2), jnp.abs(world[0]) > 3

    task = Hold()
    check_task(task, 4, "sequence")
    assert held_out(task, "test").xs.shape == (20, 100, 1)
    worst = task.baselines()["random"]
    assert float(worst["loss"]) == pytest.approx(-float(worst["return"]), rel=1e-5)
    with pytest.raises(ArgumentError, match="Nothing has no act and begin and observe"):
        type("Nothing", (px.Environment,), {"sizes": (1, 1), "steps": 1})()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: px.tasks.Bandit(odds=0.5), "odds must be above 0.5"),
        (lambda: px.tasks.Bandit(arms=1), "arms must be a whole number of at least 2, not 1"),
        (lambda: px.tasks.CartPole(length=0), "length must be a whole number of at least 1, not 0"),
    ],
)
def test_settings_that_mean_nothing(make, said):
    with pytest.raises(ArgumentError, match=said):
        make()
