"""Random-feedback local online learning."""

from typing import ClassVar

import jax
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.fields import setting
from perturbax.network.layer import layer_label
from perturbax.network.network import Network
from perturbax.rules.rtrl.e_prop import Taught


class RFLO(Taught):
    """Random-feedback local online learning: e-prop for rate units with a leak, taught by random feedback.

        e_ij <- (1 - alpha) e_ij + alpha phi'_i z_j,   dL_t/dw_ij  ~  (B dL_t/dy)_i e_ij

    For units with one pre-activation and at most one hidden value (tanh, leaky, lif); its cell is leaky with
    form rate. Murray 2019.
    """

    feedback: str = setting("random")

    equation: ClassVar[str] = "e = (1 - alpha) e + alpha phi'(a) z, dW = (B error) e"
    target: ClassVar[str] = "biased: gradient with every r constant, and random feedback for L"
    papers: ClassVar[tuple[str, ...]] = ("murray2019",)

    def begin(self, net: Network, x: Array) -> PyTree:
        """Refuse units that are more than a leak."""
        sites = jax.eval_shape(net.step, net.start(len(x)), x)[2]
        for i, (layer, site) in enumerate(zip(net.layers, sites, strict=True)):
            h = [s for s in jax.tree.leaves(layer.start()[0]) if s.dtype.kind == "f"]
            if site.a.ndim > 2 or len(h) > 1:
                raise LayerError(
                    f"{layer_label(i, layer)}: rflo is for units of one pre-activation, one leak (use e-prop)"
                )
        return super().begin(net, x)
