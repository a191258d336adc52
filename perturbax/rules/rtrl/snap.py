"""SnAp: real-time recurrent learning on the influences that arise within a few steps."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.fields import positive, setting
from perturbax.learning.estimate import Estimate
from perturbax.learning.facts import Facts
from perturbax.learning.jacobian import wiring_of
from perturbax.learning.shares import ROWS
from perturbax.learning.traces import Plan, alone, reachable
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import EligibilityRule, eligibility_facts, units_of_weights
from perturbax.rules.rtrl.influence import FullInfluence, only_carrier


class SnAp(EligibilityRule):
    """Sparse n-step approximation of RTRL: keep the influence of a unit's weights on units it reaches in n -
    1 steps.

        M_t = S_n * (J_t M_{t-1} + direct),   dL_t/dw  ~  q_t M_t,   S_n = 1 where reached within n - 1 steps

    n = 1 keeps a unit's influence on itself, its own synapse onto itself included. On a full recurrent matrix
    n = 2 is RTRL, at its price; with sparse wiring (the sparsity of a cell) larger n stay cheap. Within
    layers: what a weight does through the carried state of layers above is left out. Menick et al. 2021.

    Attributes:
        n: steps within which a unit must be reached, its own included.
    """

    n: int = setting(1)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = eligibility_facts(
        equation="M = S_n (J M + dh/dw), dW = q M",
        target="biased: influence on units more than n - 1 steps away is dropped",
        papers=("menick2021",),
    )

    def __check_init__(self) -> None:
        """Check n."""
        positive("n", self.n)

    def described(self) -> Facts:
        """Return the facts: with n > 1 a synapse must know more than its layer's errors."""
        return self.facts.but(locality="network" if self.n > 1 else "")

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Return the units within reach."""
        return alone(n, through=True) if self.n == 1 else reachable(wiring_of(net, i), n, self.n - 1)

    def init_sequence(self, net: Network, state: PyTree, x: Array, key: Array) -> PyTree:
        """Return the state of the network, and no influence yet."""
        if self._everything(net):
            return FullInfluence().init_sequence(net, state, x, key)
        return super().init_sequence(net, state, x, key)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Multiply errors with traces; those of all units by all are faster as one matrix."""
        step = FullInfluence().step if self._everything(net) else super().step
        return step(net, carry, x, score, noise)

    def _everything(self, net: Network) -> bool:
        """Whether nothing is dropped: one layer carries, and all units are reached from all."""
        if self.n == 1 or not only_carrier(net):
            return False
        n = units_of_weights(net.layers[0])
        plan = reachable(wiring_of(net, 0), n, self.n - 1)
        return len(plan.slots) == n and bool(plan.valid.all())
