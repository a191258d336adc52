"""Evolution strategies over whole sequences, with populations of low-rank directions."""

import dataclasses
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import in_range, one_of, positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.noise import Noise, Orthogonal, as_noise, check_white
from perturbax.learning.rule import Rule, SequenceRule
from perturbax.learning.scalars import BySample
from perturbax.learning.shares import (
    ROWS,
    SAMPLES,
    OwnNoise,
    Share,
    gathered,
    mean_over,
    own_samples,
    samples_in_all,
)
from perturbax.network.layer import Layer, join, split, weights
from perturbax.network.network import Network
from perturbax.rules.evolution.low_rank import matrix_inputs, shifted_layer
from perturbax.rules.perturbation.helpers import check_resolution, draw_once, mean_loss

SHAPINGS = ("none", "z-score", "rank")
BIAS_OF_SHAPING = {
    "none": "full gradient",
    "z-score": "direction of the full gradient, in large populations",
    "rank": "biased: ranks of losses",
}


class Evolution(SequenceRule):
    """Evolution strategy: a population of perturbed networks in mirrored pairs, weighted by their losses.

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

    shares: ClassVar[tuple[str, ...]] = (ROWS, SAMPLES)
    perturbs_weights: ClassVar[bool] = True
    facts: ClassVar[Facts] = Facts(
        equation="dW = sum_j (s(L_j+) - s(L_j-)) / (2 sigma P) u_j v_j^T",
        target="shaping none: full gradient; z-score: its direction in large populations; rank: biased",
        uses=("score",),
        cost="population passes",
        memory="population x units; rank 0: abreast x weights",
        papers=("salimans2017", "sarkar2025"),
        passes=32,
    )

    def __check_init__(self) -> None:
        """Check noise, population, rank and shaping."""
        positive("sigma", self.sigma)
        positive("abreast", self.abreast)
        one_of("shaping", self.shaping, SHAPINGS)
        check_white(self.noise, "evolution")
        if isinstance(self.noise, Orthogonal):
            raise ArgumentError(
                "members are drawn one at a time: noise cannot be orthogonal across them, take another"
            )
        if self.population < 2 or self.population % 2:
            raise ArgumentError(f"population must be an even number of members, not {self.population}")
        in_range("rank", self.rank, 0)

    def of_share(self, share: Share) -> Rule | None:
        """Return the rule of a share: rows share their members, of the population each has whole pairs."""
        if share.of == ROWS:
            return self
        if self.population % (2 * share.n):
            return None
        noise = OwnNoise(self.noise, share) if self.rank else self.noise  # rank 0 has a key for each pair
        return dataclasses.replace(self, population=self.population // share.n, noise=noise)

    def described(self) -> Facts:
        """Return the facts: the bias that shaping leaves, and one pass per member."""
        return super().described().but(target=BIAS_OF_SHAPING[self.shaping], passes=self.population)

    def update(
        self, state: PyTree, net: Network, xs: Float[Array, "T B n_in"], ys: Any, loss: Any, key: Array
    ) -> tuple[PyTree, Array, Network]:
        """Run the population, a few pairs at a time."""
        some, _ = split(net)
        check_resolution(self.sigma, some)
        pairs = self.population // 2
        if self.rank:
            members = self._draw(some, key, pairs)
        else:
            members = own_samples(jr.split(key, samples_in_all(pairs)))
        losses = mean_over(ROWS, self._losses(net, xs, ys, loss, members, pairs))
        shaped = own_samples(shape_losses(gathered(losses), self.shaping))
        worth = (shaped[:, 0] - shaped[:, 1]) / (2 * self.sigma * pairs)
        return state, losses.mean(), self._contract(some, members, worth)

    def _losses(
        self, net: Network, xs: Array, ys: Any, loss: Any, members: PyTree, pairs: int
    ) -> Float[Array, "P 2"]:
        """Return the losses of both members of every pair, a few pairs at a time."""
        inputs_of_matrices = self._inputs_of_matrices(net, xs[0])
        both_signs = self.sigma * jnp.array([1.0, -1.0])

        def losses_of_pair(member: PyTree) -> Array:  # (2,)
            def one(step: Array) -> Array:
                return mean_loss(self._moved(net, inputs_of_matrices, member, step), xs, ys, loss)

            return jax.vmap(one)(both_signs)

        return jax.lax.map(losses_of_pair, members, batch_size=min(self.abreast, pairs))

    def samples_in_all(self) -> int:
        """Return the number of pairs, each of which is a sample."""
        return self.population // 2

    def scalars(self, net: Network, xs: Array, ys: Any, loss: Any, key: Array, which: Array) -> tuple:
        """Return (mean loss, the difference of losses within each pair, `(m,)`).

        Arguments and errors as in `Rule.scalars`.
        """
        if type(self) is not Evolution:
            return super().scalars(net, xs, ys, loss, key, which)
        if self.shaping != "none" or not self.rank:
            raise ArgumentError(
                "hosts share members of a population with shaping none and rank at least 1: other shaping "
                "compares all members, of which some may be missing"
            )
        check_resolution(self.sigma, split(net)[0])
        part = dataclasses.replace(self, noise=BySample(self.noise, which))
        members = part._draw(split(net)[0], key, len(which))
        losses = self._losses(net, xs, ys, loss, members, len(which))  # (m, 2)
        return losses.mean(), losses[:, 0] - losses[:, 1]

    def from_scalars(self, net: Network, xs: Array, key: Array, scalars: Array) -> Network:
        """Return the sum of the directions, each times its scalar.

        Arguments as in `Rule.from_scalars`.
        """
        part = dataclasses.replace(self, noise=BySample(self.noise, jnp.arange(len(scalars))))
        some, _ = split(net)
        worth = scalars / (2 * self.sigma * len(scalars))
        return self._contract(some, part._draw(some, key, len(scalars)), worth)

    def _noise_shape(self, w: Array, rows: int) -> Any:
        """Return shapes of the noise of a weight: two sides, (pre) x (all the rest), or the weight's own."""
        if self.rank == 0 or w.ndim < 2:
            return jax.ShapeDtypeStruct((rows, *w.shape), w.dtype)
        pre, rest = w.shape[0], w.size // w.shape[0]
        left = jax.ShapeDtypeStruct((rows, pre, self.rank), w.dtype)
        right = jax.ShapeDtypeStruct((rows, self.rank, rest), w.dtype)
        return left, right

    def _draw(self, some: Network, key: Array, rows: int) -> list[PyTree]:
        """Draw the noise of every weight array, `rows` of each."""
        shapes = [self._noise_shape(w, rows) for w in jax.tree.leaves(some)]
        return draw_once(self.noise, self.noise.init(shapes), key, shapes)[1]

    def _inputs_of_matrices(self, net: Network, x: Array) -> list[tuple[str, ...] | None]:
        """Return for each layer how low-rank noise can be applied without being multiplied out, or None."""
        found = []
        for layer, site in zip(net.layers, net.sites_like(x), strict=True):
            z, r = (jax.ShapeDtypeStruct(s.shape[1:], s.dtype) for s in (site.z, site.r))  # of one example
            found.append(matrix_inputs(layer, z, r) if self.rank else None)
        return found

    def _moved(self, net: Network, inputs_of_matrices: list, member: PyTree, step: Array) -> Network:
        """Return the network with step times the member's direction added to its weights."""
        noise = iter(member if self.rank else self._draw(weights(net), member, 1))
        layers = []
        for layer, inputs in zip(net.layers, inputs_of_matrices, strict=True):
            arrays = jax.tree.leaves(split(layer)[0])
            own = [self._direction(w, next(noise)) for w in arrays]
            layers.append(
                _plus_noise(layer, own, step) if inputs is None else shifted_layer(layer, inputs, own, step)
            )
        return net.like(layers, net.decor)

    def _direction(self, w: Array, noise: PyTree) -> PyTree:
        """Return the direction of one weight array: itself, or its two sides with 1 / sqrt(r) in the right
        one.
        """
        if not self.rank:
            return noise[0]  # drawn as the only row
        if w.ndim < 2:
            return noise
        left, right = noise
        return left, right / self.rank**0.5

    def _contract(self, some: Network, members: PyTree, worth: Float[Array, " P"]) -> Network:
        """Return sum_j worth_j xi_j: one product per weight from the sides, or one direction after the
        other.
        """
        leaves, tree = jax.tree.flatten(some)
        if not self.rank:

            def add(total: Network, now: tuple) -> tuple[Network, None]:
                worth_j, key = now
                xi = tree.unflatten([e[0] for e in self._draw(some, key, 1)])
                return jax.tree.map(lambda g, e: g + worth_j.astype(e.dtype) * e, total, xi), None

            return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, some), (worth, members))[0]

        def one(w: Array, noise: PyTree) -> Array:
            if w.ndim < 2:
                return jnp.tensordot(worth.astype(w.dtype), noise, 1)
            left, right = noise  # (P, pre, r), (P, r, rest)
            weighted = worth[:, None, None].astype(w.dtype) * left
            mixed = jnp.einsum("pmr,prn->mn", weighted, right)
            return (mixed / self.rank**0.5).reshape(w.shape)

        return tree.unflatten([one(w, noise) for w, noise in zip(leaves, members, strict=True)])


