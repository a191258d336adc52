import math
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from made_runs import BASELINES, make
from matplotlib.backends.backend_svg import FigureCanvasSVG

from perturbax.cells import CELLS
from perturbax.errors import ArgumentError, StoreError
from perturbax.papers import CITATIONS
from perturbax.report import write_report
from perturbax.report.axes import spread
from perturbax.report.compare import Stat, sections, t_quantile
from perturbax.report.css import COLOURS
from perturbax.report.curves import curve
from perturbax.report.numbers import count, interval, memory, rounded, short
from perturbax.report.read import read_runs, run_folders
from perturbax.report.style import looks
from perturbax.rules import RULES


def draw(root: Path) -> str:
    """Report on every run folder below a folder."""
    return write_report(sorted(p for p in root.iterdir() if p.is_dir()), root / "report.html").read_text()


def told(root: Path) -> str:
    """Report as `draw` does, but for the strokes of the figures, which take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasSVG, "print_svg", lambda _, file, **__: file.write("<svg></svg>"))
        return draw(root)


def text(html: str) -> str:
    """Return what a reader sees, spaces normalised."""
    bare = re.sub(r"<(style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    bare = re.sub(r"<[^>]+>", "", re.sub(r"</(td|th|tr|p|li|h\d|caption)>", " ", bare))
    return " ".join(bare.replace("&nbsp;", " ").replace("&#x27;", "'").split())


def verdicts(html: str) -> list[str]:
    """Return the sentences of the verdict box."""
    box = re.search(r'<div class="verdicts">.*?</div>', html, re.DOTALL)
    return [text(item) for item in re.findall(r"<li>(.*?)</li>", box[0])] if box else []


def rows_of_table(html: str, name: str) -> list[list[str]]:
    """Return the cells of each row of the table of that class, its heads first."""
    table = re.search(rf'<table class="{name}">.*?</table>', html, re.DOTALL)
    assert table
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.DOTALL)
    return [[text(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", r, re.DOTALL)] for r in rows]


def row(html: str, label: str) -> list[str]:
    """Return the cells of a row of the results table."""
    return next(r for r in rows_of_table(html, "results") if r[0] == label)


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects ids and links."""

    def __init__(self, html: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(key, value or "") for key, value in attrs]
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(key, value or "") for key, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# statistics


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [(1, 12.70620474), (2, 4.30265273), (3, 3.18244631), (4, 2.77644511), (9, 2.26215716), (30, 2.04227246)],
)
def test_t_quantile(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, abs=1e-8)


def test_interval_of_known_values(tmp_path):
    stat = Stat.of([1.0, 2.0, math.nan, 3.0])
    assert (stat.mean, stat.half) == (2.0, pytest.approx(4.30265273 / math.sqrt(3)))
    assert Stat.of([0.1] * 3).half == 0.0
    assert math.isnan(Stat.of([5.0]).half)
    assert not Stat.of([math.nan])
    for seed, mse in enumerate((1.0, 2.0, 3.0)):
        make(tmp_path, seed=seed, mse=mse)
    make(tmp_path, "bptt", mse=0.5)
    html = told(tmp_path)
    assert row(html, "node")[1:4] == ["3", "2.00 ± 2.48", "4.00"]
    assert row(html, "bptt")[1:4] == ["1", "0.500", "1.00"]
    assert row(html, "linear")[2] == "2.00"
    assert "<strong>0.500" in html
    assert "<strong>2.00" not in html


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (rounded(0.0123456), "0.0123"),
        (rounded(0.00001234), "1.23×10⁻⁵"),
        (rounded(9.999), "10.0"),
        (rounded(123456.7), "123,457"),
        (rounded(0.0), "0.00"),
        (rounded(math.nan), "–"),
        (rounded(-math.inf), "-∞"),
        (interval(Stat((1.0, 2.0), 0.012343, 0.00021)), "0.01234 ± 0.00021"),
        (interval(Stat((1.0, 2.0), 1.2343e-7, 2.1e-9)), "(1.234 ± 0.021)×10⁻⁷"),
        (interval(Stat((1.0, 2.0), 50.94, 3.71)), "50.9 ± 3.7"),
        (count(12800.0), "12,800"),
        (count(math.nan), "–"),
        (memory(3.1e8), "310 MB"),
        (short(1500.0), "1.5k"),
        (short(1e-5), "10⁻⁵"),
        (short(2e-5), "2×10⁻⁵"),
    ],
)
def test_numbers_as_text(given, expected):
    assert given == expected


