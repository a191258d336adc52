"""How many steps are run, drawn and multiplied out at once: measured constants, and the choice made with
them.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.learning.rule import StepRule
from perturbax.network.layer import weights
from perturbax.network.network import Network

ROWS = 1024  # a block of steps is multiplied out at once: about this many steps x examples
DRAWN = 2**20  # most values of noise drawn at once: fresh memory costs more than the draws
# Measured (benchmarks/step.py): weights -> most steps in a block, most per turn of its loop. Where weights
# leave the cache, writing their gradient costs more than holding more steps; unrolled, the loop copies its
# state less.
PACES = ((0, 64, 1), (2**16, 64, 5), (2**18, 256, 5))


def _pace(net: Network) -> tuple[int, int]:
    """Return (most steps in a block, most steps per turn of its loop) for a network of this size."""
    size = sum(w.size for w in jax.tree.leaves(weights(net)))
    return next((steps, unroll) for least, steps, unroll in reversed(PACES) if size >= least)


def steps_per_turn(net: Network, steps: int) -> int:
    """Return how many of so many steps a loop takes per turn: a divisor, as remainders cost a copy of all
    results.

    Arguments:
        net: the network; the size of its weights decides.
        steps: steps of the loop.
    """
    most = min(_pace(net)[1], steps)
    return next(k for k in range(most, 0, -1) if steps % k == 0)


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
    want = max(1, min(most, ROWS // B, T))
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
    values = max(1, sum(e.size for e in jax.tree.leaves(noise)))
    return max(1, min(_pace(net)[0], DRAWN // values))


def step_keys(key: Array, start: Array | int, steps: int) -> Array:
    """Return one key per step, `(steps,)`, each a function of (key, t) alone.

    Arguments:
        key: the random key of the sequence.
        start: number t of the first step.
        steps: how many steps.
    """
    return jax.vmap(lambda t: jr.fold_in(key, t))(start + jnp.arange(steps))
