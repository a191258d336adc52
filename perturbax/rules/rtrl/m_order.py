"""E-prop with a limited number of crossings between units."""

from typing import ClassVar

from perturbax.fields import positive, setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.rules.rtrl.influence import Influence, influence_facts


class MOrder(Influence):
    """Order-m e-prop: credit may cross from unit to unit, through visible outputs r, fewer than m times.

        M^0_t = J_h M^0_{t-1} + ds_t/dw,  M^k_t = J_h M^k_{t-1} + J_r M^{k-1}_{t-1},  dL/dw ~ q sum_k M^k

    J_h are the columns of the Jacobian that belong to hidden state (implicit recurrence), J_r those of
    visible outputs (explicit recurrence). m = 1 is e-prop, m >= T is RTRL. Only crossings of r in time count:
    hidden state of layers above is followed at every order (e-prop by traces per unit leaves it out), as is a
    spiking neuron's reset. Order m at m times the price of RTRL. Martín-Sánchez et al. 2022.

    Attributes:
        m: crossings are counted from 0 to m - 1.
    """

    m: int = setting(2)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = influence_facts(
        equation="M^k = J_h M^k + J_r M^{k-1}, dW = q sum_{k < m} M^k",
        target="biased: paths with m or more crossings between units are dropped",
        cost="m n^2 x weights per step",
        memory="B x m x n x weights, constant in T",
        papers=("martinsanchez2022", "bellec2020"),
    )

    def __check_init__(self) -> None:
        """Check the order."""
        positive("m", self.m)

    def orders(self) -> int:
        """Return m: crossings are told apart up to it."""
        return self.m