def test_curve_averages_seeds_step_by_step(tmp_path):
    for seed, values in enumerate(([4.0, 1.0, 1.0], [2.0, 3.0, math.nan])):
        lines = [
            {"step": i, "updates": i, "seconds": i * (seed + 1.0), "valid_loss": v}
            for i, v in enumerate(values)
        ]
        make(tmp_path, seed=seed, lines=lines)
    drawn = curve(sections(read_runs(sorted(tmp_path.iterdir())))[0].variants[0], "seconds")
    assert drawn.x.tolist() == [0.0, 1.5, 2.0]
    assert drawn.mean.tolist() == [3.0, 2.0, 1.0]
    assert drawn.low.tolist() == [2.0, 1.0, 1.0]
    assert drawn.high.tolist() == [4.0, 3.0, 1.0]


def test_diverged_seed_leaves_the_mean(tmp_path):
    for seed, values in enumerate(([4.0, 2.0, 1.0], [4.0, 2.0, 1e30])):
        lines = [{"step": i, "updates": i, "valid_loss": v} for i, v in enumerate(values)]
        make(tmp_path, seed=seed, lines=lines, result={"status": "diverged" if seed else "finished"})
    drawn = curve(sections(read_runs(sorted(tmp_path.iterdir())))[0].variants[0], "updates")
    assert drawn.mean.tolist() == [4.0, 2.0, 1.0]
    assert drawn.ends == [(1.0, 2.0)]


@pytest.mark.parametrize(
    "places", [[], [0.5], [0.1, 0.1, 0.1], [0.98, 0.99, 1.0], [0.0, 0.5, 0.52, 1.0], [0.5] * 40]
)
def test_spread_labels_keep_apart_and_inside(places):
    out = spread(places, 0.06)
    assert all(-1e-9 <= p <= 1 + 1e-9 for p in out)
    gap = min(0.06, 1 / max(len(places) - 1, 1))
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(out))


# verdicts


@pytest.mark.parametrize(
    ("mse", "trained", "beats_linear"), [(0.5, True, True), (1.0, False, True), (2.0, False, False)]
)
def test_verdicts_say_exactly_what_is_so(tmp_path, mse, trained, beats_linear):
    make(tmp_path, "node", mse=mse)
    make(tmp_path, "frozen", mse=1.0)
    expected = (
        []
        if trained
        else [
            f"node has not trained the recurrence: its test mse of {mse:.2f} does not beat the frozen "
            "reservoir's 1.00."
        ]
    )
    expected += (
        [] if beats_linear else [f"node does not beat the linear model: test mse {mse:.2f} against 2.00."]
    )
    assert verdicts(told(tmp_path)) == expected


def test_verdict_compares_means_over_seeds(tmp_path):
    for seed, (node, frozen) in enumerate([(0.5, 1.0), (2.5, 1.2)]):
        make(tmp_path, "node", seed, node)
        make(tmp_path, "frozen", seed, frozen)
    assert verdicts(told(tmp_path)) == [
        "node has not trained the recurrence: its test mse of 1.50 does not beat the frozen reservoir's 1.10."
    ]


def test_missing_comparisons_are_said(tmp_path):
    make(tmp_path, "node", result={"baselines": {"mean": {"loss": 3.0}}})
    said = verdicts(told(tmp_path))
    assert [line.split(" is in")[0] for line in said] == ["No frozen reservoir", "No linear model"]


def test_frozen_reference_has_the_same_network(tmp_path):
    make(tmp_path, "node", mse=1.0, cell="gru", name="node-gru")
    make(tmp_path, "node", mse=1.0)
    make(tmp_path, "frozen", mse=0.5)
    assert verdicts(told(tmp_path)) == [
        "node has not trained the recurrence: its test mse of 1.00 does not beat the frozen reservoir's "
        "0.500.",
        "node-gru has no frozen reservoir of its own network to be compared with.",
    ]


def test_frozen_reference_is_decorrelated_alike(tmp_path):
    make(tmp_path, "activity", mse=0.8, decorrelate="hidden")
    make(tmp_path, "frozen", mse=1.0)
    make(tmp_path, "frozen", mse=0.7, decorrelate="hidden")
    assert verdicts(told(tmp_path)) == [
        "activity+decor has not trained the recurrence: its test mse of 0.800 does not beat the frozen "
        "reservoir's 0.700 (frozen+decor)."
    ]


def test_solved_reservoir_stands_in_for_a_frozen_run(tmp_path):
    own = {"baselines": {**BASELINES, "reservoir": {"loss": 0.6, "mse": 0.6}}}
    make(tmp_path, "node", mse=0.5, result=own)
    make(tmp_path, "activity", mse=0.7, result=own)
    html = told(tmp_path)
    assert verdicts(html) == [
        "activity has not trained the recurrence: its test mse of 0.700 does not beat the 0.600 of its own "
        "untrained reservoir with a solved readout."
    ]
    assert '<b class="rule">node</b> beats the frozen reservoir' in html
    make(tmp_path, "frozen", mse=0.8, result=own)
    assert verdicts(told(tmp_path)) == [
        "activity beats the frozen run but not its own untrained reservoir with a solved readout: "
        "test mse 0.700 against 0.600."
    ]


