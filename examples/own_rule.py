"""A rule of your own: one signal per pre-activation, which the library multiplies with what each unit
read.
"""

from typing import ClassVar

import perturbax as px


class Sign(px.NodePerturbation):
    """Node perturbation that is told only whether the noisy pass was better or worse."""

    equation: ClassVar[str] = "dA = sign(delta) xi z^T"
    target: ClassVar[str] = "biased: all differences count alike"

    def signal(self, net, sites, delta, inject):
        return (delta > 0) * 2.0 - 1.0, [noise / self.sigma for noise in self.pair(list(inject))]
