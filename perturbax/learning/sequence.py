"""From rules to estimators of the gradient over whole sequences: `Estimator = (net, xs, ys, key) -> (loss,
grads)`.

xs `(T, B, n_in)`, ys `(T, B, ...)`; the loss, and what grads estimate the gradient of, is averaged over T and
B; grads has the tree of `weights(net)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.learning.credit import Both, Outer, nothing, pairing, to_go
from perturbax.network.layer import join, split, weights
from perturbax.network.network import Network

Loss: TypeAlias = Callable[[Any, Any], Array]
Estimator: TypeAlias = Callable[..., tuple[Array, Network]]
Learner: TypeAlias = Callable[..., tuple[PyTree, Array, Network]]

ROWS = 1024  # a block of steps is multiplied out at once: about this many steps x examples
DRAWN = 2**20  # most values of noise drawn at once: fresh memory costs more than the draws
# Measured (benchmarks/step.py): weights -> most steps in a block, most steps per turn of its loop. Where the weights
# leave the cache, writing their gradient costs more than holding more steps; unrolled, the loop copies its
# state less.
PACES = ((0, 64, 1), (2**16, 64, 5), (2**18, 256, 5))


class Seen(NamedTuple):
    """What a block of steps leaves behind, time in front: losses `(b, B)`, delta, parts, and z where there is
    a D.
    """

    loss: Array
    delta: Array | None
    parts: Any
    z: tuple


def sealed(loss: Loss) -> Loss:
    """Return the loss with its derivative replaced by an error: for rules that claim to need none."""

    @jax.custom_jvp
    def score(y: Any, target: Any) -> Array:
        return loss(y, target)

    @score.defjvp
    def _refuse(primals: Any, tangents: Any) -> Any:
        raise TypeError("this rule is gradient-free: it must not differentiate the score")

    return score


def walk(
    rule: Any, score: Loss, net: Network, carry: PyTree, block: tuple, step: Any = None
) -> tuple[PyTree, Seen]:
    """Run the rule over a block (xs, ys, noise) of steps with fixed weights; step: `rule.step`, or
    another.
    """
    step, at_once = step or rule.step, rule.credit_over().window == 1

    def body(carry: PyTree, now: tuple) -> tuple[PyTree, Seen]:
        (carry, total), (x, y, noise) = carry, now
        carry, e = step(net, carry, x, lambda out: score(raised(out), y), noise)
        if rule.accrues:  # stacked, gradients of every step would take block x weights
            total, e = jax.tree.map(jnp.add, total, e.parts.direct), e._replace(parts=e.parts.outer)
        carry = carry, total
        z = tuple(None if D is None else site.z for site, D in zip(e.sites, net.decor, strict=True))
        if at_once and e.delta is not None and isinstance(e.parts, Outer):
            return carry, Seen(e.loss, None, e.parts.paired(e.delta), z)
        return carry, Seen(e.loss, e.delta, e.parts, z)

    start = carry, nothing(net) if rule.accrues else ()
    (carry, total), seen = jax.lax.scan(body, start, block, unroll=turn(net, len(jax.tree.leaves(block)[0])))
    return carry, seen._replace(parts=Both(seen.parts, total)) if rule.accrues else seen


def raised(out: Array) -> Array:
    """Return outputs of less than float32 in float32: differences of rounded losses would be mostly
    rounding.
    """
    return out.astype(jnp.promote_types(out.dtype, jnp.float32))


def _pace(net: Network) -> tuple[int, int]:
    """Return the most steps in a block, and the most per turn of its loop."""
    size = sum(w.size for w in jax.tree.leaves(weights(net)))
    return next((steps, unroll) for least, steps, unroll in reversed(PACES) if size >= least)


def turn(net: Network, steps: int) -> int:
    """Return how many of so many steps a loop takes per turn: a divisor, as remainders cost a copy of all
    results.
    """
    return next(k for k in range(min(_pace(net)[1], steps), 0, -1) if steps % k == 0)


def keys_of(key: Array, start: Array | int, steps: int) -> Array:
    """One key per step, a function of (key, t) alone."""
    return jax.vmap(lambda t: jr.fold_in(key, t))(start + jnp.arange(steps))


def _block_length(rule: Any, most: int, T: int, B: int) -> int:
    """Steps per block: the largest divisor of T that is not far below the wanted length, else that length."""
    credit = rule.credit_over()
    if credit.window is None and credit.form == "held":
        return T
    want = max(1, min(rule.block or most, most, ROWS // B, T))
    return next((b for b in range(want, want // 2, -1) if T % b == 0), want)


def _drawn(rule: Any, net: Network, carry: PyTree, x: Array) -> int:
    """Count the values of noise that a step takes."""
    noise = jax.eval_shape(lambda: rule.draw(net, carry, x[None], keys_of(jr.key(0), 0, 1))[1])
    return max(1, sum(e.size for e in jax.tree.leaves(noise)))


def drawn_at_once(rule: Any, net: Network, carry: PyTree, x: Array) -> int:
    """Return the most steps whose noise is drawn together: drawing is cheaper in bulk."""
    return max(1, min(_pace(net)[0], DRAWN // _drawn(rule, net, carry, x)))


def scorer(rule: Any, loss: Loss) -> Loss:
    """Return the loss as the rule may see it."""
    return loss if rule.differentiates else sealed(loss)


def streamed(rule: Any, loss: Loss) -> Learner:
    """Return (kept, net, xs, ys, key) -> (kept, loss, grads) of a rule that has init, draw and step.

    The sequence runs in blocks of steps; each keeps signals and sites, and is multiplied out at once. Memory
    does not grow with T, except for stored credit to the end of the sequence, which is a single block.
    """
    score = scorer(rule, loss)
    credit = rule.credit_over()

    def learn(kept: PyTree, net: Network, xs: Float[Array, "T B n_in"], ys: Any, key: Array) -> tuple:
        T, B = xs.shape[:2]
        key_start, key_steps = jr.split(key)
        first = rule.recall(rule.init(net, B, key_start), kept)
        b = _block_length(rule, drawn_at_once(rule, net, first, xs[0]), T, B)
        whole, rest = divmod(T, b)
        pairs: Any = pairing(credit, b, T)

        def run(carry: PyTree, start: Array | int, steps: int, step: Any = None) -> tuple[PyTree, Seen]:
            x, y = jax.tree.map(lambda s: jax.lax.dynamic_slice_in_dim(s, start, steps), (xs, ys))
            carry, noise = rule.draw(net, carry, x, keys_of(key_steps, start, steps))
            return walk(rule, score, net, carry, (x, y, noise), step)

        if credit.form == "replay":
            carry, total, delta = _deltas(run, first, b, whole, rest)
            grads = _replayed(rule, net, run, rule.rewind(first), to_go(delta, credit.discount), b)
            return rule.keep(carry), total / (T * B), averaged(grads, T * B, delta)

        def block(j: Array, s: tuple) -> tuple:
            carry, ring, grads, total = s
            carry, seen = run(carry, j * b, b)
            ring, more = pairs.push(net, ring, seen.parts, seen.delta)
            return carry, ring, jax.tree.map(jnp.add, grads, more), total + seen.loss.sum()

        shapes = jax.eval_shape(lambda c: run(c, 0, b), first)[1]
        ring = pairs.empty(net, shapes.parts, shapes.delta)
        s = first, ring, nothing(net), jnp.zeros((), shapes.loss.dtype)
        carry, ring, grads, total = jax.lax.fori_loop(0, whole, block, s)
        if rest:
            carry, seen = run(carry, whole * b, rest)
            parts, delta = (seen.parts, seen.delta) if pairs.m == 1 else _padded((seen.parts, seen.delta), b)
            ring, more = pairs.push(net, ring, parts, delta)
            grads, total = jax.tree.map(jnp.add, grads, more), total + seen.loss.sum()
        grads = pairs.flush(net, ring, grads)
        return rule.keep(carry), total / (T * B), averaged(grads, T * B, shapes.delta)

    return learn


def _deltas(run: Any, carry: PyTree, b: int, whole: int, rest: int) -> tuple[PyTree, Array, Array]:
    """Run a whole sequence for its deltas `(T, K, B)` alone: -> (carry, summed loss, deltas)."""

    def block(carry: PyTree, j: Array) -> tuple[PyTree, tuple]:
        carry, seen = run(carry, j * b, b)
        return carry, (seen.loss.sum(), seen.delta)

    carry, (losses, delta) = jax.lax.scan(block, carry, jnp.arange(whole))
    total, delta = losses.sum(), delta.reshape(-1, *delta.shape[2:])
    if rest:
        carry, seen = run(carry, whole * b, rest)
        total, delta = total + seen.loss.sum(), jnp.concatenate([delta, seen.delta])
    return carry, total, delta


def _replayed(rule: Any, net: Network, run: Any, carry: PyTree, c: Array, b: int) -> Network:
    """Run the sequence again under the same noise, and multiply its signals with the credit c `(T, K, B)`."""

    def settle(carry: PyTree, start: Array | int, steps: int) -> tuple[PyTree, Network]:
        carry, seen = run(carry, start, steps, rule.again)
        return carry, seen.parts.settle(net, jax.lax.dynamic_slice_in_dim(c, start, steps))

    def block(j: Array, s: tuple) -> tuple:
        carry, more = settle(s[0], j * b, b)
        return carry, jax.tree.map(jnp.add, s[1], more)

    whole, rest = divmod(len(c), b)
    carry, grads = jax.lax.fori_loop(0, whole, block, (carry, nothing(net)))
    if rest:
        grads = jax.tree.map(jnp.add, grads, settle(carry, whole * b, rest)[1])
    return grads


def _padded(tree: PyTree, b: int) -> PyTree:
    return jax.tree.map(lambda s: jnp.concatenate([s, jnp.zeros((b - len(s), *s.shape[1:]), s.dtype)]), tree)


def averaged(grads: Network, rows: int, delta: Any) -> Network:
    """Divide a sum over steps, samples and examples by their number."""
    samples = 1 if delta is None else delta.shape[1]
    return jax.tree.map(lambda g: g / (rows * samples), grads)


def improve(net: Network, optimiser: Any, opt: PyTree, grads: Network, rule: Any) -> tuple[Network, PyTree]:
    """Apply one optax update to the weights; the rule may hold some of them still."""
    some, rest = split(net)
    updates, opt = optimiser.update(grads, opt, some)
    some = jax.tree.map(lambda w, u: (w + u).astype(w.dtype), some, rule.hold(updates, some))
    return join(some, rest), opt
