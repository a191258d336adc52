"""A diagnosis as text and as a page: a rule's estimates beside the exact gradient.

All depends on the content of diagnosis.json alone, as `analysis.along_training.diagnose_points` returns it.
"""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perturbax.moved import old_names
from perturbax.papers import CITATIONS
from perturbax.report.document import document, network_phrase, references, scrolled, write_measurement
from perturbax.report.numbers import DASH, count, rounded

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

HEADS = ("weights", "samples", "passes", "cosine", "bias", "variance", "norm", "signal/noise")
MEANING = (
    "Each row: estimates averaged over so many samples, from {draws} independent draws of the noise on one "
    "batch; in row ∞ what the cosine tends to, which is 1 unless there is bias. Cosine: mean over draws, of "
    "the average and the exact gradient g. Bias: |E x - g| / |g| ± one standard error, or what it stays "
    "below at three. Variance: trace of the covariance over |g|². Norm: |x| / |g|. Last column: forward "
    "passes to a cosine of {target:g}, as bias and variance predict."
)
"""What the columns mean; `draws` and `target` of the data are filled in."""
WAYS = {
    "differences": "differences of the loss with each of its {weights} weights shifted by itself",
    "perturbations": "antithetic weight perturbation, {weights} estimates averaged",
}
"""How the gradient of a device is measured."""


def heads(data: dict[str, Any]) -> tuple[str, ...]:
    """Return the heads of the table: where the reference was measured, with its standard error."""
    columns = (*HEADS, f"passes to {data['target']:g}")
    return (*columns[:1], "g ±", *columns[1:]) if "reference" in data else columns


def meaning(data: dict[str, Any]) -> str:
    """Return in words what the columns mean; data: content of diagnosis.json."""
    text = MEANING.format(**data)
    if "reference" not in data:
        return text
    text = text.replace("the exact gradient g", "the gradient g of the device")
    return (
        f"{text} Column g ±: the standard error of the measured g, over |g|. What its noise would add to "
        "bias, norm and cosine is subtracted; the errors behind ± hold it, and a bias below three standard "
        "errors of the reference counts as none. A dash: g is not told from zero."
    )


def reference_phrase(data: dict[str, Any]) -> str:
    """Return in words how the gradient of a device was measured and at what cost; empty for an exact one."""
    told = data.get("reference")
    if not told:
        return ""
    way = WAYS[told["kind"]].format(weights=count_or_dash(told["weights"]))
    spent = {"reference": "the reference", "estimates": "the estimates of the rule"}
    costs = [f"{whose} {_spent(data, which)}" for which, whose in spent.items()]
    return (
        f"The reference is the gradient of {told['device']}, measured there by {way}, "
        f"{told['repeats']} times independently. It cost: {'; '.join(costs)}."
    )


def _spent(data: dict[str, Any], which: str) -> str:
    """Return writes, trials and seconds on the device at all points, in words."""
    sums = {
        name: sum(point[which][name] for point in data["points"]) for name in ("writes", "trials", "seconds")
    }
    return (
        f"{count_or_dash(sums['writes'])} writes, {count_or_dash(sums['trials'])} trials and "
        f"{rounded(sums['seconds'])} seconds on the device"
    )


def number_or_dash(value: float | None) -> str:
    """Return a measured number as text, a dash where there is none."""
    return DASH if value is None else rounded(float(value))


def count_or_dash(value: int | None) -> str:
    """Return a number of things as text, a dash where there is none."""
    return DASH if value is None else count(float(value))


def error_text(value: float | None) -> str:
    """Return a standard error as text, of two digits; those below 0.001 as such."""
    if value is None:
        return DASH
    return "< 0.001" if 0 < value < 1e-3 else rounded(value, 2)


def bias_text(group: dict[str, Any]) -> str:
    """Return the relative bias of a group as text.

    That is `0.12 ± 0.03` with its standard error, or `< 0.2`, the bound below which it cannot be told from
    none, or `0` where that bound is below 0.001.
    """
    if group["bias"] is None:
        return DASH
    if not group["biased"]:
        return "0" if group["bias_bound"] < 1e-3 else f"< {rounded(group['bias_bound'], 2)}"
    error = group["bias_squared_error"] / (2 * group["bias"])
    return rounded(group["bias"]) + (f" ± {rounded(error, 1)}" if error >= 5e-4 else "")


