"""PEPITA: errors change the input, and each layer learns from how its activity changes."""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError, LayerError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.estimate import Estimate, Outer
from perturbax.learning.facts import Facts
from perturbax.learning.rule import StepRule
from perturbax.network.layer import Layer, advance_batch, drive_batch, layer_label
from perturbax.network.network import Network

NOISE = 0.1  # standard deviation of what is sent through a layer to mirror it


class PEPITA(StepRule):
    """PEPITA: a second pass on an input that was changed by the output error; no error travels backwards.

        x' = x + F e,   e = dL_t/dy_t,   dA_l = (y_l - y'_l) z'_l^T,   at the readout dA = e z'^T

    Primes belong to the second pass, which starts every step from the state of the first (restart). To first
    order y_l - y'_l is -f' W_l .. W_1 F e: feedback alignment whose feedback is the forward weights times F.
    With x + F e the product of all weights comes to point against F; with `sign` minus, x - F e, along F,
    which then may learn to mirror that product. Within a step the change travels upwards alone, and never
    to earlier steps. Dellaferrera and Kreiman 2022; mirroring Srinivasan et al. 2024.

    Attributes:
        scale: of F, whose entries start uniform in +-scale sqrt(6 / n_in).
        sign: plus (x + F e) or minus (x - F e).
        error: plain (e) or sign (the sign of each entry of e alone).
        mirror: rate at which F follows the product of the weights, by noise that is sent through each layer
            alone; 0 for an F that stays. Needs sign minus.
        decay: share of the mirrored weights that is lost in every step.
        dropout: share of the hidden outputs that is 0 while learning, others times 1 / (1 - dropout); the
            same ones in both passes of a step.
    """

    scale: float = 0.05
    sign: str = setting("plus")
    error: str = setting("plain")
    mirror: float = setting(0.0)
    decay: float = setting(1e-4)
    dropout: float = setting(0.0)

    facts: ClassVar[Facts] = Facts(
        equation="x' = x + F e, dA = (y - y') z'^T",
        target="gradient cut at every step, through feedback by random weights to the input",
        uses=("own activity", "output error"),
        cost="2 passes",
        memory="B x units, constant in T",
        papers=("dellaferrera2022", "srinivasan2024"),
        locality="neuron",
        keeps="the weights from output errors to inputs",
        passes=2,
    )

    def __check_init__(self) -> None:
        """Check the size of F, and that what mirrors weights has their sign."""
        positive("scale", self.scale)
        one_of("sign", self.sign, ("plus", "minus"))
        one_of("error", self.error, ("plain", "sign"))
        in_range("mirror", self.mirror, 0)
        in_range("decay", self.decay, 0, 1, below=True)
        in_range("dropout", self.dropout, 0, 1, below=True)
        if self.mirror and self.sign == "plus":
            raise ArgumentError("pepita: an F that mirrors the weights needs sign minus (x - F e)")

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return what F is the product of: F itself `(n_in, n_out)`, or for mirroring one matrix per layer.

        Raises LayerError for layers with several pre-activations per unit, or without a linear readout.
        """
        sites = net.sites_like(x)
        after, y, _ = jax.eval_shape(net.step, net.start(len(x)), x)
        for i, (layer, site, (_, own)) in enumerate(zip(net.layers, sites, after, strict=True)):
            if site.a.shape != own.shape:
                raise LayerError(
                    f"{layer_label(i, layer)}: pepita needs one pre-activation for each output of a layer"
                )
        if self.mirror and net.reads is not None:
            raise LayerError(
                "an F that mirrors the weights goes down a stack of layers: this network is a graph"
            )
        if not self.mirror:
            F = jr.uniform(key, (x.shape[1], y.shape[1]), x.dtype, -1.0, 1.0)
            return ((F - F.mean()) * (6 / x.shape[1]) ** 0.5 * self.scale,)
        keys = jr.split(key, len(sites))
        shapes = [(site.z.shape[1], site.a.shape[1]) for site in sites]
        return tuple(jr.normal(k, s, x.dtype) * s[0] ** -0.5 for k, s in zip(keys, shapes, strict=True))

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return (state of the network, what F is the product of)."""
        return net.start(len(x)), state

    def final_state(self, carry: PyTree) -> PyTree:
        """Return what F is the product of."""
        return carry[1]

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Make the step twice, the second time on the changed input; noise is the key of the step."""
        state, factors = carry
        masks = self.masks(net, x, noise)
        after, y, sites = net.step(state, x, masks=masks)
        loss, pull = jax.vjp(score, y)
        e = pull(jnp.ones_like(loss))[0]  # (B, n_out)
        told = jnp.sign(e) if self.error == "sign" else e
        changed = x + told @ self.feedback(factors).T  # (B, n_in)
        _, _, changed_sites = net.step(state, changed, masks=masks)
        signal = []
        for i, (layer, (h, _)) in enumerate(zip(net.layers[:-1], state, strict=False)):
            clean, other = (advance_batch(i, layer, h, s[i].a)[1] for s in (sites, changed_sites))
            change = clean - other if masks is None else (clean - other) * masks[i]  # (B, n)
            signal.append(change[None])  # (1, B, n)
        if self.mirror:
            factors = tuple(
                self.mirrored(i, layer, site, B, jr.fold_in(noise, i))
                for i, (layer, site, B) in enumerate(zip(net.layers, sites, factors, strict=True))
            )
        outer = Outer.of(changed_sites, [*signal, e[None]])
        return (after, factors), Estimate(loss, y, sites, None, outer)

    def masks(self, net: Network, x: Array, key: Array) -> list[Array] | None:
        """Return what the outputs of each hidden layer are multiplied with, `(B, n)`; None without dropout.

        Arguments:
            net: the network.
            x: inputs of the step, `(B, n_in)`.
            key: of the step.
        """
        if not self.dropout:
            return None
        keep = 1 - self.dropout
        keys = jr.split(jr.fold_in(key, len(net.layers)), len(net.layers))
        shapes = [site.a.shape for site in net.sites_like(x)[:-1]]
        return [
            jr.bernoulli(k, keep, shape).astype(x.dtype) / keep
            for k, shape in zip(keys, shapes, strict=False)
        ]

    def feedback(self, factors: tuple[Array, ...]) -> Array:
        """Return F with its sign, `(n_in, n_out)`; a product of factors is given the size that F starts with.

        Arguments:
            factors: what F is the product of, from the input up.
        """
        F = factors[0]
        for B in factors[1:]:
            F = F @ B
        if len(factors) > 1:
            F = F / jnp.std(F) * (2 / len(F)) ** 0.5 * self.scale
        return -F if self.sign == "minus" else F

    def mirrored(self, i: int, layer: Layer, site: Any, B: Array, key: Array) -> Array:
        """Return the mirrored weights of a layer, moved towards those it has: noise times what comes of it.

        Arguments:
            i: number of the layer.
            layer: the layer.
            site: what it saw, for its shapes.
            B: the mirrored weights, `(n_below, n)`.
            key: for the noise.
        """
        sent = NOISE * jr.normal(key, site.z.shape, B.dtype)  # (rows, n_below)
        sent = sent - sent.mean(0, keepdims=True)
        h, r = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(sent), *leaf.shape)), layer.start())
        answer = advance_batch(i, layer, h, drive_batch(i, layer, sent, r.astype(B.dtype), "noise"))[1]
        return (1 - self.decay) * B + self.mirror * sent.T @ answer / len(sent)
