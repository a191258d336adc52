"""Every learning rule by name; a new one is one file and one line."""

from perturbax.rule import Rule
from perturbax.rules.activity import Activity
from perturbax.rules.backprop import BPTT
from perturbax.rules.evolution import Evolution
from perturbax.rules.feedback import Feedback
from perturbax.rules.forward import Forward
from perturbax.rules.guided import Guided
from perturbax.rules.innovation import Innovation
from perturbax.rules.mirror import Mirror
from perturbax.rules.node import Node
from perturbax.rules.nres import NRES
from perturbax.rules.onestep import Frozen, OneStep
from perturbax.rules.ou import OU
from perturbax.rules.pes import PES
from perturbax.rules.published import PublishedActivity, PublishedNode, PublishedWeight
from perturbax.rules.reward import Reward
from perturbax.rules.weight import Weight

RULES: dict[str, type[Rule]] = {
    "weight": Weight,
    "node": Node,
    "activity": Activity,
    "innovation": Innovation,
    "forward": Forward,
    "evolution": Evolution,
    "pes": PES,
    "nres": NRES,
    "ou": OU,
    "reward": Reward,
    "feedback": Feedback,
    "mirror": Mirror,
    "guided": Guided,
    "bptt": BPTT,
    "one-step": OneStep,
    "frozen": Frozen,
    "published-weight": PublishedWeight,
    "published-node": PublishedNode,
    "published-activity": PublishedActivity,
}
