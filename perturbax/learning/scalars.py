"""An estimate in two halves, with scalars between them: differences of losses out of the passes of some
samples, and the update out of the scalars of all samples.

The noise of sample i is drawn from a key of its own, so whoever has the key makes it again: hosts that hold
the same weights exchange scalars alone. A sample whose scalars are missing is left out, and the mean is over
those that are there:

    grads = sum_i present_i g_i / sum_i present_i,     g_i the estimate of sample i alone

Samples are independent and each g_i has the same expectation, so the mean does not depend on who is missing.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, PyTree

from perturbax.learning.blocks import drawn_at_once, steps_per_block
from perturbax.learning.credit import Credit, to_go, windowed
from perturbax.learning.estimate import averaged
from perturbax.learning.noise import Noise
from perturbax.learning.products import passes_of
from perturbax.learning.rule import StepRule
from perturbax.learning.sequence import Loss, deltas, replayed, runner, visible_loss
from perturbax.learning.trees import expand_like
from perturbax.network.network import Network


class BySample(Noise):
    """Noise of some samples, each drawn from a key of its own.

    Attributes:
        noise: the noise of one sample; it must keep no state.
        which: the numbers of the samples, `(K,)`.
    """

    noise: Noise
    which: Array

    def draw(self, state: PyTree, keys: Array, like: PyTree) -> tuple[PyTree, PyTree]:
        """Return (state, xi): leaves `(steps, K, B, ...)`; like as in `Noise.draw`."""
        one = jax.tree.map(lambda s: jax.ShapeDtypeStruct((1, *s.shape[1:]), s.dtype), like)

        def of_sample(i: Array) -> PyTree:
            own = jax.vmap(lambda key: jr.fold_in(key, i))(keys)
            return jax.tree.map(lambda e: e[:, 0], self.noise.draw((), own, one)[1])  # (steps, B, ...)

        return state, jax.vmap(of_sample, out_axes=1)(self.which)


def differences(rule: StepRule, loss: Loss, net: Network, xs: Array, ys: Any, key: Array) -> tuple:
    """Return (loss averaged over T and B, deltas `(T, K, B)`) of the passes of a step rule.

    Arguments:
        rule: the rule, with the noise of the samples that are run.
        loss: the loss as the rule may see it.
        net: the network.
        xs: inputs `(T, B, n_in)`.
        ys: targets, leaves `(T, B, ...)`.
        key: the random key of the update, the same for all samples.
    """
    T, B = xs.shape[:2]
    key_start, key_steps = jr.split(key)
    first = rule.init_sequence(net, (), xs[0], key_start)
    run_steps = partial(runner(loss, net, xs, ys, key_steps), second=True)  # deltas stay apart from signals
    b = steps_per_block(rule.second_pass(), net, drawn_at_once(rule, net, first, xs[0]), T, B)
    _, total, delta = deltas(rule, run_steps, first, T, b)
    return total / (T * B), delta


def credited(credit: Credit, delta: Array) -> Array:
    """Return what the signal of each step is multiplied with, like delta `(T, K, B)`.

    Arguments:
        credit: which deltas a signal is paired with; how that is computed does not matter.
        delta: loss differences.
    """
    if credit.window == 1:
        return delta
    if credit.window is None or credit.window >= len(delta):
        return to_go(delta, credit.discount)
    return windowed(delta, len(delta), credit)


def settled(rule: StepRule, net: Network, xs: Array, key: Array, c: Array) -> Network:
    """Return the gradient of credit c `(T, K, B)`, from the noise, made again, and a clean pass.

    Arguments as in `differences`.
    """
    T, B = xs.shape[:2]
    key_start, key_steps = jr.split(key)
    again = rule.second_pass()
    first = again.init_sequence(net, (), xs[0], key_start)
    run_steps = runner(lambda y, _: jnp.zeros(B, y.dtype), net, xs, (), key_steps)
    b = steps_per_block(again, net, drawn_at_once(again, net, first, xs[0]), T, B)
    return averaged(replayed(again, net, run_steps, first, c, b), T * B, c)


def in_halves(rule: Any, loss: Loss, samples: int) -> tuple[Callable, Callable]:
    """Return (measure, estimate) of a rule: passes of some samples, and the update from scalars of all.

        loss, scalars = measure(net, xs, ys, key, which)              # which (m,); scalars (m, ...)
        grads = estimate(net, xs, key, every, present)                # every (K, ...), present (K,)

    present is 1 for samples whose scalars are there, else 0. `measure` raises ArgumentError for a rule whose
    update needs more than scalars.

    Arguments:
        rule: the rule.
        loss: (y `(B, n_out)`, target) -> `(B,)`.
        samples: how many there are in all, K.
    """
    seen = visible_loss(rule, loss)

    def measure(net: Network, xs: Array, ys: Any, key: Array, which: Array) -> tuple[Array, Array]:
        with passes_of(rule, net):
            return rule.scalars(net, xs, ys, seen, key, which)

    def estimate(net: Network, xs: Array, key: Array, every: Array, present: Array) -> Network:
        share = present.astype(every.dtype) * (samples / present.sum())  # (K,)
        share = expand_like(share, every)
        worth = jnp.where(share > 0, every * share, 0)
        with passes_of(rule, net):
            return rule.from_scalars(net, xs, key, worth)

    return measure, estimate
