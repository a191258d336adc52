"""A task of your own: sizes, length of a sequence, and how to draw a batch."""

from typing import ClassVar

import jax.numpy as jnp
import jax.random as jr

import perturbax as px


class RunningMean(px.Task):
    """Report the mean of all inputs so far.

    Attributes:
        length: steps of a sequence.
    """

    length: int = px.setting(8)
    summary: ClassVar[str] = "report the mean of all inputs so far"

    @property
    def sizes(self):
        return 1, 1  # inputs, outputs

    @property
    def steps(self):
        return self.length

    def sample(self, key, batch):
        xs = jr.normal(key, (self.length, batch, 1))
        return xs, jnp.cumsum(xs, 0) / jnp.arange(1, self.length + 1)[:, None, None]
