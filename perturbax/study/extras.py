"""Experiments beyond the table of accuracies: scaling, memory length, sensitivity, noise, alignment,
feed-forward.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perturbax.experiment.config import Experiment
from perturbax.experiment.variants import of_variant, parse_variant
from perturbax.moved import old_names
from perturbax.study.findings import FINDINGS
from perturbax.study.jobs import Job, Measure, Train, Tune, searched
from perturbax.study.measures import alignment
from perturbax.study.protocol import FAIR_RUN

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)


class Sizes(NamedTuple):
    """How large the further experiments are.

    Attributes:
        units: of all networks whose size is not what is varied.
        batch: sequences per batch.
        scaled: units of the scaling experiment.
        scaled_passes: forward passes of its runs.
        lengths: symbols (and blanks) of the copy task.
        passes: forward passes of each run.
        sigmas: of the sensitivity to sigma.
        ambients: standard deviations of noise that no rule is told of.
        aligned: tasks on which alignment is measured.
        steps: of training along which it is.
        hidden: units of the two hidden layers of the feed-forward networks.
        dense_passes: forward passes of a feed-forward run.
    """

    units: int
    batch: int
    scaled: tuple[int, ...]
    scaled_passes: int
    lengths: tuple[int, ...]
    passes: int
    sigmas: tuple[float, ...]
    ambients: tuple[float, ...]
    aligned: tuple[str, ...]
    steps: int
    hidden: int
    dense_passes: int


SIZES = {
    "quick": Sizes(32, 16, (64, 128), 200, (2, 4), 600, (1e-4, 1e-2), (0.0, 0.1), ("copy",), 60, 32, 2000),
    "full": Sizes(
        64,
        16,
        (100, 200, 500, 1000, 2000),
        200,
        (4, 8, 16, 32),
        3000,
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 0.3),
        (0.0, 0.01, 0.03, 0.1, 0.3),
        ("copy", "mackey-glass"),
        1000,
        128,
        10_000,
    ),
}

SCALED = ("published-activity", "node:credit=to-go", "one-step", "bptt")
LONG = ("published-activity", "node:credit=to-go", "mirror", "bptt")
SENSITIVE = ("node:credit=to-go", "activity:credit=to-go")
ALIGNED = ("published-activity", "published-node", "node:credit=to-go", "one-step", "mirror")
NOISY = (
    "node:credit=to-go:difference=noisy",
    "activity:credit=to-go:difference=noisy",
    "innovation:credit=to-go:difference=noisy",
    "activity:credit=to-go",
    "innovation:credit=to-go",
)
DENSE = (
    "node",
    "node+decor",
    "iterative:samples=3",
    "iterative+decor:samples=3",
    "activity",
    "activity+decor",
    "activity:difference=noisy",
    "bptt",
    "bptt+decor",
    "frozen",
)


def further(
    budget: str, searches: Sequence[Tune], seeds: Sequence[int], images: Path | None, digits: bool
) -> list[Job]:
    """Return the jobs of the further experiments.

    Where an experiment has no search of its own, its runs take the learning rates that the searches of the
    fair protocol find for their task and rule.

    Arguments:
        budget: `quick` or `full`, one of SIZES.
        searches: those of the fair protocol.
        seeds: of the runs; three of them where there is no search of its own.
        images: MNIST or its like, a folder of IDX files or an NPZ file; None to leave it out.
        digits: whether to train on the digits of scikit-learn.
    """
    size, few = SIZES[budget], tuple(seeds[:3])
    tuned = {(job.group, job.label): job for job in searches}
    common: dict[str, Any] = {**FAIR_RUN, "batch": size.batch, "logs": 10, "passes": size.passes}
    mackey, copy = Experiment(task="mackey-glass", **common), Experiment(task="copy", **common)

    def train(group: str, label: str, base: Experiment, like: str, **changes: Any) -> Train:
        task = "copy" if base.task == "copy" else "mackey-glass"
        e = dataclasses.replace(of_variant(base, parse_variant(label), {}), **changes)
        return Train(group, label, e, few, tuned.get((f"fair/{task}", like)))

    # The longest ones first: nobody waits for them at the end.
    jobs: list[Job] = [Measure("findings", name, *own) for name, own in FINDINGS.items()]
    if digits:
        jobs += _feed_forward("digits", {"task": "digits"}, size, seeds)
    if images is not None:
        jobs += _feed_forward("images", {"task": "mnist", "data": str(images)}, size, seeds)
    for n in size.scaled:
        base = dataclasses.replace(mackey, units=(n,), passes=size.scaled_passes)
        jobs += searched(f"scaling/{n}", base, SCALED, seeds)
    for n in size.lengths:
        base = dataclasses.replace(copy, units=(size.units,), task_options={"length": n, "delay": n})
        jobs += [train(f"length/{n}", label, base, label) for label in LONG]
    base = dataclasses.replace(mackey, units=(size.units,))
    jobs += [train("sigma", f"{label}:sigma={s:g}", base, label) for label in SENSITIVE for s in size.sigmas]
    jobs += [
        train(
            f"ambient/{a:g}",
            f"{label}:sigma=0.01:ambient={a:g}",
            base,
            label.removesuffix(":difference=noisy"),
        )
        for a in size.ambients
        for label in NOISY
    ]
    return jobs + [
        Measure(
            "alignment", f"{task}-{label}", alignment, {"task": task, "label": label, "steps": size.steps}
        )
        for task in size.aligned
        for label in ALIGNED
    ]


def _feed_forward(name: str, task: dict[str, Any], size: Sizes, seeds: Sequence[int]) -> list[Job]:
    """Node perturbation in multi-layer networks (Dalm et al. 2023): leaky ReLU, cross-entropy, Adam."""
    base = Experiment(
        **task,
        task_options={"order": "whole"},
        cell="dense",
        cell_options={"activation": "leaky-relu"},
        units=(size.hidden, size.hidden),
        batch=100,
        logs=20,
        passes=size.dense_passes,
        **FAIR_RUN,
    )
    plain = [label for label in DENSE if "+decor" not in label]
    decorrelated = [label for label in DENSE if "+decor" in label]
    jobs = searched(f"feed-forward/{name}", base, plain, seeds)
    # Every layer's input, the image too.
    return jobs + searched(f"feed-forward/{name}", base, decorrelated, seeds, decorrelate="hidden+input")
