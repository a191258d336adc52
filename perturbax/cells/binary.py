"""Binary neurons."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import Recurrent
from perturbax.cells.spiking import SURROGATES, above
from perturbax.fields import one_of, setting


class Binary(Recurrent):
    """Binary recurrent layer: outputs are signs, and there is no derivative (McCulloch & Pitts 1943).

        a_t = z_t W + r_t U + b,   y_t = 1 where a_t > 0, else -1

    Args:
        surrogate: what stands for the derivative of the step: none, triangle, sigmoid or fast-sigmoid. Rules
            that are gradient-free never ask.
    """

    surrogate: str = setting("none")
    equation: ClassVar[str] = "y = sign(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("mcculloch1943",)

    def __init__(self, n_in: int, n: int, *, key: Array, surrogate: str = "none", **synapses: Any):
        one_of("surrogate", surrogate, SURROGATES)
        super().__init__(n_in, n, key=key, **synapses)
        self.surrogate = surrogate

    def start(self) -> tuple[Any, Array]:
        """No output yet: zero, not a sign."""
        return (), jnp.zeros(self.U.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Sign."""
        return (), 2 * above(a, self.surrogate, 0.5) - 1
