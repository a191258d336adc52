"""Which loss differences a signal is paired with: same step, a window of later steps, or all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from perturbax.network.layer import weights
from perturbax.network.network import Network


class Credit(NamedTuple):
    """The signal of step t is multiplied by sum_{k < window} discount^k delta_{t+k}; window None: to the end.

    form: how that is computed. "held": signals wait for their deltas. "replay": deltas of the whole sequence
    first, then signals once more from the same noise. "trace": signals decay in a trace of the weights
    (window None).
    """

    window: int | None = 1
    discount: Any = 1.0
    form: str = "held"


class Outer(NamedTuple):
    """Signals and sites of a block of steps, not multiplied out yet.

    sites: leaves `(b, B, ...)`; signal: leaves `(b, K, B, ...)`, one per layer.
    """

    sites: PyTree
    signal: PyTree

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Sum c signal (x) presynaptic activity over steps, samples and batch in one product."""

        def mix(s: Array) -> Array:
            if c is None:
                return s.sum(1)
            return jnp.sum(c.reshape(*c.shape, *[1] * (s.ndim - 3)) * s, 1)

        rows = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), (self.sites, tuple(map(mix, self.signal))))
        return net.credit(*rows)

    def paired(self, delta: Float[Array, "K B"]) -> "Outer":
        """Pair a single step with its own delta, samples averaged: nothing of K is kept. Signal `(1, B,
        ...)`.
        """

        def mean(s: Array) -> Array:
            return jnp.mean(delta.reshape(*delta.shape, *[1] * (s.ndim - 2)) * s, 0, keepdims=True)

        return Outer(self.sites, tuple(map(mean, self.signal)))

    def traced(self, net: Network, decay: Float[Array, " b"]) -> PyTree:
        """Sum decay_t signal_t (x) presynaptic activity over steps only: leaves `(K, B, ...)` of the
        weights.
        """

        def one(signal: PyTree, sites: PyTree) -> Network:
            return net.credit(
                sites, jax.tree.map(lambda s: decay.reshape(-1, *[1] * (s.ndim - 1)) * s, signal)
            )

        return jax.vmap(jax.vmap(one, in_axes=(1, 1)), in_axes=(1, None))(self.signal, self.sites)


class Direct(NamedTuple):
    """Gradients or weight noise of a block of steps, shaped like the weights: leaves `(b, K, ...)`."""

    grads: PyTree

    def settle(self, net: Network, c: Float[Array, "b K B"] | None) -> Network:
        """Sum c times grads over steps and samples."""
        del net
        if c is None:
            return jax.tree.map(lambda g: g.sum((0, 1)), self.grads)
        return jax.tree.map(lambda g: jnp.tensordot(c.sum(-1), g, 2), self.grads)


class Both(NamedTuple):
    """Signals of this step, and gradients of its own that a rule carries forward: leaves of direct like the
    weights.
    """

    outer: Outer
    direct: PyTree

    def settle(self, net: Network, c: None) -> Network:
        """Add them; direct was summed over steps as it came."""
        return jax.tree.map(jnp.add, self.outer.settle(net, c), self.direct)


class Estimate(NamedTuple):
    """What a rule says of one step.

    loss `(B,)` and y `(B, n_out)` of the clean pass (of the mean noisy pass where there is no clean one);
    sites as in `Network.step`; delta `(K, B)`, or None where parts already are gradients; parts: `Outer`,
    `Direct` or `Both`.
    """

    loss: Array
    y: Array
    sites: PyTree
    delta: Array | None
    parts: Any


def to_go(delta: Array, discount: Any) -> Array:
    """Return c_t = delta_t + discount c_{t+1}, time in front."""

    def back(later: Array, now: Array) -> tuple[Array, Array]:
        total = now + discount * later
        return total, total

    return jax.lax.scan(back, jnp.zeros_like(delta[0]), delta, reverse=True)[1]


def windowed(delta: Array, rows: int, credit: Credit) -> Array:
    """Return the first `rows` of c_t = sum_{k < window} discount^k delta_{t+k} as one product with a banded
    matrix.
    """
    lag = jnp.arange(len(delta))[None] - jnp.arange(rows)[:, None]
    inside = (lag >= 0) & (lag < (len(delta) if credit.window is None else credit.window))
    power = jnp.asarray(credit.discount, delta.dtype) ** jnp.maximum(lag, 0).astype(delta.dtype)
    return jnp.tensordot(jnp.where(inside, power, 0), delta, 1)


class Ring(NamedTuple):
    """The last m blocks of parts and deltas, and how many were ever written."""

    parts: Any
    delta: Array
    written: Array


def pairing(credit: Credit, b: int, steps: int | None) -> "Pairing | Trace":
    """Return what pairs signals with deltas over a sequence of that many steps (None: a stream), in blocks of
    b.
    """
    return Trace(credit.discount) if credit.form == "trace" else Pairing.over(credit, b, steps)


