"""Learning from episodes that an earlier policy lived through: traces of a critic, weights of an actor.

    rho_t = pi(a_t | s_t) / mu(a_t | s_t)              pi: the policy now; mu: the one that acted then

Everything here is a function of recorded arrays, time in front. What an action was does not matter: of two
policies only the ratio of their probabilities is asked for.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from perturbax.fields import in_range, one_of

TRACES = ("rbis", "retrace", "recursive-retrace", "truncated-is")
VANISHED = 1e-3  # traces are followed until lam^k is below this


def grown(method: str, beta: Array, product: Array, ratio: Array, power: Any, lam: Any) -> Array:
    """Return the coefficient beta_k of a trace that is k steps old, from beta_{k-1}; beta_0 = 1.

        retrace        lam min(1, rho) beta_{k-1}        recursive-retrace   lam min(1, rho beta_{k-1})
        rbis           min(lam^k, rho beta_{k-1})        truncated-is        lam^k min(1, rho_1 .. rho_k)

    Where rho is 1, all are lam^k exactly. beta_k <= rho beta_{k-1}, for which TD updates are known to
    converge, holds for all but truncated-is. Retrace: Munos et al. 2016; the others: Daley and
    Amato 2021, Daley et al. 2023.

    Arguments:
        method: one of `TRACES`.
        beta: beta_{k-1}, any shape.
        product: rho_1 .. rho_k, likewise.
        ratio: rho_k, likewise.
        power: lam^k.
        lam: decay per step.
    """
    one_of("traces", method, TRACES)
    if method == "retrace":
        return lam * jnp.minimum(1, ratio) * beta
    if method == "recursive-retrace":
        return lam * jnp.minimum(1, ratio * beta)
    if method == "rbis":
        return jnp.minimum(power, ratio * beta)
    return power * jnp.minimum(1, product)


def lags(lam: float, steps: int) -> int:
    """Return the number of lags 0, 1, .. that a trace is followed for: until lam^k < 1e-3, at most all steps.

    Arguments:
        lam: decay per step.
        steps: steps T of an episode.
    """
    in_range("lam", lam, 0, 1)
    kept, power = 1, lam
    while kept < steps and power >= VANISHED:
        kept, power = kept + 1, power * lam
    return kept


def corrected(
    phi: Float[Array, "states B F"],
    loss: Float[Array, "T B"],
    log_ratio: Float[Array, "T B"],
    discount: Any,
    lam: float,
    method: str,
    share: Float[Array, " B"],
) -> tuple[Float[Array, "F F"], Float[Array, " F"]]:
    """Return what LSTD(lambda) solves for the values of the policy now, A w = b, from episodes of another.

        A = E_mu sum_{k >= 0} discount^k beta_k rho_{t+k} phi_t (phi_{t+k} - discount phi_{t+k+1})^T
        b = E_mu sum_{k >= 0} discount^k beta_k rho_{t+k} phi_t L_{t+k}

    E is the mean over steps t and the sum of `share` over episodes; beta_k grows by rho_t .. rho_{t+k-1}.
    A state is valued, not a state and action, so the action of the last step has its ratio in full: then
    E_mu[rho (L + discount V' - V)] is 0 at the value of pi, whatever beta is. Traces change the variance, and
    where features cannot say the value, which fit to it is found. States are weighted as mu visits them.

    Arguments:
        phi: features before each step, and after the last, `(T + 1, B, F)`.
        loss: of each step, `(T, B)`.
        log_ratio: log rho, `(T, B)`; zeros for episodes of the policy itself.
        discount: weight of a loss one step later.
        lam: decay of traces per step beside the discount.
        method: one of `TRACES`.
        share: weight of each episode, 1 / B for a mean, `(B,)`.
    """
    T = len(loss)
    ratio = jnp.exp(log_ratio)
    rows = jnp.concatenate([phi[:-1] - discount * phi[1:], loss[..., None]], -1)  # (T, B, F + 1)
    rows = ratio[..., None] * rows
    ones = jnp.ones_like(ratio)

    def one_lag(now: tuple, k: Array) -> tuple[tuple, None]:
        total, beta, product, power = now  # beta and product: of the trace that began at each step, (T, B)
        inside = (jnp.arange(T) + k < T)[:, None]  # (T, 1)
        weight = jnp.where(inside, discount**k * beta, 0)
        total = total + weight[..., None] * jnp.roll(rows, -k, 0)
        rho = jnp.where(inside, jnp.roll(ratio, -k, 0), 1)
        product, power = product * rho, power * lam
        return (total, grown(method, beta, product, rho, power, lam), product, power), None

    start = jnp.zeros_like(rows), ones, ones, jnp.ones((), rows.dtype)
    total = jax.lax.scan(one_lag, start, jnp.arange(lags(lam, T)))[0][0]  # (T, B, F + 1)
    found = jnp.einsum("tbf,tbg,b->fg", phi[:-1], total, share) / T
    return found[:, :-1], found[:, -1]


def weights_of_actor(log_ratio: Float[Array, "T B"]) -> Float[Array, "T B"]:
    """Return what the loss of each step counts for a policy that did not live through it: rho_1 .. rho_t.

    Every action up to a loss has its ratio in the weight, those before the one that is credited (which made
    its state more or less likely) and those behind it (which made the loss so). The score of an action times
    the sum of later losses, so weighted, is the gradient of the policy now, without bias (Precup, Sutton and
    Singh 2000). Clipped ratios would make that another gradient, maybe of the other sign.

    Arguments:
        log_ratio: log rho, `(T, B)`.
    """
    return jnp.exp(jnp.cumsum(log_ratio, 0))


def close_enough(
    variance: Float[Array, " B"], lived: Array, limit: float
) -> tuple[Array, Float[Array, " B"]]:
    """Return (which episodes to learn from `(B,)`, the share of each in a mean over these).

    Weights vary by about exp(v) - 1, where v is the variance of the log of their ratio. Episodes that were
    lived together are taken or left together, by their mean v: to choose single ones would prefer short or
    lucky episodes, which is a bias.

    Arguments:
        variance: v of each episode, `(B,)`.
        lived: number of the update that an episode was lived in, below 0 for none, `(B,)`.
        limit: the largest v.
    """
    together = (lived[:, None] == lived[None]).astype(variance.dtype)  # (B, B)
    mean = together @ variance / together.sum(1)
    taken = (lived >= 0) & (mean <= limit)
    return taken, taken / jnp.maximum(taken.sum(), 1).astype(variance.dtype)
