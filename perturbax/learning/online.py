"""Learning while a stream runs: one update every few steps, in constant memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.credit import pairing
from perturbax.learning.sequence import Loss, Seen, averaged, drawn_at_once, improve, keys_of, scorer, walk
from perturbax.network.decorrelation import apply_decorrelation, decorrelation_update
from perturbax.network.layer import split
from perturbax.network.network import Network, Site


class Stream(NamedTuple):
    """All that online learning carries from one update to the next."""

    net: Network
    opt: PyTree
    carry: PyTree
    ring: Any
    key: Array
    t: Array


def online(
    rule: Any, loss: Loss, optimiser: Any, every: int = 1, decor_lr: Any = 0.0
) -> tuple[Callable, Callable]:
    """Return (init, run) to learn while a stream runs, one update every `every` steps, in constant memory.

    `init(net, x, y, key) -> Stream` takes one step of the stream for its shapes; `run(stream, xs, ys) ->
    (stream, losses)` takes any number of steps that `every` divides and returns the mean loss of each update.
    decor_lr is a number, or a schedule: update -> number. Carried states come from the weights of their time,
    as in every online rule. With a window of w steps the update for step t is made when the block of step t +
    w - 1 ends. Raises ArgumentError for rules that need a whole sequence.
    """
    if reason := rule.needs_sequence():
        raise ArgumentError(reason)
    pairs: Any = pairing(rule.credit_over(), every, None)
    score = scorer(rule, loss)

    def init(net: Network, x: Float[Array, "B n_in"], y: Any, key: Array) -> Stream:
        key_start, key_steps = jr.split(key)
        carry = rule.recall(rule.init(net, x.shape[0], key_start), rule.begin(net, x))
        x, y = jax.tree.map(lambda s: jnp.broadcast_to(s, (every, *s.shape)), (x, y))

        def once(carry: PyTree) -> Seen:
            drawn, noise = rule.draw(net, carry, x, keys_of(key_steps, 0, every))
            return walk(rule, score, net, drawn, (x, y, noise))[1]

        seen = jax.eval_shape(once, carry)
        opt = optimiser.init(split(net)[0])
        return Stream(
            net, opt, carry, pairs.empty(net, seen.parts, seen.delta), key_steps, jnp.zeros((), int)
        )

    def update(s: Stream, block: tuple) -> tuple[Stream, Array]:
        carry, seen = walk(rule, score, s.net, s.carry, block)
        ring, grads = pairs.push(s.net, s.ring, seen.parts, seen.delta)
        grads = averaged(grads, every * block[0].shape[1], seen.delta)
        net, opt = improve(s.net, optimiser, s.opt, grads, rule)
        rate: Any = decor_lr(s.t // every) if callable(decor_lr) else decor_lr
        direction = decorrelation_update(net, [Site(z, None, None) for z in seen.z])
        net = apply_decorrelation(net, direction, rate)
        return Stream(net, opt, carry, ring, s.key, s.t + every), seen.loss.mean()

    def run(stream: Stream, xs: Float[Array, "T B n_in"], ys: Any) -> tuple[Stream, Array]:
        T = xs.shape[0]
        if T % every:
            raise ArgumentError(
                f"online learning every {every} steps needs a multiple of {every} steps, not {T}"
            )
        most = drawn_at_once(rule, stream.net, stream.carry, xs[0]) // every
        updates = next(k for k in range(max(1, min(T // every, most)), 0, -1) if T // every % k == 0)
        span = updates * every

        def stretch(s: Stream, i: Array) -> tuple[Stream, Array]:
            x, y = jax.tree.map(lambda v: jax.lax.dynamic_slice_in_dim(v, i * span, span), (xs, ys))
            carry, noise = rule.draw(s.net, s.carry, x, keys_of(s.key, s.t, span))
            blocks = jax.tree.map(lambda v: v.reshape(updates, every, *v.shape[1:]), (x, y, noise))
            return jax.lax.scan(update, s._replace(carry=carry), blocks)

        # Sliced inside the loop: handed to it in blocks, the whole stretch of data would be copied.
        stream, losses = jax.lax.scan(stretch, stream, jnp.arange(T // span))
        return stream, losses.reshape(-1)

    return init, run
