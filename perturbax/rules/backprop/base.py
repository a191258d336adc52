"""What the rules share that differentiate one step: the derivative of a step's loss by its
pre-activations.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.jacobian import reads_itself
from perturbax.network.layer import layer_label
from perturbax.network.network import Network


class DifferentiatedStep(NamedTuple):
    """One step, and the derivative of its loss with all that was carried over held constant.

    Attributes:
        after: state of the network after the step.
        loss: per example, `(B,)`.
        y: output, `(B, n_out)`.
        sites: what each layer saw.
        slopes: dL_t/da_t of each layer, `(B, ...)`.
    """

    after: PyTree
    loss: Array
    y: Array
    sites: tuple
    slopes: list[Array]


def differentiate_step(net: Network, state: PyTree, x: Array, score: Any) -> DifferentiatedStep:
    """Step, and differentiate this step's loss by each pre-activation: no error crosses a time step.

    Arguments:
        net: the network.
        state: its state before the step.
        x: inputs `(B, n_in)`.
        score: output -> loss per example.
    """

    def run(shift: list[Array]) -> tuple[Array, tuple]:
        after, y, sites = net.step(state, x, shift)
        return score(y), (after, y, sites)

    no_shift = [jnp.zeros(site.a.shape, site.a.dtype) for site in jax.eval_shape(net.step, state, x)[2]]
    loss, pull, (after, y, sites) = jax.vjp(run, no_shift, has_aux=True)
    return DifferentiatedStep(after, loss, y, sites, pull(jnp.ones_like(loss))[0])


def membrane_leaks(net: Network) -> list[float]:
    """Return every layer's leak of what it integrates; 0 for a readout that has none.

    Arguments:
        net: the network.

    Raises LayerError for layers that are neither spiking nor readouts.
    """
    found = []
    for i, layer in enumerate(net.layers):
        leak = getattr(layer, "leak", None)
        if leak is None and (reads_itself(layer) or i < len(net.layers) - 1):
            raise LayerError(
                f"{layer_label(i, layer)}: this rule is for spiking cells, whose membranes leak (lif, alif)"
            )
        found.append(leak if leak is not None else getattr(layer, "kappa", 0.0))
    return found
