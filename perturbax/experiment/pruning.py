"""Pruning while a network learns: growing regularisation around any optimiser, for the estimates of any rule.

A transformation of optax: it adds to the gradient estimates, and has the last word on the updates. What it
removes is the weights themselves: a gradient of zero would not hold them, because momentum and Adam go on.
"""

import abc
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, of_kind, one_of, positive

METHODS = ("greg-1", "greg-2", "magnitude")
GROUPS = ("weights", "units")
INTERVAL = 5  # updates between two increments of the penalty (K_u of the source)
GROWING = 5 / 9  # share of the phase in which penalties grow; in the rest they are held, 50,000 : 40,000
PICKING = 1 / 11  # share of growing in which greg-2 has all groups grow, 1,000 increments before 10,000
PICKED = 1e-2  # ceiling of that, in shares of the ceiling
KEPT = -1e-4  # penalty of the groups that greg-2 keeps, likewise
ENOUGH = 1000.0  # ratio of mean sizes, kept to pruned, at which penalties grow no more
AVERAGE = 0.9  # of the running average of that ratio


class PruningPlan(NamedTuple):
    """What is pruned in a run, how, and when.

    Attributes:
        share: share of the groups of every array, or of the units of every layer, that goes.
        by: greg-1, greg-2 or magnitude.
        begin: update from which penalties grow.
        end: update at which what was chosen is removed.
        ceiling: the largest penalty; it must pass the curvature of the loss for weights to vanish.
    """

    share: float
    by: str
    begin: float
    end: float
    ceiling: float = 1.0

    @property
    def growing(self) -> float:
        """Updates in which penalties grow."""
        return (self.end - self.begin) * GROWING

    @property
    def interval(self) -> int:
        """Updates between two increments; each where there are few."""
        return INTERVAL if self.growing >= 10 * INTERVAL else 1

    @property
    def picking(self) -> float:
        """Updates in which the penalties of all groups grow."""
        return self.growing * PICKING if self.by == "greg-2" else 0.0

    def check(self) -> None:
        """Raise ArgumentError for values that no plan can have."""
        of_kind("prune", self.share, float)
        in_range("prune", self.share, 0, 1, below=True)
        one_of("prune_by", self.by, METHODS)
        positive("prune_ceiling", self.ceiling)
        if not 0 <= self.begin <= self.end:
            raise ArgumentError(
                "pruning must begin before it ends: take prune_from below prune_until, both from 0 to 1"
            )


class Groups(abc.ABC):
    """What goes or stays as one: the weights of a network in groups."""

    @abc.abstractmethod
    def sizes(self, some: PyTree) -> list[Array]:
        """Return the mean absolute weight of each group, an array for each list of groups.

        Arguments:
            some: the weights of a network.
        """

    @abc.abstractmethod
    def spread(self, values: list[Array], some: PyTree) -> PyTree:
        """Return for each weight the largest value of its groups, like the weights; 0 where it has none.

        Arguments:
            values: one for each group, like `sizes`.
            some: the weights of a network.
        """


class Single(Groups):
    """Groups of one: every weight of the arrays with two axes or more stands for itself; biases stay.

    Arguments:
        held: for each array of weights, in their order, whether the rule holds it still; None where it holds
            none. What is held is not pruned.
    """

    def __init__(self, held: list[bool] | None = None):
        self.held = held

    def _places(self, leaves: list[Array]) -> list[int]:
        """Return the numbers of the arrays that are pruned."""
        held = self.held or [False] * len(leaves)
        return [i for i, (w, stays) in enumerate(zip(leaves, held, strict=True)) if w.ndim > 1 and not stays]

    def sizes(self, some: PyTree) -> list[Array]:
        """Return the absolute weights."""
        leaves = jax.tree.leaves(some)
        return [jnp.abs(leaves[i]) for i in self._places(leaves)]

    def spread(self, values: list[Array], some: PyTree) -> PyTree:
        """Return the values in the places of their weights."""
        leaves, structure = jax.tree.flatten(some)
        found = [jnp.zeros(w.shape, values[0].dtype) for w in leaves]
        for i, value in zip(self._places(leaves), values, strict=True):
            found[i] = value
        return structure.unflatten(found)


