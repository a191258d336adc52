"""The exact references: backpropagation through time, whole and truncated, as estimators."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from perturbax.errors import ArgumentError
from perturbax.learning.checks import check_loss, check_sequence
from perturbax.learning.sequence import Estimator, Loss
from perturbax.network.layer import join, split
from perturbax.network.network import Network


def _differentiated(total: Any, loss: Loss) -> Estimator:
    """Return the estimator whose loss is total(net, xs, ys), and whose gradients are those of autodiff."""

    @eqx.filter_jit
    def estimate(net: Any, xs: Any, ys: Any, key: Array | None = None) -> tuple[Array, Network]:
        check_sequence(net, xs, ys)
        x, y = jax.tree.map(lambda s: s[0], (xs, ys))
        check_loss(loss, net, x, y, differentiated=True)
        some, rest = split(net)
        return jax.value_and_grad(lambda some: total(join(some, rest), xs, ys))(some)

    return estimate


def bptt(loss: Loss) -> Estimator:
    """Return the estimator (net, xs, ys, key=None) -> (loss, grads) of the exact gradient of mean_{t,b} loss.

    Backpropagation through time, by reverse-mode differentiation (Werbos 1990); the key is not used. Shapes
    are those of `px.learner`; the estimator raises ArgumentError where they do not fit.

    Arguments:
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.
    """
    return truncated_bptt(loss, None)


def truncated_bptt(loss: Loss, steps: int | None, rolling: bool = False) -> Estimator:
    """Return backpropagation through at most `steps` steps.

    Not rolling: the sequence is cut into windows that do not overlap, so the number of steps an error crosses
    depends on where in its window it arises. Rolling: each step's error crosses exactly its last `steps`
    steps; the window is replayed for every step, at `steps` times the cost. steps=1 is the one-step gradient
    in both. Williams & Peng 1990; Sutskever 2013.

    Arguments:
        loss: (y `(B, n_out)`, target) -> `(B,)`, one number per example.
        steps: the most steps that an error crosses, the present one included; None for the whole sequence.
        rolling: whether every step has a window of its own.

    Raises ArgumentError unless steps >= 1; the estimator raises it for what does not fit, as `px.learner`.
    """
    if steps is not None and steps < 1:
        raise ArgumentError(f"truncated BPTT needs at least one step, not {steps}")
    return _rolling(loss, steps) if rolling and steps is not None else _windows(loss, steps)


def _windows(loss: Loss, steps: int | None) -> Estimator:
    def total(net: Network, xs: Array, ys: Any) -> Array:
        def body(state: PyTree, now: tuple) -> tuple[PyTree, Array]:
            x, y, t = now
            if steps is not None:
                state = jax.lax.cond(t % steps == 0, jax.lax.stop_gradient, lambda s: s, state)
            state, out, _ = net.step(state, x)
            return state, loss(out, y).mean()

        return jax.lax.scan(body, net.start(xs.shape[1]), (xs, ys, jnp.arange(len(xs))))[1].mean()

    return _differentiated(total, loss)


def _rolling(loss: Loss, steps: int) -> Estimator:
    def total(net: Network, xs: Array, ys: Any) -> Array:
        def forth(state: PyTree, x: Array) -> tuple[PyTree, PyTree]:
            return net.step(state, x)[0], state

        start = net.start(xs.shape[1])
        before = jax.lax.stop_gradient(jax.lax.scan(forth, start, xs)[1])

        def at(t: Array) -> Array:
            first = jnp.maximum(t - steps + 1, 0)
            state = jax.tree.map(lambda s: s[first], before)

            def body(state: PyTree, i: Array) -> tuple[PyTree, Array]:
                after, out, _ = net.step(state, xs[jnp.minimum(i, t)])
                return jax.tree.map(lambda new, old: jnp.where(i <= t, new, old), after, state), out

            outs = jax.lax.scan(body, state, first + jnp.arange(steps))[1]
            return loss(outs[t - first], jax.tree.map(lambda y: y[t], ys)).mean()

        return jax.lax.map(at, jnp.arange(len(xs))).mean()

    return _differentiated(total, loss)
