"""Layers without recurrence: hidden layers of feed-forward networks, and readouts."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import ACTIVATIONS, FeedForward
from perturbax.fields import in_range, one_of, setting


class Dense(FeedForward):
    """Feed-forward layer: no recurrent input, no state.

        y_t = f(z_t W + b)

    Args:
        activation: f, one of tanh, relu, leaky-relu, sigmoid.
    """

    activation: str = setting("tanh")
    equation: ClassVar[str] = "y = f(z W + b)"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, activation: str = "tanh", **synapses: Any):
        one_of("activation", activation, ACTIVATIONS)
        super().__init__(n_in, n, key=key, **synapses)
        self.activation = activation

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = f(a)."""
        return (), ACTIVATIONS[self.activation](a)


class Readout(FeedForward):
    """Linear output layer.

    y_t = z_t W + b
    """

    equation: ClassVar[str] = "y = z W + b"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, **synapses: Any):
        super().__init__(n_in, n, key=key, **synapses)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = a."""
        return (), a


class LeakyReadout(FeedForward):
    """Linear output layer with a leak: it filters what it reads (Bellec et al. 2020).

        y_t = kappa y_{t-1} + z_t W + b

    W starts (1 - kappa) times as large as that of a `Readout`, so that outputs are about as large.

    Args:
        kappa: share of the output that is left after a step, 0 <= kappa < 1.
    """

    kappa: float = setting(0.9)
    equation: ClassVar[str] = "y = kappa y + z W + b"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020",)

    def __init__(self, n_in: int, n: int, *, key: Array, kappa: float = 0.9, **synapses: Any):
        in_range("kappa", kappa, 0, 1, below=True)
        super().__init__(n_in, n, key=key, **synapses)
        self.W = (1 - kappa) * self.W
        self.kappa = kappa

    def start(self) -> tuple[Any, Array]:
        """Return hidden state and outputs of zero, `(n,)` each."""
        return jnp.zeros(self.W.shape[-1]), jnp.zeros(self.W.shape[-1])

    def filters(self) -> float:
        """Return kappa: the layer only filters."""
        return self.kappa

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return y = kappa h + a, as hidden state and as output."""
        y = self.kappa * h + a
        return y, y
