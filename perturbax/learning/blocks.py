"""How many steps are run, drawn and multiplied out at once: the choice made with measured constants."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.learning.pace import Loop, pace
from perturbax.learning.rule import StepRule
from perturbax.learning.signs import is_packed
from perturbax.learning.trees import divisor
from perturbax.network.layer import weights
from perturbax.network.network import Network


def _loop(net: Network) -> Loop:
    """Return how a network of this size is run."""
    size = sum(w.size for w in jax.tree.leaves(weights(net)))
    return next(loop for loop in reversed(pace().loops) if size >= loop.weights)


def steps_per_turn(net: Network, steps: int, carry: PyTree = ()) -> int:
    """Return how many of so many steps a loop takes per turn: a divisor, as remainders cost a copy of all
    results.

    Arguments:
        net: the network; the size of its weights decides.
        steps: steps of the loop.
        carry: what goes from step to step; of much of it no more than one step is kept.
    """
    if sum(s.size for s in jax.tree.leaves(carry)) > pace().carried:
        return 1
    return divisor(steps, _loop(net).unroll)


def steps_per_block(rule: StepRule, net: Network, drawn_at_once: int, T: int, B: int) -> int:
    """Return the steps of a block: the largest divisor of T not far below the wanted length, else that
    length.

    Arguments:
        rule: its pairing says whether the whole sequence must be one block, or what is the most it bears.
        net: the network.
        drawn_at_once: most steps whose noise may be drawn together.
        T: steps of the sequence.
        B: examples.
    """
    credit = rule.pairing()
    if credit.window is None and credit.form == "held":
        return T
    most = min(credit.block or drawn_at_once, drawn_at_once)
    want = max(1, min(most, pace().rows // B, T))
    return next((b for b in range(want, want // 2, -1) if T % b == 0), want)


def drawn_at_once(rule: StepRule, net: Network, carry: PyTree, x: Array) -> int:
    """Return the most steps whose noise is drawn together, at least 1.

    Arguments:
        rule: the rule; the shapes of what its `draw` returns decide.
        net: the network.
        carry: what the rule hands to the first of the steps.
        x: one input `(B, n_in)`, for its shape.
    """
    one_key = step_keys(jr.key(0), 0, 1)
    noise = jax.eval_shape(lambda: rule.draw(net, carry, x[None], one_key)[1])
    leaves = jax.tree.leaves(noise, is_leaf=is_packed)
    words = sum(e.words.size for e in leaves if is_packed(e))
    values = sum(e.size for e in leaves if not is_packed(e))
    most = min(pace().words // max(1, words), pace().values // max(1, values))
    return max(1, min(_loop(net).steps, most))


def step_keys(key: Array, start: Array | int, steps: int) -> Array:
    """Return one key per step, `(steps,)`, each a function of (key, t) alone.

    Arguments:
        key: the random key of the sequence.
        start: number t of the first step.
        steps: how many steps.
    """
    return jax.vmap(lambda t: jr.fold_in(key, t))(start + jnp.arange(steps))
