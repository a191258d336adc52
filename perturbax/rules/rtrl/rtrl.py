"""Real-time recurrent learning."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.learning.credit import Credit
from perturbax.learning.estimate import Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import wiring_of
from perturbax.learning.rule import StepRule
from perturbax.learning.shares import ROWS
from perturbax.learning.traces import Plan, reachable
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import EligibilityRule, units_of_weights
from perturbax.rules.rtrl.influence import FullInfluence, influence_facts, only_carrier


class Reached(EligibilityRule):
    """The influence of a unit's weights on all units that the wiring ever lets it reach."""

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Return all units that are ever reached."""
        return reachable(wiring_of(net, i), n, None)


class RTRL(StepRule):
    """Real-time recurrent learning: the exact gradient, forward in time.

        M_t = J_t M_{t-1} + ds_t/dw,    dL_t/dw = (dL_t/ds_{t-1}) M_{t-1} + (dL_t/da_t) z_t^T

    s is all that is carried from step to step, J = ds_t/ds_{t-1}, M = ds/dw. Exact in depth: M holds the
    influence of every layer's weights on every layer above. O(n^2 p) time and O(n p) memory per example;
    where a single layer carries state and its wiring is sparse enough (lru, mingru), only what is reached is
    kept: O(p) for lru. Online M comes from weights of its time, off by the order of the learning rate.
    Williams and Zipser 1989; linear units: Zucchet et al. 2023.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = influence_facts(
        equation="M = J M + ds/dw, dW = (dL/ds) M",
        target="full gradient, exact",
        cost="n^2 x weights per step; lru: a few x weights",
        memory="B x n x weights, constant in T; lru: B x weights",
        papers=("williams1989", "zucchet2023"),
    )

    def engine(self, net: Network) -> StepRule:
        """Return how M is kept for this network: as one matrix, or unit by unit where wiring is sparse.

        Arguments:
            net: the network.
        """
        if only_carrier(net):
            n = units_of_weights(net.layers[0])
            if n and 2 * len(reachable(wiring_of(net, 0), n, None).slots) <= n:
                return Reached()
        return FullInfluence()

    def pairing(self) -> Credit:
        """Return that gradients of every step are summed as they come."""
        return Credit(form="summed")

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and no influence yet."""
        return self.engine(net).init_sequence(net, state, x, key)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply the error with the influence, then renew it."""
        return self.engine(net).step(net, carry, x, score, noise)


class ForwardSensitivity(RTRL):
    """Forward sensitivity: RTRL under the name it has in the theory of dynamical systems.

        dS/dt = (df/ds) S + df/dw,   dL/dw = (dL/ds) S

    In discrete time, with ds/dt = f(s, w) stepped, this is RTRL line by line, for any number of loops that
    read each other in both directions, those below in the same step and those above one step later. Where
    weights change from step to step, both derivatives are taken at the weights of the step, and S is the
    influence of an offset that the weights of all steps share. Dickinson and Gelinas 1976, Bird
    and Polivoda 2021.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = RTRL.facts.but(papers=("dickinson1976", "williams1989", "bird2021"))
