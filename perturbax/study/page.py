"""The page of a study: tables, figures, findings and the ledger as Markdown, from its results alone."""

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from perturbax.atomic import write
from perturbax.experiment import run_folder
from perturbax.experiment.options import options
from perturbax.experiment.shown import named_values
from perturbax.moved import old_names
from perturbax.report.compare import Section, Stat, VariantRuns
from perturbax.report.numbers import DASH, count, interval, rounded
from perturbax.rules import RULES
from perturbax.study.gallery import draw
from perturbax.study.ledger import Claim, ledger
from perturbax.study.results import (
    Results,
    generalisation_gap,
    halfway_loss,
    loss_in,
    lowest_by,
    per_update,
    spent_until,
)

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

SOLVED = 0.95  # recall
MEANING = (
    "Test loss: mean and half width of the 95 % t interval over the seeds that did not diverge (NMSE: mean "
    "squared error over the variance of the training targets). lr: the best of the search on validation data "
    "(* at the edge of the list, a better one may lie beyond), decorrelation lr likewise; search: its "
    "forward passes. Training recall and accuracy: of the same networks on data they were trained with. At "
    "equal seconds: lowest validation loss within the time that BPTT took for its whole run."
)


def write_page(root: Path) -> Path:
    """Draw the figures, write ledger.json and reproduction.md; -> path of the page.

    Arguments:
        root: the study's folder.

    Raises StoreError for a folder without a plan, and where the file system refuses.
    """
    results = Results.of(root)
    command = f"{results.plan['command']} --out {shlex.quote(str(root))}"
    captions = draw(results, root / "figures")
    claims = ledger(results)
    run_folder.write_json(root / "ledger.json", [c._asdict() for c in claims])
    parts = [
        _head(results, command),
        _verdicts(claims),
        *(_figure(name, text) for name, text in captions.items() if "accuracy" in name),
    ]
    parts += [_group(results, group) for group in results.sections if _tabled(group)]
    parts += [
        "## Further experiments",
        *(_figure(n, text) for n, text in captions.items() if "accuracy" not in n),
    ]
    parts += [_solved(results), *(_group(results, group) for group in results.sections if not _tabled(group))]
    parts += [_findings(results), _ledger(claims, command)]
    page = root / "reproduction.md"
    write(page, ("\n\n".join(part for part in parts if part) + "\n").encode())
    return page


def _tabled(group: str) -> bool:
    """Whether a group belongs to the comparison of rules, not to the further experiments."""
    return group.split("/")[0] in ("published", "fair", "feed-forward")


def _head(results: Results, command: str) -> str:
    """Return title, the meaning of the columns, command, versions and notes."""
    runs = sum(len(v.runs) for s in results.sections.values() for v in s.variants)
    versions = "; ".join(
        ", ".join(f"{k} {v}" for k, v in one.items()) for one in results.described("versions")
    )
    machines = "; ".join(
        f"{m['processor']}, cores per process {m['cores']}, {m['devices']}"
        for m in results.described("machine")
    )
    notes = "\n".join(f"- {note}" for note in (*results.plan.get("notes", ()), *_former_defaults(results)))
    about = (
        f"from {runs} finished runs. Repeated on one machine with the same versions it gives the same "
        "numbers, times apart; elsewhere sums are rounded otherwise, and losses may differ by some percent. "
        "Finished runs are kept, and figures and tables are drawn from the results alone. Every run has a "
        "folder, and `perturbax run --config RUN/config.json --out FOLDER` does it again, alone. Versions: "
        f"{versions or 'none yet'}. Machine: {machines or 'unknown'}."
    )
    parts = [f"# {results.plan['title']}", MEANING, "Written by", f"    {command}", about, notes]
    return "\n\n".join(part for part in parts if part)


