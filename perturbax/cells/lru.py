"""The linear recurrent unit."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.cells.base import plus, product, uniform
from perturbax.errors import ArgumentError
from perturbax.network.layer import Layer


class LRU(Layer):
    """Linear recurrent unit: a complex number per unit that turns and shrinks (Orvieto et al. 2023).

        x_t = lam x_{t-1} + z_t W + b,   y_t = (Re x_t, Im x_t)

    lam, W and b are complex and kept as real and imaginary parts: lam `(2, n)`, W `(n_in, 2, n)`, b `(2, n)`,
    a `(2, n)`, y `(2 n,)`. As synapses must be linear in weights, lam itself is learnt (not its logarithm),
    and its modulus starts in the ring [least, most]. The layer is linear: a nonlinear task needs another
    layer above.

    Args:
        bias: whether there is a b.
        least: smallest modulus of lam at the start.
        most: largest modulus of lam at the start, below 1.
        phase: largest angle of lam at the start, in units of pi.
    """

    lam: Array
    W: Array
    b: Array | None
    equation: ClassVar[str] = "x = lam x + z W + b (complex, lam per unit), y = (Re x, Im x)"
    papers: ClassVar[tuple[str, ...]] = ("orvieto2023",)

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        bias: bool = True,
        least: float = 0.5,
        most: float = 0.99,
        phase: float = 0.1,
    ):
        if not 0 <= least <= most < 1:
            raise ArgumentError(f"least and most must satisfy 0 <= least <= most < 1, not {least} and {most}")
        if not 0 <= phase <= 1:
            raise ArgumentError(f"phase must lie in [0, 1], not {phase}")
        below, ring, angle = jr.split(key, 3)
        size = jnp.sqrt(least**2 + jr.uniform(ring, (n,)) * (most**2 - least**2))
        turn = math.pi * phase * jr.uniform(angle, (n,))
        self.lam = size[None] * jnp.stack([jnp.cos(turn), jnp.sin(turn)])
        self.W = (
            uniform(below, (n_in, 2, n)) * jnp.sqrt(1 - size**2)[None, None]
        )  # activity of about the input's size
        self.b = jnp.zeros((2, n)) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.lam.size)

    def drive(self, z: Array, r: Array) -> Array:
        """Turn, shrink, and add the input."""
        re, im = r.reshape(2, -1)
        turned = jnp.stack([re * self.lam[0] - im * self.lam[1], re * self.lam[1] + im * self.lam[0]])
        return plus(product(z, self.W) + turned, self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Nothing: the pre-activation is the state."""
        return (), a.reshape(-1)

    def wiring(self) -> np.ndarray:
        """Each unit reads itself."""
        return np.eye(self.lam.shape[-1], dtype=bool)
