"""Learning while a stream runs: one update every few steps, in constant memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, PyTree

from perturbax.errors import ArgumentError
from perturbax.fields import check_key, whole
from perturbax.learning.blocks import drawn_at_once, step_keys
from perturbax.learning.checks import check_callable, check_inputs, check_loss, check_rule, check_sequence
from perturbax.learning.credit import pairing_of
from perturbax.learning.estimate import averaged
from perturbax.learning.rule import Rule, StepRule
from perturbax.learning.sequence import BlockResult, Loss, apply_estimate, run_block, visible_loss
from perturbax.learning.signs import expanded
from perturbax.network.decorrelation import apply_decorrelation, decorrelation_update
from perturbax.network.layer import split, words_of
from perturbax.network.network import Network, Site


class Stream(NamedTuple):
    """All that online learning carries from one update to the next.

    Attributes:
        net: the network.
        opt: the optimiser's state.
        carry: what the rule hands from step to step.
        ring: blocks whose signals still wait for their deltas.
        key: the key that noise is made from.
        t: steps so far.
    """

    net: Network
    opt: PyTree
    carry: PyTree
    ring: Any
    key: Array
    t: Array


def begun_anew(
    rule: StepRule, init: Callable, stream: Stream, x: Float[Array, "B n_in"], y: Any, key: Array
) -> Stream:
    """Return a stream that remembers nothing of the steps before: states, traces, signals that still waited.

    Weights, the optimiser's state and what the rule has learnt, such as feedback weights, stay.

    Arguments:
        rule: the rule that learns.
        init: of `online`.
        stream: where the stream is.
        x: inputs of the next step, `(B, n_in)`.
        y: its targets.
        key: a JAX key, for rules whose state is drawn.
    """
    fresh = init(stream.net, x, y, key)
    carry = rule.init_sequence(stream.net, rule.final_state(stream.carry), x, key)
    return stream._replace(carry=carry, ring=fresh.ring)


def online(
    rule: Rule, loss: Loss, optimiser: Any, every: int = 1, decor_lr: Any = 0.0
) -> tuple[Callable, Callable]:
    """Return (init, run) to learn while a stream runs, one update every `every` steps, in constant memory.

    `init(net, x, y, key) -> Stream` looks at one step of the stream, for its shapes; `run(stream, xs, ys) ->
    (stream, losses)` takes any number of steps that `every` divides, and returns the mean loss of each
    update. Carried states come from the weights of their time, as in every online rule. With a window of w
    steps the update for step t is made when the block of step t + w - 1 ends.

    Arguments:
        rule: a rule that can learn online.
        loss: (y `(B, n_out)`, target) -> `(B,)`.
        optimiser: an optax transformation.
        every: steps between updates.
        decor_lr: learning rate of the decorrelating matrices: a number, or a schedule from update to number.

    Raises ArgumentError for rules that need a whole sequence, and for data that do not fit.
    """
    check_rule(rule)
    check_callable(loss)
    whole("every", every)
    if not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise ArgumentError(
            f"optimiser must be an optax transformation, optax.adam(1e-3) say; got {words_of(optimiser)}"
        )
    if reason := rule.described().offline:
        raise ArgumentError(reason)
    if not isinstance(rule, StepRule):
        raise ArgumentError(f"{type(rule).__name__} is no px.StepRule: it has no step to make online")
    pairing = pairing_of(rule.pairing(), every, None)
    score = visible_loss(rule, loss)
    differentiated = "derivatives" in rule.described().uses

    def arrays_of_block(net: Network, carry: PyTree, block: tuple) -> tuple[PyTree, BlockResult]:
        """Run a block, its signals as arrays: that is how streams are kept in folders of runs."""
        carry, result = run_block(rule, score, net, carry, block)
        return carry, result._replace(parts=expanded(result.parts))

    def init(net: Network, x: Float[Array, "B n_in"], y: Any, key: Array) -> Stream:
        check_inputs(net, x)
        check_key(key)
        check_loss(loss, net, x, y, differentiated, rule.compared_noise())
        key_start, key_steps = jr.split(key)
        state = rule.init_state(net, x, key_start)
        carry = rule.init_sequence(net, state, x, key_start)
        x, y = jax.tree.map(lambda s: jnp.broadcast_to(s, (every, *s.shape)), (x, y))

        def one_block(carry: PyTree) -> BlockResult:
            drawn, noise = rule.draw(net, carry, x, step_keys(key_steps, 0, every))
            return arrays_of_block(net, drawn, (x, y, noise))[1]

        shapes = jax.eval_shape(one_block, carry)
        ring = pairing.empty(net, shapes.parts, shapes.delta)
        opt = optimiser.init(split(net)[0])
        return Stream(net, opt, carry, ring, key_steps, jnp.zeros((), int))

    def update(s: Stream, block: tuple) -> tuple[Stream, Array]:
        carry, result = arrays_of_block(s.net, s.carry, block)
        ring, grads = pairing.push(s.net, s.ring, result.parts, result.delta)
        grads = averaged(grads, every * block[0].shape[1], result.delta)
        net, opt = apply_estimate(s.net, optimiser, s.opt, grads, rule)
        rate: Any = decor_lr(s.t // every) if callable(decor_lr) else decor_lr
        directions = decorrelation_update(net, [Site(z, None, None) for z in result.z])
        net = apply_decorrelation(net, directions, rate)
        return Stream(net, opt, carry, ring, s.key, s.t + every), result.loss.mean()

    def run(stream: Stream, xs: Float[Array, "T B n_in"], ys: Any) -> tuple[Stream, Array]:
        check_sequence(stream.net, xs, ys)
        x, y = jax.tree.map(lambda s: s[0], (xs, ys))
        check_loss(loss, stream.net, x, y)
        T = xs.shape[0]
        if T % every:
            raise ArgumentError(
                f"online learning every {every} steps needs a multiple of {every} steps, not {T}"
            )
        most = drawn_at_once(rule, stream.net, stream.carry, xs[0]) // every
        most = max(1, min(T // every, most))
        updates = next(k for k in range(most, 0, -1) if T // every % k == 0)
        span = updates * every

        def stretch(s: Stream, i: Array) -> tuple[Stream, Array]:
            """Draw the noise of several updates at once, and make them."""
            x, y = jax.tree.map(lambda v: jax.lax.dynamic_slice_in_dim(v, i * span, span), (xs, ys))
            carry, noise = rule.draw(s.net, s.carry, x, step_keys(s.key, s.t, span))
            blocks = jax.tree.map(lambda v: v.reshape(updates, every, *v.shape[1:]), (x, y, noise))
            return jax.lax.scan(update, s._replace(carry=carry), blocks)

        # Sliced inside the loop: handed to it in blocks, the whole stretch of data would be copied.
        stream, losses = jax.lax.scan(stretch, stream, jnp.arange(T // span))
        return stream, losses.reshape(-1)

    return init, run
