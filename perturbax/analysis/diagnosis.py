"""How far a rule's estimates are from the exact gradient: cosine, bias, variance, and what a good direction
costs in forward passes.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, PyTree

from perturbax.analysis.group import TARGET, AveragedEstimate, Cost, Group, group_of, sampled
from perturbax.analysis.moments import Measured, total
from perturbax.errors import ArgumentError
from perturbax.fields import positive
from perturbax.learning.autodiff import bptt
from perturbax.learning.estimator import learner
from perturbax.learning.rule import Rule
from perturbax.learning.sequence import Loss
from perturbax.network.arrays import to_named_arrays
from perturbax.network.layer import weights
from perturbax.network.network import Network

__all__ = ["TARGET", "AveragedEstimate", "Cost", "Group", "check_counts", "compile_diagnosis", "diagnose"]
LEAST = 4  # draws, and measurements of a gradient, that a standard error takes


class Reference(NamedTuple):
    """The gradient that estimates are compared with.

    Attributes:
        loss: the loss there.
        parts: by name of the array, `(M, ...)`: M independent measurements of the gradient; one alone where
            it is exact.
    """

    loss: float
    parts: Mapping[str, np.ndarray]


class Source(abc.ABC):
    """Where the estimates of a rule and their reference come from: a compiled program, or a device."""

    @abc.abstractmethod
    def average(
        self, kept: PyTree, net: Any, xs: Array, ys: Any, key: Array, counts: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Return the means of the first counts[0], counts[1], ... estimates of one sample, by name.

        Arguments:
            kept: what the rule has learnt.
            net: the network.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            key: random key of the noise.
            counts: numbers that do not decrease, k of them; arrays have an axis of k in front.
        """

    @abc.abstractmethod
    def reference(self, net: Any, xs: Array, ys: Any, key: Array) -> Reference:
        """Return the gradient to compare them with; arguments as in `average`."""

    @abc.abstractmethod
    def known(self, kept: PyTree, net: Any, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return what the rule knows as it makes its estimates; kept: None for a rule that is new there."""

    def told(self) -> dict[str, Any]:
        """Return what a diagnosis says of its reference; nothing of one that is exact."""
        return {}

    def spent(self) -> dict[str, Any]:
        """Return what a device was asked to do so far; nothing in process."""
        return {}


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
    rule: Rule,
    loss: Loss,
    samples: Sequence[int],
    draws: int,
    tick: Callable = lambda: None,
    source: Source | None = None,
) -> Callable[..., list[Group]]:
    """Return measure(kept, net, xs, ys, key, reference=None) -> groups, compiled once for all its calls.

    Arguments:
        rule: the rule; where it has a setting for the number of samples, that is set to 1.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
        samples: the numbers of estimates that are averaged; bias is measured at the largest.
        draws: independent draws of every average.
        tick: called after every draw.
        source: where estimates and reference come from; None for a compiled program and the exact gradient.

    Raises ArgumentError as `diagnose` does.
    """
    check_counts(samples, draws)
    numbers, cost = sorted(set(samples)), Cost.of(rule)
    at = source or InProcess(rule, loss)

    def measure(
        kept: PyTree, net: Any, xs: Array, ys: Any, key: Array, reference: Reference | None = None
    ) -> list[Group]:
        def one_draw(i: int, counts: Sequence[int]) -> dict[str, np.ndarray]:
            arrays = at.average(kept, net, xs, ys, jr.fold_in(key, i), counts)  # leaves (len(counts), ...)
            tick()
            return arrays

        parts = (reference or at.reference(net, xs, ys, key)).parts
        first, second = (one_draw(i, [1] * len(numbers)) for i in (0, 1))
        if all(np.array_equal(first[name], second[name]) for name in parts):
            drawn = [first] * LEAST  # no noise: all draws are the same
        else:
            drawn = [one_draw(i, numbers) for i in range(draws)]
        measured = _measured(parts, drawn, len(numbers))
        sizes = {name: own[0].size for name, own in parts.items()}
        sizes["all"] = sum(sizes.values())
        return [group_of(name, sizes[name], numbers, cost, own) for name, own in measured.items()]

    return measure


class InProcess(Source):
    """Estimates by a compiled program, and the exact gradient (BPTT).

    Arguments:
        rule: the rule; where it has a setting for the number of samples, that is set to 1.
        loss: (output `(B, n_out)`, target) -> loss per example `(B,)`.
    """

    def __init__(self, rule: Rule, loss: Loss):
        self._rule, self._average, self._exact = rule, _averaging(rule, loss), jax.jit(bptt(loss))

    def average(
        self, kept: PyTree, net: Network, xs: Array, ys: Any, key: Array, counts: Sequence[int]
    ) -> dict[str, np.ndarray]:
        """Return the means of estimates; see `Source.average`."""
        return to_named_arrays(self._average(kept, net, xs, ys, key, jnp.asarray(counts)))

    def reference(self, net: Network, xs: Array, ys: Any, key: Array) -> Reference:
        """Return the exact gradient; see `Source.reference`."""
        del key
        loss, gradient = self._exact(net, xs, ys)
        parts = {name: array[None] for name, array in to_named_arrays(gradient).items()}
        return Reference(float(loss), parts)

    def known(self, kept: PyTree, net: Network, xs: Array, ys: Any, key: Array) -> PyTree:
        """Return what the rule has learnt, or its first state; see `Source.known`."""
        return self._rule.init_state(net, xs[0], jr.key(0)) if kept is None else kept


def _averaging(rule: Rule, loss: Loss) -> Callable[..., Network]:
    """Return average(kept, net, xs, ys, key, counts `(k,)`) -> the means of the first counts[0], counts[1],
    ... single-sample estimates: like the weights, with an axis of k in front. Counts must not decrease.
    """
    learn = learner(sampled(rule, 1), loss).update

    @jax.jit
    def average(kept: PyTree, net: Network, xs: Array, ys: Any, key: Array, counts: Array) -> Network:
        def add_estimate(j: Array, so_far: Network) -> Network:
            return jax.tree.map(jnp.add, so_far, learn(kept, net, xs, ys, jr.fold_in(key, j))[2])

        def up_to(so_far: Network, ends: tuple) -> tuple[Network, Network]:
            so_far = jax.lax.fori_loop(ends[0], ends[1], add_estimate, so_far)
            return so_far, jax.tree.map(lambda s: s / ends[1], so_far)

        starts = jnp.concatenate([jnp.zeros(1, counts.dtype), counts[:-1]])  # (k,)
        nothing = jax.tree.map(jnp.zeros_like, weights(net))
        return jax.lax.scan(up_to, nothing, (starts, counts))[1]

    return average


def _measured(
    parts: Mapping[str, np.ndarray], drawn: Sequence[dict[str, np.ndarray]], numbers: int
) -> dict[str, list[Measured]]:
    """Return the moments of every array and of `all`, one for each number of samples.

    parts: measurements of the gradient by name, `(M, ...)`; drawn: for every draw arrays by name, with the
    number of samples in front.
    """
    found: dict[str, list[Measured]] = {}
    for name, own_parts in parts.items():
        estimates = np.stack([arrays[name] for arrays in drawn])  # (draws, numbers, ...)
        flat = estimates.reshape(len(drawn), numbers, -1)  # (draws, numbers, size)
        flat_parts = own_parts.reshape(len(own_parts), -1)  # (M, size)
        found[name] = [Measured.of(flat[:, k], flat_parts) for k in range(numbers)]
    every = [total([own[k] for own in found.values()]) for k in range(numbers)]
    return found | {"all": every}
