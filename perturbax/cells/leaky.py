"""The leaky integrator."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import Recurrent
from perturbax.fields import in_range, one_of, setting
from perturbax.network.layer import Fixed


class Leaky(Recurrent):
    """Leaky integrator: units with an internal state that decays.

        membrane   h_t = (1 - alpha) h_{t-1} + alpha a_t,         y_t = tanh(h_t)      (Jaeger et al. 2007)
        rate       h_t = (1 - alpha) h_{t-1} + alpha tanh(a_t),   y_t = h_t            (Murray 2019)

    a_t = z_t W + r_t U + b; alpha `(n,)` is not learnt.

    Args:
        alpha: share of the new value in each step, 0 < alpha <= 1; 1 is the vanilla layer.
        form: membrane (what leaks is behind the tanh) or rate (what leaks is the output).
    """

    alpha: Fixed
    form: str = setting("membrane")
    equation: ClassVar[str] = (
        "h = (1 - alpha) h + alpha (z W + r U + b), y = tanh(h); rate: tanh(z W + r U + b), y = h"
    )
    papers: ClassVar[tuple[str, ...]] = ("jaeger2007", "murray2019")

    def __init__(
        self, n_in: int, n: int, *, key: Array, alpha: float = 0.3, form: str = "membrane", **synapses: Any
    ):
        in_range("alpha", alpha, 0, 1, above=True)
        one_of("form", form, ("membrane", "rate"))
        super().__init__(n_in, n, key=key, **synapses)
        self.alpha = Fixed(jnp.full(n, alpha, self.W.dtype))
        self.form = form

    def start(self) -> tuple[Any, Array]:
        """Return hidden state and outputs of zero, `(n,)` each."""
        return jnp.zeros(self.U.shape[-1]), jnp.zeros(self.U.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return h = (1 - alpha) h + alpha a and tanh(h); rate: h = (1 - alpha) h + alpha tanh(a), twice."""
        alpha = self.alpha.value
        if self.form == "rate":
            h = (1 - alpha) * h + alpha * jnp.tanh(a)
            return h, h
        h = (1 - alpha) * h + alpha * a
        return h, jnp.tanh(h)
