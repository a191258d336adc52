"""Noise-reuse evolution strategies: one direction per episode, judged update by update."""

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS, SAMPLES
from perturbax.rules.evolution.base import Unrolled


class NRES(Unrolled):
    """Noise-reuse evolution strategy: one weight noise for the whole episode, an estimate whenever one is
    wanted.

        dL_t/dw  ~  (L_t+ - L_t-) / (2 sigma) xi,      xi redrawn when the episode is reset

    Unbiased (up to sigma^2) for the gradient of the whole episode, with less variance than pes where the
    gradients of windows agree. In sequence mode this is antithetic weight perturbation; online it learns
    `every` few steps, within the episode. States come from the weights of their time. Li et al. 2023.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    facts: ClassVar[Facts] = Facts(
        equation="dW = (L+ - L-) / (2 sigma) xi, one xi per episode",
        target="full gradient of an episode, from truncated unrolls",
        cost="2 K passes",
        memory="K x weights, constant in T",
        papers=("li2023", "vicol2021"),
        passes=2,
    )

    def due(self, at: Array) -> Array:
        """Return False: noise is not redrawn within an episode."""
        return jnp.zeros_like(at, bool)
