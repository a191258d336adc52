"""Every learning rule by name; a new one is one file and one line."""

from perturbax.rule import Rule
from perturbax.rules.activity import Activity
from perturbax.rules.backprop import BPTT
from perturbax.rules.innovation import Innovation
from perturbax.rules.node import Node
from perturbax.rules.onestep import Frozen, OneStep
from perturbax.rules.published import PublishedActivity, PublishedNode, PublishedWeight
from perturbax.rules.weight import Weight

RULES: dict[str, type[Rule]] = {
    "weight": Weight,
    "node": Node,
    "activity": Activity,
    "innovation": Innovation,
    "bptt": BPTT,
    "one-step": OneStep,
    "frozen": Frozen,
    "published-weight": PublishedWeight,
    "published-node": PublishedNode,
    "published-activity": PublishedActivity,
}