class Pairing(NamedTuple):
    """Pairs signals with deltas over blocks of b steps: hold the last m blocks, settle the oldest.

    One block is enough for same-step credit, and for any credit when the block is the whole sequence.
    """

    credit: Credit
    b: int
    m: int

    @classmethod
    def over(cls, credit: Credit, b: int, steps: int | None) -> "Pairing":
        """For a sequence of that many steps (None: a stream without end), seen in blocks of b."""
        window = min(w for w in (credit.window, steps) if w is not None)
        whole = steps is not None and b >= steps
        return cls(
            Credit(window, credit.discount), b, 1 if whole or window == 1 else -(-(window - 1) // b) + 1
        )

    def empty(self, net: Network, parts: PyTree, delta: Any) -> Ring | tuple[()]:
        """Return the ring before the first block; parts and delta give shapes."""
        del net
        if self.m == 1:
            return ()

        def room(s: Any) -> Array:
            return jnp.zeros((self.m, *s.shape), s.dtype)

        return Ring(jax.tree.map(room, parts), room(delta), jnp.zeros((), int))

    def push(self, net: Network, ring: Any, parts: Any, delta: Array | None) -> tuple[Any, Network]:
        """Add a block; return the gradients of the block whose window is now complete."""
        if self.m == 1:
            if delta is None or self.credit.window == 1:
                return ring, parts.settle(net, delta)
            everything = self.credit.window is None or self.credit.window >= len(delta)
            c = to_go(delta, self.credit.discount) if everything else windowed(delta, len(delta), self.credit)
            return ring, parts.settle(net, c)

        def put(buffer: Array, block: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(buffer, block, ring.written % self.m, 0)

        # Written first, the oldest then read from the written buffer: the other order makes XLA copy the
        # ring.
        ring = Ring(
            jax.tree.map(put, ring.parts, parts), put(ring.delta, jnp.asarray(delta)), ring.written + 1
        )
        oldest = ring.written % self.m
        deltas = jnp.roll(ring.delta, -oldest, 0)
        c = windowed(deltas.reshape(-1, *deltas.shape[2:]), self.b, self.credit)
        held = jax.tree.map(lambda s: jax.lax.dynamic_index_in_dim(s, oldest, keepdims=False), ring.parts)
        return ring, held.settle(net, c)

    def flush(self, net: Network, ring: Any, grads: Network) -> Network:
        """At the end of a sequence, push empty blocks until every held block is settled."""
        if self.m == 1:
            return grads
        parts, delta = jax.tree.map(lambda s: jnp.zeros(s.shape[1:], s.dtype), (ring.parts, ring.delta))

        def one(carry: tuple, _: None) -> tuple[tuple, None]:
            ring, grads = carry
            ring, more = self.push(net, ring, parts, delta)
            return (ring, jax.tree.map(jnp.add, grads, more)), None

        return jax.lax.scan(one, (ring, grads), None, length=self.m - 1)[0][1]


class Trace(NamedTuple):
    """Decaying eligibility traces, one per sample and example: G_t = discount G_{t-1} + signal_t (x)
    activity_t.

        dL/dw  ~  sum_t delta_t G_t

    The sum of to-go credit with the same discount, in another order: nothing waits, and memory is K x B x
    weights. Has the methods of `Pairing`; inside a block signals meet deltas as there.
    """

    discount: Any
    m: int = 1

    def empty(self, net: Network, parts: PyTree, delta: Any) -> Network:
        """Return the traces before the first step."""
        rows = delta.shape[1:]
        return jax.tree.map(lambda w: jnp.zeros((*rows, *w.shape), w.dtype), weights(net))

    def push(self, net: Network, ring: Network, parts: Outer, delta: Array) -> tuple[Network, Network]:
        """Add a block: -> (traces, the gradient that its deltas make)."""
        power = jnp.asarray(self.discount, delta.dtype) ** jnp.arange(len(delta) + 1, dtype=delta.dtype)
        grads = parts.settle(net, to_go(delta, self.discount))
        late = jnp.tensordot(power[1:], delta, 1)  # what the traces so far are worth in this block
        grads = jax.tree.map(lambda g, G: g + jnp.tensordot(late, G, 2), grads, ring)
        fresh = parts.traced(net, power[:-1][::-1])
        return jax.tree.map(lambda G, new: power[-1] * G + new, ring, fresh), grads

    def flush(self, net: Network, ring: Network, grads: Network) -> Network:
        """Nothing waits."""
        del net, ring
        return grads


def nothing(net: Network) -> Network:
    """Return zero gradients."""
    return jax.tree.map(jnp.zeros_like, weights(net))
