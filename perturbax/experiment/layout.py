"""The layout of saved state: its number, and digests that tell whether a file is unchanged and of this run.
Needs no JAX.

    0   before there were settings `residual` and `normalise`: matrices D lie one way round or the other
    1   version 0.1.0: no number, no digest
    2   `layout` in config.json and `layout.*` in files of arrays, as README.md describes them

Whoever reads a run folder asks `layout_of` for its config.json, `opened` for each file of arrays, and
`opened_result` for result.json, which vouches for metrics.jsonl, too.
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


def sealed_result(result: dict[str, Any], layout: Layout, metrics: bytes) -> dict[str, Any]:
    """Return the content of result.json with an entry that says whose it is.

    Arguments:
        result: what was measured, in the types of JSON.
        layout: that of the run.
        metrics: the content of metrics.jsonl, which is complete now.
    """
    entry = {"number": LAYOUT, "run": layout.digest, "metrics": hashlib.sha256(metrics).hexdigest()}
    return result | {"layout": entry | {"digest": _digest_of_json([result, entry])}}


def opened_result(path: Path, content: Any, layout: Layout) -> Any:
    """Return the content of a result.json without what says whose it is.

    Arguments:
        path: the file, for errors.
        content: all that it holds, in the types of JSON; a file of before there were digests is as it is.
        layout: that of the run, as its config.json has it.

    Raises StoreError for a file of a newer version, of another run, or that was changed, and where
    metrics.jsonl beside it was changed since.
    """
    said = content.get("layout") if isinstance(content, dict) else None
    if said is None:
        return content
    if not isinstance(said, dict):
        raise StoreError(f"{path} has an entry layout that is no layout")
    _check_number(path, said.get("number"))
    result = {name: value for name, value in content.items() if name != "layout"}
    entry = {name: value for name, value in said.items() if name != "digest"}
    if said.get("digest") != _digest_of_json([result, entry]):
        raise StoreError(f"{path} was changed after it was written: its content no longer matches its digest")
    if said.get("run") != layout.digest:
        raise StoreError(
            f"{path} belongs to another run: one whose settings, seed, data or precision are others "
            "than in config.json"
        )
    metrics = path.with_name("metrics.jsonl")
    if said.get("metrics") != hashlib.sha256(bytes_of(metrics)).hexdigest():
        raise StoreError(
            f"{metrics} was changed after the run ended: it no longer matches the digest in {path.name}"
        )
    return result


def bytes_of(path: Path) -> bytes:
    """Return the bytes of a file, none where there is no such file; StoreError where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


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
    return _digest_of_json(told)


def _digest_of_json(value: Any) -> str:
    """Return the digest of a value in the types of JSON, in whatever order its entries come."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest_of_arrays(arrays: dict[str, np.ndarray]) -> str:
    """Return the digest of names, dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
