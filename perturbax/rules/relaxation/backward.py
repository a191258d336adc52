"""The way back of activation relaxation: neurons without a derivative, synapses with weights of their own."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.network.layer import Fixed, Layer, join, layer_label, split, weights
from perturbax.network.network import Network

BARELY_ON = 1e-30  # the pre-activation at rest: above 0, where rectifiers let pass


class AtRest(Layer):
    """A layer whose neurons say what they always say, but answer to changes as at rest, whatever their state.

        dy = (dy/da at rest) da

    A tanh or rectified unit then hands on every error whole: no derivative of its activity is needed.

    Attributes:
        inner: the layer.
        rest: the hidden state at rest, of one example.
    """

    inner: Layer
    rest: Fixed

    def start(self) -> tuple[Any, Array]:
        """Return that of the layer."""
        return self.inner.start()

    def drive(self, z: Array, r: Array) -> Array:
        """Return the pre-activation of the layer."""
        return self.inner.drive(z, r)

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return the next (h, y) of the layer, with the derivatives at rest."""
        at_rest = self.rest.value, jnp.full_like(a, BARELY_ON)
        changes = eqx.filter(h, eqx.is_inexact_array), a
        answer = eqx.filter_jvp(self.inner.advance, at_rest, changes)[1]

        def with_derivative(value: Any, linear: Any) -> Any:
            return value if linear is None else jax.lax.stop_gradient(value - linear) + linear

        found = self.inner.advance(h, a)
        return jax.tree.map(with_derivative, found, answer, is_leaf=lambda leaf: leaf is None)


def at_rest(net: Network) -> Network:
    """Return the network with every layer `AtRest`.

    Arguments:
        net: the network.

    Raises LayerError for spikes and other steps, whose derivative at rest is no answer to anything.
    """
    layers = []
    for i, (layer, (h, _)) in enumerate(zip(net.layers, net.start(1), strict=True)):
        if hasattr(layer, "surrogate"):
            raise LayerError(
                f"{layer_label(i, layer)}: a neuron with a threshold has no derivative at rest: take frozen "
                "or moving slopes"
            )
        layers.append(AtRest(layer, Fixed(jax.tree.map(lambda s: s[0], h))))
    return net.like(layers, net.decor)


def drawn_like(net: Network, key: Array) -> Network:
    """Return random weights, like those of the network, as large in every matrix as these are.

    Arguments:
        net: the network.
        key: a random key.
    """
    leaves, tree = jax.tree.flatten(weights(net))
    keys = jr.split(key, len(leaves))
    drawn = []
    for k, w in zip(keys, leaves, strict=True):
        size = jnp.sqrt(jnp.mean(jnp.square(w)))
        drawn.append(
            jr.normal(k, w.shape, w.dtype) * jnp.where(size > 0, size, len(w) ** -0.5).astype(w.dtype)
        )
    return tree.unflatten(drawn)


def with_matrices(net: Network, matrices: Network) -> Network:
    """Return the network with other matrices; vectors (biases, what a unit keeps of itself) stay its own.

    Arguments:
        net: the network.
        matrices: weights like those of the network.
    """
    some, rest = split(net)
    return join(jax.tree.map(lambda own, w: w if own.ndim > 1 else own, some, matrices), rest)


def followed(back: PyTree, before: PyTree, now: PyTree, decay: Any) -> PyTree:
    """Return backward weights after what an update did to the weights: W <- (1 - decay) W + u, B the same.

    Arguments:
        back: the backward weights B, like the weights.
        before: the weights before the update.
        now: those after it.
        decay: the share that both lose in an update.
    """
    changes = jax.tree.map(lambda w, old: jnp.any(w != old), now, before)
    updated = jnp.any(jnp.stack(jax.tree.leaves(changes)))

    def one(b: Array, old: Array, w: Array) -> Array:
        update = w - (1 - decay) * old
        return jnp.where(updated, (1 - decay) * b + update, b).astype(b.dtype)

    return jax.tree.map(one, back, before, now)
