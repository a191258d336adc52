"""Confusion matrices: what a run counts, and what a report shows of it."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

from perturbax.report.compare import Section, VariantRuns
from perturbax.report.confusion import confusion_tables
from perturbax.report.read import Run
from perturbax.tasks import DelayedXor, Evidence


def test_answers_are_counted_where_they_are_asked_for():
    task = DelayedXor()
    target = jnp.eye(2)[jnp.array([[0, 0, 1], [1, 1, 1]])]  # (T, B, classes)
    y = jnp.eye(2)[jnp.array([[0, 1, 1], [1, 0, 0]])]
    assert task.details(y, target) == {"confusion": {"classes": ["0", "1"], "counts": [[1, 1], [2, 2]]}}
    assert task.details(y, target.at[1].set(jnp.nan))["confusion"]["counts"] == [[1, 1], [0, 1]]


def test_many_classes_are_not_kept():
    class Many(Evidence):
        classes = property(lambda self: 41)

    assert Many().details(jnp.zeros((1, 1, 41)), jnp.zeros((1, 1, 41))) == {}


def drawn(*kept):
    """The HTML for variants that have kept these confusions, and what a reader sees of it."""
    results = [None if one is None else {"confusion": one} for one in kept]
    runs = [Run(Path("run"), {"experiment": {}}, [], result, None) for result in results]
    variants = tuple(VariantRuns(f"rule {i}", (run,)) for i, run in enumerate(runs))
    html = confusion_tables(Section("series", {}, variants))
    return html, " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_report_shows_counts_and_shares():
    kept = {"classes": ["a<b", "walks"], "counts": [[3, 1], [0, 1200]]}
    html, said = drawn(kept, None)
    assert "a&lt;b 3 1 75%" in said
    assert "walks 0 1,200 100%" in said
    assert html.count('class="confusion"') == 1
    assert "rule 0" in said


@pytest.mark.parametrize(
    "damaged",
    [
        [],
        {"classes": ["a", "b"]},
        {"classes": ["a", "b"], "counts": [[1, 2]]},
        {"classes": ["a", "b"], "counts": [[1, 2], [3]]},
        {"classes": ["a", "b"], "counts": [[1, 2], [3, "x"]]},
        {"classes": ["a", "b"], "counts": [[1, 2], [3, -1]]},
        {"classes": [], "counts": []},
    ],
)
def test_damaged_counts_are_left_out(damaged):
    assert drawn(damaged, None) == ("", "")


def test_a_class_that_was_never_right_has_no_share():
    counts = [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    _, said = drawn({"classes": ["\n", " ", "x" * 30], "counts": counts})
    assert "&#x27;\\n&#x27; 1 0 0 100%" in said
    assert "x" * 15 + "\u2026 0 0 0 \u2013" in said
