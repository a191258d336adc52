"""What the rules that inject noise into pre-activations share."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, setting
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.noise import Gaussian, Noise, Scaled, draw_packed
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.shares import ROWS, OwnNoise, Share
from perturbax.learning.signs import expanded
from perturbax.network.network import Network, Site
from perturbax.rules.perturbation.base import Perturbation
from perturbax.rules.perturbation.helpers import check_resolution


class NodeNoise(Perturbation):
    """Base of the rules that inject noise into pre-activations: how it is drawn.

    Attributes:
        ambient: standard deviation of Gaussian noise that the network has of its own while it learns, at
            every step, in every row, the clean one too; rules see it only in what they measure (innovation
            knows its variance).
    """

    ambient: float = setting(0.0)

    def __check_init__(self) -> None:
        """Check the ambient noise."""
        in_range("ambient", self.ambient, 0)
        if self.ambient and self.credit == "replay":
            raise ArgumentError(
                "credit replay runs the clean pass twice, and ambient noise makes each another: use to-go"
            )

    def of_share(self, share: Share) -> Rule | None:
        """Return the rule with the noise of its own rows or samples.

        None for noise that follows activity in a way of its own, and for samples beside ambient noise, which
        the clean row has too.
        """
        if type(self.noise).adapt not in (Noise.adapt, Scaled.adapt):
            return None
        if share.of == ROWS:
            return dataclasses.replace(self, noise=OwnNoise(self.noise, share))
        return None if self.ambient else self.with_own_samples(share)

    @property
    def measured_variance(self) -> Any:
        """Variance of the total noise difference within a pair: injected noise plus twice the ambient
        variance.
        """
        return self.variance + 2 * self.ambient**2

    def node_noise_shapes(self, net: Network, x: Array) -> list[jax.ShapeDtypeStruct]:
        """Return the shapes of the noise of one step, per layer `(K, B, ...)`; 2 K for difference noisy.

        Arguments:
            net: the network.
            x: one input `(B, n_in)`, for its shape and dtype.
        """
        return self.noise_shapes([site.a for site in net.sites_like(x)])

    def init_noise(self, net: Network, x: Array) -> PyTree:
        """Return the state of the noise before the first step.

        Arguments:
            net: the network.
            x: one input `(B, n_in)`, for its shape and dtype.

        Raises ArgumentError for a sigma that rounding would swallow.
        """
        shapes = self.node_noise_shapes(net, x)
        check_resolution(self.sigma, shapes)
        return self.noise.init(shapes)

    def draw_noise(self, net: Network, noise_state: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return (state of the noise, noise) for a block of b steps; noise of unit variance, per layer
        `(b, K, B, ...)`.

        With ambient noise it is a pair: that to inject, and the network's own in every row,
        `(b, rows, B, ...)`.

        Arguments:
            net: the network.
            noise_state: state of the noise.
            xs: inputs of the block, `(b, B, n_in)`, for their shape.
            keys: one key per step, `(b,)`.
        """
        noise_state, noise = self.draw_packed_noise(net, noise_state, xs, keys)
        return noise_state, expanded(noise)

    def draw_packed_noise(
        self, net: Network, noise_state: PyTree, xs: Array, keys: Array
    ) -> tuple[PyTree, PyTree]:
        """Return what `draw_noise` returns, with signs as `PackedSigns`.

        Arguments as in `draw_noise`.
        """
        shapes = self.node_noise_shapes(net, xs[0])
        noise_state, xi = draw_packed(self.noise, noise_state, keys, shapes)
        if not self.ambient:
            return noise_state, xi
        every_row = [jax.ShapeDtypeStruct((self.rows, *s.shape[1:]), s.dtype) for s in shapes]
        # The noise's own keys are 0 to len - 1.
        other_keys = jax.vmap(lambda key: jr.fold_in(key, len(shapes)))(keys)
        own = OwnNoise(Gaussian(), self.noise.share) if isinstance(self.noise, OwnNoise) else Gaussian()
        return noise_state, (xi, own.draw((), other_keys, every_row)[1])


