"""A cell of your own: plain arrays are weights, `drive` is linear in them, `advance` may be anything."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

import perturbax as px


class Binary(px.Layer):
    """Units that are on or off: no derivative anywhere, and none is needed."""

    W: Array
    U: Array

    def __init__(self, n_in: int, n: int, *, key: Array):
        below, own = jr.split(key)
        self.W = jr.normal(below, (n_in, n)) / n_in**0.5
        self.U = jr.normal(own, (n, n)) / n**0.5

    def start(self):
        return (), jnp.zeros(self.U.shape[0])  # hidden state, visible output

    def drive(self, z, r):
        return z @ self.W + r @ self.U  # input from below, own output one step ago

    def advance(self, h, a):
        return (), jnp.sign(a)
