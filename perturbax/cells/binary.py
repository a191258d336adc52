"""Binary neurons."""

from typing import Any, ClassVar

from jaxtyping import Array

from perturbax.cells.base import Recurrent
from perturbax.cells.spiking import SURROGATES, heaviside
from perturbax.fields import one_of, setting


class Binary(Recurrent):
    """Binary recurrent layer: outputs are -1 or 1, and there is no derivative (McCulloch, Pitts 1943).

        a_t = z_t W + r_t U + b,   y_t = 1 where a_t > 0, else -1

    Args:
        surrogate: function that rules which need a derivative use in place of that of the step: none (they
            refuse the layer), triangle, sigmoid or fast-sigmoid. Gradient-free rules never ask.
    """

    surrogate: str = setting("none")
    equation: ClassVar[str] = "y = sign(z W + r U + b)"
    papers: ClassVar[tuple[str, ...]] = ("mcculloch1943",)

    def __init__(self, n_in: int, n: int, *, key: Array, surrogate: str = "none", **synapses: Any):
        one_of("surrogate", surrogate, SURROGATES)
        super().__init__(n_in, n, key=key, **synapses)
        self.surrogate = surrogate

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = 1 where a > 0, else -1."""
        return (), 2 * heaviside(a, self.surrogate, dampening=0.5) - 1
