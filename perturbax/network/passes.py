"""Clean passes of a network over a sequence: no noise, no learning."""

from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.network.layer import words_of
from perturbax.network.network import Network, Site


def check_sequence_axes(xs: Any) -> None:
    """Raise ArgumentError for inputs that have not the three axes `(T, B, n_in)`."""
    if getattr(xs, "ndim", None) != 3:
        raise ArgumentError(f"xs must have shape (T, B, n_in): time, batch, inputs; got {words_of(xs)}")


@eqx.filter_jit  # called as it is, a scan would be compiled anew each time
def forward(net: Network, xs: Any) -> Float[Array, "T B n_out"]:
    """Return the outputs of a network over a sequence that starts from its initial state.

    Arguments:
        net: the network.
        xs: inputs, `(T, B, n_in)`: T steps of B independent examples.

    Raises ArgumentError for inputs of other axes, LayerError for a layer that does not fit what it reads.
    """
    check_sequence_axes(xs)

    def one_step(state: PyTree, x: Array) -> tuple[PyTree, Array]:
        state, y, _ = net.step(state, x)
        return state, y

    batch = xs.shape[1]
    return jax.lax.scan(one_step, net.start(batch), xs)[1]


@eqx.filter_jit
def activity(net: Network, xs: Any) -> list[Site]:
    """Return the presynaptic activity of each layer over a sequence: sites whose z is `(T, B, n_below)`.

    z is what the layer reads from below, decorrelated where the network does that; r and a are None.

    Arguments:
        net: the network.
        xs: inputs, `(T, B, n_in)`.

    Raises what `forward` raises.
    """
    check_sequence_axes(xs)

    def one_step(state: PyTree, x: Array) -> tuple[PyTree, tuple]:
        state, _, sites = net.step(state, x)
        return state, tuple(site.z for site in sites)

    batch = xs.shape[1]
    read = jax.lax.scan(one_step, net.start(batch), xs)[1]
    return [Site(z, None, None) for z in read]