def test_reservoirs_of_different_networks_are_kept_apart(tmp_path):
    for cell, mse in (("tanh", 0.6), ("gru", 0.4)):
        result = {"baselines": {"reservoir": {"mse": mse}, "linear": {"mse": 2.0}}}
        make(tmp_path, "node", mse=0.5, cell=cell, units=[64, 32], name=f"node-{cell}", result=result)
    html = told(tmp_path)
    assert row(html, "reservoir, tanh 64-32")[2] == "0.600"
    assert row(html, "reservoir, gru 64-32")[2] == "0.400"
    assert [line.split(":")[0] for line in verdicts(html)] == ["node-gru has not trained the recurrence"]


def test_mishaps_are_named(tmp_path):
    make(tmp_path, "frozen", mse=1.0)
    make(tmp_path, "node", 0, 0.5)
    make(tmp_path, "node", 1, None, result={"status": "diverged", "diverged_at": 1280})
    make(tmp_path, "activity", 0, 0.6, result={"status": "interrupted", "steps": 3, "devices": 4})
    make(tmp_path, "weight", 4, result=None)
    html = told(tmp_path)
    assert "2.50 + 1.50 on 4 devices" in row(html, "activity")
    assert verdicts(html) == [
        "node diverged with seed 1 at step 1,280.",
        "weight has no result yet for seed 4 (still running, or stopped without a word, logged up to step 4 "
        "of 4).",
        "activity was interrupted with seed 0 after 3 steps.",
    ]
    assert row(html, "node")[1] == "1 of 2"
    assert row(html, "node")[-1] == "1 finished1 diverged"
    assert row(html, "weight")[-1] == "running"
    assert "Every variant has one seed only" in html


UNTOLD = "This task does not tell these rules apart: between best and worst their test mse differs by "
FROZEN_TOO = "; a frozen reservoir does as well, so that the recurrence need not be trained here"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"node": [1.0], "bptt": [1.05], "frozen": [2.0]}, "5.0%, with a single seed to go by"),
        ({"node": [1.0], "bptt": [1.05], "frozen": [1.08]}, f"5.0%, with a single seed to go by{FROZEN_TOO}"),
        (
            {"node": [1.0], "bptt": [1.0], "frozen": [0.5]},
            f"nothing, with a single seed to go by{FROZEN_TOO}",
        ),
        ({"node": [1.0], "bptt": [1.15], "frozen": [2.0]}, None),
        ({"node": [1.0], "frozen": [1.0]}, None),  # one rule has no rival
        (
            {"node": [1.0, 1.1], "bptt": [1.05, 1.15], "frozen": [2.0, 2.1]},
            "4.8%, and their intervals overlap",
        ),
        ({"node": [1.0, 1.001], "bptt": [1.09, 1.091], "frozen": [2.0, 2.1]}, None),  # small, but settled
        ({"node": [1.0, 3.0], "bptt": [0.5, 0.7], "frozen": [4.0, 4.1]}, None),  # overlap, but far from equal
        ({"node": [1.0], "weight": [1.08], "bptt": [0.95], "frozen": [2.0]}, None),  # neighbours, but not all
    ],
)
def test_a_task_that_tells_no_rules_apart_is_flagged(tmp_path, values, said):
    for rule, each in values.items():
        for seed, mse in enumerate(each):
            make(tmp_path, rule, seed, mse)
    html = told(tmp_path)
    assert [v for v in verdicts(html) if v.startswith("This task")] == ([f"{UNTOLD}{said}."] if said else [])
    assert ("The task does not tell these rules apart." in text(html)) == bool(said)


def test_rules_that_were_told_the_same_are_compared_without_a_word(tmp_path):
    make(tmp_path, "node", mse=1.0)
    make(tmp_path, "weight", mse=1.5)
    assert "not told the same" not in text(told(tmp_path))
    make(tmp_path, "activity", mse=0.5)
    said = text(told(tmp_path))
    assert "The best that is told the score alone is node: 1.00" in said
    assert "They were not told the same. activity: score and own activity; node: the score alone." in said


