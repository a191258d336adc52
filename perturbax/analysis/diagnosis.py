"""How far a rule's estimates are from the exact gradient: cosine, bias, variance, and what a good direction
costs in forward passes.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.analysis.moments import ROUNDING, SURE, Moments, cosine_at, samples_needed
from perturbax.errors import ArgumentError
from perturbax.fields import positive
from perturbax.learning.autodiff import bptt
from perturbax.learning.estimator import learner
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.arrays import to_named_arrays
from perturbax.network.layer import weights
from perturbax.network.network import Network

TARGET = 0.5  # the cosine whose cost is predicted
LEAST = 4  # draws that a standard error takes


class Cost(NamedTuple):
    """Forward passes of an estimate from K samples: first + (K - 1) more.

    Attributes:
        first: passes of an estimate from one sample.
        more: passes of each further sample.
    """

    first: int
    more: int

    @classmethod
    def of(cls, rule: Rule) -> "Cost":
        """Return the cost of a rule: samples share the clean pass where it has one; a rule without a setting
        for the number of samples is run K times.

        Arguments:
            rule: the rule, whatever its number of samples.
        """
        one, two = (_sampled(rule, k) for k in (1, 2))
        if one is rule or two is rule:
            passes = rule.described().passes
            return cls(first=passes, more=passes)
        first = one.described().passes
        return cls(first=first, more=two.described().passes - first)

    def passes(self, samples: int) -> int:
        """Return the forward passes of one estimate.

        Arguments:
            samples: K, at least 1.
        """
        return self.first + (samples - 1) * self.more


@dataclasses.dataclass(frozen=True)
class AveragedEstimate:
    """The mean of K single-sample estimates, measured over independent draws of the noise.

    Attributes:
        samples: K.
        passes: forward passes of one such estimate.
        cosine: mean cosine with the exact gradient g.
        cosine_error: its standard error.
        predicted: the cosine that bias and variance predict.
        variance: trace of the covariance, over |g|^2.
        norm: mean norm, over |g|.
        snr: signal-to-noise, |g|^2 over the trace of the covariance.
    """

    samples: int
    passes: int
    cosine: float
    cosine_error: float
    predicted: float
    variance: float
    norm: float
    snr: float


@dataclasses.dataclass(frozen=True)
class Group:
    """What was measured for one array of weights, or for all of them together.

    x is the estimate from one sample, g the exact gradient. Squares are unbiased estimates: their own noise
    is subtracted, so that they can be negative.

    Attributes:
        name: path of the array, or `all`.
        size: number of weights.
        gradient: |g|, the norm of the exact gradient.
        bias: |E x - g| / |g|, of an estimate x; 0 where its square comes out negative.
        bias_squared: its square.
        bias_squared_error: the standard error of the square.
        biased: whether the square is above 0 by more than 3 standard errors.
        bias_bound: what the bias stays below, at 3 standard errors.
        along: <E x, g> / |g|^2; 1 without bias.
        expected: |E x|^2 / |g|^2; 1 without bias.
        variance: trace of the covariance of one sample, over |g|^2.
        reach: whether averaging reaches a cosine of 0.5: yes, never (bias alone keeps it below), unsettled,
            or unknown (no gradient).
        reach_samples: the predicted number of samples; where unsettled, at least so many; None for never.
        reach_passes: the same in forward passes.
        averages: the measurements by number of samples.
    """

    name: str
    size: int
    gradient: float
    bias: float
    bias_squared: float
    bias_squared_error: float
    biased: bool
    bias_bound: float
    along: float
    expected: float
    variance: float
    reach: str
    reach_samples: int | None
    reach_passes: int | None
    averages: tuple[AveragedEstimate, ...]


def diagnose(
    rule: Rule,
    loss: Loss,
    net: Network,
    xs: Array,
    ys: Any,
    key: Array,
    *,
    samples: Sequence[int] = (1, 8, 64),
    draws: int = 32,
    kept: PyTree = None,
) -> list[Group]:
    """Measure a rule's estimates against the exact gradient (BPTT) on one batch.

    An estimate from K samples is the mean of K independent ones of a single sample, which against one clean
    pass is what K samples give. The mean cosine of such estimates is predicted by

        cos(K) = <E x, g> / (|g| sqrt(|E x|^2 + V / K)),      V the variance of one sample.

    Arguments:
        rule: the rule; where it has a setting for the number of samples, that is set to 1.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        key: random key of the noise.
        samples: the numbers K; bias is measured at the largest.
        draws: independent draws of every average.
        kept: what the rule has learnt from earlier updates; by default nothing yet.

    Returns a group for every array of weights, then one named `all`. Raises ArgumentError for fewer than 4
    draws, no number of samples, or a number below 1.
    """
    measure = compile_diagnosis(rule, loss, samples, draws)
    start = rule.init_state(net, xs[0], key) if kept is None else kept
    return measure(start, net, xs, ys, key)


def check_counts(samples: Sequence[int], draws: int) -> None:
    """Raise ArgumentError for numbers of samples and draws that no diagnosis can have.

    Arguments:
        samples: the numbers of estimates that are averaged.
        draws: independent draws of every average.
    """
    for k in samples:
        positive("samples", k)
    if not samples:
        raise ArgumentError("samples names no number: give at least one, such as 1")
    if draws < LEAST:
        raise ArgumentError(f"draws must be {LEAST} or more, not {draws}")


def compile_diagnosis(
    rule: Rule, loss: Loss, samples: Sequence[int], draws: int, tick: Callable = lambda: None
) -> Callable[..., list[Group]]:
    """Return measure(kept, net, xs, ys, key) -> groups, compiled once for all its calls.

    Arguments:
        rule: the rule; where it has a setting for the number of samples, that is set to 1.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        samples: the numbers of estimates that are averaged; bias is measured at the largest.
        draws: independent draws of every average.
        tick: called after every draw.

    Raises ArgumentError as `diagnose` does.
    """
    check_counts(samples, draws)
    numbers, cost = sorted(set(samples)), Cost.of(rule)
    average, exact = _averaging(rule, loss), jax.jit(bptt(loss))

    def measure(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array) -> list[Group]:
        def one_draw(i: int, counts: Sequence[int]) -> dict[str, np.ndarray]:
            found = average(kept, net, xs, ys, jr.fold_in(key, i), jnp.asarray(counts))
            arrays = to_named_arrays(found)  # leaves (len(counts), ...)
            tick()
            return arrays

        gradient = to_named_arrays(exact(net, xs, ys)[1])
        first, second = (one_draw(i, [1] * len(numbers)) for i in (0, 1))
        if all(np.array_equal(first[name], second[name]) for name in gradient):
            drawn = [first] * LEAST  # no noise: all draws are the same
        else:
            drawn = [one_draw(i, numbers) for i in range(draws)]
        moments = _moments(gradient, drawn, len(numbers))
        sizes = {name: leaf.size for name, leaf in gradient.items()}
        sizes["all"] = sum(sizes.values())
        return [_group(name, sizes[name], numbers, cost, own) for name, own in moments.items()]

    return measure


def _averaging(rule: Rule, loss: Loss) -> Callable[..., Network]:
    """Return average(kept, net, xs, ys, key, counts `(k,)`) -> the means of the first counts[0], counts[1],
    ... single-sample estimates: like the weights, with an axis of k in front. Counts must not decrease.
    """
    learn = learner(_sampled(rule, 1), loss).update

    @jax.jit
    def average(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array, counts: Array) -> Network:
        def add_estimate(j: Array, total: Network) -> Network:
            return jax.tree.map(jnp.add, total, learn(kept, net, xs, ys, jr.fold_in(key, j))[2])

        def up_to(total: Network, ends: tuple) -> tuple[Network, Network]:
            total = jax.lax.fori_loop(ends[0], ends[1], add_estimate, total)
            return total, jax.tree.map(lambda s: s / ends[1], total)

        starts = jnp.concatenate([jnp.zeros(1, counts.dtype), counts[:-1]])  # (k,)
        nothing = jax.tree.map(jnp.zeros_like, weights(net))
        return jax.lax.scan(up_to, nothing, (starts, counts))[1]

    return average


def _moments(
    gradient: dict[str, np.ndarray], drawn: Sequence[dict[str, np.ndarray]], numbers: int
) -> dict[str, list[Moments]]:
    """Return the moments of every array and of `all`, one for each number of samples.

    gradient: arrays by name; drawn: for every draw arrays by name, with the number of samples in front.
    """
    moments: dict[str, list[Moments]] = {}
    for name, g in gradient.items():
        estimates = np.stack([arrays[name] for arrays in drawn])  # (draws, numbers, ...)
        flat = estimates.reshape(len(drawn), numbers, -1)
        moments[name] = [Moments.of(flat[:, k], g.ravel()) for k in range(numbers)]
    total, *others = moments.values()
    for own in others:
        total = [a + b for a, b in zip(total, own, strict=True)]
    return moments | {"all": total}


def _sampled(rule: Rule, samples: int) -> Any:
    """Return the rule with that many samples; itself if it cannot have them."""
    if not hasattr(rule, "samples"):
        return rule
    try:
        return dataclasses.replace(rule, samples=samples)  # pyright: ignore[reportCallIssue]
    except ArgumentError:
        return rule


def _group(name: str, size: int, samples: Sequence[int], cost: Cost, moments: Sequence[Moments]) -> Group:
    """Return the statistics of one array of weights; bias from the averages over most samples."""
    best = moments[-1]
    g = best.g  # |g|^2: all below is in units of |g|
    if not g > 0:
        return _without_gradient(name, size, samples, cost)
    bias_squared, bias_squared_error = (value / g for value in best.bias())
    along = float(best.along.mean()) / g + 1
    variance = samples[-1] * best.variance / g  # of one sample
    expected = max(bias_squared + 2 * along - 1, along**2)
    margin, margin_error = (value / g for value in best.margin(TARGET))
    reach, needed = samples_needed(margin, margin_error, variance)
    averages = tuple(
        _average(k, cost, own, cosine_at(along, expected, variance, k))
        for k, own in zip(samples, moments, strict=True)
    )
    return Group(
        name=name,
        size=size,
        gradient=math.sqrt(g),
        bias=math.sqrt(max(0.0, bias_squared)),
        bias_squared=bias_squared,
        bias_squared_error=bias_squared_error,
        biased=bias_squared > SURE * bias_squared_error + ROUNDING,
        bias_bound=math.sqrt(max(0.0, bias_squared + SURE * bias_squared_error)),
        along=along,
        expected=expected,
        variance=variance,
        reach=reach,
        reach_samples=needed,
        reach_passes=None if needed is None else cost.passes(needed),
        averages=averages,
    )


def _average(samples: int, cost: Cost, moments: Moments, predicted: float) -> AveragedEstimate:
    """Return the statistics of the mean of so many estimates, whose moments over N draws are given."""
    n, g = len(moments.square), moments.g
    projections = moments.along + g  # <x_i, g>, (N,)
    norms = np.sqrt(np.maximum(moments.square + 2 * moments.along + g, 0.0))  # |x_i|, (N,)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(norms > 0, projections / (norms * math.sqrt(g)), np.nan)  # (N,)
    variance = moments.variance / g
    return AveragedEstimate(
        samples=samples,
        passes=cost.passes(samples),
        cosine=float(cosines.mean()),
        cosine_error=float(cosines.std(ddof=1)) / math.sqrt(n),
        predicted=predicted,
        variance=variance,
        norm=float(norms.mean()) / math.sqrt(g),
        snr=1 / variance if variance else math.inf,
    )


def _without_gradient(name: str, size: int, samples: Sequence[int], cost: Cost) -> Group:
    """Return the group of weights whose exact gradient is zero: nothing can be said relative to it."""
    none = dict.fromkeys(("cosine", "cosine_error", "predicted", "variance", "norm", "snr"), math.nan)
    averages = tuple(AveragedEstimate(samples=k, passes=cost.passes(k), **none) for k in samples)
    lost = dict.fromkeys(
        ("bias", "bias_squared", "bias_squared_error", "bias_bound", "along", "expected"), math.nan
    )
    return Group(
        name=name,
        size=size,
        gradient=0.0,
        biased=False,
        variance=math.nan,
        reach="unknown",
        reach_samples=None,
        reach_passes=None,
        averages=averages,
        **lost,
    )