def _plus_noise(layer: Layer, noise: list, step: Array) -> Layer:
    """Return the layer with step times noise added to its weights, low-rank noise multiplied out."""
    some, rest = split(layer)
    leaves, tree = jax.tree.flatten(some)
    moved = []
    for w, e in zip(leaves, noise, strict=True):
        full = e[0] @ e[1] if isinstance(e, tuple) else e
        moved.append(w + step.astype(w.dtype) * full.reshape(w.shape))
    return join(tree.unflatten(moved), rest)


def shape_losses(losses: Float[Array, "P 2"], how: str) -> Float[Array, "P 2"]:
    """Return what selection sees of the losses.

    Arguments:
        losses: of both members of every pair.
        how: none (the losses themselves), z-score (standardised), rank (centred ranks; ties share theirs).
    """
    if how == "none":
        return losses
    if how == "z-score":
        spread = losses.std()
        return (losses - losses.mean()) / jnp.where(spread > 0, spread, 1)
    flat = losses.ravel()
    order = jnp.sort(flat)
    smaller = jnp.searchsorted(order, flat, side="left")
    smaller_or_equal = jnp.searchsorted(order, flat, side="right")
    centred = (smaller + smaller_or_equal - 1) / (2 * (flat.size - 1)) - 0.5
    return centred.astype(losses.dtype).reshape(losses.shape)