def test_summary(tmp_path):
    for seed, (node, activity, bptt, frozen) in enumerate([(0.9, 0.5, 0.2, 1.0), (1.0, 0.52, 0.22, 1.1)]):
        for rule, mse in (("node", node), ("activity", activity), ("bptt", bptt), ("frozen", frozen)):
            make(tmp_path, rule, seed, mse)
    lead = re.search(r'<p class="lead">(.*?)</p>', told(tmp_path))
    assert lead
    assert text(lead[1]) == (
        "On held-out test data bptt does best, with a mean squared error of 0.210 ± 0.127 degree² (mean of 2 "
        "seeds and 95% interval). The best rule that needs no derivatives is activity: 0.510 ± 0.127, 2.43 "
        "times that of BPTT. The best that is told the score alone is node: 0.950 ± 0.635, 4.52 times that "
        "of BPTT. All trained variants beat the frozen reservoir on average over seeds. For activity and "
        "node that is not settled: their intervals overlap with the reservoir's. They were not told the "
        "same. bptt: output error, stored sequence, derivatives and transposed weights; activity: score and "
        "own activity; node: the score alone; frozen: the output error alone."
    )


# the page


EVIL = "<script>alert('x')</script>\"&$\\frac{1}$ url(#a) \ud800\x00"


def test_a_headline_says_first_that_no_rule_beats_a_baseline(tmp_path):
    lines = BASELINES | {"persistence": {"loss": 0.25, "mse": 0.25}, "reservoir": {"loss": 0.1, "mse": 0.1}}
    make(tmp_path / "worse", "node", mse=4.0, result={"baselines": lines})
    make(tmp_path / "worse", "bptt", mse=3.0, result={"baselines": lines})
    said = text(told(tmp_path / "worse"))
    sentence = (
        "No rule beats the best baseline. Persistence, which needs no network, has a mean squared error of "
        "0.250; the best rule, bptt, has 3.00, 12.0 times as much. On held-out test data bptt does best of "
        "the rules"
    )
    assert sentence in said
    make(tmp_path / "better", "node", mse=0.2, result={"baselines": lines})
    assert "No rule beats the best baseline" not in text(told(tmp_path / "better"))


def test_measures_and_coverage_of_forecasts_have_a_table(tmp_path):
    assert "Coverage" not in text(told(make(tmp_path / "none").parent))
    for seed, scale in ((0, 1.0), (1, 1.2)):
        test = {"loss": 1.0, "mse": 1.0, "mae": 0.5 * scale, "rmse": 1.0, "smape": 20.0, "mase": 0.75 * scale}
        intervals = {"80": {"coverage": 0.81 * scale / 1.1}, "95": {"coverage": 0.95}}
        lines = {"persistence": {"loss": 4.0, "mse": 4.0, "mae": 2.0, "rmse": 2.0, "smape": 90, "mase": 3.0}}
        make(tmp_path / "some", seed=seed, test=test, result={"baselines": lines, "intervals": intervals})
    html = told(tmp_path / "some")
    rows = rows_of_table(html, "forecasts")
    assert rows[0] == ["variant", "MAE", "RMSE", "sMAPE", "MASE", "coverage of 80%", "coverage of 95%"]
    assert rows[1][0] == "node"
    assert rows[1][1].startswith("0.550 ± ")
    assert rows[1][5:] == ["81.0", "95.0"]
    assert rows[2] == ["persistence", "2.00", "2.00", "90.0", "3.00", "\u2013", "\u2013"]
    results = re.search(r'<table class="results">.*?</table>', html, re.DOTALL)
    assert results
    assert "MAE" not in results[0]


def test_each_target_and_horizon_has_a_row(tmp_path):
    test = {"loss": 1.0, "mse": 1.0, "mae": 0.5, "rmse": 1.0, "smape": 20.0, "mase": 0.75}
    for seed, scale in ((0, 1.0), (1, 3.0)):
        outputs = [
            {"target": target, "horizon": h, "mse": (scale * h) ** 2, "mae": h, "smape": 10 * h, "mase": None}
            for target in ("a<b", "c")
            for h in (1, 24)
        ]
        make(tmp_path / "some", seed=seed, test=test, result={"outputs": outputs})
    html = told(tmp_path / "some")
    rows = rows_of_table(html, "outputs")
    assert rows[0] == ["variant", "target", "horizon", "MAE", "RMSE", "sMAPE", "MASE"]
    assert [row[:3] for row in rows[1:]] == [
        ["node", target, h] for target in ("a&lt;b", "c") for h in ("1", "24")
    ]
    assert rows[2][3:] == ["24.0 \u00b1 0", rows[2][4], "240 \u00b1 0", "\u2013"]
    assert rows[2][4].startswith("48.0 \u00b1 ")  # the mean of 24 and 72
    make(tmp_path / "single", test=test, result={"outputs": "none"})
    assert 'class="outputs"' not in told(tmp_path / "single")


