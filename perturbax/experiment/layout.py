"""The layout of saved state: its number, and digests that tell whether a file is unchanged and of this run.
Needs no JAX.

    0   before there were settings `residual` and `normalise`: matrices D lie one way round or the other
    1   version 0.1.0: no number, no digest
    2   `layout` in config.json and `layout.*` in files of arrays, as README.md describes them

Whoever reads a run folder asks `layout_of` for its config.json and `opened` for each file of arrays.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perturbax.errors import StoreError

LAYOUT = 2  # the layout that is written
PREFIX = "layout."  # of the entries of a file of arrays that say whose it is
DECORRELATION = re.compile(r".*\bdecor\[\d+\]\.value")  # names of matrices D


class Layout(NamedTuple):
    """What config.json says about the files beside it.

    Attributes:
        number: the layout of files that carry no number of their own: 0, 1 or 2.
        precision: float32 or float64, in which the run computes; "" where it was not written down (0 and 1).
        digest: SHA-256, in hexadecimal, of the settings and facts that its numbers follow from.
    """

    number: int
    precision: str
    digest: str


def described(config: dict[str, Any], precision: str) -> dict[str, Any]:
    """Return the entry `layout` of a config.json.

    Arguments:
        config: the other entries, in the types of JSON.
        precision: float32 or float64.
    """
    return {"number": LAYOUT, "precision": precision, "digest": _digest_of_run(config, precision)}


def layout_of(path: Path, config: Any, edited: bool = False) -> Layout:
    """Return the layout that the content of a config.json speaks of.

    Arguments:
        path: the file, for errors.
        config: its content, in the types of JSON.
        edited: whether its settings may have been edited, as where a new run starts from them.

    Raises StoreError for a layout of a newer version, and for settings that were edited.
    """
    entry = config.get("layout") if isinstance(config, dict) else None
    if entry is None:
        experiment = config.get("experiment") if isinstance(config, dict) else None
        number = 1 if isinstance(experiment, dict) and "residual" in experiment else 0
        return Layout(number, "", _digest_of_run(config, ""))
    if not isinstance(entry, dict):
        raise StoreError(f"{path} has an entry layout that is no layout")
    _check_number(path, entry.get("number"))
    precision = entry.get("precision")
    if precision not in ("float32", "float64"):
        raise StoreError(f"{path} has a precision of {precision!r}, not float32 or float64")
    digest = _digest_of_run(config, precision)
    if digest != entry.get("digest") and not edited:
        raise StoreError(
            f"{path} was edited after the run was started: its settings no longer match its digest "
            f"(a new run starts from them with --config {path} --out FOLDER)"
        )
    return Layout(LAYOUT, precision, digest)


def sealed(arrays: dict[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """Return named arrays with the entries that say whose they are.

    Arguments:
        arrays: the named arrays of a file.
        layout: that of the run, with its precision.
    """
    about = {
        "number": np.asarray(LAYOUT),
        "precision": np.asarray(layout.precision),
        "run": np.asarray(layout.digest),
    }
    whole = arrays | {PREFIX + name: value for name, value in about.items()}
    return whole | {PREFIX + "digest": np.asarray(_digest_of_arrays(whole))}


def opened(path: Path, arrays: dict[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """Return the named arrays of a file as this version has them, without what says whose they are.

    Arguments:
        path: the file, for errors.
        arrays: all that it holds.
        layout: that of the run, as its config.json has it.

    Raises StoreError for a file of a newer version, of another run, or that was changed, and for matrices D
    that lie one way round or the other.
    """
    said = {name: value for name, value in arrays.items() if name.startswith(PREFIX)}
    bare = {name: value for name, value in arrays.items() if name not in said}
    if not said:
        return _without_seal(path, bare, layout)
    _check_number(path, said.get(PREFIX + "number"))
    whole = {name: value for name, value in arrays.items() if name != PREFIX + "digest"}
    if str(said.get(PREFIX + "digest")) != _digest_of_arrays(whole):
        raise StoreError(f"{path} was changed after it was written: its content no longer matches its digest")
    if str(said.get(PREFIX + "run")) != layout.digest:
        raise StoreError(
            f"{path} belongs to another run: one whose settings, seed, data or precision are others "
            "than in config.json"
        )
    return bare


def _without_seal(path: Path, arrays: dict[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """Return the arrays of a file that version 0.1.0, or one before it, wrote."""
    if layout.number == LAYOUT:
        raise StoreError(f"{path} belongs to another run: it has no layout number, and config.json has one")
    if layout.number == 0 and any(DECORRELATION.fullmatch(name) for name in arrays):
        raise StoreError(
            f"{path} was written before version 0.1.0, when D was stored the other way round for a time, and "
            "nothing tells which way it is: train again, with --config and another --out"
        )
    return arrays


def _check_number(path: Path, number: Any) -> None:
    """Raise StoreError for the number of a layout that this version does not know."""
    whole = isinstance(number, int | np.ndarray) and not isinstance(number, bool)
    if whole and np.shape(number) == () and int(number) > LAYOUT:
        raise StoreError(
            f"{path} was written by a newer perturbax, in layout {int(number)}, and this one knows "
            f"layouts up to {LAYOUT}: read it with the newer one"
        )
    if not whole or np.shape(number) != () or int(number) != LAYOUT:
        raise StoreError(f"{path} has a layout number that no version writes: {number}")


def _digest_of_run(config: Any, precision: str) -> str:
    """Return the digest of what the numbers of a run follow from, which the place of its data is not."""
    experiment = config.get("experiment") if isinstance(config, dict) else None
    facts = config.get("facts") if isinstance(config, dict) else None
    settings = dict(experiment) if isinstance(experiment, dict) else {}
    settings.pop("data", None)
    known = facts if isinstance(facts, dict) else {}
    told = {
        "settings": settings,
        "facts": {name: known.get(name) for name in ("sizes", "data", "abreast")},
        "precision": precision,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _digest_of_arrays(arrays: dict[str, np.ndarray]) -> str:
    """Return the digest of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
