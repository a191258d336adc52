"""Ten decision tasks of NeuroGym (Molano-Mazón et al. 2022)."""

from typing import Any

from perturbax.bench.base import Benchmark, Measure
from perturbax.experiment.config import Experiment

ENVIRONMENTS = {
    "perceptual": "PerceptualDecisionMaking-v0",
    "delayed-response": "PerceptualDecisionMakingDelayResponse-v0",
    "context": "ContextDecisionMaking-v0",
    "multisensory": "MultiSensoryIntegration-v0",
    "comparison": "DelayComparison-v0",
    "match-sample": "DelayMatchSample-v0",
    "match-category": "DelayMatchCategory-v0",
    "match-two": "DualDelayMatchSample-v0",
    "interval": "IntervalDiscrimination-v0",
    "anti-reach": "AntiReach-v0",
}
"""By part: tasks of discrete actions in which every trial ends in a choice. In GoNogo-v0 half of them are
answered by waiting, which the measure does not see."""

CHOICES = Measure("right choices, %", higher=True, digits=1)
OF_PART = {env: Measure(f"{part}, %", higher=True, digits=1) for part, env in ENVIRONMENTS.items()}


def right_choices(result: Any, task: Any) -> dict[str, float]:
    """Return the share of right choices on the test part, in per cent: for all parts, and for the run's own.

    Arguments:
        result: of a run.
        task: its task; the run itself has judged its network.
    """
    share = 100 * result.summary["test"]["decisions"]
    return {CHOICES.name: share, OF_PART[task.env].name: share}


BENCHMARK = Benchmark(
    name="neurogym",
    summary="choose as animals are trained to: ten decision tasks of NeuroGym, a network for each",
    papers=("molano2022", "yang2019"),
    needs="",
    split="trials that neurogym draws from fixed seeds: 512 sequences of 100 steps for training, 128 that "
    "choose the network that is kept, 128 for testing",
    metric="share of right actions on the test part at the steps that ask for a choice, those whose right "
    "action is not to wait; the first is the mean over the tasks. One and the same choice at every step has "
    "about a half in the tasks of two choices, and a thirty-second in anti-reach",
    experiment=Experiment(
        task="neurogym",
        cell="gru",
        units=64,
        passes=1500,
        batch=16,
        lr=1e-2,
        logs=5,
    ),
    judge=right_choices,
    measures=(CHOICES, *OF_PART.values()),
    published=(),
    parts={part: {"env": env} for part, env in ENVIRONMENTS.items()},
)
