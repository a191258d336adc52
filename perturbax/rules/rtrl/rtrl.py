"""Real-time recurrent learning."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.learning.credit import Estimate
from perturbax.learning.jacobian import wiring_of
from perturbax.learning.rule import Rule
from perturbax.learning.traces import Plan, reachable
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import Local, width
from perturbax.rules.rtrl.influence import Dense, Influence, only_carrier


class Reached(Local):
    """The influence of a unit's weights on all units that the wiring ever lets it reach."""

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """All that are ever reached."""
        return reachable(wiring_of(net, i), n, None)


class RTRL(Rule):
    """Real-time recurrent learning: the exact gradient, forward in time.

        M_t = J_t M_{t-1} + ds_t/dw,    dL_t/dw = (dL_t/ds_{t-1}) M_{t-1} + (dL_t/da_t) z_t^T

    s is all that is carried from step to step, J = ds_t/ds_{t-1}, M = ds/dw. Exact in depth: M holds the
    influence of every layer's weights on every layer above. O(n^2 p) time and O(n p) memory per example;
    where a single layer carries state and its wiring is sparse enough (lru, mingru), only what is reached is
    kept: O(p) for lru. Online M comes from weights of its time, off by the order of the learning rate.
    Williams and Zipser 1989; linear units: Zucchet et al. 2023.
    """

    equation: ClassVar[str] = "M = J M + ds/dw, dW = (dL/ds) M"
    target: ClassVar[str] = "full gradient, exact"
    uses: ClassVar[tuple[str, ...]] = Influence.uses
    cost: ClassVar[str] = "n^2 x weights per step; lru: a few x weights"
    memory: ClassVar[str] = "B x n x weights, constant in T; lru: B x weights"
    papers: ClassVar[tuple[str, ...]] = ("williams1989", "zucchet2023")
    locality: ClassVar[str] = "network"
    accrues: ClassVar[bool] = True

    def engine(self, net: Network) -> Rule:
        """Return how M is kept for this network."""
        if only_carrier(net):
            n = width(net.layers[0])
            if n and 2 * len(reachable(wiring_of(net, 0), n, None).slots) <= n:
                return Reached()
        return Dense()

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        return self.engine(net).init(net, batch, key)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let the error meet the influence."""
        return self.engine(net).step(net, carry, x, score, noise)


class ForwardSensitivity(RTRL):
    """Forward sensitivity: RTRL under the name it has in the theory of dynamical systems.

        dS/dt = (df/ds) S + df/dw,   dL/dw = (dL/ds) S

    In discrete time, with ds/dt = f(s, w) stepped, this is RTRL line by line. Dickinson and Gelinas 1976.
    """

    papers: ClassVar[tuple[str, ...]] = ("dickinson1976", "williams1989")