class NodeRule(NodeNoise, StepRule):
    """Base of the step rules that inject noise into pre-activations; a rule is its `signal`.

    A complete rule, which is told only whether the noisy pass was better or worse:

        class Sign(px.NodeRule):
            def signal(self, net, sites, delta, inject):
                return (delta > 0) * 2.0 - 1.0, [noise / self.sigma for noise in self.pair(list(inject))]

    A run whose task asks for answers at few steps takes to-go credit, online window credit, unless it names
    one. A rule that is made in Python knows no task, and has same-step credit unless it is told otherwise.
    """

    follows_asking: ClassVar[bool] = True

    @abc.abstractmethod
    def signal(self, net: Network, sites: Sequence[Site], delta: Array, inject: Sequence[Array]) -> tuple:
        """Return (delta `(K, B)`, signal `(K, B, ...)` per layer): their product estimates dL/da.

        Arguments:
            net: the network.
            sites: what each layer saw, all rows: leaves `(rows, B, ...)`.
            delta: the loss difference of each pair, `(K, B)`.
            inject: the noise injected into each layer, all rows, `(rows, B, ...)`.
        """

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the state of the noise."""
        return self.init_noise(net, x)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return one network state per row, and the state of the noise."""
        start = net.start(x.shape[0])
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (self.rows, *s.shape)), start), state

    def final_state(self, carry: PyTree) -> PyTree:
        """Return the state of the noise."""
        return carry[1]

    def draw(self, net: Network, carry: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Draw noise for every pre-activation of the block."""
        states, noise_state = carry
        noise_state, noise = self.draw_block(net, noise_state, xs, keys)
        return (states, noise_state), noise

    def draw_block(self, net: Network, noise_state: PyTree, xs: Array, keys: Array) -> tuple[PyTree, PyTree]:
        """Return (state of the noise, noise) for a block of b steps, as `draw` does: signs packed, unless the
        rule has a `draw_noise` or a `step` of its own.

        Arguments as in `draw_noise`.
        """
        as_ours = type(self).draw_noise is NodeNoise.draw_noise and type(self).step is NodeRule.step
        draw = self.draw_packed_noise if as_ours else self.draw_noise
        return draw(net, noise_state, xs, keys)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Step all rows at once, so that each weight is read once; compare their losses."""
        states, noise_state = carry
        inject, added = self.injected(noise_state, expanded(noise))
        states, y, sites = jax.vmap(net.step, in_axes=(0, None, 0))(states, x, added)
        noise_state, estimate = self.heard(net, noise_state, score, y, sites, inject)
        return (self.next_states(states), noise_state), self.repacked(estimate, noise)

    def repacked(self, estimate: Estimate, noise: PyTree) -> Estimate:
        """Return the estimate with signals that are nothing but the noise as it was drawn, packed.

        Arguments:
            estimate: of a step, its signals arrays.
            noise: that of the step, from `draw`.
        """
        return estimate

    def injected(self, noise_state: PyTree, noise: PyTree) -> tuple[list[Array], list[Array]]:
        """Return (what the rule injects, all that is added) to the pre-activations of a step, per layer
        `(rows, B, ...)`.

        Arguments:
            noise_state: state of the noise.
            noise: that of this step, from `draw`.
        """
        noise, ambient = noise if self.ambient else (noise, None)
        inject, spread = self.noise_of_rows(noise), self.noise.spread(noise_state)
        if spread is not None:  # noise with a scale of its own per unit
            inject = [i * s[None, None] for i, s in zip(inject, spread, strict=True)]
        if ambient is None:
            return inject, inject
        return inject, [i + self.ambient * o for i, o in zip(inject, ambient, strict=True)]

    def heard(
        self,
        net: Network,
        noise_state: PyTree,
        score: Any,
        y: Array,
        sites: Sequence[Site],
        inject: Sequence[Array],
    ) -> tuple[PyTree, Estimate]:
        """Return (state of the noise, estimate): what the rule makes of a step of all rows, whoever ran them.

        Arguments:
            net: the network.
            noise_state: state of the noise.
            score: output `(B, n_out)` -> loss per example `(B,)`.
            y: outputs of all rows, `(rows, B, n_out)`.
            sites: what each layer saw, leaves `(rows, B, ...)`.
            inject: the noise injected into each layer, `(rows, B, ...)`.
        """
        loss, delta = self.compare(score, y)
        delta, signal = self.signal(net, sites, delta, inject)
        spread = self.noise.spread(noise_state)
        if spread is not None:
            signal = [g / s[None, None] ** 2 for g, s in zip(signal, spread, strict=True)]
        middle = self.middle(sites)
        if all(site.a is not None for site in middle):  # a device may not show them
            noise_state = self.noise.adapt(noise_state, [site.a for site in middle])
        return noise_state, Estimate(loss, self.middle(y), middle, delta, Outer.of(middle, signal))
