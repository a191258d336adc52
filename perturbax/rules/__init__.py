"""Every learning rule by name; a new one is one file and one line."""

from perturbax.imports import Registry
from perturbax.rule import Rule
from perturbax.rules.activity import Activity
from perturbax.rules.backprop import BPTT
from perturbax.rules.drtrl import DRTRL
from perturbax.rules.dsf import DSF
from perturbax.rules.eprop import EProp
from perturbax.rules.evolution import Evolution
from perturbax.rules.feedback import Feedback
from perturbax.rules.forward import Forward
from perturbax.rules.guided import Guided
from perturbax.rules.innovation import Innovation
from perturbax.rules.iterative import Iterative
from perturbax.rules.kfrtrl import KFRTRL
from perturbax.rules.lra import LRA
from perturbax.rules.mirror import Mirror
from perturbax.rules.morder import MOrder
from perturbax.rules.node import Node
from perturbax.rules.nres import NRES
from perturbax.rules.onestep import Frozen, OneStep
from perturbax.rules.ou import OU
from perturbax.rules.pes import PES
from perturbax.rules.published import PublishedActivity, PublishedNode, PublishedWeight
from perturbax.rules.reward import Reward
from perturbax.rules.rflo import RFLO
from perturbax.rules.rtrl import RTRL, ForwardSensitivity
from perturbax.rules.sltt import OTTT, SLTT
from perturbax.rules.snap import SnAp
from perturbax.rules.truncated import Truncated, TruncatedRolling
from perturbax.rules.uoro import UORO
from perturbax.rules.weight import Weight

RULES: Registry[Rule] = Registry("rule", {
    "weight": Weight,
    "node": Node,
    "activity": Activity,
    "iterative": Iterative,
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
    "rtrl": RTRL,
    "forward-sensitivity": ForwardSensitivity,
    "truncated": Truncated,
    "truncated-rolling": TruncatedRolling,
    "snap": SnAp,
    "uoro": UORO,
    "kf-rtrl": KFRTRL,
    "m-order": MOrder,
    "e-prop": EProp,
    "rflo": RFLO,
    "d-rtrl": DRTRL,
    "dsf": DSF,
    "lra": LRA,
    "sltt": SLTT,
    "ottt": OTTT,
    "one-step": OneStep,
    "frozen": Frozen,
    "published-weight": PublishedWeight,
    "published-node": PublishedNode,
    "published-activity": PublishedActivity,
})  # fmt: skip
