"""What a study measures without judging a whole run: alignment with the exact gradient along training."""

from typing import Any

import jax
import jax.random as jr

from perturbax.analysis.diagnosis import compile_diagnosis
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment
from perturbax.experiment.program import Compiled
from perturbax.experiment.variants import of_variant, parse_variant
from perturbax.learning.autodiff import bptt

POINTS, DRAWS = 5, 16
FAR = 2**31 - 2  # the step whose batch is measured on: none that a run would reach


def alignment(task: str, label: str, steps: int) -> dict[str, Any]:
    """Return the cosine of single estimates with the exact gradient, on the way of the rule's own training.

    tanh, 64 units, batch 32, Adam 1e-3; the same held-back batch at every point, all weights together.

    Arguments:
        task: its name; one without data files.
        label: of the rule, written as for `perturbax compare`: `node:credit=to-go` say.
        steps: of training, along which there are 5 points, the first before it.

    Returns `points`: for each its `step`, `loss`, `cosine` and `cosine_error`, the standard error.
    """
    base = Experiment(
        task=task,
        units=(64,),
        batch=32,
        steps=steps,
        lr=1e-3,
        optimiser="adam",
        schedule="cosine",
        clip=1.0,
        mode="sequence",
        decorrelate="off",
    )
    parts = build(of_variant(base, parse_variant(label), {}))
    compiled = Compiled(parts)
    state = compiled.start(0)
    data_key, key = jr.split(jr.fold_in(jr.PRNGKey(0), FAR))
    xs, ys = parts.task.sample(data_key, 32)
    measure, exact = (
        compile_diagnosis(parts.rule, parts.task.loss, (1,), DRAWS),
        jax.jit(bptt(parts.task.loss)),
    )
    points, at = [], 0
    for i in range(POINTS):
        stop = steps * i // (POINTS - 1)
        if stop > at:
            (state,), _, _, _ = compiled.advance([state], stop - at)
            at = stop
        groups = measure(state.learner.kept, state.learner.net, xs, ys, jr.fold_in(key, i))
        every = next(g for g in groups if g.name == "all")
        one, loss = every.averages[0], float(exact(state.learner.net, xs, ys)[0])
        points.append({"step": at, "loss": loss, "cosine": one.cosine, "cosine_error": one.cosine_error})
    return {"points": points}
