"""Where the variance of node perturbation comes from: which noise hides which, counted without drawing any.

With signs xi of size sigma, small enough for losses to be linear in them, a unit's estimate of one example is

    G_a = M_a xi_a sum_b Q_ab xi_b,        Q_ab = sum_s c(a, s) dL_s/da_b,

where a and b are places (a step, a layer, a unit), M_a is what the weights of a read then, L_s the loss of
step s, and c(a, s) the credit that a's signal earns from it: discount^k, k = s - t_a, within the window. The
term b = a is the gradient sought; every other b is noise that hides it. Products of signs of different pairs
are uncorrelated, so that the trace of the covariance is

    V = sum_a |M_a|^2 sum_{b != a} Q_ab^2  +  sum_{a != b} <M_a, M_b> Q_ab Q_ba,

the second sum over places of one unit alone, whose weights are the same. One-sided and antithetic samples
alike have V / K. Own derivation; Werfel, Xie, Seung 2005 have it for one linear layer and one step.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.analysis.moments import cosine_at
from perturbax.errors import ArgumentError
from perturbax.learning.sequence import Loss
from perturbax.network.layer import join, pull_back, split
from perturbax.network.network import Network

WHEN = ("earlier", "same step", "later")


class Sources(NamedTuple):
    """The variance of an estimate from one sample and one batch, by what hides what; L layers.

    Attributes:
        gradient: square of the norm of the exact gradient.
        bias: square of the distance from it to the mean of the estimates, over `gradient`.
        along: their mean's product with the exact gradient, over `gradient`; 1 without bias.
        parts: `(L, L, 3)`: noise in the second layer hides the gradient of the first; injected earlier than
            the signal, in the same step, or later. Over `gradient`.
        own_unit: the share of `parts` in which noise and signal are of one unit, in different steps.
        crossed: `(L,)`: the second sum of the variance, which pairs two steps of one unit. Over `gradient`.
        lags: `(T,)`: the share of `parts` by how many steps noise came before or after the signal.
        units: `(U, U)`, all units of all layers: noise in the second hides the gradient of the first, over
            `gradient`; what balancing noise over units can work on.
        examples: trace of the covariance of the exact gradient of one batch, over `gradient`: the noise that
            the choice of examples makes, which every rule has.
    """

    gradient: float
    bias: float
    along: float
    parts: np.ndarray
    own_unit: float
    crossed: np.ndarray
    lags: np.ndarray
    units: np.ndarray
    examples: float

    @property
    def variance(self) -> float:
        """Trace of the covariance of an estimate from one sample, over |g|^2."""
        return float(self.parts.sum() + self.crossed.sum())

    def cosine(self, samples: int) -> float:
        """Return the cosine with the exact gradient that the mean of so many samples has.

        Arguments:
            samples: K.
        """
        expected = self.bias + 2 * self.along - 1  # |E x|^2 over |g|^2
        return cosine_at(self.along, expected, self.variance, samples)


def credit_matrix(steps: int, window: int | None, discount: float) -> np.ndarray:
    """Return c(t, s): what the signal of step t earns from the loss of step s, `(T, T)`.

    Arguments:
        steps: T.
        window: how many losses, the present one included; None for all to the end.
        discount: weight of a loss one step later.
    """
    lag = np.arange(steps)[None] - np.arange(steps)[:, None]  # (T, T)
    inside = (lag >= 0) & (lag < (steps if window is None else window))
    return np.where(inside, discount ** np.maximum(lag, 0).astype(float), 0.0)


def sensitivities(loss: Loss, net: Network, xs: Array, ys: Any) -> tuple[tuple, list[Array]]:
    """Return (sites of every step, leaves `(T, B, ...)`; dL_s/da_t per layer, `(T_s, T_t, B, units)`).

    Arguments:
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
    """
    T, B = xs.shape[:2]
    shapes = [site.a for site in net.sites_like(xs[0])]
    silent = [jnp.zeros((T, *s.shape), s.dtype) for s in shapes]  # (T, B, ...) per layer

    def losses(noise: list[Array]) -> tuple[Array, tuple]:
        def body(state: Any, now: tuple) -> tuple[Any, tuple]:
            x, y, inject = now
            state, out, sites = net.step(state, x, noise=inject)
            return state, (loss(out, y), sites)

        _, (every, sites) = jax.lax.scan(body, net.start(B), (xs, ys, noise))
        return every, sites  # (T, B), leaves (T, B, ...)

    _, pull, sites = jax.vjp(losses, silent, has_aux=True)
    of_one_step = jnp.broadcast_to(
        jnp.eye(T)[:, :, None], (T, T, B)
    )  # (T, T, B): 1 for the losses of one step
    q = jax.lax.map(lambda now: pull(now)[0], of_one_step)  # leaves (T_s, T_t, B, ...)
    return sites, [layer.reshape(T, T, B, -1) for layer in q]


def overlaps(net: Network, sites: Sequence[Any]) -> list[Array]:
    """Return <M_t, M_v> of every unit for all pairs of steps, per layer `(T_t, T_v, B, units)`.

    What step v adds to the weights when all its signals are 1, read at step t, is that product: drives are
    linear in the weights, and every weight is of one unit.

    Arguments:
        net: the network.
        sites: of every step, leaves `(T, B, ...)`.
    """

    def of_layer(i: int) -> Array:
        layer, site = net.layers[i], sites[i]
        rest = split(layer)[1]

        def of_example(of_step: tuple, of_all: tuple) -> Array:
            z, r, a = (leaf[None] for leaf in of_step)
            added = join(pull_back(i, layer, z, r, jnp.ones_like(a)), rest)
            return jax.vmap(added.drive)(*of_all)  # (T_t, ...)

        def at(of_step: tuple) -> Array:
            return jax.vmap(of_example, in_axes=(0, 1), out_axes=1)(of_step, (site.z, site.r))

        found = jax.lax.map(at, (site.z, site.r, site.a))  # (T_v, T_t, B, ...)
        return jnp.swapaxes(found, 0, 1).reshape(*found.shape[:3], -1)

    return [of_layer(i) for i in range(len(net.layers))]


def sources(
    loss: Loss,
    net: Network,
    xs: Array,
    ys: Any,
    *,
    window: int | None = None,
    discount: float = 1.0,
    restarted: bool = False,
) -> Sources:
    """Return where the variance of node perturbation's estimate comes from, on one batch.

    Arguments:
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network; every weight belongs to one unit, as in all dense cells.
        xs: inputs `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        window: how many losses a signal earns, 1 for same-step; None for all to the end.
        discount: weight of a loss one step later.
        restarted: whether noisy rows start every step from the clean state; same-step credit alone.

    Raises ArgumentError for restarted rows with credit for later losses.
    """
    if restarted and window != 1:
        raise ArgumentError("noise that is forgotten after a step cannot earn later losses: window must be 1")
    T, B = xs.shape[:2]
    c = jnp.asarray(credit_matrix(T, window, discount), xs.dtype)
    kept = jnp.eye(T)[:, :, None, None] if restarted else jnp.ones((1, 1, 1, 1))

    @jax.jit
    def counted(net: Network, xs: Array, ys: Any) -> dict[str, Any]:
        sites, q = sensitivities(loss, net, xs, ys)
        earned = [jnp.tensordot(c, layer * kept, 1) for layer in q]  # Q, (T_t, T_v, B, n) per layer
        return {
            **_pairs(earned, overlaps(net, sites)),
            "gradients": _per_example(net, sites, [layer.sum(0) for layer in q]),
            "target": _per_example(net, sites, [_of_itself(Q) for Q in earned]),
        }

    return _summarised({name: np.asarray(s, np.float64) for name, s in counted(net, xs, ys).items()}, T, B)


def _of_itself(of_pairs: Array) -> Array:
    """Return the entries of a step with itself, `(T, B, n)`, of those of all pairs `(T, T, B, n)`."""
    return jnp.diagonal(of_pairs, axis1=0, axis2=1).transpose(2, 0, 1)


def _pairs(earned: Sequence[Array], reads: Sequence[Array]) -> dict[str, Array]:
    """Return the sums of the variance over units and examples, what is sought still among them.

        pairs      (L, T, T, L): of layer and step that are hidden, step and layer that hide
        own pairs  (L, T, T): the part of one and the same unit
        sought     (L, T): that of one and the same place, which is no noise
        crossed    (L,): the second sum of the variance
        units      (U, U): over all steps, without what is sought

    Arguments:
        earned: Q of every layer, `(T, T, B, n)`.
        reads: <M_t, M_v> of every layer, `(T, T, B, n)`.
    """
    norms = [_of_itself(g) for g in reads]  # |M|^2, (T, B, n)
    squares = [Q * Q for Q in earned]
    own = [jnp.einsum("tbi,tvbi->tv", n, s) for n, s in zip(norms, squares, strict=True)]
    sought = [n * _of_itself(s) for n, s in zip(norms, squares, strict=True)]  # (T, B, n)
    pairs = []
    for n in norms:
        of_layer = [jnp.einsum("tb,tvbj->tv", n.sum(-1), s) for s in squares]
        pairs.append(jnp.stack(of_layer, -1))  # (T, T, L)
    crossed = []
    for Q, g in zip(earned, reads, strict=True):
        both = jnp.einsum("tvbi,vtbi,tvbi->tv", Q, Q, g)
        crossed.append(both.sum() - jnp.trace(both))
    by_unit = jnp.concatenate([s.sum(1) for s in squares], -1)  # (T, B, U)
    hidden_by = jnp.einsum("tbi,tbj->ij", jnp.concatenate(norms, -1), by_unit)
    return {
        "pairs": jnp.stack(pairs),
        "own pairs": jnp.stack(own),
        "sought": jnp.stack([s.sum((1, 2)) for s in sought]),
        "crossed": jnp.stack(crossed),
        "units": hidden_by - jnp.diag(jnp.concatenate([s.sum((0, 1)) for s in sought])),
    }


def _per_example(net: Network, sites: Sequence[Any], signal: Sequence[Array]) -> Array:
    """Return the gradients that signals `(T, B, n)` make, of every example, `(B, weights)`: means over T."""
    T = len(signal[0])

    def of_example(sites: Any, signal: Any) -> Array:
        shaped = [s.reshape(site.a.shape) for s, site in zip(signal, sites, strict=True)]
        leaves = jax.tree.leaves(net.credit(sites, shaped))
        return jnp.concatenate([leaf.ravel() for leaf in leaves]) / T

    return jax.vmap(of_example, in_axes=(1, 1))(tuple(sites), tuple(signal))


def _summarised(found: dict[str, np.ndarray], T: int, B: int) -> Sources:
    """Return the sums that are shown, over the square of the exact gradient's norm."""
    gradients, target = found["gradients"], found["target"].mean(0)  # (B, weights), (weights,)
    exact = gradients.mean(0)
    square = float(exact @ exact)
    scale = square * (T * B) ** 2
    pairs, steps = found["pairs"].copy(), np.arange(T)  # (L, T, T, L)
    for i, sought in enumerate(found["sought"]):
        pairs[i, steps, steps, i] -= sought
    lag = steps[None] - steps[:, None]  # v - t
    when = np.stack([lag < 0, lag == 0, lag > 0])
    own = found["own pairs"].sum(0)  # (T, T)
    whole = max(float(pairs.sum()), 1e-300)
    apart = gradients - exact
    return Sources(
        gradient=square,
        bias=float(np.sum((target - exact) ** 2)) / square,
        along=float(target @ exact) / square,
        parts=np.einsum("itvj,wtv->ijw", pairs, when) / scale,
        own_unit=float(own.sum() - np.trace(own)) / whole,
        crossed=found["crossed"] / scale,
        lags=np.array([pairs[:, np.abs(lag) == k].sum() for k in range(T)]) / whole,
        units=found["units"] / scale,
        examples=float(np.sum(apart * apart)) / max(B - 1, 1) / B / square,
    )


def balanced(hides: np.ndarray, rounds: int = 200) -> float:
    """Return the share of the variance that is left with the best size of noise for each layer, or unit.

    Noise of size sigma_j hides the gradient of i, whose own noise has size sigma_i, by hides_ij sigma_j^2 /
    sigma_i^2; the sum over all is smallest where the rows and columns of that matrix have equal sums (Osborne
    1960, matrix balancing).

    Arguments:
        hides: `(U, U)`, not negative.
        rounds: how often every size is set anew.
    """
    off = hides - np.diag(np.diag(hides))
    scaled = off.copy()
    for _ in range(rounds):
        for i in range(len(scaled)):
            row, column = scaled[i].sum(), scaled[:, i].sum()
            if row > 0 and column > 0:
                factor = np.sqrt(row / column)  # sigma_i^2
                scaled[i] /= factor
                scaled[:, i] *= factor
    kept = np.trace(hides)
    return float((scaled.sum() + kept) / (off.sum() + kept))
