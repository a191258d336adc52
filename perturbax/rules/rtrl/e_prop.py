"""E-prop: eligibility traces of hidden state, and a learning signal from the output."""

from typing import ClassVar

from perturbax.learning.facts import Facts
from perturbax.learning.shares import ROWS
from perturbax.rules.rtrl.eligibility import eligibility_facts
from perturbax.rules.rtrl.random_feedback import RandomFeedback


class EProp(RandomFeedback):
    """E-prop: each synapse remembers what it did to its neuron's hidden state; the output tells what that was
    worth.

        eps_t = (dh_t/dh_{t-1}) eps_{t-1} + (dh_t/da_t) z_t,   e_t = dy_t/dw along eps_t,   dL_t/dw ~ L_t e_t

    The gradient of a network in which every r is constant: only hidden state carries credit. The learning
    signal L of a layer is the error within the step, or comes through feedback weights. Deep networks keep no
    traces across layers; a leaky readout's memory counts for the layer below it. Bellec et al. 2020.
    """

    shares: ClassVar[tuple[str, ...]] = (ROWS,)
    facts: ClassVar[Facts] = eligibility_facts(
        equation="eps = (dh/dh) eps + (dh/da) z, dW = L (dy/dh) eps",
        target="gradient with every r constant; random, adaptive feedback: biased in L, too",
        papers=("bellec2020", "kolen1994", "akrout2019"),
    )
