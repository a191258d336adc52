"""The gradient estimate of a step rule over a whole sequence, in blocks of steps.

xs `(T, B, n_in)`, ys `(T, B, ...)`; the loss, and what grads estimate the gradient of, is averaged over T and
B; grads has the tree of `weights(net)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.learning.blocks import drawn_at_once, step_keys, steps_per_block, steps_per_turn
from perturbax.learning.checks import check_estimate
from perturbax.learning.credit import pairing_of, to_go
from perturbax.learning.estimate import Both, Estimate, Outer, averaged, no_gradient
from perturbax.learning.products import passes_of
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.trees import tree_add
from perturbax.network.decorrelation import matrices_of
from perturbax.network.layer import join, split
from perturbax.network.network import Network

Loss: TypeAlias = Callable[[Any, Any], Array]  # (y `(B, n_out)`, target) -> `(B,)`
Estimator: TypeAlias = Callable[..., tuple[Array, Network]]  # (net, xs, ys, key) -> (loss, grads)


class BlockResult(NamedTuple):
    """What a block of b steps leaves behind, time in front.

    Attributes:
        loss: per example, `(b, B)`.
        delta: loss differences `(b, K, B)`, or None where parts are paired with them, or are gradients,
            already.
        parts: signals or gradients of all steps.
        z: presynaptic activity `(b, B, n)` of the layers that read through a decorrelating matrix, None for
            others.
    """

    loss: Array
    delta: Array | None
    parts: Any
    z: tuple


def sealed(loss: Loss) -> Loss:
    """Return the loss with its derivative replaced by an error: for rules that claim to need none.

    Arguments:
        loss: (y, target) -> `(B,)`; the one returned raises TypeError when it is differentiated.
    """

    @jax.custom_jvp
    def score(y: Any, target: Any) -> Array:
        return loss(y, target)

    @score.defjvp
    def _refuse(primals: Any, tangents: Any) -> Any:
        raise TypeError("this rule is gradient-free: it must not differentiate the score")

    return score


def visible_loss(rule: Rule, loss: Loss) -> Loss:
    """Return the loss as a rule may see it: differentiating it is an error if the rule claims to be
    gradient-free.

    Outputs of less than float32 are raised to it: differences of rounded losses would be mostly rounding.

    Arguments:
        rule: the rule.
        loss: (y `(B, n_out)`, target) -> `(B,)`.
    """

    def in_float32(y: Any, target: Any) -> Array:
        return loss(y.astype(jnp.promote_types(y.dtype, jnp.float32)), target)

    return in_float32 if rule.described().differentiates else sealed(in_float32)


def run_block(
    rule: StepRule, score: Loss, net: Network, carry: PyTree, block: tuple, second: bool = False
) -> tuple[PyTree, BlockResult]:
    """Run the rule over a block of b steps with fixed weights: -> (carry, what the block leaves).

    Arguments:
        rule: the rule.
        score: the loss as the rule may see it, (y `(B, n_out)`, target) -> `(B,)`.
        net: the network.
        carry: what the rule hands to the first step of the block.
        block: (xs `(b, B, n_in)`, ys, noise), time in front; noise as `draw` of the rule returns it.
        second: whether this is the second pass of replay credit, whose signals must not meet deltas of their
            own.

    Raises ArgumentError where losses, differences or signals of the rule are not those of B examples.
    """
    credit = rule.pairing()
    same_step, summed = credit.window == 1 and not second, credit.form == "summed"

    def one_step(carry: PyTree, now: tuple) -> tuple[PyTree, BlockResult]:
        (carry, total), (x, y, noise) = carry, now
        with passes_of(rule, net):
            carry, estimate = rule.step(net, carry, x, lambda out: score(out, y), noise)
        check_estimate(rule, estimate, x.shape[0])
        parts, delta = estimate.parts, estimate.delta
        if summed:  # stacked, gradients of every step would take block x weights
            total, parts = tree_add(total, parts.direct), parts.outer
        if same_step and delta is not None and isinstance(parts, Outer):
            parts, delta = parts.paired(delta), None
        return (carry, total), BlockResult(estimate.loss, delta, parts, _read_through_D(net, estimate))

    start = carry, no_gradient(net) if summed else ()
    steps = len(jax.tree.leaves(block)[0])
    (carry, total), result = jax.lax.scan(one_step, start, block, unroll=steps_per_turn(net, steps, start))
    if summed:
        result = result._replace(parts=Both(result.parts, total))
    return carry, result


def _read_through_D(net: Network, estimate: Estimate) -> tuple:
    """Return what each layer with a decorrelating matrix read in a step."""
    return tuple(
        None if D is None else site.z for site, D in zip(estimate.sites, matrices_of(net), strict=True)
    )


def runner(score: Loss, net: Network, xs: Array, ys: Any, key: Array) -> Callable:
    """Return (rule, carry, start, steps, second=False) -> (carry, what the block leaves), over a sequence.

    Arguments:
        score: the loss as the rule may see it.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        key: the random key of the steps.
    """

    def run_steps(
        rule: StepRule, carry: PyTree, start: Array | int, steps: int, second: bool = False
    ) -> tuple[PyTree, BlockResult]:
        """Draw the noise of `steps` steps from `start` on, and run them."""
        x, y = jax.tree.map(lambda s: jax.lax.dynamic_slice_in_dim(s, start, steps), (xs, ys))
        carry, noise = rule.draw(net, carry, x, step_keys(key, start, steps))
        return run_block(rule, score, net, carry, (x, y, noise), second)

    return run_steps


def over_sequence(rule: StepRule, loss: Loss) -> Callable:
    """Return (state, net, xs, ys, key) -> (state, loss, grads) of a step rule.

    The sequence runs in blocks of steps; each keeps signals and sites, and is multiplied out at once. Memory
    does not grow with T, except for stored credit to the end of the sequence, which is a single block.

    Arguments:
        rule: the rule.
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.
    """
    score, credit = visible_loss(rule, loss), rule.pairing()

    def learn(state: PyTree, net: Network, xs: Float[Array, "T B n_in"], ys: Any, key: Array) -> tuple:
        T, B = xs.shape[:2]
        key_start, key_steps = jr.split(key)
        first = rule.init_sequence(net, state, xs[0], key_start)
        b = steps_per_block(rule, net, drawn_at_once(rule, net, first, xs[0]), T, B)

        run_steps = runner(score, net, xs, ys, key_steps)
        if credit.form == "replay":
            carry, total, delta = deltas(rule, run_steps, first, T, b)
            again = rule.second_pass()
            carry_again = again.init_sequence(net, state, xs[0], key_start)
            grads = replayed(again, net, run_steps, carry_again, to_go(delta, credit.discount), b)
        else:
            carry, total, delta, grads = _one_pass(rule, net, run_steps, first, T, b)
        return rule.final_state(carry), total / (T * B), averaged(grads, T * B, delta)

    return learn


def _one_pass(rule: StepRule, net: Network, run_steps: Any, first: PyTree, T: int, b: int) -> tuple:
    """Run a sequence of T steps in blocks of b: -> (carry, summed loss, deltas for their shape, summed
    gradients).
    """
    whole, rest = divmod(T, b)
    pairing = pairing_of(rule.pairing(), b, T)
    if b == T:  # no loop over blocks: traced once instead of twice, and compiled in less time
        carry, result = run_steps(rule, first, 0, T)
        ring = pairing.empty(net, result.parts, result.delta)
        ring, grads = pairing.push(net, ring, result.parts, result.delta)
        return carry, result.loss.sum(), result.delta, pairing.flush(net, ring, grads)
    shapes = jax.eval_shape(lambda carry: run_steps(rule, carry, 0, b), first)[1]

    def one_block(j: Array, s: tuple) -> tuple:
        carry, ring, grads, total = s
        carry, result = run_steps(rule, carry, j * b, b)
        ring, more = pairing.push(net, ring, result.parts, result.delta)
        return carry, ring, tree_add(grads, more), total + result.loss.sum()

    ring = pairing.empty(net, shapes.parts, shapes.delta)
    start = first, ring, no_gradient(net), jnp.zeros((), shapes.loss.dtype)
    carry, ring, grads, total = jax.lax.fori_loop(0, whole, one_block, start)
    if rest:
        carry, result = run_steps(rule, carry, whole * b, rest)
        parts, delta = result.parts, result.delta
        if pairing.holds:
            parts, delta = _padded((parts, delta), b)
        ring, more = pairing.push(net, ring, parts, delta)
        grads, total = tree_add(grads, more), total + result.loss.sum()
    return carry, total, shapes.delta, pairing.flush(net, ring, grads)


def deltas(rule: StepRule, run_steps: Any, carry: PyTree, T: int, b: int) -> tuple[PyTree, Array, Array]:
    """Run a whole sequence for its deltas `(T, K, B)` alone: -> (carry, summed loss, deltas).

    Arguments:
        rule: the rule.
        run_steps: what `runner` returned.
        carry: that of the first step.
        T: steps of the sequence.
        b: steps of a block.
    """
    whole, rest = divmod(T, b)

    def one_block(carry: PyTree, j: Array) -> tuple[PyTree, tuple]:
        carry, result = run_steps(rule, carry, j * b, b)
        return carry, (result.loss.sum(), result.delta)

    carry, (losses, delta) = jax.lax.scan(one_block, carry, jnp.arange(whole))
    total, delta = losses.sum(), delta.reshape(-1, *delta.shape[2:])
    if rest:
        carry, result = run_steps(rule, carry, whole * b, rest)
        total, delta = total + result.loss.sum(), jnp.concatenate([delta, result.delta])
    return carry, total, delta


def replayed(rule: StepRule, net: Network, run_steps: Any, carry: PyTree, c: Array, b: int) -> Network:
    """Run the sequence again under the same noise, and multiply its signals with the credit c `(T, K, B)`.

    Arguments:
        rule: that of the second pass.
        net: the network.
        run_steps: what `runner` returned.
        carry: that of the first step.
        c: what the signals are multiplied with.
        b: steps of a block.

    Returns the summed gradients, like the weights.
    """

    def settle(carry: PyTree, start: Array | int, steps: int) -> tuple[PyTree, Network]:
        carry, result = run_steps(rule, carry, start, steps, second=True)
        return carry, result.parts.settle(net, jax.lax.dynamic_slice_in_dim(c, start, steps))

    def one_block(j: Array, s: tuple) -> tuple:
        carry, more = settle(s[0], j * b, b)
        return carry, tree_add(s[1], more)

    whole, rest = divmod(len(c), b)
    carry, grads = jax.lax.fori_loop(0, whole, one_block, (carry, no_gradient(net)))
    if rest:
        grads = tree_add(grads, settle(carry, whole * b, rest)[1])
    return grads


def _padded(tree: PyTree, b: int) -> PyTree:
    """Return arrays filled up with zeros to b steps."""
    return jax.tree.map(lambda s: jnp.concatenate([s, jnp.zeros((b - len(s), *s.shape[1:]), s.dtype)]), tree)


def apply_estimate(
    net: Network, optimiser: Any, opt: PyTree, grads: Network, rule: Rule
) -> tuple[Network, PyTree]:
    """Make one optax update of the weights, which the rule may modify: -> (net, optimiser's state).

    Arguments:
        net: the network.
        optimiser: an optax transformation.
        opt: its state.
        grads: gradients, like the weights.
        rule: the rule, whose `modify_updates` has the last word.
    """
    some, rest = split(net)
    updates, opt = optimiser.update(grads, opt, some)
    updates = rule.modify_updates(updates, some)
    some = jax.tree.map(lambda w, u: (w + u).astype(w.dtype), some, updates)
    return join(some, rest), opt