def cost_text(group: dict[str, Any]) -> str:
    """Return the forward passes to the target cosine as text: a number, `never`, or `> 100?` if unsettled."""
    passes = count_or_dash(group["reach_passes"])
    special = {"never": "never", "unknown": DASH, "unsettled": f"> {passes}?"}
    return special.get(group["reach"], passes)


def table_lines(group: dict[str, Any], measured: bool = False, with_errors: bool = False) -> list[list[str]]:
    """Return the lines of the table for one group, cells as `heads`.

    What does not depend on the number of samples stands in the first line alone.

    Arguments:
        group: as in diagnosis.json.
        measured: whether its reference was measured, on a device.
        with_errors: whether cosines come with their standard errors.
    """
    lines = []
    for i, average in enumerate(group["averages"]):
        snr = "∞" if average["variance"] == 0 else number_or_dash(average["snr"])
        name, bias, cost = (group["name"], bias_text(group), cost_text(group)) if i == 0 else ("", "", "")
        error = [error_text(group["reference_error"]) if i == 0 else ""] if measured else []
        cosine = number_or_dash(average["cosine"])
        if with_errors and average["cosine"] is not None:
            cosine += f" ± {error_text(average['cosine_error'])}"
        lines.append(
            [
                name,
                *error,
                count_or_dash(average["samples"]),
                count_or_dash(average["passes"]),
                cosine,
                bias,
                number_or_dash(average["variance"]),
                number_or_dash(average["norm"]),
                snr,
                cost,
            ]
        )
    noisy = any(average["variance"] != 0 for average in group["averages"])
    if noisy and (limit := limit_of(group)) is not None:
        between = [""] if measured else []
        lines.append(["", *between, "∞", "", number_or_dash(limit), "", "0", "", "∞", ""])
    return lines


def limit_of(group: dict[str, Any]) -> float | None:
    """Return the cosine that averages tend to, 1 where no bias is told from none; None without a gradient.

    Arguments:
        group: as in diagnosis.json.
    """
    if group["reach"] == "unknown":
        return None
    if not group["biased"]:
        return 1.0
    length = math.sqrt(max(0.0, group["expected"]))
    return group["along"] / length if length else None


def subject(data: dict[str, Any]) -> str:
    """Return what was diagnosed, on one line: `node on copy: tanh cell, 32 units, batch 8`."""
    return f"{data['experiment']['rule']} on {network_phrase(data['experiment'])}"


def point_label(point: dict[str, Any]) -> str:
    """Return a point of training as text: `middle, step 100, loss 0.5`."""
    return f"{point['name']}, step {count_or_dash(point['step'])}, loss {number_or_dash(point['loss'])}"


def rounding_text(data: dict[str, Any]) -> str:
    """Return what rounding leaves of differences of losses, as a sentence; none for a rule without any.

    Arguments:
        data: content of diagnosis.json.
    """
    found = data["points"][0]["rounding"]
    if found["error"] is None:
        return ""
    full = "; passes run in full float32, which other products here do not" if found["in_full"] else ""
    return f"Rounding leaves a relative error of about {found['error']:.1e} in differences of losses{full}."


def write_diagnosis(data: dict[str, Any], folder: Path) -> Path:
    """Write diagnosis.json and diagnosis.html into a folder and return the page's path.

    Arguments:
        data: content of diagnosis.json.
        folder: made where it is missing.

    Raises StoreError where the folder is a file, or cannot be written.
    """
    return write_measurement(folder, "diagnosis", data, {"html": page(data)})


