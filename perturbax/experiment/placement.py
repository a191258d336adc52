"""Where the arrays of a run are: on one device, whole on each of several, or with weights split by units."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import keystr, tree_flatten_with_path
from jaxtyping import PyTree

from perturbax.errors import ArgumentError


class Placement(NamedTuple):
    """Where the arrays of a run are.

    Attributes:
        mesh: the devices; None for one.
        split_weights: whether weights, and what is shaped like them, are split by units; else all devices
            have all weights, and share rows or samples.
    """

    mesh: Mesh | None = None
    split_weights: bool = False

    @property
    def devices(self) -> int:
        """Number of devices."""
        return 1 if self.mesh is None else self.mesh.size

    @property
    def writes(self) -> bool:
        """Whether this process writes the run folder: of several the first alone."""
        if self.mesh is None:
            return True
        own = jax.process_index()
        return own == 0 or all(device.process_index == own for device in self.mesh.devices.flat)

    @property
    def of_work(self) -> Mesh | None:
        """The devices that share rows or samples; None where they do not."""
        return None if self.split_weights else self.mesh

    def shardings(self, tree: PyTree) -> PyTree:
        """Return how each array of a run's state is split.

        tree: the state, or its shapes.
        """

        def of_leaf(leaf: Any) -> NamedSharding:
            axis = self._axis(leaf) if self.split_weights else None
            names = [None] * leaf.ndim
            if axis is not None:
                names[axis] = _mesh(self).axis_names
            return NamedSharding(_mesh(self), PartitionSpec(*names))

        return jax.tree.map(of_leaf, tree)

    def _axis(self, leaf: Any) -> int | None:
        """Return the axis that is split: that of units, else the first one; None where neither divides.

        Integers, which are keys and counts, stay whole.
        """
        if not jnp.issubdtype(leaf.dtype, jnp.inexact) or leaf.ndim == 0:
            return None
        axes = (leaf.ndim - 1, 0)
        return next((axis for axis in axes if leaf.shape[axis] % self.devices == 0), None)

    def whole(self, tree: PyTree) -> PyTree:
        """Return arrays as every device has them whole; as they are on one device."""
        if self.mesh is None:
            return tree
        whole = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda leaf: _put(leaf, whole), tree)

    def placed(self, state: PyTree) -> PyTree:
        """Return the state of a run as its devices have it; as it is on one device."""
        return state if self.mesh is None else jax.tree.map(_put, state, self.shardings(state))

    def held(self, state: PyTree) -> PyTree:
        """Return the state of a run that is being traced, with weights that stay split."""
        if not self.split_weights:
            return state
        return jax.lax.with_sharding_constraint(state, self.shardings(state))

    def on_first(self, tree: PyTree) -> PyTree:
        """Return arrays that every device has as those of the first; split ones as they are."""
        if self.mesh is None or self.split_weights:
            return tree
        return jax.tree.map(lambda leaf: jnp.asarray(leaf.addressable_data(0)), tree)

    def check_weights(self, some: PyTree) -> None:
        """Raise ArgumentError for a matrix of weights that the devices cannot split, where they have to.

        some: the weights of the network, or their shapes.
        """
        if not self.split_weights:
            return
        for path, leaf in tree_flatten_with_path(some)[0]:
            if leaf.ndim > 1 and self._axis(leaf) is None:
                shape = " x ".join(map(str, leaf.shape))
                raise ArgumentError(
                    f"weights {keystr(path).lstrip('.')} ({shape}) cannot be split by {self.devices} "
                    f"devices: take units that divide by {self.devices}"
                )


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    """Return an array as devices have it; where they belong to several processes, each gives its own part."""
    if sharding.is_fully_addressable or (isinstance(leaf, jax.Array) and leaf.sharding == sharding):
        return jax.device_put(leaf, sharding)
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        return jr.wrap_key_data(_put(jr.key_data(leaf), sharding), impl=jr.key_impl(leaf))
    own = np.asarray(leaf)
    return jax.make_array_from_callback(own.shape, sharding, lambda part: own[part])


def _mesh(placement: Placement) -> Mesh:
    """Return the devices of a run that has several."""
    if placement.mesh is None:
        raise ValueError("one device has no mesh")
    return placement.mesh
