"""Learning of spiking networks step by step: no traces, or traces of presynaptic activity alone."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.learning.credit import Both, Estimate, Outer
from perturbax.learning.jacobian import reads_itself
from perturbax.learning.rule import Rule
from perturbax.network.layer import Layer, layer_label, pull_back
from perturbax.network.network import Network
from perturbax.rules.backprop.one_step import one_step


def leaks(net: Network) -> list[float]:
    """Return every layer's leak of what it integrates; LayerError for layers that are neither spiking nor
    readouts.
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


class SLTT(Rule):
    """Spatial learning through time: spiking networks by one-step backpropagation, in all steps or in a
    random share.

        dL_t/da_t through the surrogate derivative, all that was carried constant; steps drawn with
        probability share

    Meng et al. 2023. Divided by share, so that the expectation does not depend on it.

    Attributes:
        share: probability that a step is learnt from, 0 < share <= 1 (K steps of T: K / T).
    """

    share: float = 1.0

    equation: ClassVar[str] = "dA = (dL_t/da_t) z_t^T in a share of the steps"
    target: ClassVar[str] = "gradient cut at every step"
    uses: ClassVar[tuple[str, ...]] = ("output error", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes; hardware may skip two in steps left out"
    memory: ClassVar[str] = "constant"
    papers: ClassVar[tuple[str, ...]] = ("meng2023",)

    def __check_init__(self) -> None:
        """Some steps must be learnt from."""
        if isinstance(self.share, int | float) and not 0 < self.share <= 1:
            raise ArgumentError(f"share must be above 0 and at most 1, not {self.share}")

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network."""
        leaks(net)
        return net.start(batch)

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Whether a step is learnt from: 1 / share or 0."""
        return carry, jax.vmap(lambda k: jr.bernoulli(k, self.share) / self.share)(keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Weigh the step."""
        after, loss, y, sites, slopes = one_step(net, carry, x, score)
        signal = tuple((noise.astype(s.dtype) * s)[None] for s in slopes)
        return after, Estimate(loss, y, sites, None, Outer(sites, signal))


class OTTT(Rule):
    """Online training through time: presynaptic activity leaves a trace with the membrane's leak, and meets
    errors.

        zhat_t = leak zhat_{t-1} + z_t,   dL_t/dW  ~  (dL_t/da_t) zhat_t^T

    One trace per presynaptic neuron, as every membrane of a layer leaks alike: e-prop of LIF layers whose
    reset counts as constant, under a readout without leak. Of a leaky readout's memory lower layers know
    nothing, of an adapting neuron's slow variable nobody does. Xiao et al. 2022.
    """

    equation: ClassVar[str] = "zhat = leak zhat + z, dA = (dL_t/da_t) zhat^T"
    target: ClassVar[str] = "gradient with every r, reset, adaptation and memory of layers above constant"
    uses: ClassVar[tuple[str, ...]] = ("output error", "own activity", "derivatives", "transposed weights")
    cost: ClassVar[str] = "3 passes"
    memory: ClassVar[str] = "B x units, constant in T"
    papers: ClassVar[tuple[str, ...]] = ("xiao2022",)
    accrues: ClassVar[bool] = True

    def begin(self, net: Network, x: Array) -> PyTree:
        """No activity yet, in shapes that depend on the input's."""
        leaks(net)
        sites = jax.eval_shape(net.step, net.start(len(x)), x)[2]
        zero = lambda s: jnp.zeros(s.shape, s.dtype)  # noqa: E731
        return tuple((zero(s.z), zero(s.r), jnp.zeros((), s.z.dtype)) for s in sites)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network."""
        return net.start(batch), ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Every sequence starts without traces."""
        return carry[0], kept

    def keep(self, carry: PyTree) -> PyTree:
        """Nothing but shapes."""
        return jax.tree.map(jnp.zeros_like, carry[1])

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Filter what was read."""
        state, traces = carry
        after, loss, y, sites, slopes = one_step(net, state, x, score)
        traces = tuple(
            (leak * z + site.z, leak * r + site.r, leak * one + 1)
            for leak, (z, r, one), site in zip(leaks(net), traces, sites, strict=True)
        )
        seen = tuple(site._replace(z=z, r=r, a=None) for site, (z, r, _) in zip(sites, traces, strict=True))
        each = enumerate(zip(net.layers, traces, slopes, strict=True))
        bias = net.like([_bias(i, layer, trace, (trace[2] - 1) * s) for i, (layer, trace, s) in each])
        parts = Both(Outer(seen, tuple(s[None] for s in slopes)), bias)
        return (after, traces), Estimate(loss, y, sites, None, parts)


def _bias(i: int, layer: Layer, trace: tuple, signal: Array) -> Layer:
    """Return what biases lack in the product of signals and traces, which takes the 1 that they read as it
    is.
    """
    return pull_back(i, layer, jnp.zeros_like(trace[0]), jnp.zeros_like(trace[1]), signal)
