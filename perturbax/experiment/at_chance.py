"""Whether a run still is at chance when a fifth of its steps is made, and what to try then."""

from typing import Any, NamedTuple

from perturbax.experiment.config import Resolved
from perturbax.experiment.shown import short
from perturbax.learning.facts import Facts

LEAST = 100  # steps of a run that is looked at: shorter ones only try whether all works
SHARE = 5  # one in so many steps is made when a run is looked at
LEARNT = 0.95  # times the loss of the best constant answer: a run above has learnt nothing yet
WITHOUT_SLOPE = ("lif", "alif", "binary", "device")  # cells that rules of mirrored weights refuse
CONSTANT = ("constant", "mean", "zero")  # the baselines that answer alike whatever they read


class AtChance(NamedTuple):
    """A run that has learnt nothing in a fifth of its steps.

    Attributes:
        step: the training step at which it was looked at.
        valid_loss: its lowest validation loss by then.
        chance: loss of the best answer that does not depend on inputs.
        advice: what to try, as a phrase.
    """

    step: int
    valid_loss: float
    chance: float
    advice: str

    def sentence(self) -> str:
        """Return what is said of it, behind the name of the run."""
        return (
            f"is still at chance after a fifth of its steps (validation loss {short(self.valid_loss)} at "
            f"step {self.step}, {short(self.chance)} for the best constant answer): try {self.advice}"
        )


def chance_loss(baselines: dict[str, dict[str, Any]]) -> float | None:
    """Return the least loss of answers that do not depend on inputs; None where none of them is known.

    Arguments:
        baselines: metrics of predictors that need no network, by name.
    """
    losses = [float(baselines[name]["loss"]) for name in CONSTANT if "loss" in baselines.get(name, {})]
    return min(losses, default=None)


def looked_at(metrics: list[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Return the lines of metrics up to the first at which a fifth of the steps is made; none before it, and
    none of a run of fewer than 100 steps.

    Arguments:
        metrics: the lines of metrics.jsonl.
        steps: training steps of the whole run.
    """
    if steps < LEAST:
        return []
    for i, line in enumerate(metrics):
        if line["step"] * SHARE >= steps:
            return metrics[: i + 1] if line["step"] < steps else []
    return []


def at_chance(
    metrics: list[dict[str, Any]], e: Resolved, facts: Facts, chance: float | None
) -> AtChance | None:
    """Return what there is to say of a run that is at chance after a fifth of its steps, else None.

    Arguments:
        metrics: the lines of metrics.jsonl.
        e: the run.
        facts: those of its rule.
        chance: loss of the best constant answer; None where there is none.
    """
    lines = looked_at(metrics, e.steps)
    losses = [line["valid_loss"] for line in lines if isinstance(line.get("valid_loss"), int | float)]
    if chance is None or not losses or min(losses) < LEARNT * chance:
        return None
    return AtChance(int(lines[-1]["step"]), min(losses), chance, advice(e, facts))


def advice(e: Resolved, facts: Facts) -> str:
    """Return what to try with a run that learns nothing, as a phrase.

    Arguments:
        e: the run.
        facts: those of its rule.
    """
    tried = []
    if e.rule_options.get("credit") == "same-step":
        far = "to-go" if e.mode == "sequence" else "window"
        tried.append(f"credit for later losses (--rule.credit {far})")
    if facts.uses and not {"output error", "derivatives"} & set(facts.uses) and e.cell not in WITHOUT_SLOPE:
        tried.append(
            "mirrored weights, learnt from the score alone (--rule mirror --rule.error measured) or told the "
            "output error (--rule mirror)"
        )
    tried.append(f"other learning rates (perturbax tune --task {e.task} --rule {e.rule} ...)")
    return "; or ".join(tried)
