"""The task gym, with a stand-in for Gymnasium: a counter that ends, and spaces that are refused."""

import sys
import types

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError


class Box:
    def __init__(self, low, high, shape):
        self.low, self.high, self.shape = np.full(shape, low), np.full(shape, high), shape


class Discrete:
    def __init__(self, n):
        self.n = n


class Tuple:
    pass


class Count:
    """Counts up from the seed modulo 5 by the action; ends at 7 or more; must not be stepped after that."""

    spec = types.SimpleNamespace(max_episode_steps=6)
    made = 0

    def __init__(self, name):
        Count.made += 1
        self.observation_space = Tuple() if name == "Tuple-v0" else Box(0, 9, (1,))
        self.action_space = Box(-2.0, 2.0, (1,)) if name == "Box-v0" else Discrete(3)
        self.spec = types.SimpleNamespace(max_episode_steps=None) if name == "Endless-v0" else Count.spec

    def reset(self, seed):
        self.at, self.over = seed % 5, False
        return np.array([self.at], np.float32), {}

    def step(self, action):
        assert not self.over
        self.at = self.at + float(np.ravel(action)[0])
        self.over = self.at >= 7
        return np.array([self.at], np.float32), self.at, self.over, False, {}

    def close(self):
        pass


@pytest.fixture
def package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", types.SimpleNamespace(make=Count))


def test_every_row_has_a_copy_of_its_own(package):
    """Rows under vmap act differently on copies with the same seed; none is stepped after its end."""
    task = px.tasks.Gym(name="Count-v0").open(None)
    assert (task.sizes, task.steps) == ((1, 3), 6)
    chance = task.sample(jr.key(0), 2)[0]
    actions = jnp.array([[1, 1, 2, 2, 2, 2], [0, 0, 0, 0, 0, 0]])  # (rows, T)

    @jax.jit
    def lived(chance):
        def one(act):
            def step(lives, now):
                u, c = now
                lives, seen = jax.vmap(task.awake)(lives, c)
                lives, r = jax.vmap(task.lived, in_axes=(0, None, 0))(lives, u, c)
                return lives, (seen[:, 0], r)

            unborn = jax.tree.map(lambda s: jnp.broadcast_to(s, (2, *s.shape)), task.unborn())
            return jax.lax.scan(step, unborn, (jnp.eye(3)[act], chance))[1]

        return jax.vmap(one)(actions)

    for _ in range(10):  # more groups than are kept: copies are used again
        seen, rewards = map(np.asarray, lived(chance))  # (rows, T, B)
    first = (np.asarray(chance[0]) * 2**15).astype(int) @ [2**15, 1] % 5
    for b in range(2):
        np.testing.assert_array_equal(seen[1, :, b], first[b])
        at = first[b] + np.cumsum(actions[0])
        ends = int(np.argmax(at >= 7)) if (at >= 7).any() else 5
        np.testing.assert_array_equal(rewards[0, : ends + 1, b], at[: ends + 1])
        np.testing.assert_array_equal(rewards[0, ends + 1 :, b], 0)
    assert Count.made < 45


def test_spaces(package):
    boxed = px.tasks.Gym(name="Box-v0").open(None)
    assert (boxed.outputs, boxed.low, boxed.high) == (1, (-2.0,), (2.0,))
    for name, said in (
        ("Tuple-v0", "environment Tuple-v0 shows a Tuple: task gym reads Box and Discrete observations"),
        ("Endless-v0", r"environment Endless-v0 has no limit of steps: name one \(--task.length\)"),
    ):
        with pytest.raises(ArgumentError, match=said):
            px.tasks.Gym(name=name).open(None)
    with pytest.raises(ArgumentError, match="has not been opened yet"):
        _ = px.tasks.Gym().sizes


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ArgumentError, match=r"task gym .*pip install 'perturbax\[gym\]'"):
        px.tasks.Gym().open(None)


def test_cart_pole_of_the_package_itself():
    pytest.importorskip("gymnasium", reason="no gymnasium (extra: gym)")
    result = px.run(
        px.Experiment(task="gym", task_options={"name": "CartPole-v1"}, rule="evolution", steps=2)
    )
    returned = result.summary["test"]["return"]
    assert 8 < returned <= 500  # a pole takes some steps to fall, and pays 1 for each
    assert result.summary["test"]["loss"] == pytest.approx(-returned)