def test_everything_is_escaped(tmp_path):
    baselines = {EVIL: {"loss": 1.0, "mse": 1.0, EVIL: 1.0}}
    facts = {"unit": EVIL, "task": {"summary": EVIL, "papers": [EVIL]}}
    result = {"status": EVIL, "baselines": baselines, "test": {"mse": 1.0, EVIL: 1.0}}
    for rule in ("frozen", "node"):
        make(tmp_path, rule, name=EVIL, cell=EVIL, facts=facts, result=result, task_options={EVIL: EVIL})
    html = draw(tmp_path)
    page = Page(html)
    assert page.open == []
    assert html.count("<script") == 1
    assert "&lt;script&gt;" in html
    assert not re.search("[\x00\ud800]", html)


def test_page_is_self_contained_and_well_formed(tmp_path):
    make(tmp_path, "node")
    make(tmp_path, "frozen", seed=1)
    make(
        tmp_path,
        "bptt",
        task="copy",
        test={"loss": 0.1, "recall": 0.9},
        predictions=(np.eye(10), np.eye(10) / 2),
    )
    html = draw(tmp_path)
    page = Page(html)
    assert page.open == []
    assert not page.tags & {"link", "iframe", "object", "base"}
    assert re.findall(r"<script[^>]*>", html) == ["<script>"]  # its own, which the page's policy names
    assert not re.search(r"https?:|//\w|@import|<image[^>]+href=\"(?!data:)|\bsrc=|url\((?!#)", html)
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    targets = [value[1:] for key, value in page.attributes if key == "href" and value.startswith("#")]
    targets += re.findall(r"url\(#([^)]+)\)", html) + [
        v for k, v in page.attributes if k == "aria-labelledby"
    ]
    assert set(targets) <= set(ids)
    assert len(re.findall(r'role="img" aria-labelledby', html)) == html.count("<title id=")
    assert all(re.search(r"\bscope=", head) for head in re.findall(r"<th\b[^>]*>", html))


