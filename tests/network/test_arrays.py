"""A tree as named arrays, and back."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import PerturbaxError, StoreError
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
        (
            lambda arrays: arrays.update({"layers[1].b": np.zeros(1, np.float64)}),
            "is float64, not float32",
        ),
        (lambda arrays: arrays.update({"layers[9].W:key-dice": np.zeros(1)}), "key-dice cannot be read"),
    ],
)
def test_arrays_of_another_tree_are_refused(change, message):
    net = helpers.network(px.cells.Tanh, n=3)
    arrays = to_named_arrays(net)
    change(arrays)
    with pytest.raises(StoreError, match=message):
        from_named_arrays(net, arrays, "file")


def test_keys_small_floats_and_marks_of_python_numbers_come_back():
    def make():
        small = jnp.asarray([0.1, -0.0, jnp.nan], jnp.bfloat16)
        return {
            "key": jr.key(3),
            "keys": jr.split(jr.key(4, impl="rbg")),
            "small": small,
            "weak": 0.3,
            "none": None,
        }

    tree = jax.jit(make)()
    arrays = to_named_arrays(tree)
    assert set(arrays) == {"['key']:key-threefry2x32", "['keys']:key-rbg", "['small']:bfloat16", "['weak']"}
    for like in (tree, jax.eval_shape(make)):
        again = from_named_arrays(like, arrays, "file")
        assert again["key"].dtype == tree["key"].dtype
        np.testing.assert_array_equal(jr.key_data(again["keys"]), jr.key_data(tree["keys"]))
        assert np.asarray(again["small"]).tobytes() == np.asarray(tree["small"]).tobytes()
        assert again["weak"].weak_type  # it decides how a number mixes with arrays of another dtype
        assert float(again["weak"]) == float(tree["weak"])


@pytest.mark.parametrize(
    ("leaf", "kind"), [(np.sum, "function"), ("relu", "str"), (np.array([None]), "ndarray")]
)
def test_what_no_file_holds_is_refused_by_name(leaf, kind):
    with pytest.raises(PerturbaxError, match=rf"net\['a'\] cannot be saved: it is a {kind}"):
        to_named_arrays({"a": leaf}, "net")
