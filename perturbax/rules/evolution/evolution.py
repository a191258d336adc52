"""Evolution strategies over whole sequences, with populations of low-rank directions."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import one_of, positive, setting
from perturbax.learning.noise import Noise, Orthogonal, as_noise, plain
from perturbax.learning.rule import WholeSequence
from perturbax.learning.sequence import Estimator, Loss, sealed
from perturbax.network.layer import join, split, weights
from perturbax.network.network import Network
from perturbax.rules.evolution.low_rank import reads, shift
from perturbax.rules.perturbation.base import resolved
from perturbax.rules.perturbation.helpers import drawn, mean_loss

SHAPINGS = ("none", "z-score", "rank")


class Evolution(WholeSequence):
    """Evolution strategy: a population of perturbed networks in mirrored pairs, weighted by how they fared.

        dL/dw  ~  (1 / P) sum_{j <= P} (s(L_j+) - s(L_j-)) / (2 sigma) xi_j,   L_j+- = L(w +- sigma xi_j)
        rank r    xi = sum_{i < r} u_i v_i^T / sqrt(r),   u, v random sides (biases: plain noise)

    With shaping none (s(L) = L) unbiased up to sigma^2 for the full gradient. With z-score s divides by the
    population's own standard deviation: the length is lost, and as that deviation shares the noise the
    direction is right in large populations only; with rank both are biased, and outliers lose their weight.
    Of low-rank members only the sides u, v exist: x (W + u v^T) is x W + (x u) v^T. With rank 0, and in
    layers that cannot be read that way (a mask on the weights), members run `abreast` pairs at a time, each
    with weights of its own. Salimans et al. 2017 (mirrored pairs, ranks); Sarkar et al. 2025 (low rank, never
    multiplied out).

    Attributes:
        sigma: standard deviation of the weight noise.
        population: members, two per direction.
        rank: rank r of each direction in a weight matrix; 0 for noise in every weight.
        shaping: none, z-score or rank (centred ranks from -1/2 to 1/2): what is made of the losses.
        abreast: most pairs that run side by side; fewer take less memory.
        noise: rademacher, gaussian, orthogonal, a Noise, or module:name of your own function; of u, v and
            biases.
    """

    sigma: float = 0.02
    population: int = setting(32)
    rank: int = setting(1)
    shaping: str = setting("none")
    abreast: int = setting(128)
    noise: Noise = eqx.field(converter=as_noise, default="rademacher")

    equation: ClassVar[str] = "dW = sum_j (s(L_j+) - s(L_j-)) / (2 sigma P) u_j v_j^T"
    target: ClassVar[str] = (
        "shaping none: full gradient; z-score: its direction in large populations; rank: biased"
    )
    uses: ClassVar[tuple[str, ...]] = ("score",)
    cost: ClassVar[str] = "population passes"
    memory: ClassVar[str] = "population x units; rank 0: abreast x weights"
    papers: ClassVar[tuple[str, ...]] = ("salimans2017", "sarkar2025")

    def __check_init__(self) -> None:
        """Refuse settings that mean nothing."""
        positive("sigma", self.sigma)
        positive("abreast", self.abreast)
        one_of("shaping", self.shaping, SHAPINGS)
        plain(self.noise, "evolution")
        if isinstance(self.noise, Orthogonal):
            raise ArgumentError("members are drawn one at a time: noise orthogonal across them cannot be had")
        if self.population < 2 or self.population % 2:
            raise ArgumentError(f"population must be an even number of members, not {self.population}")
        if self.rank < 0:
            raise ArgumentError(f"rank must be 0 (noise in every weight) or more, not {self.rank}")

    def aim(self) -> str:
        """What shaping leaves."""
        biased = {
            "z-score": "direction of the full gradient, in large populations",
            "rank": "biased: ranks of losses",
        }
        return biased.get(self.shaping, "full gradient")

    def passes(self) -> int:
        """One per member."""
        return self.population

    def estimator(self, loss: Loss) -> Estimator:
        """Run the population, a few pairs at a time."""
        score, pairs = sealed(loss), self.population // 2

        def estimate(
            net: Network, xs: Float[Array, "T B n_in"], ys: Any, key: Array
        ) -> tuple[Array, Network]:
            some, _ = split(net)
            resolved(self.sigma, some)
            kinds = self._kinds(net, xs[0])

            def fare(member: PyTree) -> Array:
                def one(step: Array) -> Array:
                    return mean_loss(self._moved(net, kinds, member, step), xs, ys, score)

                return jax.vmap(one)(self.sigma * jnp.array([1.0, -1.0]))

            members = self._members(some, key)
            losses = jax.lax.map(fare, members, batch_size=min(self.abreast, pairs))
            shaped = shape(losses, self.shaping)
            grads = self._contract(some, members, (shaped[:, 0] - shaped[:, 1]) / (2 * self.sigma * pairs))
            return losses.mean(), grads

        return estimate

    def _like(self, w: Array, rows: int) -> Any:
        """Return shapes of the noise of a weight: two sides, (pre) x (all the rest), or the weight's own."""

        def room(*shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((rows, *shape), w.dtype)

        if self.rank == 0 or w.ndim < 2:
            return room(*w.shape)
        return room(w.shape[0], self.rank), room(self.rank, w.size // w.shape[0])

    def _draw(self, some: Network, key: Array, rows: int) -> list[PyTree]:
        like = [self._like(w, rows) for w in jax.tree.leaves(some)]
        return drawn(self.noise, self.noise.init(like), key, like)[1]

    def _members(self, some: Network, key: Array) -> PyTree:
        """Return what is kept of every direction: its sides, or its key."""
        pairs = self.population // 2
        return self._draw(some, key, pairs) if self.rank else jr.split(key, pairs)

    def _kinds(self, net: Network, x: Array) -> list[tuple[str, ...] | None]:
        """Return for each layer how its low-rank noise can be applied without being multiplied out, or
        None.
        """
        sites = jax.eval_shape(net.step, net.start(len(x)), x)[2]
        one = [jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), (s.z, s.r)) for s in sites]
        return [reads(layer, *zr) if self.rank else None for layer, zr in zip(net.layers, one, strict=True)]

    def _moved(self, net: Network, kinds: list, member: PyTree, step: Array) -> Network:
        """Return the network with step times the member's direction added to its weights."""
        layers, mine = [], iter(member if self.rank else self._draw(weights(net), member, 1))
        for layer, kind in zip(net.layers, kinds, strict=True):
            some, rest = split(layer)
            leaves, tree = jax.tree.flatten(some)
            noise = [next(mine) for _ in leaves]
            if not self.rank:
                noise = [e[0] for e in noise]
            else:
                noise = [
                    e if w.ndim < 2 else (e[0], e[1] / self.rank**0.5)
                    for w, e in zip(leaves, noise, strict=True)
                ]
            if kind is not None:
                layers.append(shift(layer, kind, noise, step))
                continue
            full = [e[0] @ e[1] if isinstance(e, tuple) else e for e in noise]
            moved = [w + step.astype(w.dtype) * e.reshape(w.shape) for w, e in zip(leaves, full, strict=True)]
            layers.append(join(tree.unflatten(moved), rest))
        return net.like(layers, net.decor)

    def _contract(self, some: Network, members: PyTree, c: Float[Array, " P"]) -> Network:
        """Return sum_j c_j xi_j: one product per weight from the sides, or one direction after the other."""
        leaves, tree = jax.tree.flatten(some)
        if not self.rank:

            def add(total: Network, now: tuple) -> tuple[Network, None]:
                cj, key = now
                xi = tree.unflatten([e[0] for e in self._draw(some, key, 1)])
                return jax.tree.map(lambda g, e: g + cj.astype(e.dtype) * e, total, xi), None

            return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, some), (c, members))[0]

        def one(w: Array, e: PyTree) -> Array:
            if w.ndim < 2:
                return jnp.tensordot(c.astype(w.dtype), e, 1)
            u, v = e
            mixed = jnp.einsum("pmr,prn->mn", c[:, None, None].astype(w.dtype) * u, v)
            return (mixed / self.rank**0.5).reshape(w.shape)

        return tree.unflatten([one(w, e) for w, e in zip(leaves, members, strict=True)])


def shape(losses: Float[Array, "P 2"], how: str) -> Float[Array, "P 2"]:
    """Return what selection sees of the losses: themselves, standardised, or centred ranks (ties share
    theirs).
    """
    if how == "none":
        return losses
    if how == "z-score":
        spread = losses.std()
        return (losses - losses.mean()) / jnp.where(spread > 0, spread, 1)
    flat = losses.ravel()
    order = jnp.sort(flat)
    below, upto = (jnp.searchsorted(order, flat, side=side) for side in ("left", "right"))
    centred = (below + upto - 1) / (2 * (flat.size - 1)) - 0.5
    return centred.astype(losses.dtype).reshape(losses.shape)
