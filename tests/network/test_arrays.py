"""A tree as named arrays, and back."""

import helpers
import jax
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import StoreError
from perturbax.network.arrays import from_named_arrays, to_named_arrays


def test_names_are_paths_and_the_tree_comes_back():
    net = helpers.network(px.cells.Tanh, n=3)
    arrays = to_named_arrays(net, "net.")
    assert {"net.layers[0].W", "net.layers[0].U", "net.layers[1].W"} <= set(arrays)
    shapes = jax.eval_shape(lambda: net)
    again = from_named_arrays(shapes, arrays | {"other": np.zeros(1)}, "file", "net.")
    for a, b in zip(jax.tree.leaves(net), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arrays: arrays.pop("layers[0].W"),
            r"file belongs to another network: it has no layers\[0\].W",
        ),
        (lambda arrays: arrays.update({"layers[0].W": np.zeros((9, 9))}), r"is \(9, 9\), not"),
        (lambda arrays: arrays.update({"layers[9].W": np.zeros(1)}), r"it also has layers\[9\].W"),
    ],
)
def test_arrays_of_another_tree_are_refused(change, message):
    net = helpers.network(px.cells.Tanh, n=3)
    arrays = to_named_arrays(net)
    change(arrays)
    with pytest.raises(StoreError, match=message):
        from_named_arrays(net, arrays, "file")
