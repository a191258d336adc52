"""Lagged feedback: a linear map from output errors to earlier pre-activations, learnt from perturbations."""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from perturbax.fields import one_of, positive, setting
from perturbax.network.network import Network
from perturbax.rules.feedback.base import Guess, Guesses, Seen, gains, through

FITS = ("outputs", "score")


class Known(NamedTuple):
    """Feedback M `(lags, units, n_out)` per hidden layer, and the share of the outputs' variance that it
    explains.
    """

    M: list[Array]
    explained: Array


class Feedback(Guess):
    """Lagged feedback: errors reach earlier pre-activations through a map fitted to what noise did to the
    outputs.

        ghat_t = psi_t * sum_{l < L} G_{t,l} M_l e_{t+l},      e_t = dL_t/dy_t,   psi_t the measured gain of each unit
        fit      r_s = do_s - sum_l G_{s-l,l} M_l^T (psi xi)_{s-l}
                 M_l <- M_l + rate sum_{s,b} G (psi xi)_{s-l} r_s^T / norm
        gate     G_{t,l} = prod_{k=1..l} exp(log p_{t+k} - its mean over time),  p_t the mean gain of the layer
        g_t    = ghat_t + lam c_t xi_t + penalty y_t psi_t

    c is the correction by perturbation (see `guided`), dropped where the fit explains over 95 % of do; the
    penalty is local and keeps activity where a linear map holds. fit = score uses scalar differences <e_s,
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

    equation: ClassVar[str] = "dA = g z^T, g_t = psi sum_l G M_l e_{t+l} + lam c_t xi_t, M learnt from noise"
    target: ClassVar[str] = "biased: paths through time taken as linear in their lag"
    uses: ClassVar[tuple[str, ...]] = ("score", "own activity", "output error", "stored sequence")
    cost: ClassVar[str] = "1 + K passes, and a product of lags x outputs x units per step"
    papers: ClassVar[tuple[str, ...]] = ("lansdell2020", "garcia2024")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("lags", self.lags)
        positive("rate", self.rate)
        one_of("fit_to", self.fit_to, FITS)

    def know(self, net: Network, x: Array) -> Known:
        """No feedback yet: node perturbation."""
        n_out = net.layers[-1].start()[1].shape[-1]
        dtype = jnp.result_type(*jax.tree.leaves(net))
        M = [jnp.zeros((self.lags, layer.start()[1].shape[-1], n_out), dtype) for layer in net.layers[:-1]]
        return Known(M, jnp.zeros((), dtype))

    def weight(self, known: Known) -> Array:
        """Nothing is left to correct where the fit is near exact."""
        return jnp.where(known.explained > 0.95, 0.0, self.lam)

    def guess(self, net: Network, known: Known, seen: Seen) -> Guesses:
        """One product per layer."""
        found = []
        for psi, M in zip(gains(net, seen), known.M, strict=True):
            e = self.ahead(seen.error) * self.paths(psi)[..., None]
            found.append(through(psi, jnp.einsum("tblo,lno->tbn", e, M)))
        return found

    def fit(self, net: Network, known: Known, seen: Seen) -> Known:
        """One step of normalised least mean squares on what the noise of this sequence did to the outputs."""
        psi = gains(net, seen)
        eta = [_per_unit(p[:, None] * noise) for p, noise in zip(psi, seen.noise, strict=False)]
        paths = [self.paths(p)[:, None] for p in psi]  # (T, 1, B, L)
        wanted = seen.drive[-1] - seen.noise[-1]  # the readout's own noise is not the hidden units' doing
        told = sum(self._carried(h, G, M) for h, G, M in zip(eta, paths, known.M, strict=True))
        if self.fit_to == "score":
            error = jnp.broadcast_to(seen.error[:, None], wanted.shape)
            power = jnp.mean(jnp.sum(error**2, -1))
            miss = jnp.sum(error * (wanted - told), -1, keepdims=True)
            left, whole, back = (
                miss,
                jnp.sum(error * wanted, -1),
                miss * error / jnp.where(power > 0, power, jnp.inf),
            )
        else:
            left, whole, back = wanted - told, wanted, wanted - told
        behind = self.ahead(back)  # (T, K, B, L, o)
        M = [self._moved(M, h, G, behind) for M, h, G in zip(known.M, eta, paths, strict=True)]
        size = jnp.sum(whole**2)
        share = jnp.where(size > 0, 1 - jnp.sum(left**2) / jnp.maximum(size, 1e-30), 0.0)
        new = Known(M, known.explained + 0.1 * (share - known.explained))
        finite = jnp.isfinite(share) & jnp.all(jnp.stack([jnp.isfinite(m).all() for m in M]))
        return jax.tree.map(lambda fresh, old: jnp.where(finite, fresh, old), new, known)

    def paths(self, psi: Array) -> Array:
        """Return G `(T, B, L)`: how strong the path from step t to t + l was, compared with the time's
        mean.
        """
        T, B = psi.shape[:2]
        if not self.gate:
            return jnp.ones((T, B, self.lags), psi.dtype)
        gain = jnp.log(jnp.maximum(psi.reshape(T, B, -1).mean(-1) + 1e-3, 1e-6))
        along = jnp.cumsum(gain - gain.mean(0, keepdims=True), 0)
        return jnp.exp(jnp.clip(self.ahead(along) - along[..., None], -3.0, 1.5))

    def ahead(self, s: Array) -> Array:
        """Return s of steps t, ..., t + L - 1, zero behind the end: the axis of lags comes after the
        batch's.
        """
        at = jnp.arange(len(s))[:, None] + jnp.arange(self.lags)[None]
        found = jnp.concatenate([s, jnp.zeros((self.lags, *s.shape[1:]), s.dtype)])[at]  # (T, L, ..., B[, o])
        return jnp.moveaxis(found, 1, s.ndim if s.ndim == 2 else s.ndim - 1)

    def _carried(self, eta: Array, G: Array, M: Array) -> Array:
        """Return sum_l G_{s-l,l} M_l^T eta_{s-l}, `(T, K, B, n_out)`."""
        sent = jnp.einsum("tkbn,lno->ltkbo", eta, M) * jnp.moveaxis(G, -1, 0)[..., None]
        late = [jnp.pad(s, [(lag, 0), *[(0, 0)] * 3])[: len(s)] for lag, s in enumerate(sent)]
        return sum(late[1:], late[0])

    def _moved(self, M: Array, eta: Array, G: Array, behind: Array) -> Array:
        """Return M after the fit, each lag within its trust region."""
        T, K, B, n = eta.shape
        pairs = jnp.maximum(T - jnp.arange(self.lags), 0) * K * B
        size = (pairs * jnp.mean(G**2, (0, 1, 2)) + self.lags * n) * jnp.mean(eta**2)
        step = jnp.einsum("tkbn,tkblo->lno", eta, behind * G[..., None])
        step = self.rate * step / jnp.where(size > 0, size, jnp.inf)[:, None, None]
        length, most = (jnp.sqrt(jnp.sum(s**2, (1, 2), keepdims=True)) for s in (step, M))
        return M + step * jnp.minimum(1.0, (0.5 * most + 0.1) / jnp.maximum(length, 1e-30))


def _per_unit(s: Array) -> Array:
    """Sum over the entries (gates) of each unit: `(T, K, B, ..., n)` -> `(T, K, B, n)`."""
    return s.reshape(*s.shape[:3], -1, s.shape[-1]).sum(3)
