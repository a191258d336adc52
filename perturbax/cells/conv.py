"""Convolutional layers: weights that are shared over the places of an image, and pooling."""

import math
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from perturbax.cells.base import ACTIVATIONS, INITS, check_sizes, reads_no_unit
from perturbax.cells.image import Geometry, Maps, from_pixels, image_of
from perturbax.fields import one_of, setting, whole
from perturbax.network.layer import Fixed, Layer


class Conv(Layer):
    """Convolution of an image, a nonlinearity, and pooling: feature maps, whose weights all places share.

        a[m, x] = sum_{c, k} W[c k, m] z[c, stride x + k - padding] + b[m],     y = pool(f(a))

    Images lie in vectors channel by channel, row by row. In a stack each layer reads the maps of the layer
    below as an image; the readout reads all of them. A matrix D that decorrelates what it reads is of the
    size of a patch, what a kernel sees at one place, and shared by all places: a = W^T D patch.

    Args:
        n_in: number of inputs from below.
        n: number of maps.
        key: JAX key of the initial weights.
        image: height, width and colours of the image that the lowest layer reads, as 28x28 or 32x32x3 (the
            colours of a pixel side by side); by default as the task says, else a square of one colour.
        kernel: side of a kernel.
        stride: steps between its places.
        padding: zeros around the image.
        pool: side of the squares that are pooled, side by side; 1 for none.
        pooling: average or max.
        activation: f, one of tanh, relu, leaky-relu, sigmoid.
        convolved: how many layers convolve, from this one up, those above them being dense; 0 for all.
        bias: whether there is a b.
        init: how W starts, with the values of a patch as inputs: default or xavier.
    """

    W: Array
    b: Array | None
    D: Fixed | None
    geometry: Geometry = eqx.field(static=True)
    pixelwise: bool = eqx.field(static=True)
    activation: str = setting("relu")
    convolved: int = setting(0)
    unitwise: ClassVar[bool] = False
    equation: ClassVar[str] = "y = pool(f(z * W + b))"
    papers: ClassVar[tuple[str, ...]] = ("lecun1998",)

    def __init__(
        self,
        n_in: int,
        n: int,
        *,
        key: Array,
        image: Any = "",
        kernel: int = 3,
        stride: int = 1,
        padding: int = 1,
        pool: int = 2,
        pooling: str = "average",
        activation: str = "relu",
        convolved: int = 0,
        bias: bool = True,
        init: str = "default",
    ):
        one_of("activation", activation, ACTIVATIONS)
        one_of("init", init, INITS)
        whole("convolved", convolved, 0)
        check_sizes((n_in, n))
        shape, self.pixelwise = image_of(n_in, image)
        self.geometry = Geometry.of(shape, kernel, stride, padding, pool, pooling)
        self.W = INITS[init](key, (self.geometry.patch, n))
        self.b = jnp.zeros(n) if bias else None
        self.D = None
        self.activation, self.convolved = activation, convolved

    @property
    def maps(self) -> Maps:
        """Shape of what it puts out."""
        return Maps(self.W.shape[1], *self.geometry.after)

    def above(self, n: int, *, key: Array, **options: Any) -> Layer | None:
        """Return the next layer of a stack, which reads the maps of this one; None for a dense one.

        Arguments:
            n: its number of maps.
            key: JAX key of the initial weights.
            options: settings of the cell.
        """
        if self.convolved == 1:
            return None
        options |= {"image": self.maps, "convolved": max(0, self.convolved - 1)}
        return Conv(self.width, n, key=key, **options)

    def start(self) -> tuple[Any, Array]:
        """Return no hidden state, and outputs of zero, one per map and place."""
        return (), jnp.zeros(math.prod(self.maps))

    def drive(self, z: Array, r: Array) -> Array:
        """Return a of every map and place, flat."""
        W = self.W if self.D is None else jax.lax.stop_gradient(self.D.value) @ self.W  # (patch, maps)
        return self.geometry.convolve(W, self.b, self._channels_first(z))

    def advance(self, h: Any, a: Array) -> tuple[Any, Array]:
        """Return no hidden state, and y = pool(f(a)), flat."""
        return (), self.geometry.pooled(ACTIVATIONS[self.activation](a))

    def patches(self, z: Array) -> Array:
        """Return what the kernel reads at each place, through D, `(places, patch)`.

        z: input from below.
        """
        seen = self.geometry.patches(self._channels_first(z))
        return seen if self.D is None else seen @ self.D.value

    def through(self, D: Fixed | None) -> "Conv":
        """Return the layer with another D, `(patch, patch)`, in front of its weights; None for none."""
        return eqx.tree_at(lambda layer: layer.D, self, D, is_leaf=lambda leaf: leaf is None)

    def wiring(self) -> Bool[Any, "n n"]:
        """Return that no unit reads another."""
        return reads_no_unit(self.width)

    def _channels_first(self, z: Array) -> Array:
        """Return an image channel by channel, whose colours may lie pixel by pixel."""
        return from_pixels(z, self.geometry.before) if self.pixelwise else z
