"""SnAp: real-time recurrent learning on the influences that arise within a few steps."""

from typing import Any, ClassVar

from jaxtyping import Array, PyTree

from perturbax.fields import positive, setting
from perturbax.learning.credit import Estimate
from perturbax.learning.jacobian import wiring_of
from perturbax.learning.traces import Plan, alone, reachable
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import Local, width
from perturbax.rules.rtrl.influence import Dense, only_carrier


class SnAp(Local):
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

    equation: ClassVar[str] = "M = S_n (J M + dh/dw), dW = q M"
    target: ClassVar[str] = "biased: influence on units more than n - 1 steps away is dropped"
    papers: ClassVar[tuple[str, ...]] = ("menick2021",)

    def __check_init__(self) -> None:
        """Refuse an n that keeps nothing."""
        positive("n", self.n)

    def knows(self) -> str:
        """Influence on other units is more than a layer's errors tell."""
        return "network" if self.n > 1 else ""

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Units within reach."""
        return alone(n, through=True) if self.n == 1 else reachable(wiring_of(net, i), n, self.n - 1)

    def init(self, net: Network, batch: int, key: Array) -> PyTree:
        """The state of the network, no influence yet."""
        return Dense().init(net, batch, key) if self._everything(net) else super().init(net, batch, key)

    def step(
        self, net: Network, carry: PyTree, x: Array, score: Any, noise: PyTree
    ) -> tuple[PyTree, Estimate]:
        """Let errors meet traces; those of all units by all are faster as one matrix."""
        step = Dense().step if self._everything(net) else super().step
        return step(net, carry, x, score, noise)

    def _everything(self, net: Network) -> bool:
        """Whether nothing is dropped: one layer carries, and all units are reached from all."""
        if self.n == 1 or not only_carrier(net):
            return False
        n = width(net.layers[0])
        plan = reachable(wiring_of(net, 0), n, self.n - 1)
        return len(plan.slots) == n and bool(plan.valid.all())
