"""How a variant looks in every figure: colour by rule family, dash and marker readable without colour."""

import hashlib
import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from perturbax.report.compare import VariantRuns, canonical, variant_settings
from perturbax.report.css import COLOURS

INK, MUTED, RULE = (COLOURS[name][0] for name in ("ink", "muted", "rule"))  # the page's, in light mode
TRUTH = "#a3abb3"
LOOK_OF_RULE = {
    "weight": ("#E69F00", "^"),
    "node": ("#0072B2", "o"),
    "activity": ("#D55E00", "s"),
    "innovation": ("#009E73", "D"),
    "bptt": ("#000000", "p"),
    "one-step": ("#CC79A7", "X"),
    "frozen": ("#7A828A", "v"),
    "mirror": ("#8C564B", "P"),
    "feedback": ("#7570B3", "h"),
    "iterative": ("#66A61E", "<"),
}
"""Colour (of Okabe and Ito, where they last) and marker of the rules that are compared most often: they look
alike in all reports. Any other rule, a user's own too, gets both from its name: see `_rule_look`.
"""

_SPARE = ("#56B4E9", "#8C564B", "#7570B3", "#66A61E", "#A6761D", "#B8860B", "#4B6A88")
_MARKERS = "oPhd<>8"
_SHADES = (0.0, 0.42, -0.4, 0.62, -0.6)
_PLAIN = ((), (7.0, 2.0, 1.5, 2.0), (1.5, 1.5), (9.0, 2.0, 1.5, 2.0, 1.5, 2.0), (3.0, 1.0, 1.0, 1.0))
_DECORRELATED = ((5.0, 2.2), (4.0, 1.5, 1.0, 1.5), (2.5, 2.5), (8.0, 3.0), (6.0, 1.0, 1.0, 1.0, 1.0, 1.0))
_SHAPES = {
    "^": "M0-5 5 4-5 4Z",
    "v": "M0 5 5-4-5-4Z",
    "<": "M-5 0 4 5 4-5Z",
    ">": "M5 0-4 5-4-5Z",
    "s": "M-4-4H4V4H-4Z",
    "D": "M0-5.2 5.2 0 0 5.2-5.2 0Z",
    "d": "M0-5.5 3.6 0 0 5.5-3.6 0Z",
    "p": "M0-5 4.8-1.5 2.9 4-2.9 4-4.8-1.5Z",
    "h": "M0-5 4.3-2.5V2.5L0 5-4.3 2.5V-2.5Z",
    "8": "M-2-4.8H2L4.8-2V2L2 4.8H-2L-4.8 2V-2Z",
    "P": "M-1.8-5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
    "X": "M0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0-5-3-3-5Z",
    "o": "M-4.5 0A4.5 4.5 0 1 1 4.5 0 4.5 4.5 0 1 1-4.5 0Z",
}
_ONE_AT_A_TIME = threading.RLock()  # matplotlib's settings are those of the whole process
_SETTINGS: Any = {
    "svg.hashsalt": "perturbax",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#eaeef2",
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True)
class Look:
    """The look of one variant in figures and tables.

    Attributes:
        colour: as `#rrggbb`.
        dash: lengths of dashes and gaps in line widths; empty for a solid line.
        marker: one of matplotlib's.
        hollow: whether the marker is not filled: the variant decorrelates.
    """

    colour: str
    dash: tuple[float, ...]
    marker: str
    hollow: bool

    @property
    def line(self) -> dict[str, Any]:
        """Keyword arguments of a line."""
        return {"color": self.colour, "linestyle": (0, self.dash) if self.dash else "-"}

    @property
    def point(self) -> dict[str, Any]:
        """Keyword arguments of a marker."""
        face = "white" if self.hollow else self.colour
        return {
            "marker": self.marker,
            "markerfacecolor": face,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.2,
        }


def looks(variants: Sequence[VariantRuns]) -> list[Look]:
    """Return a look for each variant: a family shares a colour, its members differ in shade and dash."""
    members: dict[str, list[str]] = {}
    taken: set[tuple[str, bool]] = set()
    made = []
    for variant in variants:
        family = variant.rule.removeprefix("published-")
        alike = {k: v for k, v in variant_settings(variant.first).items() if not k.startswith("decor")}
        own, hollow = members.setdefault(family, []), variant.first.decorrelated
        kind = canonical(alike)
        while (kind, hollow) in taken:  # the same settings in another folder
            kind += "+"
        taken.add((kind, hollow))
        if kind not in own:
            own.append(kind)
        i = own.index(kind)
        colour, marker = _rule_look(family)
        dashes = _DECORRELATED if hollow else _PLAIN
        made.append(Look(_shade(colour, _SHADES[i % len(_SHADES)]), dashes[i % len(dashes)], marker, hollow))
    return made


def _rule_look(rule: str) -> tuple[str, str]:
    """Return colour and marker of a rule: of `LOOK_OF_RULE`, else always the same ones for the same name."""
    if rule in LOOK_OF_RULE:
        return LOOK_OF_RULE[rule]
    digest = hashlib.sha256(rule.encode()).digest()
    return _SPARE[digest[0] % len(_SPARE)], _MARKERS[digest[1] % len(_MARKERS)]


def _shade(colour: str, amount: float) -> str:
    """Blend towards white (above 0) or black (below 0)."""
    towards = 1.0 if amount > 0 else 0.0
    red, green, blue = (c + (towards - c) * abs(amount) for c in to_rgb(colour))
    return to_hex((red, green, blue))


def swatch(look: Look, line: bool = True) -> str:
    """Return a small inline drawing of a look, for legends and tables."""
    dash = f' stroke-dasharray="{" ".join(f"{d * 1.8:g}" for d in look.dash)}"' if look.dash else ""
    stroke = f'<path d="M0 7H38" stroke="{look.colour}" stroke-width="2"{dash}/>' if line else ""
    fill = "#fff" if look.hollow else look.colour
    mark = f'<path d="{_SHAPES[look.marker]}" fill="{fill}" stroke="{look.colour}" stroke-width="1.4"'
    width, middle = (38, 19) if line else (14, 7)
    return (
        f'<svg class="swatch" width="{width}" height="14" viewBox="0 0 {width} 14" aria-hidden="true">'
        f'{stroke}{mark} transform="translate({middle} 7)"/></svg>'
    )


@contextmanager
def canvas(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one pair of axes, drawn in the report's style; sizes in inches.

    Arguments:
        width: inches.
        height: inches.
    """
    with _ONE_AT_A_TIME, mpl.rc_context(dict(mpl.rcParamsDefault) | _SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that one font lacks is the browser's business
        figure = Figure(figsize=(width, height), layout=None)
        yield figure, figure.add_subplot()


def render(figure: Figure, name: str, title: str) -> str:
    """Return a figure as inline SVG: no links, no dates, ids of its own, a title for who cannot see it."""
    for patch in (figure.patch, *(ax.patch for ax in figure.axes)):
        if to_hex(patch.get_facecolor()) == "#ffffff":  # the page shows through, which may be dark
            patch.set_visible(False)
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], count=1, flags=re.DOTALL)
    body = svg[svg.index(">") + 1 :].replace("xlink:href=", "href=")
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = "\n".join(line.strip() for line in body.splitlines() if line.strip())
    width, height = (float(size) * 72 for size in figure.get_size_inches())
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 4 / 3:.0f}px" role="img" '
        f'aria-labelledby="{name}-title"><title id="{name}-title">{escape(title)}</title>{body}'
    )
