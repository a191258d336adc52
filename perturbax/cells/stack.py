"""A stack of layers: one cell for every hidden layer, and the readout that belongs above them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.random as jr

from perturbax.cells.dense import Dense, Readout
from perturbax.cells.heads import Heads
from perturbax.errors import LayerError, PerturbaxError, first_line
from perturbax.network.layer import Layer
from perturbax.network.sources import Source
from perturbax.plugins import parameters_of


def stack(
    cell: Callable[..., Layer],
    sizes: Sequence[int],
    units: Sequence[int],
    key: jax.Array,
    *,
    heads: str = "none",
    **options: Any,
) -> list[Layer]:
    """Return the layers of a network: one of the cell for every number of units, then a readout.

    A layer with a method `above(n, key=key, **options)` says itself what stands above it in place of another
    of the cell; None for dense layers from there on. The readout is the cell's own (`cell.readout`) where it
    has one, else `Readout`. It shares the settings `bias` and `init`: a network has biases, or none.

    Arguments:
        cell: class of the hidden layers, called as `cell(n_in, n, key=key, **options)`.
        sizes: (n_in, n_out), the inputs and outputs of the network.
        units: units of each hidden layer, from below; at least one layer.
        key: for the initial weights.
        heads: none; or what kind of heads, one above every hidden layer, take the place of the readout.
        options: settings of the cell.

    Raises LayerError for a cell that cannot be made this way, or is no layer.
    """
    *keys, last_key = jr.split(key, len(units) + 1)
    n_in, n_out = sizes[0], sizes[1]
    shared = {name: options[name] for name in ("bias", "init") if name in options}
    layers: list[Layer] = []
    width = n_in
    for n, layer_key in zip(units, keys, strict=True):
        below: Any = layers[-1] if layers else None
        above = getattr(below, "above", None)
        layer = above(n, key=layer_key, **options) if above else _made(cell, width, n, layer_key, options)
        if layer is None:
            cell, options = Dense, {"activation": below.activation, **shared}
            layer = Dense(width, n, key=layer_key, **options)
        layers.append(layer)
        width = layer.width
    if heads != "none":
        return [*layers, Heads([layer.width for layer in layers], n_out, heads)]
    own_readout: Any = getattr(layers[-1], "readout", None)
    if own_readout:
        readout = own_readout(n_out, key=last_key, **shared)
    else:
        readout = Readout(width, n_out, key=last_key, **shared)
    return [*layers, readout]


def below_and_all(n: int) -> list[list[Source]]:
    """Return what the layers of a network with heads read: each the one below, the last one all hidden ones.

    Arguments:
        n: number of layers, with the heads.
    """
    return [*([Source(i - 1)] for i in range(n - 1)), [Source(i) for i in range(n - 1)]]


def _made(cell: Callable[..., Layer], n_in: int, n: int, key: jax.Array, options: dict[str, Any]) -> Layer:
    """Return cell(n_in, n, key=key, **options); LayerError for a class that cannot be made this way."""
    name = getattr(cell, "__name__", "cell")
    try:
        layer = cell(n_in, n, key=key, **options)
    except (PerturbaxError, TypeError, ValueError) as error:
        takes_key = not isinstance(cell, type) or "key" in parameters_of(cell)
        if isinstance(error, PerturbaxError) and takes_key:
            raise
        arguments = ", ".join(["n_in", "n", "key=key", *(f"{option}=..." for option in options)])
        raise LayerError(f"cell {name} cannot be made as {name}({arguments}): {first_line(error)}") from error
    if not isinstance(layer, Layer):
        raise LayerError(f"cell {name} is no px.Layer: derive it from px.Layer")
    return layer
