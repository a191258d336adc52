"""What a task must return, checked before anything is trained: shapes of samples, streams and held-out
sequences against `sizes` and `steps`, losses and metrics.

Shapes are read off while JAX traces; values are looked at where they are at hand, and for tasks of the user's
own. Raises ArgumentError, one sentence that names the task and its method.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from perturbax.errors import FAULTS, ArgumentError, PerturbaxError, first_line
from perturbax.tasks.base import HeldOut, Task, draw_batch

BATCH_FIRST = "(time comes first, then the batch)"


def check_task(task: Task, batch: int, mode: str) -> None:
    """Refuse a task whose `sizes`, `steps`, samples, streams or losses do not fit each other.

    Arguments:
        task: the task, opened.
        batch: sequences per batch, B.
        mode: sequence or online, where the streams are checked as well.
    """
    _check_numbers(task)
    key = jr.key(0)
    ys = _checked_targets(task, f"sample(key, {batch})", lambda: task.sample(key, batch), batch)
    if mode == "online":
        _checked_targets(task, f"stream(key, 0, {batch})", lambda: task.stream(key, 0, batch), batch)
    y = jax.ShapeDtypeStruct((batch, task.data_sizes[1]), _float_type(ys))
    target = jax.ShapeDtypeStruct(ys.shape[1:], ys.dtype)
    value = _of(task, "loss(y, target)", lambda: jax.eval_shape(task.loss, y, target))
    if getattr(value, "shape", None) != (batch,) or not jnp.issubdtype(value.dtype, jnp.floating):
        raise _wrong(
            task, f"loss must return one floating-point number per example, (B,) = ({batch},)", value
        )
    if is_own(task):
        _check_values(task, batch)


def held_out(task: Task, part: str) -> HeldOut:
    """Return task.held_out(part); refuse sequences that do not fit `sizes`, and those that ask for nothing.

    Arguments:
        task: the task.
        part: `valid` or `test`.
    """
    call = f"held_out({part!r})"
    held = _of(task, call, lambda: task.held_out(part))
    if not isinstance(held, HeldOut):
        raise _wrong(task, f"{call} must return a perturbax.tasks.base.HeldOut", held)
    n_in, n_out = task.data_sizes
    for name, array, width in (("xs", held.xs, n_in), ("ys", held.ys, n_out)):
        if isinstance(array, np.ma.MaskedArray):
            raise ArgumentError(
                f"{_name(task)}: {name} of {call} is a masked array: fill it, targets that are not asked for "
                "with NaN"
            )
        shape = tuple(getattr(array, "shape", ()))
        fits = len(shape) == 3 and shape[2] == width and 0 not in shape
        if not fits or shape[:2] != tuple(held.xs.shape[:2]):
            raise _wrong(
                task,
                f"{call} must hold xs (T, B, {n_in}) and ys (T, B, {n_out}), as sizes says, with one T and "
                f"one B, neither of them 0; its {name}",
                array,
            )
    if not 0 <= held.warmup < len(held.xs):
        raise _wrong(task, f"{call} has {len(held.xs)} steps and must warm up over fewer", held.warmup)
    ys = held.ys[held.warmup :]
    metrics = _of(task, "metrics(y, target)", lambda: jax.eval_shape(task.metrics, _outputs(ys), ys))
    check_metrics(task, metrics)
    if np.isnan(np.asarray(ys)).all():
        raise ArgumentError(f"{_name(task)}: all targets of {call} are NaN: no answer is asked for")
    return held


def check_metrics(task: Task, metrics: Any) -> None:
    """Refuse metrics that are no numbers by name, or lack the loss.

    Arguments:
        task: the task.
        metrics: what its `metrics` returned: values, traced or not, or their shapes.
    """
    if not isinstance(metrics, dict) or "loss" not in metrics:
        raise ArgumentError(
            f"metrics of {_name(task)} must be numbers by name, as a dict, with 'loss' among them"
        )
    for key, value in metrics.items():
        is_number = isinstance(value, int | float) or hasattr(value, "dtype")
        if not is_number or np.shape(value) != ():
            found = f"an array of shape {np.shape(value)}" if is_number else f"a {type(value).__name__}"
            raise ArgumentError(f"metric {key!r} of {_name(task)} must be one number, not {found}")


def is_own(task: Task) -> bool:
    """Whether a task is the user's own, no class of this package."""
    return not type(task).__module__.startswith("perturbax.")


