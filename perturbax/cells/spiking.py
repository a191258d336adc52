"""What spiking and binary cells share: a threshold with a surrogate derivative, and refractory time."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.cells.base import Recurrent
from perturbax.cells.dense import LeakyReadout
from perturbax.fields import in_range, one_of, positive, whole
from perturbax.moved import old_names
from perturbax.network.layer import Layer

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


def _triangle(v: Array) -> Array:
    """Return max(0, 1 - |v|) (Esser et al. 2016; Bellec et al. 2018)."""
    return jnp.maximum(0.0, 1 - jnp.abs(v))


def _sigmoid_slope(v: Array) -> Array:
    """Return the derivative of a sigmoid of slope 1 at the threshold, 4 s (1 - s) with s = sigmoid(4 v)."""
    s = jax.nn.sigmoid(4 * v)
    return 4 * s * (1 - s)


def _fast_sigmoid_slope(v: Array) -> Array:
    """Return 1 / (1 + |v|)^2, the derivative of a fast sigmoid (Zenke, Ganguli 2018)."""
    return (1 + jnp.abs(v)) ** -2


# What takes the place of the step's derivative, at distance v from the threshold in units of the threshold.
SURROGATES: dict[str, Callable[[Array], Array]] = {
    "triangle": _triangle,
    "sigmoid": _sigmoid_slope,
    "fast-sigmoid": _fast_sigmoid_slope,
    "none": jnp.zeros_like,
}

RESETS = ("subtract", "zero")


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def heaviside(v: Array, surrogate: str, dampening: float) -> Array:
    """Return 1 where v > 0, else 0.

    Arguments:
        v: distance from the threshold, in units of the threshold.
        surrogate: which of SURROGATES stands for the derivative, for rules that ask for one.
        dampening: factor of that derivative.
    """
    return (v > 0).astype(v.dtype)


@heaviside.defjvp
def _surrogate_derivative(
    surrogate: str, dampening: float, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    """Return the value and the derivative along a tangent: dampening surrogate(v) tangent."""
    (v,), (tangent,) = primals, tangents
    return heaviside(v, surrogate, dampening), dampening * SURROGATES[surrogate](v) * tangent


class Spiking(Recurrent):
    """Base of the spiking cells: a membrane v that leaks, spikes y of 0 or 1, and a reset after a spike.

        y_t = [u_t > threshold],        u_t the membrane before the reset
        v_t = u_t - threshold y_t       (reset subtract),   or   v_t = u_t (1 - y_t)   (reset zero)

    Args:
        leak: share of the membrane potential that is left after a step, 0 <= leak < 1.
        threshold: membrane potential above which there is a spike; reset subtract takes it away after one.
        reset: what a spike does to the membrane: subtract (takes the threshold away; what was above it stays)
            or zero (sets it to 0, as LIF neurons of the format NIR do).
        refractory: steps after a spike in which there is no other.
        surrogate: function that rules which need a derivative use in place of that of a spike: triangle,
            sigmoid, fast-sigmoid or none. Gradient-free rules never ask.
        dampening: factor of that derivative.
        detach_reset: whether the reset counts as a constant in derivatives, as in Bellec et al. 2020. With
            its derivative, which Yang 2020 (arXiv:2011.09964) adds, a step costs one product more per unit.
        kappa: leak of the readout above a spiking layer; 0 for a readout without memory.
    """

    leak: float = eqx.field(static=True)
    threshold: float = eqx.field(static=True)
    reset: str = eqx.field(static=True)
    refractory: int = eqx.field(static=True)
    surrogate: str = eqx.field(static=True)
    dampening: float = eqx.field(static=True)
    detach_reset: bool = eqx.field(static=True)
    kappa: float = eqx.field(static=True)

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        leak: float = 0.9,
        threshold: float = 1.0,
        reset: str = "subtract",
        refractory: int = 0,
        surrogate: str = "triangle",
        dampening: float = 0.3,
        detach_reset: bool = True,
        kappa: float = 0.9,
        **synapses: Any,
    ):
        one_of("surrogate", surrogate, SURROGATES)
        one_of("reset", reset, RESETS)
        in_range("leak", leak, 0, 1, below=True)
        in_range("kappa", kappa, 0, 1, below=True)
        positive("threshold", threshold)
        whole("refractory", refractory, 0)
        super().__init__(n_in, n, key=key, **synapses)
        self.leak, self.threshold = leak, threshold
        self.reset, self.refractory = reset, refractory
        self.surrogate, self.dampening = surrogate, dampening
        self.detach_reset, self.kappa = detach_reset, kappa

    def readout(self, n_out: int, *, key: Array, **synapses: Any) -> Layer:
        """Return the readout that belongs above, which filters spikes with leak kappa.

        Arguments:
            n_out: number of outputs.
            key: JAX key of its initial weights.
            synapses: settings of `LeakyReadout` that the cell shares: bias, init.
        """
        return LeakyReadout(self.width, n_out, key=key, kappa=self.kappa, **synapses)

    def rested(self) -> Any:
        """Return the refractory steps left at the start: zeros `(n,)`, or () where there are none ever."""
        return jnp.zeros(self.U.shape[-1], int) if self.refractory else ()

    def fire(self, u: Array, distance: Array, rest: Any) -> tuple[Array, Array, Any]:
        """Return (spikes y, membrane v after the reset, refractory steps left), each `(n,)`.

        Arguments:
            u: membrane potential before the reset, `(n,)`.
            distance: how far it is above what fires, `(n,)`.
            rest: refractory steps left, as `rested` returns them; units that have some do not fire.
        """
        y = heaviside(distance / self.threshold, self.surrogate, self.dampening)
        if self.refractory:
            y = jnp.where(rest > 0, jnp.zeros_like(y), y)
            rest = jnp.where(y > 0, self.refractory, jnp.maximum(rest - 1, 0))
        spiked = jax.lax.stop_gradient(y) if self.detach_reset else y
        if self.reset == "zero":
            return y, u * (1 - spiked), rest
        return y, u - self.threshold * spiked, rest
