"""Online training through time: traces of presynaptic activity alone."""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Both, Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import check_acts_within_step
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS
from perturbax.network.layer import pull_back
from perturbax.network.network import Network
from perturbax.rules.backprop.base import differentiate_step, membrane_leaks


class OTTT(StepRule):
    """Online training through time: presynaptic activity leaves a trace with the membrane's leak, and meets
    errors.

        zhat_t = leak zhat_{t-1} + z_t,   dL_t/dW  ~  (dL_t/da_t) zhat_t^T

    One trace per presynaptic neuron, as every membrane of a layer leaks alike: e-prop of LIF layers whose
    reset (subtract) counts as constant, under a readout without leak. Of a leaky readout's memory lower
    layers know nothing, of an adapting neuron's slow variable nobody does. After a reset to zero a membrane
    keeps nothing, and the trace goes on as if it did. Xiao et al. 2022.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = Facts(
        equation="zhat = leak zhat + z, dA = (dL_t/da_t) zhat^T",
        target="gradient with every r, reset, adaptation and memory of layers above constant",
        uses=("output error", "own activity", "derivatives", "transposed weights"),
        cost="3 passes",
        memory="B x units, constant in T",
        papers=("xiao2022",),
    )

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come (those of biases are)."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and traces of zero; raises LayerError for cells that do not
        spike.
        """
        membrane_leaks(net)
        traces = []
        for site in net.sites_like(x):
            z, r = jnp.zeros(site.z.shape, site.z.dtype), jnp.zeros(site.r.shape, site.r.dtype)
            traces.append((z, r, jnp.zeros((), site.z.dtype)))
        return net.start(len(x)), tuple(traces)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Filter what was read, and multiply the traces with the derivatives of this step."""
        state, before = carry
        check_acts_within_step(net)
        now = differentiate_step(net, state, x, score)
        traces, seen, biases = [], [], []
        layers = zip(net.layers, membrane_leaks(net), before, now.sites, now.slopes, strict=True)
        for i, (layer, leak, (z, r, one), site, slope) in enumerate(layers):
            z, r, one = leak * z + site.z, leak * r + site.r, leak * one + 1
            traces.append((z, r, one))
            seen.append(site._replace(z=z, r=r))
            # Biases read a 1: the product of signals and traces takes it as it is, without its own trace.
            no_z, no_r = jnp.zeros_like(z), jnp.zeros_like(r)
            biases.append(pull_back(i, layer, no_z, no_r, (one - 1) * slope))
        parts = Both(Outer.of(seen, [slope[None] for slope in now.slopes]), net.like(biases))
        return (now.after, tuple(traces)), Estimate(now.loss, now.y, now.sites, None, parts)