def _check_numbers(task: Task) -> None:
    """Refuse `sizes` that are no two counts, and `steps` or `asked_steps` that count nothing."""
    sizes = task.sizes
    if not isinstance(sizes, tuple | list) or len(sizes) != 2 or not all(_counts(n) for n in sizes):
        raise ArgumentError(
            f"{_name(task)}: sizes must be (n_in, n_out), two counts above 0; it is {sizes!r}"
        )
    if not _counts(task.steps):
        raise ArgumentError(f"{_name(task)}: steps must be a count above 0; it is {task.steps!r}")
    if not task.asked_steps > 0:
        raise ArgumentError(f"{_name(task)}: asked_steps must be above 0; it is {task.asked_steps!r}")


def _counts(n: Any) -> bool:
    """Whether a value is a whole number above 0."""
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n > 0)


def _checked_targets(task: Task, call: str, draw: Callable[[], Any], batch: int) -> Any:
    """Return the shape and dtype of drawn targets; refuse (xs, ys) of shapes that `sizes` and `steps` do not
    say.

    Arguments:
        task: the task.
        call: how the data are drawn, for errors.
        draw: draws them. Traceable.
        batch: sequences asked for, B.
    """
    made = _of(task, call, lambda: jax.eval_shape(draw))
    if not isinstance(made, tuple | list) or len(made) != 2:
        raise _wrong(task, f"{call} must return (inputs, targets)", made)
    for name, array, n, of in (("xs", made[0], 0, "n_in"), ("ys", made[1], 1, "n_out")):
        want = task.steps, batch, task.data_sizes[n]
        if getattr(array, "shape", None) != want:
            raise _wrong(
                task,
                f"{call} must return {name} of shape (T, B, {of}) = {want}, as steps and sizes say "
                f"{BATCH_FIRST}; its {name}",
                array,
            )
    if not jnp.issubdtype(made[0].dtype, jnp.floating):
        raise _wrong(task, f"{call} must return floating-point xs; its xs", made[0])
    return made[1]


def _check_values(task: Task, batch: int) -> None:
    """Refuse a task whose training targets ask for nothing, or whose error cannot leave out single outputs.

    Arguments:
        task: the task; one batch is drawn.
        batch: sequences per batch.
    """
    ys = draw_batch(task, jr.key(0), batch)[1]  # (T, B, n_out)
    missing = np.isnan(np.asarray(ys))
    if missing.all():
        raise ArgumentError(f"{_name(task)}: all targets of sample() are NaN: no answer is asked for")
    if not missing.any():
        return
    losses = jax.jit(jax.vmap(task.loss))(jnp.zeros(ys.shape, _float_type(ys)), ys)  # (T, B)
    if np.isnan(np.asarray(losses)).any():
        raise ArgumentError(
            f"{_name(task)}: loss is NaN where some outputs of a target are NaN: its error must leave those "
            "outputs out, as Task.error does"
        )


def _outputs(ys: Any) -> jax.ShapeDtypeStruct:
    """Return the shape and dtype of outputs for targets."""
    return jax.ShapeDtypeStruct(ys.shape, _float_type(ys))


def _float_type(ys: Any) -> Any:
    """Return the dtype of outputs for targets: theirs, where it is floating-point."""
    return ys.dtype if jnp.issubdtype(ys.dtype, jnp.floating) else jnp.result_type(float)


def _of(task: Task, call: str, make: Callable[[], Any]) -> Any:
    """Return what a method of a task makes; ArgumentError where it fails."""
    try:
        return make()
    except PerturbaxError:
        raise
    except FAULTS as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ArgumentError(f"{_name(task)}: {call} fails: {reason}") from error


def _wrong(task: Task, words: str, found: Any) -> ArgumentError:
    """Return the error for a value that is not what the words say."""
    if hasattr(found, "shape") and hasattr(found, "dtype"):
        what = f"{found.dtype} of shape {tuple(found.shape)}"
    elif isinstance(found, int | float | str):
        what = repr(found)
    else:
        what = type(found).__name__
    link = " is" if words.endswith((" xs", " ys")) else "; it is"
    return ArgumentError(f"{_name(task)}: {words}{link} {what}")


def _name(task: Task) -> str:
    """Return how errors speak of a task."""
    return f"task {type(task).__name__}"