def test_same_folders_same_bytes(tmp_path):
    pages = []
    for place in ("one", "two"):
        root = tmp_path / place
        for rule in ("node", "frozen", "bptt", "activity"):
            make(root, rule, mse=0.7)
        make(root, "activity", mse=0.6, decorrelate="hidden")
        folders = sorted(root.iterdir())
        write_report(folders if place == "one" else [*reversed(folders), folders[0]], root / "report.html")
        pages.append((root / "report.html").read_bytes())
    code = (
        "import sys; from pathlib import Path; from perturbax.report import write_report;"
        "root = Path(sys.argv[1]); write_report(sorted(p for p in root.iterdir() if p.is_dir()), root / "
        "'report.html')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "two")], check=True, env=environment)
    pages.append((tmp_path / "two" / "report.html").read_bytes())
    assert pages[0] == pages[1] == pages[2]


def test_report_needs_no_jax(tmp_path):
    make(tmp_path, "node")
    code = (
        "import sys; from pathlib import Path; from perturbax.report import write_report;"
        "write_report([Path(sys.argv[1])], Path(sys.argv[2])); assert 'jax' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    arguments = [str(next(tmp_path.iterdir())), str(tmp_path / "r.html")]
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, env=environment)


def test_exactly_the_used_papers_are_cited(tmp_path):
    make(tmp_path, "node")
    make(tmp_path, "frozen")
    used = ("fiete2006", "jaeger2001", "zhou2021", "elman1990")
    assert _cited(told(tmp_path)) == sorted(CITATIONS[key] for key in used)
    make(tmp_path, "activity", decorrelate="hidden")
    assert _cited(told(tmp_path)) == sorted(CITATIONS[key] for key in (*used, "dalm2023", "ahmad2023"))


def _cited(html: str) -> list[str]:
    listed = html[html.index("<h2>References") :]
    return [
        text(item.split("<span")[0]).replace("&quot;", '"') for item in re.findall(r"<li>(.*?)</li>", listed)
    ]


@pytest.mark.parametrize("maker", [*RULES.values(), *CELLS.values()], ids=lambda maker: maker.__name__)
def test_every_paper_of_a_rule_or_cell_is_known(maker):
    assert set(getattr(maker, "facts", maker).papers) <= CITATIONS.keys()


def test_rules_are_grouped_by_what_they_use(tmp_path):
    for rule in ("bptt", "frozen", "activity", "node", "weight"):
        make(tmp_path, rule)
    html = told(tmp_path)
    groups = re.findall(r'<tr class="group"><th[^>]*>(.*?)</th>', html)
    assert groups == [
        "Uses the score alone",
        "Uses score and own activity",
        "Uses the output error alone",
        "Uses output error, stored sequence, derivatives and transposed weights",
        "Baselines: no recurrent training",
    ]
    first = html[html.index(groups[0]) : html.index(groups[1])]
    assert re.findall(r"</svg>([\w-]+)</th>", first) == ["node", "weight"]


def test_best_recall_is_the_highest(tmp_path):
    make(tmp_path, "node", task="copy", test={"loss": 0.2, "recall": 0.5})
    make(tmp_path, "bptt", task="copy", test={"loss": 0.1, "recall": 0.9})
    html = told(tmp_path)
    assert re.findall(r"<strong>(.*?)</strong>", html) == ["0.100", "0.900"]
    assert row(html, "node")[2:5] == ["0.200", "2.00", "0.500"]


def test_one_section_for_each_task_and_its_options(tmp_path):
    make(tmp_path, "node", data="/a/WTH.csv")
    make(tmp_path, "frozen", data="b/WTH.csv")
    make(tmp_path, "node", data="/a/WTH.csv", task_options={"horizon": 48})
    make(tmp_path, "node", task="copy", test={"loss": 0.2})
    html = told(tmp_path)
    assert re.findall(r"<h2>(.*?)</h2>", html)[:3] == [
        "copy: tanh cell, 8 units",
        "weather (horizon=24): tanh cell, 8 units",
        "weather (horizon=48): tanh cell, 8 units",
    ]


def test_one_name_with_two_settings_is_two_variants(tmp_path):
    make(tmp_path, "node", 0, 1.0, lr=0.01)
    make(tmp_path, "node", 0, 3.0, lr=0.1)
    html = told(tmp_path)
    assert row(html, "node (lr=0.01)")[2] == "1.00"
    assert row(html, "node (lr=0.1)")[2] == "3.00"


def test_settings_are_split_into_shared_and_differing(tmp_path):
    make(tmp_path, "node", seed=3, rule_options={"sigma": 0.5})
    make(tmp_path, "node", seed=1, rule_options={"sigma": 0.5})
    make(tmp_path, "frozen")
    html = told(tmp_path)
    differing = html[html.index("Differing between") : html.index("Shared by all")]
    assert text(differing) == (
        "Differing between variants variant seeds settings node 1, 3 rule=node rule.sigma=0.5 frozen 0 "
        "rule=frozen"
    )
    assert '<th scope="row">lr</th><td class="text">0.001</td>' in html[html.index("Shared by all") :]


def test_lowest_seed_is_shown_not_the_best(tmp_path):
    make(tmp_path, "node", seed=7, mse=0.1)
    make(tmp_path, "node", seed=3, mse=0.9)
    html = draw(tmp_path)
    assert re.findall(r">(node · seed [^<]*)<", html) == ["node · seed 3 · mse 0.900"]


def test_several_outputs_are_maps(tmp_path):
    truth = np.eye(6)[[0, 0, 1, 4, 5, 5, 2]]
    make(tmp_path, "node", task="copy", test={"loss": 0.1}, predictions=(truth, truth / 2))
    html = draw(tmp_path)
    assert html.count("<image") == 2
    assert "Rows of a map are outputs" in html


def test_variants_of_a_rule_look_alike_but_not_the_same(tmp_path):
    make(tmp_path, "node")
    make(tmp_path, "node", name="node:samples=8", rule_options={"samples": 8})
    make(tmp_path, "activity")
    make(tmp_path, "activity", decorrelate="hidden")
    variants = sections(read_runs(sorted(tmp_path.iterdir())))[0].variants
    styles = dict(zip([v.label for v in variants], looks(variants), strict=True))
    assert styles["activity"].colour == styles["activity+decor"].colour
    assert (styles["activity"].hollow, styles["activity+decor"].hollow) == (False, True)
    assert styles["node"].marker == styles["node:samples=8"].marker
    assert len({(s.colour, s.dash) for s in styles.values()}) == 4
    assert len({(s.dash, s.marker, s.hollow) for s in styles.values()}) == 4  # told apart without colour


# folders that are not as they should be


def test_nothing_stored_yet(tmp_path):
    make(tmp_path, "node", result=None, lines=[], predictions=None)
    seen = text(draw(tmp_path))
    for words in (
        "No run of this task has a test result yet.",
        "No validation loss is logged yet.",
        "No predictions are saved for node.",
        "No run has measured it.",
        "No run has a test value.",
        "has no result yet for seed 0",
    ):
        assert words in seen


@pytest.mark.parametrize(
    "odd", [math.nan, math.inf, -math.inf, None, "text", True, 1e308, 1e-320, 0.0, -1.0, [1]]
)
def test_odd_numbers_do_not_break_the_page(tmp_path, odd):
    line = {"step": 1, "updates": 1, "seconds": 1.0, "forward_passes": 1, "valid_loss": 1.0}
    lines = [
        line,
        {**line, "step": 2, "valid_loss": odd},
        {**line, "step": 3, "updates": odd, "seconds": odd},
    ]
    wild = np.array([[0.0], [1.0], [odd if isinstance(odd, float) else 0.5]])
    odd_baseline = {"linear": {"loss": odd, "mse": odd}}
    result = {
        "seconds": odd,
        "peak_memory_bytes": odd,
        "baselines": odd_baseline,
        "correlation": {"before": odd},
    }
    for seed, predictions in ((0, (wild, wild[::-1])), (1, (np.full((3, 2), wild[2]), np.eye(3)[:, :2]))):
        make(
            tmp_path,
            "node",
            seed,
            test={"mse": odd, "loss": odd},
            lines=lines,
            result=result,
            predictions=predictions,
        )
    make(tmp_path, "frozen", 0, 1.0)
    html = draw(tmp_path)
    assert Page(html).open == []
    assert not re.search(
        r"\b(nan|inf|None|True)\b", re.sub(r"<style>.*?</style>|data:[^\"]*", "", html, flags=re.DOTALL)
    )


def test_half_written_last_line_is_ignored(tmp_path):
    folder = make(tmp_path, "node", result=None)
    before = (folder / "metrics.jsonl").read_text()
    expected = draw(tmp_path)
    (folder / "metrics.jsonl").write_text(before + '{"step": 5, "upda')
    assert draw(tmp_path) == expected


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.jsonl", '{"step": 1}\n{"step": \n{"step": 3}\n', "metrics.jsonl:2: not valid JSON"),
        ("metrics.jsonl", "[1]\n{}\n", "metrics.jsonl:1: not a JSON object"),
        ("config.json", '{"experiment":\n oops}', "config.json:2: not valid JSON"),
        ("config.json", '{"experiment": {}}', "config.json:1: no experiment with a task and a rule"),
        ("config.json", "[" * 100000, "config.json:1: not usable JSON"),
        ("result.json", "", "result.json:1: not valid JSON"),
        ("result.json", '{"seed": ' + "1" * 5000 + "}", "result.json:1: not usable JSON"),
        ("result.json", b"{\n\xff}", "result.json:2: not UTF-8 text"),
        ("predictions.npz", b"PK\x03\x04 torn", "predictions.npz is damaged or cut short"),
    ],
)
def test_corrupt_file_is_named_in_one_line(tmp_path, file, content, message):
    folder = make(tmp_path, "node")
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(StoreError) as caught:
        draw(tmp_path)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"truth": np.zeros((3, 1)), "prediction": np.zeros((4, 1))},
        {"truth": np.zeros((3, 1))},
        {"truth": np.zeros((2, 2, 2)), "prediction": np.zeros((2, 2, 2))},
        {"truth": np.array([{}]), "prediction": np.array([{}])},
        {"truth": np.array(["a"]), "prediction": np.array(["b"])},
    ],
)
def test_unusable_predictions_are_refused(tmp_path, arrays):
    folder = make(tmp_path, "node", predictions=None)
    np.savez(folder / "predictions.npz", **arrays)
    with pytest.raises(StoreError, match=r"predictions\.npz"):
        draw(tmp_path)


