"""Networks on a device side by side: trained in the loop, or elsewhere and moved there untrained."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from perturbax.report.compare import Section, Stat, better
from perturbax.report.document import scrolled
from perturbax.report.numbers import DASH, count, interval, metric_name, rounded
from perturbax.report.read import Run, as_dict, as_number

IN_LOOP = "in the loop"
MOVED = "in process"
WITH_NOISE = "in process with ambient noise {ambient:g}"
ELSEWHERE = "on another device"
AGAIN = "in the loop, then written anew"
ON_DEVICE = ("held_off", "writes", "trials", "seconds")
COLUMNS = ("run", "trained", "seeds", "{measure} in process", "{measure} on the device", "held off by")
COSTS = ("writes", "trials", "seconds on it", "device")
TEXT = ("run", "trained", "device")


@dataclass(frozen=True)
class Way:
    """One way to a network on a device: runs that were trained alike and judged on the same device.

    Attributes:
        label: of the variant.
        trained: in words, where it was trained.
        device: what the device calls itself.
        command: the command or address of the device.
        here: test values in process; none for networks that can run on the device alone.
        there: test values on the device.
        off: how far held weights are from those asked for, as a share.
        writes: what it asked of the device, training and judging included.
        trials: likewise.
        seconds: on the device, likewise.
    """

    label: str
    trained: str
    device: str
    command: str
    here: Stat
    there: Stat
    off: Stat
    writes: Stat
    trials: Stat
    seconds: Stat


def ways(section: Section) -> list[Way]:
    """Return the ways to a network on a device, first in the loop; none where no network was moved.

    Arguments:
        section: the runs that are compared.
    """
    if not any(run.judgements for variant in section.variants for run in variant.runs):
        return []
    found: dict[tuple[str, str, str, str], list[dict[str, float]]] = {}
    for variant in section.variants:
        for run in variant.runs:
            for trained, told, here in _judged(run, section.metric):
                key = (variant.label, trained, str(told.get("name", "")), str(told.get("command", "")))
                numbers = {name: as_number(told.get(name)) for name in ("value", *ON_DEVICE)}
                found.setdefault(key, []).append({"here": here, **numbers})
    order = sorted(found, key=lambda key: (key[1] != IN_LOOP, key[1] != MOVED))
    geometric = section.metric in section.in_decades
    made = []
    for key in order:
        values = [Stat.of((one[name] for one in found[key]), geometric) for name in ("here", "value")]
        costs = [Stat.of(one[name] for one in found[key]) for name in ON_DEVICE]
        made.append(Way(*key, *values, *costs))
    return made


def _judged(run: Run, metric: str) -> list[tuple[str, dict[str, Any], float]]:
    """Return, for each device that a run was judged on, (where it was trained, what is told, value in
    process).
    """
    found = []
    own = run.number("test", metric)
    if run.device:
        told = {**run.device, "command": run.experiment.get("device"), "value": own}
        found.append((IN_LOOP, told, math.nan))
    for judgement in run.judgements:
        value = as_dict(judgement.get("test")).get(metric)
        told = {**judgement, "name": judgement.get("device"), "value": value}
        found.append((_trained(run, told), told, math.nan if run.device else own))
    return found


def _trained(run: Run, judgement: dict[str, Any]) -> str:
    """Return in words where a network that was moved to a device was trained."""
    if run.device:
        same = judgement.get("command") == run.experiment.get("device")
        return AGAIN if same else ELSEWHERE
    ambient = as_number(as_dict(run.experiment.get("rule_options")).get("ambient"))
    return WITH_NOISE.format(ambient=ambient) if ambient > 0 else MOVED


def moved_there(section: Section) -> str:
    """Return the ways to a network on a device as a table (HTML); empty for none.

    Arguments:
        section: the runs that are compared.
    """
    rows = ways(section)
    if not rows:
        return ""
    best = _best(rows, section.metric)
    measure = metric_name(section.metric, section.unit)
    names = [name.format(measure=measure) for name in (*COLUMNS, *COSTS)]
    heads = "".join(f'<th scope="col"{_aligned(name)}>{escape(name)}</th>' for name in names)
    several = len({way.command for way in rows}) > len({way.device for way in rows})
    body = "".join(_row(way, names, way is best, several) for way in rows)
    caption = (
        "Test data: of the network where it was trained, and of the same weights written to the device. Mean "
        "over seeds, with its 95% t interval. Writes, trials and seconds: on the device, in training and "
        "judging, mean over seeds."
    )
    table = (
        f'<table class="settings"><caption><span>{caption}</span></caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    )
    return scrolled(table, "Trained on the device, or moved there")


def best_there(section: Section) -> str:
    """Return in a sentence (HTML) which way to a network on the device does best; empty for none.

    Arguments:
        section: the runs that are compared.
    """
    rows = ways(section)
    return escape(_said(rows, _best(rows, section.metric), section)) if rows else ""


def _aligned(head: str) -> str:
    """Return the attribute of a column that holds text."""
    return ' class="text"' if head in TEXT else ""


def _row(way: Way, names: Sequence[str], best: bool, with_command: bool) -> str:
    """Return one way as a row; with_command: where devices of one name were started by different ones."""
    there = escape(interval(way.there)) if way.there else DASH
    cells = (
        escape(way.label),
        escape(way.trained),
        str(len(way.there.values)),
        escape(interval(way.here)) if way.here else DASH,
        f"<b>{there}</b>" if best else there,
        rounded(way.off.mean) if way.off else "not told",
        count(way.writes.mean),
        count(way.trials.mean),
        rounded(way.seconds.mean),
        escape(way.device) + (f"<br><code>{escape(way.command)}</code>" if with_command else ""),
    )
    return (
        f"<tr>{''.join(f'<td{_aligned(n)}>{cell}</td>' for n, cell in zip(names, cells, strict=True))}</tr>"
    )


def _best(rows: Sequence[Way], metric: str) -> Way | None:
    """Return the way with the best value on the device; None where all are alike."""
    told = [way for way in rows if way.there]
    best = None
    for way in told:
        if best is None or better(metric, way.there.mean, best.there.mean):
            best = way
    return best if len({way.there.mean for way in told}) > 1 else None


def _said(rows: Sequence[Way], best: Way | None, section: Section) -> str:
    """Return in words which way does best on the device."""
    if best is None:
        first, measure = rows[0], metric_name(section.metric)
        who = "the networks are alike, with" if len(rows) > 1 else "the network has"
        return f"On the device {who} a test {measure} of {interval(first.there)}." if first.there else ""
    others = []  # the best of every other place of training
    for trained in dict.fromkeys(way.trained for way in rows if way.trained != best.trained):
        alike = [way for way in rows if way.trained == trained and way.there]
        others += [_best(alike, section.metric) or alike[0]] if alike else []
    named = "; trained " if others else ""
    named += ", ".join(f"{way.trained}: {interval(way.there)}" for way in others)
    if len(best.there.values) < 2:
        sure = " One seed each: differences may be chance."
    elif any(way.there.low <= best.there.high and best.there.low <= way.there.high for way in others):
        sure = " Intervals overlap: differences may be chance."
    else:
        sure = ""
    several = len({way.command for way in rows}) > 1
    where = "devices of the table below" if several else "device"
    return (
        f"On the {where} the network that was trained {best.trained} does best, with a test "
        f"{metric_name(section.metric)} of {interval(best.there)}{named}.{sure}"
    )
