"""Which rule learns on which cell, by trying: the second table of docs/taxonomy.md.

Nothing is computed: JAX traces shapes through a network of 4 inputs, 3 units and 2 outputs.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from harness import table

from perturbax.cells import CELLS
from perturbax.cells.stack import stack
from perturbax.errors import LayerError
from perturbax.learning.rule import SequenceRule, StepRule, check_derivatives
from perturbax.network.network import Network
from perturbax.rules import RULES

HIDDEN = tuple(cell for cell in CELLS if not cell.endswith("readout"))
"""Cells that hidden layers are made of: the columns of the table."""

Refusals = Mapping[str, Mapping[str, str]]  # rule -> cell -> why it does not learn there, "" where it does


def refusal(rule: str, cell: str) -> str:
    """Return why a rule with its default settings cannot learn on a cell; nothing where it can.

    Traced is one step of a rule that says something at every step, else one update from a sequence.

    Arguments:
        rule: its name in `px.RULES`.
        cell: its name in `px.CELLS`.
    """
    made, net = RULES[rule](), _tiny(cell)
    kind = jnp.result_type(float)
    xs, ys = jax.ShapeDtypeStruct((2, 1, 4), kind), jax.ShapeDtypeStruct((2, 1, 2), kind)
    x, y = jax.ShapeDtypeStruct((1, 4), kind), jax.ShapeDtypeStruct((1, 2), kind)
    key = jax.eval_shape(lambda: jr.key(0))
    try:
        check_derivatives(made, net)
        if isinstance(made, StepRule):
            jax.eval_shape(lambda *args: _first_step(made, *args), net, x, y, key)
        else:
            jax.eval_shape(lambda *args: _first_update(made, *args), net, xs, ys, key)
    except LayerError as error:
        return re.sub(r"^layer 0 \(\w+\):? |^\w+: ", "", str(error))  # the column says which layer
    return ""


@cache
def _tiny(cell: str) -> Network:
    """Return 3 units of a cell on 4 inputs, for `conv` an image of 2 x 2, and a readout of 2 outputs."""
    return Network(stack(CELLS[cell], (4, 2), (3,), jr.key(0)))


def _mse(y: jax.Array, target: jax.Array) -> jax.Array:
    """Return the squared error of each example, `(B,)`."""
    return jnp.mean((y - target) ** 2, -1)


def _first_update(rule: SequenceRule, net: Network, xs: jax.Array, ys: jax.Array, key: jax.Array) -> Any:
    """Make the first update of a rule for whole sequences; xs `(T, B, n_in)`, ys `(T, B, n_out)`."""
    return rule.update(rule.init_state(net, xs[0], key), net, xs, ys, _mse, key)


def _first_step(rule: StepRule, net: Network, x: jax.Array, target: jax.Array, key: jax.Array) -> Any:
    """Make the first step of a rule as `learning/sequence.py` does; x `(B, n_in)`, target `(B, n_out)`."""
    carry = rule.init_sequence(net, rule.init_state(net, x, key), x, key)
    carry, noise = rule.draw(net, carry, x[None], key[None])  # of a block of one step
    first_noise = jax.tree.map(lambda block: block[0], noise)
    return rule.step(net, carry, x, lambda y: _mse(y, target), first_noise)[0]


def refusals() -> dict[str, dict[str, str]]:
    """Try every rule on every cell."""
    return {rule: {cell: refusal(rule, cell) for cell in HIDDEN} for rule in RULES}


def written(found: Refusals) -> str:
    """Return refusals as Markdown: a table of yes and no, and a list of reasons."""
    rows = []
    reasons: dict[str, dict[str, list[str]]] = {}  # reason -> rule -> cells
    for rule, by_cell in found.items():
        rows.append([f"`{rule}`", *("no" if why else "yes" for why in by_cell.values())])
        for reason in sorted(set(by_cell.values()) - {""}):
            cells = [cell for cell, why in by_cell.items() if why == reason]
            reasons.setdefault(reason, {})[rule] = cells
    lines = []
    for reason, by_rule in reasons.items():
        rules_on: dict[str, list[str]] = {}
        for rule, cells in by_rule.items():
            rules_on.setdefault(", ".join(cells), []).append(f"`{rule}`")
        lines += [f"- {', '.join(rules)} on {cells}: {reason}" for cells, rules in rules_on.items()]
    return "\n".join([table(["rule", *HIDDEN], rows), "", *lines])


def read(text: str) -> dict[str, dict[str, str]]:
    """Return the refusals that `written` wrote as Markdown."""
    grid, _, listed = text.strip().partition("\n\n")
    head, _, *lines = (line.strip("| ").split(" | ") for line in grid.splitlines())
    found: dict[str, dict[str, str]] = {}
    for rule, *answers in lines:
        found[rule.strip("`")] = dict(zip(head[1:], answers, strict=True))
    reasons: dict[tuple[str, str], str] = {}
    for line in listed.splitlines():
        rules, cells, reason = re.fullmatch(r"- (.*?) on ([\w, -]+): (.*)", line).groups()  # pyright: ignore
        for rule in re.findall(r"`(.*?)`", rules):
            reasons |= {(rule, cell): reason for cell in cells.split(", ")}
    for rule, by_cell in found.items():
        for cell, answer in by_cell.items():
            by_cell[cell] = reasons[rule, cell] if answer == "no" else ""
    return found
