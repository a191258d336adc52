"""Every learning rule by name; a new one is one file and one line."""

from typing import TYPE_CHECKING

from perturbax.learning.rule import Rule
from perturbax.moved import old_names
from perturbax.plugins import Registry
from perturbax.rules.backprop.bptt import BPTT
from perturbax.rules.backprop.cascaded import Cascaded
from perturbax.rules.backprop.dsf import DSF
from perturbax.rules.backprop.frozen import Frozen
from perturbax.rules.backprop.lra import LRA
from perturbax.rules.backprop.one_step import OneStep
from perturbax.rules.backprop.ottt import OTTT
from perturbax.rules.backprop.sltt import SLTT
from perturbax.rules.backprop.truncated import Truncated, TruncatedRolling
from perturbax.rules.equilibrium.equilibrium import Equilibrium
from perturbax.rules.evolution.evolution import Evolution
from perturbax.rules.evolution.nres import NRES
from perturbax.rules.evolution.pes import PES
from perturbax.rules.feedback.feedback import Feedback
from perturbax.rules.feedback.guided import Guided
from perturbax.rules.feedback.mirror import Mirror
from perturbax.rules.feedback.pepita import PEPITA
from perturbax.rules.perturbation.activity import Activity
from perturbax.rules.perturbation.forward_gradient import Forward
from perturbax.rules.perturbation.innovation import Innovation
from perturbax.rules.perturbation.iterative import Iterative
from perturbax.rules.perturbation.node import Node
from perturbax.rules.perturbation.ornstein_uhlenbeck import OU
from perturbax.rules.perturbation.published import PublishedActivity, PublishedNode, PublishedWeight
from perturbax.rules.perturbation.reward import Reward
from perturbax.rules.perturbation.weight import Weight
from perturbax.rules.relaxation.activation_relaxation import ActivationRelaxation
from perturbax.rules.relaxation.predictive_coding import PredictiveCoding
from perturbax.rules.rtrl.d_rtrl import DRTRL
from perturbax.rules.rtrl.e_prop import EProp
from perturbax.rules.rtrl.kf_rtrl import KFRTRL
from perturbax.rules.rtrl.m_order import MOrder
from perturbax.rules.rtrl.rflo import RFLO
from perturbax.rules.rtrl.rtrl import RTRL, ForwardSensitivity
from perturbax.rules.rtrl.snap import SnAp
from perturbax.rules.rtrl.uoro import UORO

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

RULES: Registry[Rule] = Registry(
    "rule",
    {
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
        "pepita": PEPITA,
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
        "predictive-coding": PredictiveCoding,
        "activation-relaxation": ActivationRelaxation,
        "equilibrium": Equilibrium,
        "cascaded": Cascaded,
        "one-step": OneStep,
        "frozen": Frozen,
        "published-weight": PublishedWeight,
        "published-node": PublishedNode,
        "published-activity": PublishedActivity,
    },
)