def page(data: dict[str, Any]) -> str:
    """Return the page as HTML; data: content of diagnosis.json."""
    from perturbax.report.cosines import legend, panels  # matplotlib takes a while

    facts = data["facts"]["rule"]
    experiment = data["experiment"]
    measured = "reference" in data
    gradient = "the gradient of the device" if measured else "the exact gradient"
    title = f"{experiment['rule']} beside {gradient} on {experiment['task']}"
    uses = ", ".join(facts["uses"]) or "not stated"
    target = facts["target"] or "not stated"
    about = " ".join(
        [
            f"{subject(data)}; {data['path']}. Told: {uses}. Estimates: {target}.",
            reference_phrase(data),
            rounding_text(data),
        ]
    )
    drawn = "".join(f'<div class="panel">{panel}</div>' for panel in panels(data))
    caption = (
        f"Cosine of the estimate with {gradient}{'' if measured else ' (BPTT)'} against its cost. Markers: "
        "measured, mean of "
        f"{data['draws']} draws. Lines: predicted from bias and variance. Dotted: a cosine of "
        f"{data['target']:g}."
    )
    tables = "".join(f"<h3>{escape(point_label(p))}</h3>{_table(p, data)}" for p in data["points"])
    cited = (escape(CITATIONS.get(key) or key) for key in facts["papers"])
    main = (
        f'<p class="task">{escape(about)}</p>\n<p class="lead">All weights together:</p>{_findings(data)}\n'
        f'<h2>Cosine and cost</h2><figure class="three">{legend(data)}<div class="panels">{drawn}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        f'<h2>Measurements</h2><p class="none">{escape(meaning(data))}</p>{tables}\n'
        f"<h2>Settings</h2>{_settings(data)}{references(cited)}"
    )
    return document("diagnosis", title, main)


def _findings(data: dict[str, Any]) -> str:
    """Return what each point shows for all weights together, as an HTML list."""
    lines = []
    for point in data["points"]:
        every = next(g for g in point["groups"] if g["name"] == "all")
        if every["reach"] == "unknown":
            lines.append(f"{point['name']}: {_no_gradient(data)}.")
        else:
            phrases = [_bias_phrase(every), _cost_phrase(every, data["target"])]
            if "reference" in data:
                phrases.append(
                    f"the reference has a standard error of {error_text(every['reference_error'])} |g|"
                )
            lines.append(f"{point['name']}: {'; '.join(phrases)}.")
    return f'<ul class="plain">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def _no_gradient(data: dict[str, Any]) -> str:
    """Return in words that there is no gradient to compare with."""
    if "reference" in data:
        return "the measured gradient cannot be told from zero (more --repeats, or a larger --batch, may do)"
    return "the exact gradient is zero"


def _bias_phrase(group: dict[str, Any]) -> str:
    """Return the bias of a group in words."""
    bias = bias_text(group)
    if group["biased"]:
        return f"a bias of {bias}"
    if bias == "0":
        return "no bias"
    return f"no bias that can be told from noise (below {bias.removeprefix('< ')})"


def _cost_phrase(group: dict[str, Any], target: float) -> str:
    """Return in words what a cosine of `target` costs."""
    passes = count_or_dash(group["reach_passes"])
    phrases = {
        "yes": f"a cosine of {target:g} should take {passes} forward passes",
        "never": f"no number of samples brings the cosine to {target:g}",
        "unsettled": f"whether more than {passes} passes bring the cosine to {target:g} is not settled",
    }
    return phrases[group["reach"]]


def _table(point: dict[str, Any], data: dict[str, Any]) -> str:
    """Return the measurements at one point as an HTML table, a block for every group of weights."""
    measured = "reference" in data
    header = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads(data))
    blocks = (map(_row, table_lines(group, measured, measured)) for group in point["groups"])
    body = "".join(f"<tbody>{''.join(block)}</tbody>" for block in blocks)
    table = f'<table class="results"><thead><tr>{header}</tr></thead>{body}</table>'
    return scrolled(table, f"Measurements, {point_label(point)}")


def _row(cells: Sequence[str]) -> str:
    """Return cells as a row of an HTML table, the first as its head; none of them wraps."""
    first, *rest = (escape(cell).replace(" ", "&nbsp;") for cell in cells)
    head = f'<th scope="row">{first}</th>' if first else "<td></td>"
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in rest)}</tr>"


def _settings(data: dict[str, Any]) -> str:
    """Return all settings, and the versions of what ran, as HTML."""
    from perturbax.report.settings import flatten_settings
    from perturbax.report.tables import settings_rows

    shown = flatten_settings(data["experiment"]) | {"samples": data["samples"], "draws": data["draws"]}
    table = scrolled(f'<table class="settings">{settings_rows(shown)}</table>', "Settings")
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    return f'{table}<p class="none">{escape(versions)}</p>'
