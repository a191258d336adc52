"""D-RTRL: real-time recurrent learning on the diagonal."""

from typing import ClassVar

from perturbax.fields import setting
from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.learning.traces import Plan, alone
from perturbax.network.network import Network
from perturbax.rules.rtrl.eligibility import EligibilityRule, eligibility_facts


class DRTRL(EligibilityRule):
    """RTRL with a block-diagonal Jacobian: each unit remembers what its weights did to its own hidden state.

        eps_t = D eps_{t-1} + (dh_t/da_t) z_t^T,   dL_t/dw ~ q_t . (dy_t/dh_t eps_t),   D = dh_t/dh_{t-1}

    Without mixing, r is constant: e-prop with the exact error as learning signal, exact where memory is
    hidden state only (mingru), and one-step backpropagation where there is none (tanh). With mixing a unit's
    synapse onto itself counts, too: SnAp with n = 1. Wang et al. 2024.

    Attributes:
        mixing: whether a unit's own synapse onto itself belongs to its block.
    """

    mixing: bool = setting(False)

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = eligibility_facts(
        equation="eps = D eps + (dh/da) z^T, D = dh/dh of one unit, dW = q (dy/dh) eps",
        target="biased: memory across units is cut; exact where all memory is hidden state",
        papers=("wang2024",),
    )

    def plan(self, net: Network, i: int, n: int) -> Plan:
        """Return the unit itself."""
        return alone(n, through=self.mixing)
