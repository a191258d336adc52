"""What a diagnosis says of one array of weights: bias, variance and cosine of estimates, and their cost."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from perturbax.analysis.moments import ROUNDING, SURE, Measured, Moments, cosine_at, samples_needed
from perturbax.errors import ArgumentError
from perturbax.learning.rule import Rule

TARGET = 0.5  # the cosine whose cost is predicted


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
        one, two = (sampled(rule, k) for k in (1, 2))
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

    x is the estimate from one sample, g the exact gradient, or one that was measured itself. Squares are
    unbiased estimates: their own noise is subtracted, so that they can be negative. Standard errors hold what
    the noise of a measured gradient adds.

    Attributes:
        name: path of the array, or `all`.
        size: number of weights.
        gradient: |g|, the norm of the gradient.
        bias: |E x - g| / |g|, of an estimate x; 0 where its square comes out negative.
        bias_squared: its square.
        bias_squared_error: the standard error of the square.
        biased: whether the square is above 0 by more than 3 standard errors, and the bias above three of a
            measured gradient.
        bias_bound: what the bias stays below, at 3 standard errors.
        along: <E x, g> / |g|^2; 1 without bias.
        expected: |E x|^2 / |g|^2; 1 without bias.
        variance: trace of the covariance of one sample, over |g|^2.
        reach: whether averaging reaches a cosine of 0.5: yes, never (bias alone keeps it below), unsettled,
            or unknown (no gradient).
        reach_samples: the predicted number of samples; where unsettled, at least so many; None for never.
        reach_passes: the same in forward passes.
        averages: the measurements by number of samples.
        reference_error: standard error of a measured gradient, the root of its mean square over |g|; 0 where
            the gradient is exact.
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
    reference_error: float = 0.0


def sampled(rule: Rule, samples: int) -> Any:
    """Return a rule with so many samples; itself if it cannot have them.

    Arguments:
        rule: the rule.
        samples: K.
    """
    if not hasattr(rule, "samples"):
        return rule
    try:
        return dataclasses.replace(rule, samples=samples)  # pyright: ignore[reportCallIssue]
    except ArgumentError:
        return rule


def group_of(name: str, size: int, samples: Sequence[int], cost: Cost, measured: Sequence[Measured]) -> Group:
    """Return the statistics of one array of weights; bias from the averages over most samples.

    Arguments:
        name: of the array.
        size: its number of weights.
        samples: the numbers of samples that are averaged.
        cost: of the rule.
        measured: the moments for each number of samples.
    """
    best = measured[-1]
    g = best.whole.g  # |g|^2: all below is in units of |g|
    if not g > SURE * best.error(lambda moments: moments.g):
        return _without_gradient(name, size, samples, cost, best)
    bias_squared, bias_error = (value / g for value in best.whole.bias())
    bias_squared_error = math.hypot(bias_error, best.error(_relative_bias))
    along = float(best.whole.along.mean()) / g + 1
    variance = samples[-1] * best.whole.variance / g  # of one sample
    expected = max(bias_squared + 2 * along - 1, along**2)
    margin, margin_error = (value / g for value in best.whole.margin(TARGET))
    margin_error = math.hypot(margin_error, best.error(_relative_margin))
    reach, needed = samples_needed(margin, margin_error, variance)
    averages = tuple(
        _average(k, cost, own, cosine_at(along, expected, variance, k))
        for k, own in zip(samples, measured, strict=True)
    )
    reference_error = math.sqrt(best.noise / g)
    least = ROUNDING + (SURE * reference_error) ** 2
    return Group(
        name=name,
        size=size,
        gradient=math.sqrt(g),
        bias=math.sqrt(max(0.0, bias_squared)),
        bias_squared=bias_squared,
        bias_squared_error=bias_squared_error,
        biased=bias_squared > max(SURE * bias_squared_error + ROUNDING, least),
        bias_bound=math.sqrt(max(0.0, bias_squared + SURE * bias_squared_error, least - ROUNDING)),
        along=along,
        expected=expected,
        variance=variance,
        reach=reach,
        reach_samples=needed,
        reach_passes=None if needed is None else cost.passes(needed),
        averages=averages,
        reference_error=reference_error,
    )


def _relative_bias(moments: Moments) -> float:
    """Return |E x - g|^2 / |g|^2."""
    return moments.bias()[0] / moments.g


def _relative_margin(moments: Moments) -> float:
    """Return the margin of the target over |g|^2."""
    return moments.margin(TARGET)[0] / moments.g


def _cosines(moments: Moments) -> np.ndarray:
    """Return the cosine of every draw with the gradient, `(N,)`; NaN for an estimate of zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        norms = _norms(moments)
        projections = moments.along + moments.g  # <x_i, g>, (N,)
        return np.where(norms > 0, projections / (norms * np.sqrt(moments.g)), np.nan)


def _norms(moments: Moments) -> np.ndarray:
    """Return |x_i| of every draw, `(N,)`."""
    return np.sqrt(np.maximum(moments.square + 2 * moments.along + moments.g, 0.0))


def _average(samples: int, cost: Cost, measured: Measured, predicted: float) -> AveragedEstimate:
    """Return the statistics of the mean of so many estimates, whose moments over N draws are given."""
    moments = measured.whole
    cosines = _cosines(moments)  # (N,)
    error = float(cosines.std(ddof=1)) / math.sqrt(len(cosines))
    variance = moments.variance / moments.g
    return AveragedEstimate(
        samples=samples,
        passes=cost.passes(samples),
        cosine=float(cosines.mean()),
        cosine_error=math.hypot(error, measured.error(lambda own: float(_cosines(own).mean()))),
        predicted=predicted,
        variance=variance,
        norm=float(_norms(moments).mean()) / math.sqrt(moments.g),
        snr=1 / variance if variance else math.inf,
    )


def _without_gradient(name: str, size: int, samples: Sequence[int], cost: Cost, measured: Measured) -> Group:
    """Return the group of weights whose gradient is zero, or not told from zero: nothing can be said relative
    to it.
    """
    none = dict.fromkeys(("cosine", "cosine_error", "predicted", "variance", "norm", "snr"), math.nan)
    averages = tuple(AveragedEstimate(samples=k, passes=cost.passes(k), **none) for k in samples)
    lost = dict.fromkeys(
        ("bias", "bias_squared", "bias_squared_error", "bias_bound", "along", "expected"), math.nan
    )
    return Group(
        name=name,
        size=size,
        gradient=math.sqrt(max(0.0, measured.whole.g)),
        biased=False,
        variance=math.nan,
        reach="unknown",
        reach_samples=None,
        reach_passes=None,
        averages=averages,
        reference_error=math.nan if measured.without else 0.0,
        **lost,
    )