def test_not_a_run_folder(tmp_path):
    make(tmp_path, "node")
    (tmp_path / "notes").mkdir()
    with pytest.raises(ArgumentError, match=r"notes is not a run folder: it has no config\.json$"):
        draw(tmp_path)
    with pytest.raises(ArgumentError, match="no run folders"):
        write_report([], tmp_path / "report.html")


def test_folders_of_tune_are_left_out(tmp_path):
    tuned = make(tmp_path, "node", lr=3.0)
    (tuned / "tune.json").write_text("{}")
    run = make(tmp_path, "node")
    (tmp_path / "report.html").touch()
    assert run_folders([tmp_path]) == run_folders(sorted(tmp_path.iterdir())) == [run]
    (tuned / "tune.html").touch()
    with pytest.raises(ArgumentError, match=r"the page of that search is .*tune\.html"):
        run_folders([tuned])


def labels(*folders: Path) -> list[str]:
    """Return the names of the variants of one task."""
    return [v.label for v in sections(read_runs(folders))[0].variants]


def test_variants_of_one_name_are_named_by_what_differs_or_by_folder(tmp_path):
    first = make(tmp_path / "first", "node")
    same = [make(tmp_path / "second", "node"), make(tmp_path / "second", "node", seed=1)]
    assert labels(first, *same) == ["node (first)", "node (second)"]
    one, other = looks(sections(read_runs([first, *same]))[0].variants)
    assert (one.colour, one.dash) != (other.colour, other.dash)
    again = make(tmp_path / "second", "node", seed=1)
    assert labels(*same, again) == ["node (weather-0)", "node (weather-1)", "node (weather-2)"]
    wide = make(tmp_path / "wide", "node", units=[64, 64], cell="gru", cell_options={"bias": True})
    assert labels(first, wide) == ["node (cell=gru, units=64, 64)", "node (cell=tanh, units=8)"]
    many = [
        make(tmp_path / "many", "node", lr=lr, clip=2.0 + lr, rule_options={"x" * 9: lr, "y" * 9: -lr})
        for lr in (0.1, 0.2)
    ]
    assert labels(*many) == ["node (lr=0.1)", "node (lr=0.2)"]
    long = [make(tmp_path / f"long-{c}", "node", rule_options={"feedback": c * 60}) for c in "ab"]
    assert labels(*long) == ["node (long-a)", "node (long-b)"]


