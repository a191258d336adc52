"""Mirrors: feedback weights learnt from noise, then a backward recursion without derivatives."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import in_range, positive, setting
from perturbax.learning.facts import Facts
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guesses, LearntFeedback, Observed
from perturbax.rules.feedback.probe import pull_back_by_nudging


class Mirror(LearntFeedback):
    """Recurrent feedback weights, learnt from what noise does one synapse on, drive a recursion back in time.

        da_t - xi_t = V^T dy,   dy = (dy_below_t, dy_own_{t-1})              what noise shows of the synapses
        V <- V + rate N^-1 sum dy (da - xi - V^T dy)^T,   N_i = sum_j |sum dy_i dy_j|
        g_t = neurons' response to (V_own g_{t+1} + V_above g_t + dL_t/dy_t)

    V is a second set of weights that comes to mirror the forward ones (weight mirrors: Akrout et al. 2019;
    here with an error-correcting fit, exact once converged). The response of the neurons is measured by
    nudging them. Then this is backpropagation through time, without derivatives or transport of weights. V is
    corrected by each sequence before it is used there: weights that move fast leave a V of the last update
    behind. lam > 0 adds the perturbation correction of `guided`.

    Attributes:
        rate: step of the fit, in (0, 2); 1 is the largest that is safe for any input.
        fits: steps of the fit per sequence.
    """

    lam: float = 0.0
    rate: float = 1.0
    fits: int = setting(20)

    fits_first: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts(
        equation="dA = g z^T, g_t = psi (V_own g_{t+1} + V_above g_t + dL_t/dy_t), V learnt from noise",
        target="full gradient, once V mirrors the weights",
        uses=("score", "own activity", "output error", "stored sequence"),
        cost="2 + K passes (clean, K noisy, one back)",
        memory="T x B x units",
        papers=("akrout2019", "werbos1990"),
        locality="network",
        keeps="a second set of weights, for the way back",
        passes=3,
    )

    def __check_init__(self) -> None:
        """Check the fit, and that no discount is asked for."""
        positive("fits", self.fits)
        in_range("rate", self.rate, 0, 2, above=True, below=True)
        if isinstance(self.discount, int | float) and self.discount != 1:
            raise ArgumentError(
                f"mirror goes back through all of time: it has no discount, {self.discount} was given"
            )

    def described(self) -> Facts:
        """Return the facts: the recursion backwards costs as much as a pass forwards."""
        facts = super().described()
        return facts.but(passes=facts.passes + 1)

    def init_knowledge(self, net: Network, x: Array) -> PyTree:
        """Return feedback weights of zero: a matrix per layer, from its inputs' units to its
        pre-activations.
        """
        if net.reads is not None:
            raise LayerError("the way back is learnt through a stack of layers: this network is a graph")
        known = []
        below = 0
        for layer, site in zip(net.layers, net.sites_like(x), strict=True):
            known.append(jnp.zeros((below + layer.width, site.a.size // len(x)), site.a.dtype))
            below = layer.width
        return known

    def guess(self, net: Network, known: PyTree, seen: Observed) -> Guesses:
        """Run back in time, from the last layer to the first within each step."""
        widths, batch = [layer.width for layer in net.layers], seen.error.shape[1]

        def one_step_back(carry: tuple, now: tuple) -> tuple[tuple, list[Array]]:
            # What the hidden states after this step, and its outputs as recurrent input, are worth.
            worth_of_hidden, worth_as_recurrent = carry
            before, sites, error = now
            from_above = error
            hidden, recurrent, signals = [], [], []  # of this step, the last layer first
            for i in reversed(range(len(net.layers))):
                layer, V = net.layers[i], known[i]
                over_batch = jax.vmap(
                    lambda h, a, later, y, layer=layer: pull_back_by_nudging(layer, h, a, later, y)
                )
                worth_of_output = from_above + worth_as_recurrent[i]
                h, a = over_batch(before[i], sites[i].a, worth_of_hidden[i], worth_of_output)
                sent = a.reshape(batch, -1) @ V.T  # (B, n_below + n)
                below = len(V) - widths[i]
                from_above = sent[:, :below]
                hidden.append(h)
                recurrent.append(sent[:, below:])
                signals.append(a)
            return (hidden[::-1], recurrent[::-1]), signals[::-1][:-1]

        at_the_end = jax.tree.map(lambda s: jnp.zeros_like(s[0]), seen.before)
        nothing_read = [jnp.zeros((batch, n), seen.error.dtype) for n in widths]
        steps = seen.before, seen.sites, seen.error
        return jax.lax.scan(one_step_back, (at_the_end, nothing_read), steps, reverse=True)[1]

    def fit(self, net: Network, known: PyTree, seen: Observed) -> PyTree:
        """Correct the feedback weights by what they got wrong."""
        fitted = []
        for i, V in enumerate(known):
            output = seen.output[i]  # (T, K, B, n)
            own_before = jnp.concatenate([jnp.zeros_like(output[:1]), output[:-1]])
            read = own_before if i == 0 else jnp.concatenate([seen.output[i - 1], own_before], -1)
            read = read.reshape(-1, read.shape[-1])  # (T K B, n_below + n)
            shown = (seen.drive[i] - seen.noise[i]).reshape(len(read), -1)
            inner, cross = read.T @ read, read.T @ shown
            size = jnp.sum(jnp.abs(inner), 1)[:, None]
            share = self.rate / jnp.where(size > 0, size, jnp.inf)

            def one_fit(
                _: Array, V: Array, inner: Array = inner, cross: Array = cross, share: Array = share
            ) -> Array:
                return V + share * (cross - inner @ V)

            V = jax.lax.fori_loop(0, self.fits, one_fit, V)
            fitted.append(jnp.where(jnp.isfinite(V), V, known[i]))
        return fitted
