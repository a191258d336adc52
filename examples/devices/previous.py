"""Repeat the input of the step before: a task for a device that must remember."""

from typing import ClassVar

import jax.numpy as jnp
import jax.random as jr

import perturbax as px


class Previous(px.Task):
    """y_t = x_{t-1}, 0 at first; inputs normal with standard deviation 0.5."""

    summary: ClassVar[str] = "repeat the input of the step before"

    @property
    def sizes(self):
        return 1, 1

    @property
    def steps(self):
        return 12

    def sample(self, key, batch):
        xs = 0.5 * jr.normal(key, (12, batch, 1))
        return xs, jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
