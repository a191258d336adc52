"""Credit that follows from when answers are asked: a setting of a rule that is left open until the task is
opened.

Same-step credit pairs noise with the loss of its own step. Where most steps ask for nothing, as where one
answer is asked at the end, no loss follows most of the noise at once, and a rule so credited stays at chance.
"""

from typing import Any, NamedTuple

import jax.random as jr
import numpy as np

from perturbax.errors import ArgumentError
from perturbax.experiment.options import AUTO, provisional
from perturbax.learning.rule import Rule
from perturbax.tasks.base import Task, draw_batch
from perturbax.tasks.contract import is_own

MOSTLY = 0.75  # share of steps asked for from which same-step credit reaches enough of them


class Followed(NamedTuple):
    """What credit follows from when answers are asked.

    Attributes:
        settings: of the rule, by name: credit, and in window credit its window.
        reason: a sentence that says why, and how to choose otherwise; empty for same-step credit.
        asked: steps of a sequence whose answer is judged.
        steps: steps of a sequence.
    """

    settings: dict[str, Any]
    reason: str
    asked: int
    steps: int

    def facts(self) -> dict[str, Any]:
        """Return what config.json keeps of it, in types of JSON."""
        return {
            "value": self.settings["credit"],
            "asked": self.asked,
            "steps": self.steps,
            "reason": self.reason,
        }


def followed(
    task: Task, rule: type[Rule], rule_options: dict[str, Any], mode: str, batch: int
) -> Followed | None:
    """Return the credit of a rule that was left open; None where it was not.

    Arguments:
        task: the opened task.
        rule: the class of the rule.
        rule_options: its settings; those that are `auto` are open.
        mode: sequence or online.
        batch: sequences per batch.
    """
    if rule_options.get("credit") != AUTO:
        return None
    asked = asked_for(task, batch)  # (T,)
    count, steps = int(asked.sum()), len(asked)
    window = longest_wait(asked) + 1
    open_window = rule_options.get("window") == AUTO
    same = {"credit": "same-step"} | ({"window": _default(rule, "window")} if open_window else {})
    if count >= MOSTLY * steps:
        return Followed(same, "", count, steps)
    far: dict[str, Any] = {"credit": "to-go" if mode == "sequence" else "window"}
    if open_window:
        far["window"] = window if mode == "online" else _default(rule, "window")
    try:
        rule(**{**provisional(rule, rule_options), **far})
    except ArgumentError:
        return Followed(same, "", count, steps)
    when = _when(asked)
    reach = f"window, of {window} steps" if mode == "online" and open_window else far["credit"]
    reason = (
        f"rule.credit is {reach}: {when}, and credit of the same step reaches no step before an answer "
        f"(--rule.credit names another)"
    )
    return Followed(far, reason, count, steps)


def asked_for(task: Task, batch: int) -> np.ndarray:
    """Return at which steps of training sequences an answer is judged, of any example: truth values `(T,)`.

    Arguments:
        task: the opened task; a batch is drawn where it may leave out steps.
        batch: sequences per batch.
    """
    if not is_own(task) and task.asked_steps >= task.steps:
        return np.ones(task.steps, bool)
    targets = draw_batch(task, jr.key(0), batch)[1]  # (T, B, n_out)
    return np.any(np.asarray(task.asked(targets)), axis=1)


def longest_wait(asked: np.ndarray) -> int:
    """Return the most steps that any step is before the next answer; steps behind the last wait for none.

    Arguments:
        asked: whether an answer is asked for at each step, `(T,)`.
    """
    times = np.flatnonzero(asked)
    if not len(times):
        return 0
    gaps = np.diff(np.concatenate([[-1], times]))  # steps from an answer to the next
    return int(gaps.max()) - 1


def _when(asked: np.ndarray) -> str:
    """Return when answers are asked for, in words."""
    count, steps = int(asked.sum()), len(asked)
    if count == 1 and asked[-1]:
        return f"one answer is asked for, at the last of {steps} steps"
    at_end = ", the last," if asked[-count:].all() else ""
    return f"answers are asked for at {count} of {steps} steps{at_end}".rstrip(",")


def _default(rule: type[Rule], name: str) -> Any:
    """Return the default of a setting of a rule."""
    return provisional(rule, {name: AUTO})[name]
