"""Mirrors: feedback weights learnt from noise, then a backward recursion without derivatives."""

import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import in_range, positive, setting
from perturbax.learning.facts import Facts
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guesses, LearntFeedback, Observed
from perturbax.rules.feedback.probe import measured_responses, pulled_back, through_normalisation
from perturbax.rules.feedback.way_back import WayBack


class Mirror(LearntFeedback):
    """Recurrent feedback weights, learnt from what noise does one synapse on, drive a recursion back in time.

        da_t - xi_t = V^T dy,   dy = (dy_below_t, dy_own_{t-1})              what noise shows of the synapses
        A = sum dy dy^T,   C = sum dy (da - xi)^T                            over steps, samples and examples
        V <- V + rate (V' - V),   V' after `fits` steps of conjugate gradients from V towards A V' = C
        g_t = neurons' response to (V_own g_{t+1} + V_above g_t + dL_t/dy_t)

    V is a second set of weights that comes to mirror the forward ones (weight mirrors: Akrout et al. 2019;
    here with an error-correcting fit, exact once converged; every unit's own feedback weights have steps of
    their own, from sums over what that unit saw). The response of the neurons is measured by
    nudging them. Then this is backpropagation through time, without derivatives or transport of weights. V is
    corrected by each sequence before it is used there: weights that move fast leave a V of the last update
    behind. Units that read themselves alone (lru) have feedback weights from themselves alone; what layers
    add (residual) goes back as it is, and what is normalised between them by a nudge. lam > 0 adds the
    perturbation correction of `guided`.

    Noise adds up in the synapses without error, so that a few examples of a batch show what all would; and as
    V is kept, one sequence and one fit need not find every way back. Passes are counted as if all had noise.

    Attributes:
        rate: share of the correction that is made, in (0, 1]; less averages over sequences, where what noise
            does is itself measured with noise.
        fits: steps of the fit per sequence; fewer are made once nothing is left to correct. More of them find
            V within fewer sequences.
        fit_examples: the most examples of a batch that run with noise; 0 for all. All do where lam or ambient
            noise is not 0: the correction is made from every example, and ambient noise is in every one.
    """

    lam: float = 0.0
    rate: float = 1.0
    fits: int = setting(5)
    fit_examples: int = setting(8)

    before: ClassVar[dict[str, Any]] = {"fits": 20, "fit_examples": 0}  # of runs older than these settings
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
        in_range("fit_examples", self.fit_examples, 0)
        in_range("rate", self.rate, 0, 1, above=True)
        if isinstance(self.discount, int | float) and self.discount != 1:
            raise ArgumentError(
                f"mirror goes back through all of time: it has no discount, {self.discount} was given"
            )

    def described(self) -> Facts:
        """Return the facts: the recursion backwards costs as much as a pass forwards."""
        facts = super().described()
        return facts.but(passes=facts.passes + 1)

    def init_knowledge(self, net: Network, x: Array) -> PyTree:
        """Return feedback weights of zero: a matrix per layer, from what it reads to its pre-activations."""
        if net.reads is not None:
            raise LayerError("the way back is learnt through a stack of layers: this network is a graph")
        known = []
        for i, site in enumerate(net.sites_like(x)):
            known.append(jnp.zeros((WayBack.of(net, i, site).rows, site.a.size // len(x)), site.a.dtype))
        return known

    def init_noise(self, net: Network, x: Array) -> PyTree:
        """Return the state of the noise, for the examples that have noise; arguments as in the base."""
        return super().init_noise(net, x[: self.examples_of(len(x))])

    def examples_of(self, batch: int) -> int:
        """Return how many examples of a batch are run with noise.

        Arguments:
            batch: examples that there are.
        """
        return min(self.fit_examples, batch) if self.fit_examples and self.fits_alone else batch

    @property
    def fits_alone(self) -> bool:
        """Whether noise is for the fit of V alone; a traced lam may be anything."""
        return isinstance(self.lam, int | float) and self.lam == 0 and not self.ambient

    def watched(
        self, net: Network, noise_state: PyTree, known: PyTree, xs: Array, ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, PyTree, Observed]:
        """Run noise on some examples, fit V to what it shows, and run the clean pass on all; arguments as in
        the base.
        """
        examples = self.examples_of(xs.shape[1])
        if examples == xs.shape[1]:
            return super().watched(net, noise_state, known, xs, ys, loss, key)
        targets = jax.tree.map(lambda y: y[:, :examples], ys)
        noise_state, shown = self.observe(net, noise_state, xs[:, :examples], targets, loss, key)
        return noise_state, self.fit(net, known, shown), self.observe_clean(net, xs, ys, loss, key)

    def corrected(self, guesses: Guesses, seen: Observed, lam: Any) -> Guesses:
        """Return the guesses as they are where lam is 0: not every example has noise to correct them by."""
        return list(guesses) if self.fits_alone else super().corrected(guesses, seen, lam)

    def guess(self, net: Network, known: PyTree, seen: Observed) -> Guesses:
        """Run back in time, from the last layer to the first within each step."""
        n, batch = len(net.layers), seen.error.shape[1]
        ways = [WayBack.of(net, i, site) for i, site in enumerate(seen.sites)]
        responses = []  # of each layer's neurons at every step: nothing in them waits for what is later
        for layer, h, site in zip(net.layers, seen.before, seen.sites, strict=True):
            of_one = functools.partial(measured_responses, layer)
            responses.append(jax.vmap(jax.vmap(of_one))(h, site.a))

        def one_step_back(carry: tuple, now: tuple) -> tuple[tuple, list[Array]]:
            # What the hidden states after this step, and its outputs as recurrent input, are worth.
            worth_of_hidden, worth_as_recurrent = carry
            before, sites, at_neurons, streams, error = now
            from_above = error
            hidden, recurrent, signals = [], [], []  # of this step, the last layer first
            for i in reversed(range(n)):
                worth_of_output = from_above + worth_as_recurrent[i]
                h, a = jax.vmap(pulled_back)(
                    at_neurons[i], before[i], sites[i].a, worth_of_hidden[i], worth_of_output
                )
                read_below, read_own = ways[i].sent(known[i], a)
                if net.normalise and i > 0:
                    read_below = through_normalisation(streams[i], read_below)
                from_above = read_below + from_above if net.adds(i) else read_below
                hidden.append(h)
                recurrent.append(read_own)
                signals.append(a)
            return (hidden[::-1], recurrent[::-1]), signals[::-1][:-1]

        at_the_end = jax.tree.map(lambda s: jnp.zeros_like(s[0]), seen.before)
        nothing_read = [jnp.zeros((batch, layer.width), seen.error.dtype) for layer in net.layers]
        steps = seen.before, seen.sites, responses, net.streams(seen.y), seen.error
        return jax.lax.scan(one_step_back, (at_the_end, nothing_read), steps, reverse=True)[1]

    def fit(self, net: Network, known: PyTree, seen: Observed) -> PyTree:
        """Correct the feedback weights by what they got wrong."""
        fitted = []
        for i, site in enumerate(seen.sites):
            V, way = known[i], WayBack.of(net, i, site)
            output, shown = seen.output[i], seen.shown[i]  # (T, K, B, n), (T, K, B, ...)
            rows = output.shape[0] * output.shape[1] * output.shape[2]
            own = jnp.concatenate([jnp.zeros_like(output[:1]), output[:-1]])  # of one step ago
            if i == 0:
                below = jnp.zeros((rows, 0), V.dtype)
            else:
                below = seen.read[i] if net.normalise or net.residual else seen.output[i - 1]
            found = way.fitted(
                V, below.reshape(rows, -1), own.reshape(rows, -1), shown.reshape(rows, -1), self.fits
            )
            new = V + self.rate * (found - V)
            fitted.append(jnp.where(jnp.isfinite(new), new, V))
        return fitted
