"""The interface of every learning rule."""

from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.learning.credit import Credit, Estimate
from perturbax.learning.sequence import Estimator, Learner, Loss, streamed
from perturbax.network.layer import layer_label
from perturbax.network.network import Network


class Rule(eqx.Module):
    """A learning rule; its fields are its hyperparameters.

    A streaming rule says something at every step:

        class OneStep(Rule):
            def init(self, net, batch, key):                return net.start(batch)
            def step(self, net, carry, x, score, noise):
                ...                                         # run net.step, form one signal per pre-activation
                return carry, Estimate(loss, y, sites, None, Outer(sites, signal))

    A rule that needs whole sequences overrides `estimator` instead. The class variables say what the rule is:
    its equation, the gradient it targets, what it uses (of `learning.facts.USES`), its passes and memory, and
    its sources.
    """

    equation: ClassVar[str] = ""
    target: ClassVar[str] = ""
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = ""
    memory: ClassVar[str] = ""
    papers: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Any]] = {}  # run settings that belong to the rule, below those a user names
    summed: ClassVar[bool] = (
        False  # the source sums over time what is averaged here: sequence mode takes lr x T
    )
    locality: ClassVar[str] = (
        ""  # what a synapse must know (`taxonomy.LOCALITY`), where `uses` does not say it
    )
    accrues: ClassVar[bool] = (
        False  # parts are `Both`: gradients of its own at every step, summed as they come
    )
    block: ClassVar[int] = 0  # most steps to multiply out at once; 0: as many as are fast

    @property
    def differentiates(self) -> bool:
        """Whether the rule may take derivatives of the score."""
        return "output error" in self.told() or "derivatives" in self.told()

    def told(self) -> tuple[str, ...]:
        """Return what these very settings use; `uses` speaks of the rule in general."""
        return self.uses

    def aim(self) -> str:
        """Return what these very settings estimate; `target` speaks of the rule in general."""
        return self.target

    def knows(self) -> str:
        """Return what a synapse must know under these very settings, where `uses` does not say it."""
        return self.locality

    def passes(self) -> int:
        """Return the cost of one update in forward passes over its data; BPTT counts 3."""
        return 3

    def credit_over(self) -> Credit:
        """Return which later deltas a signal is paired with."""
        return Credit()

    def needs_sequence(self) -> str:
        """Return why the rule cannot learn online, or nothing."""
        return ""

    def hold(self, updates: Network, some: Network) -> Network:
        """Have the last word on the optimiser's updates of the weights `some`; zero holds a weight still."""
        return updates

    def begin(self, net: Network, x: Array) -> PyTree:
        """Return what the rule knows before its first sequence and keeps from one to the next; x `(B,
        n_in)`.
        """
        return ()

    def recall(self, carry: PyTree, kept: PyTree) -> PyTree:
        """Put what was kept into the carry of a new sequence."""
        return carry

    def keep(self, carry: PyTree) -> PyTree:
        """Return what is kept of the carry at the end of a sequence."""
        return ()

    def learner(self, loss: Loss) -> Learner:
        """Return (kept, net, xs, ys, key) -> (kept, loss, grads)."""
        if type(self).estimator is not Rule.estimator:  # a rule that wrote its own, for whole sequences
            estimate = self.estimator(loss)
            return lambda kept, net, xs, ys, key: (kept, *estimate(net, xs, ys, key))
        return streamed(self, loss)

    def estimator(self, loss: Loss) -> Estimator:
        """Return (net, xs, ys, key) -> (loss, grads), by a rule that knows nothing yet."""
        learn = self.learner(loss)
        return lambda net, xs, ys, key: learn(self.begin(net, xs[0]), net, xs, ys, key)[1:]

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """Return the carry at the start of a sequence."""
        raise NotImplementedError

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return (carry, noise) for the block of steps xs `(b, B, n_in)`; by default the keys themselves."""
        return carry, keys

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Make one step: deterministic given the noise. score: output -> loss per example."""
        raise NotImplementedError

    def rewind(self, carry: PyTree) -> PyTree:
        """Return what `again` carries from step to step, at the start of the sequence."""
        return carry

    def again(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Make the step once more for its sites and signals alone, under replay credit."""
        return self.step(net, carry, x, score, noise)


class WholeSequence(Rule):
    """A rule that cannot speak before the sequence has ended: override `estimator`, or `learner` if it keeps
    things.
    """

    def learner(self, loss: Loss) -> Learner:
        """The estimator, which keeps nothing."""
        estimate = self.estimator(loss)
        return lambda kept, net, xs, ys, key: (kept, *estimate(net, xs, ys, key))

    def needs_sequence(self) -> str:
        """Say so."""
        return f"{type(self).__name__} needs whole sequences: it cannot learn online (use sequence mode)"


def check(rule: Rule, net: Network) -> None:
    """Raise LayerError where a rule that differentiates neurons would find a derivative of zero
    everywhere.
    """
    for i, layer in enumerate(net.layers):
        if "derivatives" in rule.told() and getattr(layer, "surrogate", "") == "none":
            raise LayerError(
                f"{layer_label(i, layer)} has no derivative: name a surrogate, or take a rule that needs none"
            )
