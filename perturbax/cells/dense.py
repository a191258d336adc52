"""Layers without recurrence: hidden layers of feed-forward networks, and readouts."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import FeedForward
from perturbax.errors import ArgumentError
from perturbax.fields import one_of, setting

ACTIVATIONS = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
    "sigmoid": jax.nn.sigmoid,
}


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

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.W.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """F."""
        return (), ACTIVATIONS[self.activation](a)


class Readout(FeedForward):
    """Linear output layer.

    y_t = z_t W + b
    """

    equation: ClassVar[str] = "y = z W + b"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array, **synapses: Any):
        super().__init__(n_in, n, key=key, **synapses)

    def start(self) -> tuple[Any, Array]:
        """Zero output."""
        return (), jnp.zeros(self.W.shape[-1])

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Nothing: the output is the pre-activation."""
        return (), a


class LeakyReadout(FeedForward):
    """Linear output layer with a leak: it filters what it reads (Bellec et al. 2020).

        y_t = kappa y_{t-1} + z_t W + b

    Args:
        kappa: share of the output that is left after a step, 0 <= kappa < 1.
    """

    kappa: float = setting(0.9)
    equation: ClassVar[str] = "y = kappa y + z W + b"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020",)

    def __init__(self, n_in: int, n: int, *, key: Array, kappa: float = 0.9, **synapses: Any):
        if not 0 <= kappa < 1:
            raise ArgumentError(f"kappa must lie in [0, 1), not {kappa}")
        super().__init__(n_in, n, key=key, **synapses)
        self.W = (1 - kappa) * self.W  # outputs of about the size of a readout's without leak
        self.kappa = kappa

    def start(self) -> tuple[Any, Array]:
        """Zero state and output."""
        return jnp.zeros(self.W.shape[-1]), jnp.zeros(self.W.shape[-1])

    def filters(self) -> float:
        """Kappa."""
        return self.kappa

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Leak and add."""
        h = self.kappa * h + a
        return h, h
