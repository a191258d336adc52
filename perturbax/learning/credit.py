"""Which loss differences a signal is paired with: same step, a window of later steps, or all of them."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import unknown
from perturbax.learning.estimate import Outer, no_gradient
from perturbax.learning.trees import tree_add
from perturbax.network.layer import weights
from perturbax.network.network import Network

FORMS = ("held", "replay", "trace", "summed")


class _Credit(NamedTuple):
    """The fields of `Credit`."""

    window: int | None = 1
    discount: Any = 1.0
    form: str = "held"
    block: int = 0


class Credit(_Credit):
    """The signal of step t is multiplied with sum_{k < window} discount^k delta_{t+k}.

    Attributes:
        window: number of deltas, the present one included; None: all until the end.
        discount: weight of a delta k steps later is discount^k.
        form: how that is computed. "held" buffers signals until their window of deltas is complete; "replay"
            runs the sequence twice; "trace" decays signals in eligibility traces (window None); "summed" is
            for rules whose parts are `Both`: gradients of their own at every step, added as they come.
        block: most steps to multiply out at once; 0: as many as are fast.
    """

    __slots__ = ()

    def __new__(cls, *given: Any, **named: Any) -> "Credit":
        """Refuse a form that there is not with ArgumentError."""
        made = super().__new__(cls, *given, **named)
        if made.form not in FORMS:
            raise unknown("form of credit", str(made.form), FORMS)
        return made


def to_go(delta: Array, discount: Any) -> Array:
    """Return c_t = delta_t + discount c_{t+1}, `(T, ...)`, time in front.

    Arguments:
        delta: loss differences, `(T, ...)`.
        discount: weight of a loss one step later.
    """

    def back(later: Array, now: Array) -> tuple[Array, Array]:
        total = now + discount * later
        return total, total

    return jax.lax.scan(back, jnp.zeros_like(delta[0]), delta, reverse=True)[1]


def windowed(delta: Array, rows: int, credit: Credit) -> Array:
    """Return the first `rows` of c_t = sum_{k < window} discount^k delta_{t+k}, `(rows, ...)`: a product with
    a banded matrix.

    Arguments:
        delta: loss differences, `(steps, ...)`; those behind the last step count as 0.
        rows: how many steps to return.
        credit: its window, in steps, and its discount.
    """
    window = len(delta) if credit.window is None else credit.window
    lag = jnp.arange(len(delta))[None] - jnp.arange(rows)[:, None]  # (rows, steps)
    inside = (lag >= 0) & (lag < window)
    power = jnp.asarray(credit.discount, delta.dtype) ** jnp.maximum(lag, 0).astype(delta.dtype)
    return jnp.tensordot(jnp.where(inside, power, 0), delta, 1)


class Ring(NamedTuple):
    """The last m blocks of parts and deltas; block number j lies in place j modulo m.

    Attributes:
        parts: `Outer`, `Direct` or `Both` of each block, leaves `(m, b, ...)`.
        delta: loss differences, `(m, b, K, B)`.
        written: how many blocks were ever written, `()`.
    """

    parts: Any
    delta: Array
    written: Array


class Pairing(abc.ABC):
    """What pairs the signals of a stream of blocks with their deltas.

    `empty` makes what is carried from block to block, `push` adds a block and returns the gradients that are
    now complete, `flush` returns what still waits when the sequence ends.
    """

    @property
    def holds(self) -> bool:
        """Whether blocks wait for later ones, so that the last block must be filled up to full length."""
        return False

    @abc.abstractmethod
    def empty(self, net: Network, parts: PyTree, delta: Any) -> Any:
        """Return what is carried before the first block.

        Arguments:
            net: the network.
            parts: the `Outer`, `Direct` or `Both` of a block of b steps, arrays or their shapes, time in
                front.
            delta: its loss differences `(b, K, B)`, or their shape; None where parts are paired with theirs,
                or are gradients, already.
        """

    @abc.abstractmethod
    def push(self, net: Network, ring: Any, parts: Any, delta: Array | None) -> tuple[Any, Network]:
        """Add a block: -> (what is carried, gradients), a sum over the signals whose deltas are now complete.

        Arguments:
            net: the network.
            ring: what `empty`, or the last `push`, returned to be carried.
            parts: those of the block, time in front, as for `empty`; of full length where `holds`.
            delta: its loss differences `(b, K, B)`, or None.
        """

    @abc.abstractmethod
    def flush(self, net: Network, ring: Any, grads: Network) -> Network:
        """Return the sum of grads and of what still waits when the sequence ends.

        Arguments:
            net: the network.
            ring: what the last `push` returned to be carried.
            grads: the sum of the gradients of all blocks so far, like the weights.
        """


def pairing_of(credit: Credit, steps_per_block: int, steps: int | None) -> Pairing:
    """Return what pairs the signals of a sequence with their deltas.

    Arguments:
        credit: which deltas, and how that is computed.
        steps_per_block: steps b of a block.
        steps: steps T of the sequence; None for a stream without end, whose credit has a window or is trace.
    """
    if credit.form == "trace":
        return TracePairing(credit.discount)
    window = min(w for w in (credit.window, steps) if w is not None)
    one_block = steps is not None and steps_per_block >= steps
    blocks = 1 if one_block or window == 1 else -(-(window - 1) // steps_per_block) + 1
    return HeldPairing(credit._replace(window=window), steps_per_block, blocks)


@dataclasses.dataclass(frozen=True)
class HeldPairing(Pairing):
    """Holds the last m blocks of b steps each, and settles the oldest.

    One block is enough for same-step credit, and for any credit when the block is the whole sequence.

    Attributes:
        credit: window and discount.
        b: steps of a block.
        m: number of blocks held.
    """

    credit: Credit
    b: int
    m: int

    @property
    def holds(self) -> bool:
        """Whether there is more than one block."""
        return self.m > 1

    def empty(self, net: Network, parts: PyTree, delta: Any) -> Ring | tuple[()]:
        """Return a ring with room for m blocks; nothing where one is enough."""
        del net
        if self.m == 1:
            return ()

        def room(s: Any) -> Array:
            return jnp.zeros((self.m, *s.shape), s.dtype)

        return Ring(jax.tree.map(room, parts), room(delta), jnp.zeros((), int))

    def push(self, net: Network, ring: Any, parts: Any, delta: Array | None) -> tuple[Any, Network]:
        """Add a block; the gradients are those of the block whose window is now complete."""
        if not self.holds:
            return ring, parts.settle(net, self._within_block(delta))

        def put(buffer: Array, block: Array) -> Array:
            return jax.lax.dynamic_update_index_in_dim(buffer, block, ring.written % self.m, 0)

        # Written first, and the oldest then read from the written buffer: the other order makes XLA copy the
        # ring.
        parts_held = jax.tree.map(put, ring.parts, parts)
        delta_held = put(ring.delta, jnp.asarray(delta))
        ring = Ring(parts_held, delta_held, ring.written + 1)
        full = ring.written >= self.m  # before, there is no oldest block
        grads = jax.lax.cond(full, self._settled_oldest, lambda net, ring: no_gradient(net), net, ring)
        return ring, grads

    def _settled_oldest(self, net: Network, ring: Ring) -> Network:
        """Return the gradients of the oldest block, whose window is complete."""
        oldest = ring.written % self.m
        in_order = jnp.roll(ring.delta, -oldest, 0)  # (m, b, K, B)
        in_order = in_order.reshape(-1, *in_order.shape[2:])  # (m b, K, B)
        complete = jax.tree.map(lambda s: jax.lax.dynamic_index_in_dim(s, oldest, keepdims=False), ring.parts)
        return complete.settle(net, windowed(in_order, self.b, self.credit))

    def _within_block(self, delta: Array | None) -> Array | None:
        """Return what the signals of a block are multiplied with where no later block matters."""
        window = self.credit.window
        if delta is None or window == 1:
            return delta
        if window is None or window >= len(delta):
            return to_go(delta, self.credit.discount)
        return windowed(delta, len(delta), self.credit)

    def flush(self, net: Network, ring: Any, grads: Network) -> Network:
        """At the end of a sequence, push empty blocks until every held block is settled."""
        if not self.holds:
            return grads
        parts, delta = jax.tree.map(lambda s: jnp.zeros(s.shape[1:], s.dtype), (ring.parts, ring.delta))

        def one(carry: tuple, _: None) -> tuple[tuple, None]:
            ring, grads = carry
            ring, more = self.push(net, ring, parts, delta)
            return (ring, tree_add(grads, more)), None

        return jax.lax.scan(one, (ring, grads), None, length=self.m - 1)[0][1]


@dataclasses.dataclass(frozen=True)
class TracePairing(Pairing):
    """Decaying eligibility traces, one per sample and example: G_t = discount G_{t-1} + signal_t (x)
    activity_t.

        dL/dw  ~  sum_t delta_t G_t

    The sum of to-go credit with the same discount, in another order: nothing waits, and memory is K x B x
    weights.

    Attributes:
        discount: decay of a trace per step.
    """

    discount: Any

    def empty(self, net: Network, parts: PyTree, delta: Any) -> Network:
        """Return traces of zero, leaves `(K, B, ...)` of the weights."""
        rows = delta.shape[1:]
        return jax.tree.map(lambda w: jnp.zeros((*rows, *w.shape), w.dtype), weights(net))

    def push(self, net: Network, ring: Network, parts: Outer, delta: Any) -> tuple[Network, Network]:
        """Add a block: inside it signals meet their deltas at once, traces bring those of earlier blocks."""
        power = jnp.asarray(self.discount, delta.dtype) ** jnp.arange(len(delta) + 1, dtype=delta.dtype)
        within = parts.settle(net, to_go(delta, self.discount))
        worth_of_traces = jnp.tensordot(power[1:], delta, 1)  # (K, B)
        from_before = jax.tree.map(lambda G: jnp.tensordot(worth_of_traces, G, 2), ring)
        fresh = parts.traced(net, power[:-1][::-1])
        ring = jax.tree.map(lambda G, new: power[-1] * G + new, ring, fresh)
        return ring, tree_add(within, from_before)

    def flush(self, net: Network, ring: Network, grads: Network) -> Network:
        """Return grads: nothing waits."""
        del net, ring
        return grads
