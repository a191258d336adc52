"""Linear maps of a NIR graph as synapses, and back."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from perturbax.cells.image import Convolution, Pairs, Pool
from perturbax.errors import DataError
from perturbax.exchange.graph import Stage, package, texts
from perturbax.exchange.synapses import Dense, Scale


def _array(stage: str, name: str, value: Any, ndim: int | None = None) -> Array:
    """Return an array of a node as an array of the precision in use; DataError for what is none."""
    found = np.asarray(value)
    if found.dtype.kind not in "biuf" or (ndim is not None and found.ndim != ndim):
        raise DataError(f"node {stage!r}: {name} is {found.dtype} of shape {found.shape}")
    return in_precision(stage, name, found)


def in_precision(stage: str, name: str, found: np.ndarray) -> Array:
    """Return numbers of a node in the precision in use.

    Arguments:
        stage: name of the node.
        name: of the numbers.
        found: the numbers.

    Raises DataError for numbers that are not finite, or not in that precision.
    """
    with np.errstate(over="ignore"):
        made = found.astype(jnp.result_type(float))
    if not np.isfinite(made).all():
        beyond = f" in {made.dtype}" if np.isfinite(found).all() else ""
        raise DataError(f"node {stage!r}: {name} is not finite everywhere{beyond}")
    return jnp.asarray(made)


def _dense(name: str, node: Any, shape: Sequence[int]) -> Dense:
    """Return the weights of a Linear or Affine, transposed."""
    weight = _array(name, "weight", node.weight, 2)
    bias = getattr(node, "bias", None)
    no_bias = bias is None or (texts(node.metadata).get("bias") == "none" and not np.any(bias))
    n_in = int(np.prod(shape))
    if weight.shape[1] != n_in:
        raise DataError(f"node {name!r} has weights for {weight.shape[1]} inputs and reads {n_in}")
    return Dense(weight.T, None if no_bias else _vector(name, "bias", bias, weight.shape[0]))


def _scale(name: str, node: Any, shape: Sequence[int]) -> Scale:
    """Return the weights of a Scale."""
    return Scale(_vector(name, "scale", node.scale, int(np.prod(shape))))


def _convolution(name: str, node: Any, shape: Sequence[int]) -> Convolution:
    """Return the kernel of a Conv1d or Conv2d."""
    axes = 1 if type(node).__name__ == "Conv1d" else 2
    kernel = _array(name, "weight", node.weight, axes + 2)
    (groups,) = _each(node.groups, 1)
    if len(kernel) % groups:
        raise DataError(f"node {name!r} has {len(kernel)} channels behind it, in {groups} groups")
    if len(shape) != axes + 1 or shape[0] != kernel.shape[1] * groups:
        raise DataError(
            f"node {name!r} has a kernel for {kernel.shape[1] * groups} channels over {axes} axes and reads "
            f"the shape {tuple(shape)}"
        )
    stride, dilation = _each(node.stride, axes), _each(node.dilation, axes)
    padding = _padding(name, node.padding, kernel.shape[2:], dilation, stride)
    bias = _vector(name, "bias", node.bias, kernel.shape[0])
    return Convolution(kernel, bias, tuple(map(int, shape)), stride, padding, dilation, groups)


def pool_of(stage: Stage, shape: Sequence[int]) -> Pool:
    """Return a SumPool2d or AvgPool2d.

    Arguments:
        stage: the node.
        shape: of one example in front of it.

    Raises DataError for what is no image.
    """
    if len(shape) != 3:
        raise DataError(f"node {stage.name!r} pools images, and reads the shape {tuple(shape)}")
    node = stage.node
    kernel, stride = _each(node.kernel_size, 2), _each(node.stride, 2)
    padding = _padding(stage.name, node.padding, kernel, (1, 1), stride)
    return Pool(
        "mean" if stage.kind == "AvgPool2d" else "sum", tuple(map(int, shape)), kernel, stride, padding
    )


def _each(value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """Return one whole number per axis, of a node that holds one for all or one each."""
    found = np.asarray(value).ravel()
    whole = found.dtype.kind in "iuf" and found.size in (1, axes) and (found == np.floor(found)).all()
    if not whole or found.min() < least:
        raise ValueError(
            f"it must hold whole numbers, {least} or more, one for all axes or one for each of {axes}"
        )
    return tuple(int(v) for v in np.broadcast_to(found, (axes,)))


def _padding(
    name: str, value: Any, kernel: Sequence[int], dilation: Sequence[int], stride: Sequence[int]
) -> Pairs:
    """Return the zeros in front and behind per axis; `same` and `valid` as in PyTorch."""
    text = value.decode() if isinstance(value, bytes) else value
    if not isinstance(text, str):
        return tuple((p, p) for p in _each(value, len(kernel), least=0))
    if text == "valid":
        return tuple((0, 0) for _ in kernel)
    if text != "same" or any(s != 1 for s in stride):
        raise DataError(f"node {name!r} has a padding of {text!r} with strides {tuple(stride)}")
    pairs = []
    for k, d in zip(kernel, dilation, strict=True):
        total = d * (k - 1)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


MAPS: dict[str, Callable[[str, Any, Sequence[int]], Any]] = {
    "Linear": _dense,
    "Affine": _dense,
    "Scale": _scale,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
}
"""What makes synapses of a node with weights, called with its name, the node, and the shape it reads."""


def _vector(stage: str, name: str, value: Any, n: int) -> Array:
    """Return one value per unit; DataError for another number of them."""
    found = _array(stage, name, value).reshape(-1)
    if found.size not in (1, n):
        raise DataError(f"node {stage!r}: {name} has {found.size} values for {n} units")
    return jnp.broadcast_to(found, (n,))


# --- and back


def weights_node(weights: Any, shape: tuple[int, ...]) -> Any:
    """Return weights as a node: Affine in place of Linear, which one reader drops.

    Arguments:
        weights: the synapses.
        shape: of one example that they read.
    """
    nir = package()
    if isinstance(weights, Scale):
        return nir.Scale(np.asarray(weights.s).reshape(shape))
    if isinstance(weights, Dense):
        W = np.asarray(weights.W)
        none = {} if weights.b is not None else {"bias": "none"}
        bias = np.zeros(W.shape[1], W.dtype) if weights.b is None else np.asarray(weights.b)
        return nir.Affine(np.ascontiguousarray(W.T), bias, metadata=none)
    kernel, axes = np.asarray(weights.K), len(weights.shape) - 1
    same = any(before != behind for before, behind in weights.padding)
    padding = "same" if same else tuple(before for before, _ in weights.padding)
    bias = np.zeros(len(kernel), kernel.dtype) if weights.b is None else np.asarray(weights.b)
    values = [weights.shape[1:], kernel, weights.stride, padding, weights.dilation]
    if axes == 1:
        values = [v if isinstance(v, str | np.ndarray) else int(v[0]) for v in values]
    return (nir.Conv1d if axes == 1 else nir.Conv2d)(*values, weights.groups, bias)


def pool_node(pool: Pool) -> Any:
    """Return a pool as a node.

    pool: the pool.
    """
    nir = package()
    padding = np.array([before for before, _ in pool.padding])
    cls = nir.AvgPool2d if pool.kind == "mean" else nir.SumPool2d
    return cls(np.array(pool.kernel), np.array(pool.stride), padding)
