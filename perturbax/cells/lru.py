"""The linear recurrent unit."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool

from perturbax.cells.base import plus, product, uniform
from perturbax.fields import in_range
from perturbax.network.layer import Layer


class LRU(Layer):
    """Linear recurrent unit: each unit is a complex number that turns and shrinks (Orvieto et al. 2023).

        x_t = lam x_{t-1} + z_t W + b,   y_t = (Re x_t, Im x_t)

    lam, W and b are complex and kept as real and imaginary parts: lam `(2, n)`, W `(n_in, 2, n)`, b `(2, n)`,
    a `(2, n)`, y `(2 n,)`. As synapses must be linear in weights, lam itself is learnt (not its logarithm),
    and its modulus starts in the ring [least, most]. The layer is linear: a nonlinear task needs another
    layer above.

    Args:
        n_in: number of inputs from below.
        n: number of complex units; outputs are twice as many.
        key: JAX key of the initial weights.
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
        in_range("most", most, 0, 1, below=True)
        in_range("least", least, 0, most)
        in_range("phase", phase, 0, 1)
        key_below, key_modulus, key_angle = jr.split(key, 3)
        squared = least**2 + jr.uniform(key_modulus, (n,)) * (most**2 - least**2)
        modulus = jnp.sqrt(squared)  # (n,), uniform over the area of the ring
        angle = math.pi * phase * jr.uniform(key_angle, (n,))  # (n,)
        self.lam = modulus[None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        scale = jnp.sqrt(1 - modulus**2)  # (n,): activity of about the input's size
        self.W = uniform(key_below, (n_in, 2, n)) * scale[None, None]
        self.b = jnp.zeros((2, n)) if bias else None

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero `(2 n,)`."""
        return (), jnp.zeros(self.lam.size)

    def drive(self, z: Array, r: Array) -> Array:
        """Return lam x + z W + b, `(2, n)`, with x = r."""
        re, im = r.reshape(2, -1)  # (n,) each
        turned_re = re * self.lam[0] - im * self.lam[1]  # (n,)
        turned_im = re * self.lam[1] + im * self.lam[0]  # (n,)
        turned = jnp.stack([turned_re, turned_im])  # (2, n)
        return plus(product(z, self.W) + turned, self.b)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = (Re a, Im a) `(2 n,)`."""
        return (), a.reshape(-1)

    def wiring(self) -> Bool[np.ndarray, "n n"]:
        """Return that each unit reads itself alone."""
        return np.eye(self.lam.shape[-1], dtype=bool)