class PruningState(NamedTuple):
    """What is carried from update to update.

    Attributes:
        inner: the state of the optimiser within.
        made: updates so far.
        penalty: lam of every group.
        gone: which groups go, bool.
        chosen: whether that has been decided.
        ratio: running averages of the mean size of groups that stay over that of groups that go.
        held_at: the update from which penalties grow no more; -1 while they may.
        removed: whether the groups that go are 0 from now on.
    """

    inner: PyTree
    made: Array
    penalty: list[Array]
    gone: list[Array]
    chosen: Array
    ratio: list[Array]
    held_at: Array
    removed: Array


def growing_regularisation(
    optimiser: Any, plan: PruningPlan, groups: Groups | None = None, speed: Any = 1.0
) -> optax.GradientTransformation:
    """Return an optimiser under which a share of the weights shrinks to nothing, and is then removed.

        g <- g + lam_group w,   lam_group <- lam_group + d_lam every 5 updates
        w <- 0 after the update, for groups that are removed

    At a minimum with curvature h a penalised weight is h w* / (h + lam): flat directions vanish first,
    without h being known. `greg-1` chooses the ceil(share n) smallest groups at `begin`, never all, and lets
    their penalties grow. `greg-2` lets those of all groups grow to a hundredth of the ceiling first, and
    chooses then: curvature has told them apart. Penalties grow until they reach the ceiling, or until what
    stays is a thousand times larger than what goes; they are held, and at `end` what was chosen is removed.
    `magnitude` removes the smallest groups at `end`, without a penalty. (Wang, Qin, Zhang, Fu 2021.)

    Arguments:
        optimiser: an optax transformation, which learns with the penalised gradients.
        plan: what goes, how and when, in updates.
        groups: what goes or stays as one; None for single weights of arrays with two axes or more.
        speed: factor by which the plan is compressed, for a run over a share of the updates; may be traced.

    Raises ArgumentError for a plan that cannot be.
    """
    plan.check()
    of = Single() if groups is None else groups

    def init(params: PyTree) -> PruningState:
        sizes = of.sizes(params)
        if not sizes:
            raise ArgumentError("there is nothing to prune: this rule learns no array of two axes or more")
        return PruningState(
            inner=optimiser.init(params),
            made=jnp.zeros((), int),
            penalty=[jnp.zeros_like(s) for s in sizes],
            gone=[jnp.zeros(s.shape, bool) for s in sizes],
            chosen=jnp.zeros((), bool),
            ratio=[jnp.zeros((), s.dtype) for s in sizes],
            held_at=jnp.full((), -1, int),
            removed=jnp.zeros((), bool),
        )

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, PruningState]:
        some = params
        state = _advanced(state, plan, of.sizes(some), speed)
        penalty = of.spread(state.penalty, some)
        grads = jax.tree.map(lambda g, lam, w: g + (lam * w).astype(g.dtype), updates, penalty, some)
        updates, inner = optimiser.update(grads, state.inner, some)
        goes = removal(state, of, some)
        updates = jax.tree.map(lambda u, gone, w: jnp.where(gone, -w, u).astype(u.dtype), updates, goes, some)
        return updates, state._replace(inner=inner, made=state.made + 1)

    return optax.GradientTransformation(init, update)


def removal(state: PruningState, groups: Groups, some: PyTree) -> PyTree:
    """Return which weights are removed by now, bool, like the weights.

    Arguments:
        state: how far pruning has come.
        groups: what goes or stays as one.
        some: the weights.
    """
    gone = groups.spread([g.astype(float) for g in state.gone], some)
    return jax.tree.map(lambda g: (g > 0) & state.removed, gone)


def pruning_state(opt: PyTree) -> PruningState | None:
    """Return how far pruning has come, from the state of an optimiser that may contain it; else None."""
    parts = jax.tree.leaves(opt, is_leaf=lambda node: isinstance(node, PruningState))
    return next((part for part in parts if isinstance(part, PruningState)), None)


