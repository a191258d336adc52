"""A rule of your own that needs the whole sequence: weight perturbation along one direction, both ways."""

from typing import ClassVar

import jax
import jax.random as jr

import perturbax as px


class Direction(px.SequenceRule):
    """Move all weights along a random direction, forwards and backwards, and compare the two losses.

    Attributes:
        sigma: length of the move, as the standard deviation of each weight's part.
    """

    sigma: float = 1e-3

    facts: ClassVar[px.Facts] = px.Facts(
        equation="dW = (L+ - L-) / (2 sigma) xi",
        target="full gradient",
        cost="2 passes",
        memory="weights, constant in T",
        passes=2,
    )

    def update(self, state, net, xs, ys, loss, key):
        some, rest = px.split(net)  # weights, and all else
        leaves, tree = jax.tree.flatten(some)
        keys = jr.split(key, len(leaves))
        xi = tree.unflatten([jr.normal(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True)])

        def loss_at(distance):
            moved = jax.tree.map(lambda w, e: w + distance * e, some, xi)
            y = px.forward(px.join(moved, rest), xs)  # (T, B, n_out)
            return jax.vmap(loss)(y, ys).mean()

        ahead, behind = loss_at(self.sigma), loss_at(-self.sigma)
        slope = (ahead - behind) / (2 * self.sigma)
        grads = jax.tree.map(lambda e: slope * e, xi)
        return state, (ahead + behind) / 2, grads
