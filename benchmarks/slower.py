"""What has become slower by more than noise: two files of one benchmark on one machine, number by number.

    python benchmarks/slower.py benchmarks/results/step-cpu.json runs/step-cpu.json

A number counts where it is worse by more than three spreads of both files (half the interquartile range of
its rounds) and by more than --least, as two processes of one build differ by 5 to 10 % on a shared machine.
Ends with 1 where something has become slower, with 2 where the files cannot be compared.
"""

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SAME = ("backend", "devices", "cores", "processor")  # of the machine; else there is nothing to compare
TOLD = ("perturbax", "jax", "jaxlib", "python")  # versions that may be why
MORE_IS_BETTER = ("share", "ratio", "per_s", "/ ours")  # in the name of a column; elsewhere less is better
LEAST = 0.1
SPREADS = 3


class Number(NamedTuple):
    """A measured number.

    Attributes:
        value: what was measured.
        spread: of its rounds, relative; 0 where the file does not say.
    """

    value: float
    spread: float


class Change(NamedTuple):
    """How a number has changed.

    Attributes:
        name: part, row and column.
        before: in the older file.
        after: in the newer file.
        cost: how many times worse it is; below 1 it is better.
        noise: by how much, relative, it may differ for no reason.
    """

    name: str
    before: float
    after: float
    cost: float
    noise: float

    def __str__(self) -> str:
        """Return it as a line."""
        much = f"{abs(self.cost - 1):.0%} {'worse' if self.cost > 1 else 'better'}"
        return f"{self.name}: {self.before:.3g} -> {self.after:.3g}, {much} (noise {self.noise:.0%})"


def numbers(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Number]]:
    """Walk through parts and rows: yield (name, number) for all that was measured.

    What is text or a whole number says which row it is.

    Arguments:
        found: content of a file, or a part of it.
        path: names of the parts around it.
    """
    if isinstance(found, list):
        for row in found:
            yield from numbers(row, path)
    if not isinstance(found, dict):
        return
    labels = [str(v) for v in found.values() if isinstance(v, str) or type(v) is int]
    for key, value in found.items():
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, *labels, key))
        elif isinstance(value, float) and key != "spread":
            yield " | ".join((*path, *labels, key)), Number(value, float(found.get("spread", 0)))


def changes(before: dict[str, Any], after: dict[str, Any], least: float) -> list[Change]:
    """Return how all numbers that both files have changed.

    Arguments:
        before: content of the older file.
        after: content of the newer file.
        least: a relative change that is always taken for noise.
    """
    old, new = (dict(numbers({k: v for k, v in f.items() if k != "machine"})) for f in (before, after))
    found = []
    for name, was in old.items():
        now = new.get(name)
        if now is None or not (was.value > 0 and now.value > 0):
            continue
        better = any(word in name.rpartition("|")[2] for word in MORE_IS_BETTER)
        cost = was.value / now.value if better else now.value / was.value
        noise = max(least, SPREADS * math.hypot(was.spread, now.spread))
        found.append(Change(name, was.value, now.value, cost, noise))
    return found


def apart(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return in what the machines of two files differ, as far as both say."""
    one, two = before["machine"], after["machine"]
    both = [k for k in SAME if k in one and k in two]
    return [f"{k} {one[k]} and {two[k]}" for k in both if one[k] != two[k]]


def main(argv: list[str] | None = None) -> int:
    """Print what became slower and what became faster."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path, help="the older file")
    parser.add_argument("after", type=Path, help="the newer file")
    parser.add_argument("--least", type=float, default=LEAST, help=f"smallest change (default: {LEAST})")
    args = parser.parse_args(argv)
    try:
        before, after = (json.loads(path.read_text()) for path in (args.before, args.after))
        others = apart(before, after)
    except OSError as problem:
        parser.error(f"{problem.filename}: {problem.strerror}")
    except (ValueError, KeyError, TypeError):
        parser.error("these are not two results of a benchmark: take the JSON files that --out wrote")
    if before.get("quick", False) != after.get("quick", False):
        parser.error("one file is of toy sizes (--quick), the other is not: take two of a kind")
    if others:
        parser.error(f"measured on different machines, {'; '.join(others)}: run both on one")
    found = changes(before, after, args.least)
    if not found:
        parser.error("the files have no number in common: take two files of one benchmark")
    versions = [(k, before["machine"].get(k), after["machine"].get(k)) for k in TOLD]
    for name, old, new in versions:
        if old != new:
            print(f"{name} {old} -> {new}")
    slower = sorted((c for c in found if c.cost > 1 + c.noise), key=lambda c: -c.cost)
    faster = sorted((c for c in found if 1 / c.cost > 1 + c.noise), key=lambda c: c.cost)
    for words, some in (("slower", slower), ("faster", faster)):
        print(f"{words}: {len(some)} of {len(found)} numbers")
        for change in some:
            print(f"  {change}")
    return 1 if slower else 0


if __name__ == "__main__":
    raise SystemExit(main())
