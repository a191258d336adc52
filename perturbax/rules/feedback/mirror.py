"""Mirrors: feedback weights learnt from noise, then a backward recursion without derivatives."""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import positive, setting
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guess, Guesses, Seen, worth


class Mirror(Guess):
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

    equation: ClassVar[str] = (
        "dA = g z^T, g_t = psi (V_own g_{t+1} + V_above g_t + dL_t/dy_t), V learnt from noise"
    )
    target: ClassVar[str] = "full gradient, once V mirrors the weights"
    uses: ClassVar[tuple[str, ...]] = ("score", "own activity", "output error", "stored sequence")
    fits_first: ClassVar[bool] = True
    cost: ClassVar[str] = "2 + K passes (clean, K noisy, one back)"
    locality: ClassVar[str] = "network"
    papers: ClassVar[tuple[str, ...]] = ("akrout2019", "werbos1990")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("fits", self.fits)
        if isinstance(self.rate, int | float) and not 0 < self.rate < 2:
            raise ArgumentError(f"rate must lie between 0 and 2, not {self.rate}")
        if isinstance(self.discount, int | float) and self.discount != 1:
            raise ArgumentError(
                f"mirror goes back through all of time: it has no discount, {self.discount} was given"
            )

    def passes(self) -> int:
        """The recursion backwards costs as much as a pass forwards."""
        return self.lanes + 1

    def know(self, net: Network, x: Array) -> PyTree:
        """No feedback weights yet: one matrix per layer, from its inputs' units to its pre-activations."""
        sites = jax.eval_shape(net.step, net.start(len(x)), x)[2]
        widths = _widths(net)
        below = [0, *widths[:-1]]
        return [
            jnp.zeros((b + n, site.a.size // len(x)), site.a.dtype)
            for b, n, site in zip(below, widths, sites, strict=True)
        ]

    def guess(self, net: Network, known: PyTree, seen: Seen) -> Guesses:
        """Run back in time, from the last layer to the first within each step."""
        widths, batch = _widths(net), seen.error.shape[1]

        def body(carry: tuple, now: tuple) -> tuple[tuple, list[Array]]:
            later, own = (
                carry  # what the hidden states after this step, and its outputs as recurrent input, are worth
            )
            before, sites, error = now
            above, earlier, back, signals = error, [], [], []
            for i in reversed(range(len(net.layers))):
                layer, V = net.layers[i], known[i]
                value = jax.vmap(lambda h, a, w, y, layer=layer: worth(layer, h, a, w, y))
                h, a = value(before[i], sites[i].a, later[i], above + own[i])
                sent = a.reshape(batch, -1) @ V.T
                above, mine = sent[:, : len(V) - widths[i]], sent[:, len(V) - widths[i] :]
                earlier, back, signals = [h, *earlier], [mine, *back], [a, *signals]
            return (earlier, back), signals[:-1]

        last = jax.tree.map(lambda s: jnp.zeros_like(s[0]), seen.before)
        own = [jnp.zeros((batch, n), seen.error.dtype) for n in widths]
        return jax.lax.scan(body, (last, own), (seen.before, seen.sites, seen.error), reverse=True)[1]

    def fit(self, net: Network, known: PyTree, seen: Seen) -> PyTree:
        """Correct the feedback weights by what they got wrong."""
        made = []
        for i, V in enumerate(known):
            own = jnp.concatenate([jnp.zeros_like(seen.output[i][:1]), seen.output[i][:-1]])
            x = own if i == 0 else jnp.concatenate([seen.output[i - 1], own], -1)
            x = x.reshape(-1, x.shape[-1])
            shown = (seen.drive[i] - seen.noise[i]).reshape(len(x), -1)
            both, cross = x.T @ x, x.T @ shown
            size = jnp.sum(jnp.abs(both), 1)[:, None]
            share = self.rate / jnp.where(size > 0, size, jnp.inf)

            def better(
                _: Array, V: Array, both: Array = both, cross: Array = cross, share: Array = share
            ) -> Array:
                return V + share * (cross - both @ V)

            V = jax.lax.fori_loop(0, self.fits, better, V)
            made.append(jnp.where(jnp.isfinite(V), V, known[i]))
        return made


def _widths(net: Network) -> list[int]:
    """Visible units of each layer."""
    return [layer.start()[1].shape[-1] for layer in net.layers]
