"""The weights of a device as a `Network`, so that rules, optimisers and checkpoints take them like any other.

Its synapses are known, its neurons are not: it cannot be run here, only on the device.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array

from perturbax.cells.base import orthogonal, plus, product, uniform
from perturbax.devices.abilities import Abilities, Weight
from perturbax.errors import DeviceError
from perturbax.network.layer import Layer, weights
from perturbax.network.network import Network, Site

APART = ""  # the layer of weights of which the device does not say where they belong


class Unknown(Layer):
    """Stands for the cell of a network that lives on a device: neurons that are not known here.

    Raises DeviceError where one is made.
    """

    equation: ClassVar[str] = "neurons of the device"
    papers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, n_in: int, n: int, *, key: Array):
        raise DeviceError("the neurons are on a device, and not known here: name a cell")

    def start(self) -> NoReturn:
        """There is none."""
        raise NotImplementedError

    def drive(self, z: Array, r: Array) -> NoReturn:
        """There is none."""
        raise NotImplementedError

    def advance(self, h: Any, a: Array) -> NoReturn:
        """There is none."""
        raise NotImplementedError


class DeviceLayer(Layer):
    """The synapses of one layer of a device.

        a = sum of z W (or W z), r U and b over its arrays of weights

    Attributes:
        arrays: its weights, in the order in which the device names them.
        names: their names on the device.
        about: what the device says of each.
        label: name of the layer on the device.
    """

    arrays: tuple[Array, ...]
    names: tuple[str, ...] = eqx.field(static=True)
    about: tuple[Weight, ...] = eqx.field(static=True)
    label: str = eqx.field(static=True)

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and no outputs: the device has them."""
        return (), jnp.zeros(0)

    def drive(self, z: Array, r: Array) -> Array:
        """Return the pre-activation that the weights make of what the device's synapses saw.

        Arguments:
            z: what they saw from below, `(n_below,)`.
            r: what they saw of the layer itself, `(n,)`.
        """
        terms: dict[str, Any] = {"z": None, "r": None, "1": None}
        for array, about in zip(self.arrays, self.about, strict=True):
            reads = about.reads
            if reads is None:
                raise DeviceError(f"the device does not say what layer {self.label!r} reads through a weight")
            term = array if reads == "1" else _product(z if reads == "z" else r, array, about.order)
            terms[reads] = plus(term, terms[reads])
        z_W, r_U, b = terms["z"], terms["r"], terms["1"]
        synapses = r_U if z_W is None else plus(z_W, r_U)
        return b if synapses is None else plus(synapses, b)

    def advance(self, h: Any, a: Array) -> NoReturn:
        """Raise DeviceError: the neurons are on the device."""
        raise DeviceError(
            f"layer {self.label!r} is on a device, its neurons are not known here: run it there"
        )

    @property
    def units(self) -> tuple[int, ...]:
        """Shape of the pre-activations of one trial, as its weights have it."""
        return self.about[0].post


def _product(z: Array, W: Array, order: str) -> Array:
    """Return z W, contracted over presynaptic units, in the order in which the device has them."""
    return product(z, W) if order == "pre-post" else jnp.tensordot(W, z, 1)


def read_by(about: Weight) -> int:
    """Return how many values a weight reads; 1 for a bias, or where it is not known what it reads."""
    return math.prod(about.pre) if len(about.shape) > 1 else 1


class DeviceNetwork(Network):
    """The weights of a device, layer by layer, in the order in which it names them; it cannot be run here."""

    def __init__(self, layers: Sequence[DeviceLayer]):
        super().__init__(layers)

    def start(self, batch: int) -> tuple:
        """Return nothing: the device starts from rest by itself."""
        del batch
        return ()

    def step(
        self,
        state: tuple,
        x: Any,
        noise: Any = None,
        shift: Any = None,
        held: Any = None,
        masks: Any = None,
    ) -> NoReturn:
        """Raise DeviceError: this network runs on the device alone."""
        raise DeviceError("this network lives on a device: run it there (px.devices)")

    def sites_like(self, x: Any) -> tuple[Site, ...]:
        """Return the shapes of what each layer sees in one step; z or r `(B, 1)` where no weight reads it.

        Arguments:
            x: inputs of one step, `(B, n_in)`, for B and the dtype.
        """
        batch = x.shape[0]
        dtype = jnp.result_type(*jax.tree.leaves(weights(self)))

        def shape(sizes: tuple[int, ...]) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((batch, *sizes), dtype)

        sites = []
        for layer in self.device_layers:
            reads = {about.reads: shape((read_by(about),)) for about in layer.about}
            sites.append(Site(reads.get("z", shape((1,))), reads.get("r", shape((1,))), shape(layer.units)))
        return tuple(sites)

    def like(self, layers: Sequence[Any], decor: Sequence[Any] | None = None) -> "DeviceNetwork":
        """Return a network of other layers; decor: nothing, as a device has no such matrices."""
        del decor
        return DeviceNetwork(layers)

    @property
    def device_layers(self) -> tuple[DeviceLayer, ...]:
        """The layers, as what they are."""
        return self.layers  # pyright: ignore[reportReturnType]

    def named(self) -> dict[str, Array]:
        """Return the weights by their names on the device."""
        found = {}
        for layer in self.device_layers:
            found |= dict(zip(layer.names, layer.arrays, strict=True))
        return found

    def with_named(self, arrays: Mapping[str, Any]) -> "DeviceNetwork":
        """Return the network with other weights; arrays: by their names on the device, all of them.

        Leaves may have further axes in front, as rows of shifted weights have.
        """
        layers = []
        for layer in self.device_layers:
            own = tuple(
                jnp.asarray(arrays[name], old.dtype)
                for name, old in zip(layer.names, layer.arrays, strict=True)
            )
            layers.append(DeviceLayer(own, layer.names, layer.about, layer.label))
        return DeviceNetwork(layers)


