"""A rule of your own: one signal per pre-activation, which is multiplied with what each unit read."""

from typing import ClassVar

import perturbax as px


class Sign(px.NodeRule):
    """Node perturbation that is told only whether the noisy pass was better or worse."""

    facts: ClassVar[px.Facts] = px.Facts(
        equation="dA = sign(delta) xi z^T",
        target="biased: all differences count alike",
        cost="1 + K passes",
        memory="constant; to-go: T x B x units",
    )

    def signal(self, net, sites, delta, inject):
        better_or_worse = (delta > 0) * 2.0 - 1.0  # (K, B)
        xi = [noise / self.sigma for noise in self.pair(list(inject))]  # (K, B, ...) per layer
        return better_or_worse, xi