class Pruning(NamedTuple):
    """What is pruned in a run, and in which groups.

    Attributes:
        plan: how, and when.
        groups: what goes or stays as one.
    """

    plan: PruningPlan
    groups: Groups

    def around(self, optimiser: Any, speed: Any = 1.0) -> optax.GradientTransformation:
        """Return an optimiser that prunes; arguments as for `growing_regularisation`."""
        return growing_regularisation(optimiser, self.plan, self.groups, speed)


def _advanced(state: PruningState, plan: PruningPlan, sizes: list[Array], speed: Any) -> PruningState:
    """Return the state with penalties, choice and removal as they are at this update."""
    now = state.made * speed
    reached = [jnp.max(lam) for lam in state.penalty]
    starts = {"greg-1": now >= plan.begin, "magnitude": now >= plan.end}
    starts["greg-2"] = jnp.min(jnp.stack(reached)) >= 0.999 * PICKED * plan.ceiling
    choose = (starts[plan.by] | (now >= plan.end)) & ~state.chosen
    gone = jax.lax.cond(choose, lambda: [smallest(s, plan.share) for s in sizes], lambda: state.gone)
    chosen = state.chosen | choose
    ratio = [_followed(r, s, g) for r, s, g in zip(state.ratio, sizes, gone, strict=True)]
    grown = jnp.max(jnp.stack(reached)) >= 0.999 * plan.ceiling
    apart = jnp.min(jnp.stack(ratio)) > ENOUGH
    ends = chosen & (state.held_at < 0) & (grown | apart)
    held_at = jnp.where(ends, state.made, state.held_at)
    penalty = state.penalty
    if plan.by != "magnitude" and plan.growing > 0:
        due = (now >= plan.begin) & (held_at < 0) & (state.made % plan.interval == 0)
        penalty = [
            jnp.where(due, _grown(lam, g, chosen, plan, speed), lam)
            for lam, g in zip(penalty, gone, strict=True)
        ]
    held_long = (held_at >= 0) & ((state.made - held_at) * speed >= plan.end - plan.begin - plan.growing)
    removed = state.removed | (chosen & (held_long | (now >= plan.end)))
    # Once removed, nothing is penalised: what stays is learnt on as it is.
    penalty = [jnp.where(removed, 0, lam) for lam in penalty]
    return state._replace(
        penalty=penalty, gone=gone, chosen=chosen, ratio=ratio, held_at=held_at, removed=removed
    )


def _grown(lam: Array, gone: Array, chosen: Array, plan: PruningPlan, speed: Any) -> Array:
    """Return penalties after one increment."""
    step = plan.ceiling * plan.interval * speed / (plan.growing - plan.picking)
    kept = KEPT * plan.ceiling if plan.by == "greg-2" else 0.0
    after = jnp.where(gone, jnp.minimum(lam + step, plan.ceiling), kept)
    if plan.by != "greg-2":
        return after.astype(lam.dtype)
    step = PICKED * plan.ceiling * plan.interval * speed / plan.picking
    before = jnp.minimum(lam + step, PICKED * plan.ceiling)
    return jnp.where(chosen, after, before).astype(lam.dtype)


def smallest(sizes: Array, share: float) -> Array:
    """Return which groups are the ceil(share n) smallest, never all; of equal ones the first."""
    n = sizes.size
    count = min(math.ceil(share * n - 1e-9), n - 1)
    order = jnp.argsort(sizes.reshape(-1))
    return jnp.zeros(n, bool).at[order[:count]].set(True).reshape(sizes.shape)


def _followed(ratio: Array, sizes: Array, gone: Array) -> Array:
    """Return the running average of the mean size of what stays over that of what goes."""
    stays = jnp.sum(jnp.where(gone, 0, sizes)) / jnp.maximum(1, jnp.sum(~gone))
    goes = jnp.sum(jnp.where(gone, sizes, 0)) / jnp.maximum(1, jnp.sum(gone))
    now = jnp.where(jnp.any(gone), stays / jnp.maximum(goes, 1e-30), 0)
    return (AVERAGE * ratio + (1 - AVERAGE) * now).astype(ratio.dtype)