def test_values_over_decades_have_geometric_means(tmp_path):
    stat = Stat.of([1e-3, 1e-1], geometric=True)
    assert stat.mean == pytest.approx(1e-2)
    assert stat.high / stat.mean == pytest.approx(stat.mean / stat.low)
    assert interval(Stat.of([1e-3, 2e-3, 1e-1], geometric=True)) == "0.00585 (1.2\u00d710\u207b\u2075 to 2.8)"
    assert Stat.of([0.0, 1.0], geometric=True) == Stat.of([0.0, 1.0])
    for seed, (node, bptt) in enumerate([(1.0, 0.02), (1.2, 0.2), (1.1, 0.021)]):
        make(tmp_path, "node", seed, node)
        make(tmp_path, "bptt", seed, bptt)
    html = told(tmp_path)
    assert row(html, "node")[2] == "1.10 (0.87 to 1.4)"
    assert row(html, "bptt")[2].startswith("0.0438 (")
    assert "Where values span decades: the geometric mean" in text(html)
    assert "(geometric mean of 3 seeds and 95% interval)" in text(html)


def test_simplest_predictors_that_win_are_named(tmp_path):
    lines = {
        "mean": {"mse": 4.0},
        "persistence": {"mse": 0.5},
        "seasonal naive": {"mse": 0.9},
        "linear": {"mse": 5},
    }
    make(tmp_path, "node", mse=1.0, result={"baselines": lines})
    make(tmp_path, "activity", mse=2.0, result={"baselines": lines})
    make(tmp_path, "bptt", mse=0.7, result={"baselines": lines})
    make(tmp_path, "frozen", mse=4.5, result={"baselines": lines})
    said = [line for line in verdicts(told(tmp_path)) if "not beat p" in line]
    persistence = "persistence, the last value that is known (0.500)"
    season = "the seasonal naive forecast, the value of a season before (0.900)"
    assert said == [
        f"node (1.00) and activity (2.00) do not beat {persistence} or {season}, by test mse.",
        f"frozen (4.50) does not beat {persistence}, {season} or the mean of the training part (4.00), "
        "by test mse.",
        f"bptt (0.700) does not beat {persistence}, by test mse.",
    ]


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour (WCAG 2.2, definition of relative luminance)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("screen", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_the_page(screen):
    grounds = {"page": ("ink", "muted", "accent", "bad"), "wash": ("ink", "muted"), "warn-wash": ("ink",)}
    for ground, texts in grounds.items():
        for name in texts:
            pair = sorted(luminance(COLOURS[which][screen]) for which in (ground, name))
            assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (ground, name)  # WCAG 2.2, 1.4.3


def test_boxes_that_scroll_can_be_reached_by_keys_and_figures_suit_narrow_screens(tmp_path):
    name = "node:" + ":".join(f"setting{i}=0.001" for i in range(9))
    make(tmp_path, "node", name=name)
    html = draw(tmp_path)
    boxes = re.findall(r'<div class="scroll"[^>]*>', html)
    assert boxes
    assert all('tabindex="0" role="group" aria-label="' in box for box in boxes)
    assert name.replace(":", ":<wbr>") in html
    for figure in ("correlation", "final"):
        narrow = html.index(f's1-{figure}-narrow-title">')
        size = re.findall(r'viewBox="0 0 (\S+)', html[:narrow])[-1]
        assert float(size) <= 270  # points: as wide as a phone without making letters smaller


def test_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    run = make(tmp_path / "runs", "node")
    out = tmp_path / "pages" / "report.html"
    write_report([run], out)
    before = out.read_bytes()
    make_other = make(tmp_path / "runs", "bptt")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(StoreError, match="No space left on device"):
        write_report([run, make_other], out)
    assert out.read_bytes() == before
    assert os.listdir(out.parent) == ["report.html"]


def test_out_must_be_a_file(tmp_path):
    with pytest.raises(ArgumentError, match="is a folder"):
        write_report([make(tmp_path, "node")], tmp_path)


def test_command_draws_the_page_again(tmp_path):
    run = make(tmp_path / "my runs", "node")
    page = write_report([run], tmp_path / "page.html").read_text()
    assert f"perturbax report \\\n  &#x27;my runs/{run.name}&#x27; \\\n  --out page.html" in page
