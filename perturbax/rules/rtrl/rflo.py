"""Random-feedback local online learning."""

from typing import ClassVar

import jax
from jaxtyping import Array, PyTree

from perturbax.errors import LayerError
from perturbax.fields import setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.network.layer import layer_label
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import eligibility_facts
from perturbax.rules.rtrl.random_feedback import RandomFeedback


class RFLO(RandomFeedback):
    """Random-feedback local online learning: e-prop for rate units with a leak, with random feedback.

        e_ij <- (1 - alpha) e_ij + alpha phi'_i z_j,   dL_t/dw_ij  ~  (B dL_t/dy)_i e_ij

    For units with one pre-activation and at most one hidden value (tanh, leaky, lif); its cell is leaky with
    form rate. Murray 2019.
    """

    feedback: str = setting("random")

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = eligibility_facts(
        equation="e = (1 - alpha) e + alpha phi'(a) z, dW = (B error) e",
        target="biased: gradient with every r constant, and random feedback for L",
        papers=("murray2019",),
    )

    def init_state(self, net: Network, x: Array, key: Array) -> PyTree:
        """Return the feedback weights; raises LayerError for units that are more than a leak."""
        for i, (layer, site) in enumerate(zip(net.layers, net.sites_like(x), strict=True)):
            hidden = [s for s in jax.tree.leaves(layer.start()[0]) if s.dtype.kind == "f"]
            if site.a.ndim > 2 or len(hidden) > 1:
                raise LayerError(
                    f"{layer_label(i, layer)}: "
                    "rflo is for units with one pre-activation and one leak: take e-prop"
                )
        return super().init_state(net, x, key)