def _before(rule: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the former defaults of a rule whose run has not all of the settings that came since."""
    before = getattr(RULES.get(rule), "before", {})
    return before if before.keys() - own.keys() else {}


def _former_defaults(results: Results) -> list[str]:
    """Return a sentence for each rule that ran with defaults that are not those of today."""
    ran = {}
    for run in (run for s in results.sections.values() for v in s.variants for run in v.runs):
        rule, own = run.experiment["rule"], run.experiment["rule_options"]
        if before := _before(rule, own):
            ran[rule] = {name: own.get(name, value) for name, value in before.items()}
    return [f"`{rule}` ran with {named_values(had)}, its former defaults" for rule, had in ran.items()]


def _figure(name: str, caption: str) -> str:
    """Return a figure with its caption, in Markdown."""
    return f"![{caption}](figures/{name}.svg)\n\n*{caption}*"


def markdown_table(heads: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown.

    Arguments:
        heads: titles of the columns.
        rows: texts of the cells, row by row; `|` in them becomes `/`.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def _group(results: Results, group: str) -> str:
    """The table of one group: every rule, then the baselines."""
    section, searches = results.sections[group], results.searches(group)
    metrics = [
        k
        for k in ("recall", "accuracy", "error_bits", "mse")
        if any(v.stat("test", k) for v in section.variants)
    ]
    seconds = [r.number("seconds") for v in section.variants if v.rule == "bptt" for r in v.runs]
    limit = median(seconds) if seconds else math.inf
    seen = [
        k
        for k in metrics
        if k in ("recall", "accuracy") and any(v.stat("train", k) for v in section.variants)
    ]
    own = any("decor_lr" in one["best"] for one in searches.values())
    heads = [
        "rule",
        f"test loss{loss_in(section.task)}",
        *metrics,
        *(f"training {k}" for k in seen),
        "at equal seconds",
        "lr",
        *["decorrelation lr"] * own,
        "search",
        "passes",
        "updates",
        "seconds",
        "diverged",
    ]
    rows = [_row(v, metrics, seen, limit, searches.get(v.label), own) for v in section.variants]
    for name, own in section.baselines.items():
        known = [interval(own[k]) if k in own else DASH for k in ("loss", *metrics)]
        rows.append([name, *known, *[""] * (len(heads) - len(known) - 1)])
    about = f"{_settings(section)}; {results.seeds(group)} seeds.{_shipped(section)}"
    parts = [f"### {group}", about, markdown_table(heads, rows)]
    return "\n\n".join(parts + ([costs_table(section)] if _tabled(group) else []))


def _row(
    v: VariantRuns,
    metrics: list[str],
    seen: list[str],
    limit: float,
    search: dict[str, Any] | None,
    own: bool,
) -> list[str]:
    """Return a variant as cells of the table; own: whether decorrelation rates were searched."""
    e = v.first.experiment
    diverged = sum(run.status == "diverged" for run in v.runs)
    decor = [_rate(e, "decor_lr", search) if search and "decor_lr" in search["best"] else ""] * own
    timed = (
        Stat.of(lowest_by(run, "seconds", limit) for run in v.runs) if math.isfinite(limit) else Stat.of(())
    )
    return [
        f"`{v.label}`",
        interval(v.stat("test", "loss")),
        *(interval(v.stat("test", k)) for k in metrics),
        *(interval(v.stat("train", k)) for k in seen),
        interval(timed) if timed else DASH,
        _rate(e, "lr", search),
        *decor,
        f"{search['forward_passes']:,}" if search else DASH,
        count(v.stat("forward_passes").mean),
        count(v.stat("updates").mean),
        rounded(v.stat("seconds").mean, 2),
        f"{diverged} of {len(v.runs)}" if diverged else "",
    ]


def _rate(e: dict[str, Any], name: str, search: dict[str, Any] | None) -> str:
    """A rate of a run, with * where the search had it at the edge of its list."""
    tried = [c[name] for c in search["candidates"]] if search else []
    return f"{e[name]:g}{'*' * (e[name] in tried and e[name] in (min(tried), max(tried)))}"


def costs_table(section: Section) -> str:
    """Return a table in Markdown of what each rule spends until it reaches a level, and per update.

    Beside it stands what training leaves behind: generalisation gap and correlations.

    Arguments:
        section: the runs of one task.
    """
    level = halfway_loss([v for v in section.variants if v.rule == "bptt"])
    heads = [
        "rule",
        f"updates to {rounded(level)}",
        "passes",
        "seconds",
        "ms per update",
        "MB",
        "test / training loss",
        "correlation before",
        "after",
    ]
    rows = []
    for v in section.variants:
        spent = [
            median(spent_until(run, axis, level) for run in v.runs)
            for axis in ("updates", "forward_passes", "seconds")
        ]
        numbers = [
            per_update(v).mean,
            v.stat("peak_memory_bytes").mean / 1e6,
            generalisation_gap(v).mean,
            v.stat("correlation", "before").mean,
            v.stat("correlation", "after").mean,
        ]
        texts = [
            say(x) if math.isfinite(x) else "never"
            for say, x in zip((count, count, rounded), spent, strict=True)
        ]
        rows.append([f"`{v.label}`", *texts, *(rounded(x, 2) for x in numbers)])
    about = f"Median over seeds until the validation loss is {rounded(level)}; means otherwise."
    return f"{about}\n\n{markdown_table(heads, rows)}"


def _solved(results: Results) -> str:
    """The longest copy that a rule learns with every seed."""
    longest: dict[str, int] = {}
    for group, section in results.sections.items():
        if group.startswith("length/"):
            for v in section.variants:
                recalls = v.stat("test", "recall").values
                solved = len(recalls) == len(v.runs) and min(recalls) >= SOLVED
                longest[v.label] = max(longest.get(v.label, 0), int(group.split("/")[1]) if solved else 0)
    if not longest:
        return ""
    rows = [[f"`{label}`", str(n) if n else "none"] for label, n in longest.items()]
    heads = ["rule", f"most symbols recalled to {SOLVED:.0%} with every seed"]
    return f"### Solved length\n\n{markdown_table(heads, rows)}"


def _shipped(section: Section) -> str:
    """Say which settings of a rule are neither its defaults nor in its label: the task ships them."""
    said = []
    for v in section.variants:
        e = v.first.experiment
        had = e.get("rule_options", {})
        defaults = {k: o.default for k, o in options(RULES[e["rule"]]).items()} if e["rule"] in RULES else {}
        defaults |= _before(e["rule"], had)
        own = [f"{k}={x}" for k, x in had.items() if k in defaults and str(x) != str(defaults[k])]
        if extra := [text for text in own if text not in v.label.split(":")]:
            said.append(f"`{v.label}`: {', '.join(extra)}")
    return f" Shipped with the task, tuned before (docs/tuning.md): {'; '.join(said)}." if said else ""


def _settings(section: Section) -> str:
    """Return task, network and batch of a group on one line."""
    e = section.variants[0].first.experiment
    options = ", ".join(f"{k}={v}" for k, v in section.options.items() if k != "data")
    units = "-".join(map(str, e["units"]))
    modes = {str(v.first.experiment["mode"]) for v in section.variants}
    network = f"{e['cell']} {units}, batch {e['batch']}"
    return f"{section.task} ({options}); {network}, {' or '.join(sorted(modes))} mode"


def _findings(results: Results) -> str:
    """Return the measurements about the published rules as a list."""
    found = results.measured("findings") if "findings" in results.groups("measure") else {}
    if not found:
        return ""
    lines = []
    for name, one in found.items():
        own = {k: v for k, v in one.items() if k not in ("measured", "settings")}
        settings = ", ".join(f"{k} {v}" for k, v in one["settings"].items())
        lines.append(f"- **{name}** ({settings}): {_said(own)}")
    return "## Findings about the published rules\n\n" + "\n".join(lines)


def _said(value: Any) -> str:
    """Return nested numbers as words."""
    if isinstance(value, dict):
        return "; ".join(
            f"{k}: {_said(v)}" if isinstance(v, dict) else f"{k} {_said(v)}" for k, v in value.items()
        )
    return rounded(float(value)) if isinstance(value, int | float) else str(value)


def _verdicts(claims: list[Claim]) -> str:
    """The verdicts alone, a table for each protocol."""
    found = {(c.claim, c.condition): c.verdict for c in claims}
    parts = []
    for protocol in ("published", "fair"):
        tasks = list(dict.fromkeys(task for _, task in found if task.startswith(f"{protocol}/")))
        names = dict.fromkeys(claim for claim, task in found if task in tasks)
        rows = [[name, *(found.get((name, task), DASH) for task in tasks)] for name in names]
        if rows:
            parts.append(markdown_table([protocol, *(task.split("/")[1] for task in tasks)], rows))
    return "\n\n".join(
        ["## Verdicts", "Rules and numbers behind them: the ledger at the end.", *parts] if parts else []
    )


def _ledger(claims: list[Claim], command: str) -> str:
    """Return the claims with numbers and verdicts as a table."""
    rows = [[c.claim, c.condition, c.numbers or DASH, f"**{c.verdict}**"] for c in claims]
    if not rows:
        return ""
    return (
        "## Ledger of claims\n\nThe tables of the paper itself are not known to us: its claims are taken "
        "from its "
        "abstract. ANP is `published-activity`. Rules are compared by the ratio of their test losses, seed "
        "by seed: "
        "geometric mean and 95 % t interval. One is better than another where the whole interval lies below "
        "1, and "
        "not worse where it reaches down to 1 and ends below 1.5; a claim to be better is refuted where the "
        "interval "
        "reaches 1 and begins above 1 / 1.5. A wider interval decides nothing; a rule with a seed that "
        "diverged is "
        "worse. Alike in speed means within a factor of 1.5, alike in scaling that the interval of the "
        "growth ends "
        "below 1.5. Of several forms of a rule that with the lowest validation loss counts. "
        f"Every row by `{command}`.\n\n" + markdown_table(["claim", "condition", "numbers", "verdict"], rows)
    )
