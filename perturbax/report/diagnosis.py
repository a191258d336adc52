"""A diagnosis as text and as a page: a rule's estimates beside the exact gradient. Depends on diagnosis.json
alone.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from perturbax.errors import StoreError
from perturbax.experiment.atomic import write, writing
from perturbax.experiment.run_folder import write_json
from perturbax.papers import CITATIONS
from perturbax.report.document import document
from perturbax.report.numbers import DASH, count, rounded

HEADS = ("weights", "samples", "passes", "cosine", "bias", "variance", "norm", "signal/noise")
MEANING = (
    "Each row: estimates averaged over so many samples, from {draws} independent draws of the noise on one batch. "
    "Cosine: mean over draws, of the average and the exact gradient g. Bias: |E x - g| / |g| ± one standard error, "
    "or what it stays below at three. Variance: trace of the covariance over |g|². Norm: |x| / |g|. "
    "Last column: forward passes to a cosine of {target:g}, as bias and variance predict."
)


def number(value: float | None) -> str:
    """Return a measured number, or a dash where there is none."""
    return DASH if value is None else rounded(float(value))


def whole(value: int | None) -> str:
    """Return a number of things, or a dash."""
    return DASH if value is None else count(float(value))


def bias(group: dict[str, Any]) -> str:
    """Return the bias with its standard error, or the bound below which it cannot be told from none."""
    if group["bias"] is None:
        return DASH
    if not group["biased"]:
        return "0" if group["bias_bound"] < 1e-3 else f"< {rounded(group['bias_bound'], 2)}"
    error = group["bias_squared_error"] / (2 * group["bias"])
    return rounded(group["bias"]) + (f" ± {rounded(error, 1)}" if error >= 5e-4 else "")


def reach(group: dict[str, Any]) -> str:
    """Return what the target cosine costs."""
    passes = group["reach_passes"]
    words = {"never": "never", "unknown": DASH, "unsettled": f"> {whole(passes)}?"}
    return words[group["reach"]] if group["reach"] in words else whole(passes)


def rows(group: dict[str, Any]) -> list[list[str]]:
    """Return the lines of a table for one group: what does not depend on the number of samples comes once."""
    lines = []
    for i, a in enumerate(group["averages"]):
        snr = "∞" if a["variance"] == 0 else number(a["snr"])
        once = (group["name"], bias(group), reach(group)) if i == 0 else ("", "", "")
        lines.append(
            [
                once[0],
                whole(a["samples"]),
                whole(a["passes"]),
                number(a["cosine"]),
                once[1],
                number(a["variance"]),
                number(a["norm"]),
                snr,
                once[2],
            ]
        )
    return lines


def subject(data: dict[str, Any]) -> str:
    """Return what was diagnosed, on one line."""
    e = data["experiment"]
    return f"{e['rule']} on {e['task']}: {e['cell']} cell, {', '.join(map(str, e['units']))} units, batch {e['batch']}"


def place(point: dict[str, Any]) -> str:
    """Return where on the way a point lies."""
    return f"{point['name']}, step {whole(point['step'])}, loss {number(point['loss'])}"


def write_diagnosis(data: dict[str, Any], folder: Path) -> Path:
    """Write diagnosis.json and diagnosis.html into a folder and return the page's path."""
    html = page(data)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.is_dir():
            raise StoreError(f"{folder} is not a folder")
    write_json(folder / "diagnosis.json", data)
    write(folder / "diagnosis.html", html.encode())
    return folder / "diagnosis.html"


def page(data: dict[str, Any]) -> str:
    """Return the page as HTML."""
    from perturbax.report.cosines import legend, panels  # matplotlib takes a while

    facts = data["facts"]["rule"]
    e = data["experiment"]
    title = f"{e['rule']} beside the exact gradient on {e['task']}"
    uses = ", ".join(facts["uses"]) or "not stated"
    about = f"{subject(data)}; {data['path']}. Told: {uses}. Estimates: {facts['target'] or 'not stated'}."
    drawn = "".join(f'<div class="panel">{d}</div>' for d in panels(data))
    caption = (
        f"Cosine of the estimate with the exact gradient (BPTT) against its cost. Markers: measured, mean of "
        f"{data['draws']} draws. Lines: predicted from bias and variance. Dotted: a cosine of {data['target']:g}."
    )
    tables = "".join(f"<h3>{escape(place(p))}</h3>{_table(p, data)}" for p in data["points"])
    main = (
        f'<p class="task">{escape(about)}</p>\n<p class="lead">All weights together:</p>{_said(data)}\n'
        f'<h2>Cosine and cost</h2><figure class="three">{legend(data)}<div class="panels">{drawn}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
        f'<h2>Measurements</h2><p class="none">{escape(MEANING.format(**data))}</p>{tables}\n'
        f"<h2>Settings</h2>{_settings(data)}{_references(facts)}"
    )
    return document("diagnosis", title, main)


def _said(data: dict[str, Any]) -> str:
    """Say for all weights together what each point shows, as HTML."""
    said = []
    for point in data["points"]:
        every = next(g for g in point["groups"] if g["name"] == "all")
        if every["reach"] == "unknown":
            said.append(f"{point['name']}: the exact gradient is zero.")
            continue
        bound = bias(every)
        part = (
            f"a bias of {bound}"
            if every["biased"]
            else f"no bias{bound.replace('<', ' that can be told from noise (below') + ')' if bound != '0' else ''}"
        )
        passes = whole(every["reach_passes"])
        cost = {
            "yes": f"a cosine of {data['target']:g} should take {passes} forward passes",
            "never": f"no number of samples brings the cosine to {data['target']:g}",
            "unsettled": f"whether more than {passes} passes bring the cosine to {data['target']:g} is not settled",
        }[every["reach"]]
        said.append(f"{point['name']}: {part}; {cost}.")
    return f'<ul class="plain">{"".join(f"<li>{escape(line)}</li>" for line in said)}</ul>'


def _table(point: dict[str, Any], data: dict[str, Any]) -> str:
    heads = [*HEADS, f"passes to {data['target']:g}"]
    header = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(f"<tbody>{''.join(map(_row, rows(g)))}</tbody>" for g in point["groups"])
    return f'<div class="scroll"><table class="results"><thead><tr>{header}</tr></thead>{body}</table></div>'


def _row(cells: Sequence[str]) -> str:
    first, *rest = (escape(c).replace(" ", "&nbsp;") for c in cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>'


def _settings(data: dict[str, Any]) -> str:
    from perturbax.report.compare import flat
    from perturbax.report.tables import flag, setting

    shown = flat(data["experiment"]) | {"samples": data["samples"], "draws": data["draws"]}
    lines = "".join(
        f'<tr><th scope="row">{escape(flag(key))}</th><td class="text">{escape(setting(value))}</td></tr>'
        for key, value in sorted(shown.items())
    )
    versions = ", ".join(f"{k} {v}" for k, v in data["versions"].items())
    return f'<div class="scroll"><table class="settings">{lines}</table></div><p class="none">{escape(versions)}</p>'


def _references(facts: dict[str, Any]) -> str:
    listed = "".join(f"<li>{escape(CITATIONS.get(key) or key)}</li>" for key in facts["papers"])
    return f'<section class="references"><h2>References</h2><ol>{listed}</ol></section>' if listed else ""
