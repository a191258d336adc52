"""Lagged feedback: a linear map from output errors to earlier pre-activations, learnt from perturbations."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.fields import one_of, positive, setting
from perturbax.learning.facts import Facts
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guesses, LearntFeedback, Observed
from perturbax.rules.feedback.probe import measured_gains, through_gains

FITS = ("outputs", "score")
WELL_EXPLAINED = 0.95  # share of the outputs' variance above which nothing is left to correct
FOLLOW = 0.1  # how fast the running mean of that share follows


class Known(NamedTuple):
    """What feedback learns.

    Attributes:
        M: the map of each hidden layer, `(lags, n, n_out)`.
        explained: running mean of the share of the outputs' variance that it explains.
    """

    M: list[Array]
    explained: Array


class Feedback(LearntFeedback):
    """Lagged feedback: errors reach earlier pre-activations through a map fitted to what noise did to the
    outputs.

        ghat_t = psi_t * sum_{l < L} G_{t,l} M_l e_{t+l},      e_t = dL_t/dy_t,  psi_t measured gains of units
        fit      r_s = do_s - sum_l G_{s-l,l} M_l^T (psi xi)_{s-l}
                 M_l <- M_l + rate sum_{s,b} G (psi xi)_{s-l} r_s^T / norm
        gate     G_{t,l} = prod_{k=1..l} exp(log p_{t+k} - its mean over time),  p_t mean gain of the layer
        g_t    = ghat_t + lam c_t xi_t + penalty y_t psi_t

    c is the correction by perturbation (see `guided`), dropped where the fit explains over 95 % of do; the
    penalty is local and keeps activity where a linear map holds. fit_to = score uses scalar differences <e_s,
    do_s> in place of outputs. No derivative of the dynamics, no transposed weights. Biased as far as paths
    are not linear in lag.

    Attributes:
        lags: number of lags L.
        rate: step of the normalised least-mean-squares fit.
        gate: whether a path's strength follows the mean gain along it.
        fit_to: outputs (their differences) or score (one scalar difference per example and step).
    """

    lam: float = 0.3
    lags: int = setting(32)
    rate: float = 1.0
    gate: bool = setting(True)
    fit_to: str = setting("outputs")
    penalty: float = 3e-3

    facts: ClassVar[Facts] = Facts(
        equation="dA = g z^T, g_t = psi sum_l G M_l e_{t+l} + lam c_t xi_t, M learnt from noise",
        target="biased: paths through time taken as linear in their lag",
        uses=("score", "own activity", "output error", "stored sequence"),
        cost="1 + K passes, and a product of lags x outputs x units per step",
        memory="T x B x units",
        papers=("lansdell2020", "garcia2024"),
        keeps="a map from output errors to units",
        passes=2,
    )

    def __check_init__(self) -> None:
        """Check lags, rate and what is fitted to."""
        positive("lags", self.lags)
        positive("rate", self.rate)
        one_of("fit_to", self.fit_to, FITS)

    def init_knowledge(self, net: Network, x: Array) -> Known:
        """Return a map of zero: the first update is node perturbation."""
        n_out = net.layers[-1].width
        dtype = jnp.result_type(*jax.tree.leaves(net))
        M = [jnp.zeros((self.lags, layer.width, n_out), dtype) for layer in net.layers[:-1]]
        return Known(M, jnp.zeros((), dtype))

    def correction_weight(self, known: Known) -> Array:
        """Return lam; 0 where the fit is near exact."""
        return jnp.where(known.explained > WELL_EXPLAINED, 0.0, self.lam)

    def guess(self, net: Network, known: Known, seen: Observed) -> Guesses:
        """Return psi sum_l G M_l e_{t+l}: one product per layer."""
        guesses = []
        later_errors = self.shifted_ahead(seen.error)  # (T, B, L, n_out)
        for psi, M in zip(measured_gains(net, seen.before, seen.sites), known.M, strict=True):
            gated = later_errors * self.path_strength(psi)[..., None]
            worth = jnp.einsum("tblo,lno->tbn", gated, M)
            guesses.append(through_gains(psi, worth))
        return guesses

    def fit(self, net: Network, known: Known, seen: Observed) -> Known:
        """Make one step of normalised least mean squares on what the noise of this sequence did to the
        outputs.
        """
        gains = measured_gains(net, seen.before, seen.sites)
        # What the noise moved each unit's output by, (T, K, B, n) per hidden layer.
        moved = [_sum_gates(psi[:, None] * xi) for psi, xi in zip(gains, seen.noise, strict=False)]
        strengths = [self.path_strength(psi)[:, None] for psi in gains]  # (T, 1, B, L)
        shown = seen.shown[-1]  # (T, K, B, n_out): the readout's own noise is not the hidden units' doing
        predicted = sum(
            self._predicted(eta, G, M) for eta, G, M in zip(moved, strengths, known.M, strict=True)
        )
        residual = shown - predicted
        if self.fit_to == "score":
            error = jnp.broadcast_to(seen.error[:, None], shown.shape)
            power = jnp.mean(jnp.sum(error**2, -1))
            missed = jnp.sum(error * residual, -1, keepdims=True)  # (T, K, B, 1)
            unexplained, whole = missed, jnp.sum(error * shown, -1)
            sent_back = missed * error / jnp.where(power > 0, power, jnp.inf)
        else:
            unexplained, whole, sent_back = residual, shown, residual
        later = self.shifted_ahead(sent_back)  # (T, K, B, L, n_out)
        M = [self._corrected(M, eta, G, later) for M, eta, G in zip(known.M, moved, strengths, strict=True)]
        size = jnp.sum(whole**2)
        share = jnp.where(size > 0, 1 - jnp.sum(unexplained**2) / jnp.maximum(size, 1e-30), 0.0)
        fitted = Known(M, known.explained + FOLLOW * (share - known.explained))
        finite = jnp.isfinite(share) & jnp.all(jnp.stack([jnp.isfinite(m).all() for m in M]))
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), fitted, known)

    def path_strength(self, psi: Array) -> Array:
        """Return G `(T, B, L)`: how strong the path from step t to t + l was, compared with the time's mean.

        Arguments:
            psi: measured gains of a layer, `(T, B, ..., n)`.
        """
        T, B = psi.shape[:2]
        if not self.gate:
            return jnp.ones((T, B, self.lags), psi.dtype)
        mean_gain = psi.reshape(T, B, -1).mean(-1)
        log_gain = jnp.log(jnp.maximum(mean_gain + 1e-3, 1e-6))
        along = jnp.cumsum(log_gain - log_gain.mean(0, keepdims=True), 0)  # (T, B)
        return jnp.exp(jnp.clip(self.shifted_ahead(along) - along[..., None], -3.0, 1.5))

    def shifted_ahead(self, s: Array) -> Array:
        """Return values of steps t, ..., t + L - 1, zero behind the end: `(T, B, L)` or `(T, K, B, L, n)`.

        Arguments:
            s: one value for each step, `(T, B)` or `(T, K, B, n)`.
        """
        at = jnp.arange(len(s))[:, None] + jnp.arange(self.lags)[None]
        padded = jnp.concatenate([s, jnp.zeros((self.lags, *s.shape[1:]), s.dtype)])
        found = padded[at]  # (T, L, ..., B[, o])
        return jnp.moveaxis(found, 1, s.ndim if s.ndim == 2 else s.ndim - 1)

    def _predicted(self, eta: Array, G: Array, M: Array) -> Array:
        """Return sum_l G_{s-l,l} M_l^T eta_{s-l}, `(T, K, B, n_out)`."""
        sent = jnp.einsum("tkbn,lno->ltkbo", eta, M) * jnp.moveaxis(G, -1, 0)[..., None]
        total = sent[0]
        for lag in range(1, len(sent)):
            total = total + jnp.pad(sent[lag], [(lag, 0), *[(0, 0)] * 3])[: sent.shape[1]]
        return total

    def _corrected(self, M: Array, eta: Array, G: Array, later: Array) -> Array:
        """Return M after the step of the fit, each lag within its trust region."""
        T, K, B, n = eta.shape
        pairs = jnp.maximum(T - jnp.arange(self.lags), 0) * K * B
        size = (pairs * jnp.mean(G**2, (0, 1, 2)) + self.lags * n) * jnp.mean(eta**2)  # (L,)
        gradient = jnp.einsum("tkbn,tkblo->lno", eta, later * G[..., None])
        step = self.rate * gradient / jnp.where(size > 0, size, jnp.inf)[:, None, None]
        length = _length_of_lags(step)
        most = 0.5 * _length_of_lags(M) + 0.1
        return M + step * jnp.minimum(1.0, most / jnp.maximum(length, 1e-30))


def _length_of_lags(M: Array) -> Array:
    """Return the norm of each lag's matrix, `(L, 1, 1)`."""
    return jnp.sqrt(jnp.sum(M**2, (1, 2), keepdims=True))


def _sum_gates(s: Array) -> Array:
    """Sum over the entries (gates) of each unit: `(T, K, B, ..., n)` -> `(T, K, B, n)`."""
    return s.reshape(*s.shape[:3], -1, s.shape[-1]).sum(3)
