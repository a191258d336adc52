"""The interface of every learning rule: `StepRule` for rules that speak at every step, `SequenceRule` for the
others.

Both are used through `px.learner(rule, loss)`, which checks data and hands on what a rule keeps between
updates.
"""

import abc
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import check_given, refuse_abstract
from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.old_rules import understand
from perturbax.network.layer import layer_label
from perturbax.network.network import Network


class Rule(eqx.Module):
    """What all rules have in common; fields are hyperparameters. Derive from `StepRule` or `SequenceRule`.

    Attributes:
        facts: equation, target, information used, cost, memory and sources of the rule in general.
        shares: what estimates are means over, so that devices can take shares of it (`learning.shares`):
            `rows`, the examples of a batch, or `samples`. It counts for the class that says it alone.
        perturbs_weights: whether passes run with noise added to the weights.
    """

    facts: ClassVar[Facts] = Facts()
    shares: ClassVar[tuple[str, ...]] = ()
    perturbs_weights: ClassVar[bool] = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Refuse a class that lacks its method (`step` or `update`), settings it does not have, and values
        of another type, with ArgumentError.
        """
        refuse_abstract("rule", cls)
        check_given(cls, kwargs)
        return super().__new__(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Understand, or refuse in one line, what a rule of version 0.1.0 says."""
        super().__init_subclass__(**kwargs)
        understand(cls)

    def described(self) -> Facts:
        """Return the facts under these very settings, where they say more than `facts`."""
        return self.facts

    def compared_noise(self) -> Any:
        """Return the standard deviation of the noise under which passes are compared with each other.

        By default it is the setting `sigma`, where a rule has one. Passes are traced in full float32 where
        products would otherwise be too coarse for it (`learning.products`); of a rule that compares no
        passes, and returns None, never.
        """
        return getattr(self, "sigma", None)

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return what the rule knows before its first update, and keeps from one update to the next.

        Arguments:
            net: the network that will be trained.
            x: one input, `(B, n_in)`, for its shape and dtype.
            key: a random key, for what is drawn once.
        """
        return ()

    def of_share(self, share: Any) -> "Rule | None":
        """Return the rule as it works on one share; None where samples cannot be split that way.

        By default it is the rule itself: right for rows, where noise does not differ from row to row.

        Arguments:
            share: a `perturbax.learning.shares.Share`, of a kind that the class names in `shares`.
        """
        return self

    def samples_in_all(self) -> int:
        """Return the number K of samples, of which `scalars` runs some and `from_scalars` takes all."""
        return int(getattr(self, "samples", 1))

    def scalars(self, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array, which: Array) -> tuple:
        """Return (loss, what the passes of some samples say, `(m, ...)`): scalars, however many weights there
        are, from which `from_scalars` makes the update of all samples (`learning.scalars`).

        Arguments:
            net: the network.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`.
            key: the random key of the update, the same for all samples.
            which: numbers of the samples to run, `(m,)`.

        Raises ArgumentError for a rule, or settings, whose update needs more than scalars.
        """
        raise ArgumentError(
            f"the update of {type(self).__name__} needs more than scalars of each sample: rules node, weight "
            "and evolution do not"
        )

    def from_scalars(self, net: Network, xs: Array, key: Array, scalars: Array) -> Network:
        """Return the gradient, like the weights, from the scalars of all samples.

        Arguments:
            net: the network.
            xs: inputs `(T, B, n_in)`.
            key: that of `scalars`.
            scalars: of all samples, `(K, ...)`; 0 for one that is missing, and the others larger by as much.
        """
        raise NotImplementedError

    def modify_updates(self, updates: Network, some: Network) -> Network:
        """Return the optimiser's updates as they are to be applied, with zeros where weights are frozen, say.

        Arguments:
            updates: what optax returned, like the weights of the network.
            some: the weights before the update, in the same tree.
        """
        return updates


class StepRule(Rule):
    """A rule that contributes to the gradient at every step, and so can learn in constant memory, or online.

    A complete rule that keeps a running average of the loss from update to update, and perturbs
    pre-activations:

        class Expected(px.StepRule):
            sigma: float = 0.1

            def init_state(self, net, x, key):
                return jnp.zeros(())                              # the expected loss

            def init_sequence(self, net, state, x, key):
                return net.start(len(x)), state                   # what goes from step to step

            def final_state(self, carry):
                return carry[1]

            def draw(self, net, carry, xs, keys):                 # noise for a block of steps
                shapes = [site.a for site in net.sites_like(xs[0])]
                draw_step = lambda key: [jr.normal(key, s.shape) for s in shapes]
                return carry, jax.vmap(draw_step)(keys)

            def step(self, net, carry, x, score, noise):
                state, expected = carry
                state, y, sites = net.step(state, x, [self.sigma * xi for xi in noise])
                loss = score(y)                                   # (B,)
                delta = (loss - expected)[None]                   # (K, B) with K = 1
                signal = [xi[None] / self.sigma for xi in noise]  # (K, B, ...) per layer
                expected = 0.98 * expected + 0.02 * loss.mean()
                return (state, expected), px.Estimate(loss, y, sites, delta, px.Outer.of(sites, signal))

    Only `step` must be written: a rule that keeps nothing and draws nothing carries the state of the network
    alone.
    """

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the carry at the start of a sequence (online: of the stream).

        Arguments:
            net: the network.
            state: what `init_state` or, after the last sequence, `final_state` returned.
            x: the first input, `(B, n_in)`, for its shape and dtype.
            key: a random key, for what is drawn once per sequence.
        """
        return net.start(x.shape[0])

    def final_state(self, carry: PyTree) -> PyTree:
        """Return what is kept of the carry at the end of a sequence: the state of the next one.

        Arguments:
            carry: what the last step returned.
        """
        return ()

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return (carry, noise) for a block of steps: noise with the b steps in front, by default the keys
        themselves.

        Arguments:
            net: the network.
            carry: that of the block's first step.
            xs: the inputs of the block, `(b, B, n_in)`.
            keys: one key per step, `(b,)`.
        """
        return carry, keys

    @abc.abstractmethod
    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Make one step, deterministic given the noise: -> (carry, estimate).

        Arguments:
            net: the network; its `step` runs it on a state and an input.
            carry: what the step before returned.
            x: inputs `(B, n_in)`.
            score: output `(B, n_out)` -> loss per example `(B,)`; sealed for a rule that does not
                differentiate.
            noise: that of this step, from `draw`.
        """

    def pairing(self) -> Credit:
        """Return which later deltas the signals of a step are multiplied with; by default those of the same
        step.
        """
        return Credit()

    def second_pass(self) -> "StepRule":
        """Return the rule that is run a second time, under the same noise, for sites and signals (replay
        credit).
        """
        return self


class SequenceRule(Rule):
    """A rule that needs the whole sequence before it can say anything; it cannot learn online.

    A complete rule, weight perturbation with one direction per sequence:

        class Direction(px.SequenceRule):
            sigma: float = 1e-3

            def update(self, state, net, xs, ys, loss, key):
                some, rest = px.split(net)                        # weights, and all else
                leaves, tree = jax.tree.flatten(some)
                keys = jr.split(key, len(leaves))
                xi = tree.unflatten([jr.normal(k, w.shape) for k, w in zip(keys, leaves)])
                moved = jax.tree.map(lambda w, e: w + self.sigma * e, some, xi)
                mean = lambda some: jax.vmap(loss)(px.forward(px.join(some, rest), xs), ys).mean()
                clean, noisy = mean(some), mean(moved)
                return state, clean, jax.tree.map(lambda e: (noisy - clean) / self.sigma * e, xi)
    """

    @abc.abstractmethod
    def update(
        self, state: PyTree, net: Network, xs: Array, ys: PyTree, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Estimate the gradient over a sequence: -> (state, loss, grads).

        Arguments:
            state: what `init_state`, or the last update, returned.
            net: the network.
            xs: inputs `(T, B, n_in)`.
            ys: targets, leaves `(T, B, ...)`.
            loss: (y `(B, n_out)`, target) -> `(B,)`; sealed for a rule that does not differentiate.
            key: a random key.

        The loss returned, and what grads (like the weights) estimate the gradient of, is averaged over T and
        B.
        """

    def described(self) -> Facts:
        """Return the facts; a rule for whole sequences cannot learn online."""
        name = type(self).__name__
        return self.facts.but(
            offline=f"{name} needs whole sequences: it cannot learn online (use sequence mode)"
        )


def check_derivatives(rule: Rule, net: Network) -> None:
    """Raise LayerError where a rule that differentiates neurons would find a derivative of zero
    everywhere.

    Arguments:
        rule: the rule; one that uses no derivatives passes.
        net: the network.
    """
    if "derivatives" not in rule.described().uses:
        return
    for i, layer in enumerate(net.layers):
        if getattr(layer, "surrogate", "") == "none":
            raise LayerError(
                f"{layer_label(i, layer)} has no derivative: name a surrogate derivative, "
                "or take a rule that needs none"
            )
