"""The page of `tune`: loss against each setting, from tune.json alone."""

import json
import re

import pytest

from perturbax.errors import StoreError
from perturbax.report.tuning import write_tuning

EXPERIMENT = {
    "task": "copy",
    "rule": "node",
    "cell": "tanh",
    "units": [8],
    "batch": 4,
    "steps": 60,
    "lr": 1e-3,
}


def candidate(lr, discount, loss, diverged_at=None, **settings):
    """Return an entry of tune.json."""
    found = {"lr": lr, "decor_lr": None, "discount": discount, "loss": loss, "losses": [loss]}
    return found | {"diverged_at": [diverged_at], "settings": settings}


def drawn(folder, *candidates, seeds=(0,)):
    """Return the page of some candidates, and what a reader sees of it."""
    data = {"experiment": EXPERIMENT, "seeds": list(seeds), "candidates": list(candidates)}
    (folder / "tune.json").write_text(json.dumps(data))
    html = write_tuning(folder).read_text()
    bare = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return html, " ".join(re.sub(r"<[^>]+>", " ", bare).split())


def test_each_setting_has_a_panel_and_each_candidate_a_row(tmp_path):
    tried = [
        candidate(1e-3, 0.9, 0.2, credit="to-go"),
        candidate(1e-2, 0.9, 0.4, credit="<b>"),
        candidate(1e-4, 0.9, 0.8, credit="to-go"),
        candidate(1e30, 0.9, None, 7, credit="to-go"),
    ]
    html, said = drawn(tmp_path, *tried, seeds=(0, 1))
    assert (
        "Of 4 candidates lr=0.001, credit=to-go has the lowest validation loss, 0.200, the mean of 2" in said
    )
    assert "1 diverged." in said
    assert "at the edge" not in said
    assert re.findall(r"Validation loss against ([\w.]+)</title>", html) == ["lr", "credit"]
    assert "1 0.001 0.9 to-go 0.2000 2 0.01 0.9 &lt;b&gt; 0.4000" in said
    assert "4 1e+30 0.9 to-go diverged at step 7" in said


def test_the_edge_and_a_search_that_found_nothing_are_said(tmp_path):
    assert (
        "lr is at the edge of what was tried"
        in drawn(tmp_path, candidate(1, 1, 0.0), candidate(2, 1, 1.0))[1]
    )
    html, said = drawn(tmp_path, candidate(1.0, None, None, 3))
    assert "All 1 candidates diverged" in said
    assert "No setting had more than one candidate." in said


def test_what_tune_has_not_written_is_refused(tmp_path):
    (tmp_path / "tune.json").write_text('{"experiment": 3}')
    with pytest.raises(StoreError, match="not what tune writes"):
        write_tuning(tmp_path)
