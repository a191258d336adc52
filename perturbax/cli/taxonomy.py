"""The command `taxonomy`: the family of rules as a table, and measured on a chosen network and task."""

import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perturbax.analysis.taxonomy import CAUSALITY, LOCALITY, compiled, measured, place
from perturbax.cli.commands import progress
from perturbax.errors import ArgumentError, PerturbaxError
from perturbax.experiment import run_folder
from perturbax.experiment.build import build
from perturbax.experiment.config import Experiment
from perturbax.experiment.options import coerce
from perturbax.experiment.program import Compiled
from perturbax.experiment.result import describe
from perturbax.experiment.variants import experiment_from, parse_variant
from perturbax.learning.rule import check
from perturbax.report.taxonomy import measured_rows, write_taxonomy
from perturbax.rules import RULES

WATCHED = 64  # batches that rules with a memory of their own see before they are measured
SETTINGS = {"task": "copy", "cell": "tanh", "units": "32", "batch": "8", "steps": "200"}
ASKED = (
    "bptt",
    "truncated",
    "rtrl",
    "kf-rtrl",
    "uoro",
    "m-order",
    "snap",
    "snap:n=2",
    "d-rtrl",
    "e-prop",
    "e-prop:feedback=random",
    "rflo",
    "one-step",
    "dsf",
    "lra",
    "sltt",
    "ottt",
    "frozen",
    "mirror",
    "feedback",
    "guided",
    "forward",
    "node",
    "node:credit=same-step",
    "innovation",
    "activity",
    "weight",
    "evolution",
    "pes",
    "reward",
)


def taxonomy_command(
    given: dict[str, Any],
    settings: dict[str, dict[str, str]],
    rules: str | None,
    draws: str | None,
    out: str | None,
) -> int:
    """Print the family; with out, measure its members there and write taxonomy.json and taxonomy.html."""
    number = coerce("draws", draws or "32", int)
    if out is None:
        if given or any(settings.values()) or rules or draws:
            raise ArgumentError(
                "what is measured goes to a folder: name --out, or leave the other arguments away"
            )
        _show_family()
        return 0
    folder = Path(out)
    run_folder.refuse_occupied(folder)
    if settings["rule"]:
        raise ArgumentError("settings of a rule belong in --rules, as in snap:n=2")
    given = {**{k: v for k, v in SETTINGS.items() if k != "steps" or "passes" not in given}, **given}
    variants = [parse_variant(text.strip()) for text in (rules or ",".join(ASKED)).split(",") if text.strip()]
    if not variants:
        raise ArgumentError("--rules names no rule")
    lead = build(experiment_from(Experiment(), given | {"rule": "bptt"}, settings))
    net, xs, ys, batches, key = _trained(lead)
    works, refused = [], []
    with progress("taxonomy") as bar:
        for i, variant in enumerate(variants):
            bar(i, 2 * len(variants), math.nan)
            e = experiment_from(Experiment(), given | variant.fields, settings | {"rule": variant.options})
            rule = build(e).rule
            try:
                check(rule, net)
                works.append(compiled(variant.label, rule, lead.task.loss, net, batches, key))
            except PerturbaxError as error:
                if rules:
                    raise
                refused.append({"name": variant.label, "reason": str(error)})
        done = [len(variants)]

        def tick() -> None:
            done[0] += 1
            bar(done[0] + len(refused), 2 * len(variants), math.nan)

        found = measured(works, lead.task.loss, net, (xs, ys), number, key, tick)
    data = run_folder.plain(describe(lead) | {"draws": number, "rules": found, "refused": refused})
    _show_measured(data)
    print(f"taxonomy: {write_taxonomy(data, folder)}")
    return 0


def _trained(lead: Any) -> tuple:
    """Return (network after the steps by BPTT, a fresh batch, batches to watch with it last, key)."""
    made = Compiled(lead)
    state = made.start(lead.experiment.seed)
    (state,), losses, _, _ = made.advance([state], lead.experiment.steps or 0)
    if not jnp.isfinite(losses).all():
        raise PerturbaxError("the loss was no longer finite while the network was trained (try a lower --lr)")
    key = jr.fold_in(jr.PRNGKey(lead.experiment.seed), 2**31 - 3)  # data that no training step draws
    sample = jax.jit(lambda k: lead.task.sample(k, lead.experiment.batch or 1))
    batches = [sample(jr.fold_in(key, i)) for i in range(WATCHED + 1)]
    return state.learner.net, *batches[-1], batches, jr.fold_in(key, WATCHED + 1)


def _show_family() -> None:
    """Print where every rule stands."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for head in ("rule", "a synapse knows", "speaks", "estimates", "cost", "memory"):
        table.add_column(head, no_wrap=head == "rule")
    for locality in LOCALITY:
        for name, cls in RULES.items():
            where = place(cls())
            if where.locality == locality:
                table.add_row(
                    *map(Text, (name, locality, where.causality, where.target, where.cost, where.memory))
                )
        table.add_section()
    console.print(table)
    console.print()
    for title, words in (("a synapse knows", LOCALITY), ("speaks", CAUSALITY)):
        for word, meaning in words.items():
            console.print(Text(f"{title} - {word}: {meaning}", style="dim"))


def _show_measured(data: dict[str, Any]) -> None:
    """Print what was measured."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    heads, lines = measured_rows(data)
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < 3 else "right", no_wrap=True)
    for line in lines:
        table.add_row(*map(Text, line))
    console.print(table)
    for item in data["refused"]:
        console.print(Text(f"left out: {item['name']}: {item['reason']}", style="dim"))
