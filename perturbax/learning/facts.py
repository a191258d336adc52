"""What a rule says of itself: for tables, reports, tests, and for runs that must know its cost. Needs no
JAX.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

# What a rule may be told or may use, from least to most.
USES = (
    "score",
    "own activity",
    "forward weights",
    "output error",
    "stored sequence",
    "derivatives",
    "transposed weights",
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a rule is; `rule.facts` speaks of the rule in general, `rule.described()` of its present settings.

    Attributes:
        equation: the update in the field's symbols; A stands for pre-activations, W for weights.
        target: the gradient that is estimated, and with what bias.
        uses: the information the rule needs, of `USES`.
        cost: forward passes per update, in words.
        memory: what is stored beside network and optimiser, in words.
        papers: keys of `perturbax.papers.CITATIONS`.
        locality: what a synapse must know (a key of `analysis.taxonomy.LOCALITY`); empty to derive it from
            `uses`.
        keeps: what the rule learns from one update to the next; empty if nothing.
        offline: why the rule cannot learn online, as a sentence for users; empty if it can.
        passes: forward passes per update over the same data; backpropagation counts 3.
        run_settings: settings of a run that belong to the rule, below those a user names.
        summed: whether the source sums over time what is averaged here: in sequence mode plain SGD takes lr x
            T.
    """

    equation: str = ""
    target: str = ""
    uses: tuple[str, ...] = ("score",)
    cost: str = ""
    memory: str = ""
    papers: tuple[str, ...] = ()
    locality: str = ""
    keeps: str = ""
    offline: str = ""
    passes: int = 3
    run_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    summed: bool = False

    @property
    def differentiates(self) -> bool:
        """Whether the rule may take derivatives of the score."""
        return "output error" in self.uses or "derivatives" in self.uses

    def but(self, **changes: Any) -> "Facts":
        """Return these facts with some of them changed."""
        return dataclasses.replace(self, **changes)