def network_of(abilities: Abilities, arrays: Mapping[str, Any]) -> DeviceNetwork:
    """Return the network of a device, its layers in the order in which it names their weights.

    Arguments:
        abilities: what the device said of itself.
        arrays: the weights by name.
    """
    in_layers: dict[str, list[str]] = {}
    for name, about in abilities.weights.items():
        in_layers.setdefault(APART if about.layer is None else about.layer, []).append(name)
    layers = []
    for label, names in in_layers.items():
        own = tuple(jnp.asarray(arrays[name]) for name in names)
        layers.append(DeviceLayer(own, tuple(names), tuple(abilities.weights[n] for n in names), label))
    return DeviceNetwork(layers)


def drawn(abilities: Abilities, key: Array) -> DeviceNetwork:
    """Return fresh weights for a device, as our own cells draw theirs, within the range that it can hold.

    Weights that read from below are uniform in +-1/sqrt(presynaptic), square recurrent ones orthogonal,
    biases 0. Those of which the device does not say what they read are drawn like the first kind.

    Arguments:
        abilities: what the device said of itself.
        key: a JAX key.
    """
    arrays: dict[str, Any] = {}
    labels = list(dict.fromkeys(about.layer for about in abilities.weights.values()))
    for label, layer_key in zip(labels, jr.split(key, len(labels)), strict=True):
        own = {name: about for name, about in abilities.weights.items() if about.layer == label}
        recurrent = any(about.reads == "r" for about in own.values())
        key_below, key_recurrent = jr.split(layer_key) if recurrent else (layer_key, layer_key)
        for i, (name, about) in enumerate(own.items()):
            key_of = key_recurrent if about.reads == "r" else key_below
            plain = about.reads in ("z", "r")
            drawn_one = _fresh(about, key_of if plain else jr.fold_in(layer_key, i))
            arrays[name] = jnp.clip(drawn_one, about.low, about.high)
    return network_of(abilities, arrays)


def _fresh(about: Weight, key: Array) -> Array:
    """Return fresh values of one array of weights."""
    if about.reads == "1":
        return jnp.zeros(about.shape)
    pre = read_by(about)
    units = about.post if about.reads else about.shape[1:]
    if about.reads == "r" and len(units) == 1 and units[0] == pre:
        made = orthogonal(key, pre)  # (pre, units)
    elif about.reads == "r" and len(units) == 2 and units[-1] == pre:
        made = orthogonal(key, pre, units[0])  # (pre, gates, units)
    elif len(about.shape) < 2:
        return uniform(key, about.shape)
    else:
        made = uniform(key, (pre, *units))
    return made if about.order == "pre-post" else jnp.moveaxis(made, 0, -1)


def of_network(abilities: Abilities, net: Network) -> DeviceNetwork:
    """Return the weights of one of our own networks, as a device of the same shape holds them.

    Arguments:
        abilities: what the device said of itself.
        net: the network; its arrays of weights are taken in their order.

    Raises DeviceError where the device has other arrays, or of other shapes, and for a network with more
    between its layers than wires.
    """
    if net.residual or net.normalise or any(D is not None for D in net.decor):
        raise DeviceError(
            "a network with decorrelation, residual sums or normalisation between its layers cannot be moved "
            "to a device, which has layers alone: train it with --decorrelate off, --residual false and "
            "--normalise false"
        )
    own = jax.tree.leaves(weights(net))
    asked = {name: about.shape for name, about in abilities.weights.items()}
    if [w.shape for w in own] != list(asked.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in asked.items())
        ours = ", ".join(str(w.shape) for w in own)
        raise DeviceError(
            f"the device has the weights {found}, and the network that should be written to it {ours}: "
            "it takes one of the same arrays in the same order (cell and units make them; a run that names "
            "neither starts as the device would)"
        )
    return network_of(abilities, dict(zip(asked, own, strict=True)))


def hidden_units(abilities: Abilities) -> tuple[int, ...]:
    """Return the numbers of pre-activations of the layers of a device, without the last where there are more.

    abilities: what the device said of itself.
    """
    sizes: dict[Any, int] = {}
    for about in abilities.weights.values():
        sizes.setdefault(about.layer, math.prod(about.post) or 1)
    found = tuple(sizes.values())
    return found[:-1] or found


def as_written(net: DeviceNetwork) -> dict[str, np.ndarray]:
    """Return the weights by name, as arrays that can go to the device."""
    return {name: np.array(array) for name, array in net.named().items()}
