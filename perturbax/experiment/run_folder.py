"""The run folder: what is written, when, and how it is read back. Nothing half-written is ever read as
whole.
"""

import io
import json
import math
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from perturbax.atomic import write, writing
from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment.layout import (
    PREFIX,
    Layout,
    bytes_of,
    opened,
    opened_result,
    sealed,
    sealed_result,
)
from perturbax.experiment.named import resume_words

CHECKPOINT = re.compile(r"step-(\d+)\.npz")
JUDGEMENTS = "on_device.json"
"""The file that says how the network of a run does on devices that it was moved to."""


def as_path(name: str, value: Any) -> Path:
    """Return the path of a file or folder. Raises ArgumentError for what is none.

    Arguments:
        name: of the argument, as errors call it.
        value: what was given.
    """
    if not isinstance(value, str | os.PathLike):
        raise ArgumentError(f"{name} must be the path of a folder or file, not {value!r}")
    return Path(value)


def to_json(value: Any) -> Any:
    """Return a value in the types of JSON.

    Numbers and arrays of one number become Python's own, NaN and infinities None, tuples lists, keys text.
    """
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, bool | int | str | None):
        return value
    number = float(value)
    return number if math.isfinite(number) else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically.

    Arguments:
        path: the file.
        value: what it holds; `to_json` makes plain values of it.
    """
    write(path, (json.dumps(to_json(value), indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read a JSON file of a run folder.

    Raises ArgumentError where it is missing, StoreError where it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ArgumentError(f"{path.parent} is not a run folder: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def write_result(folder: Path, result: dict[str, Any], layout: Layout | None) -> None:
    """Write result.json of a run that has ended, atomically; it vouches for metrics.jsonl.

    Arguments:
        folder: the run folder.
        result: what was measured, in the types of JSON.
        layout: that of the run; None where the file says nothing of it.
    """
    if layout is not None:
        result = sealed_result(result, layout, bytes_of(folder / "metrics.jsonl"))
    write_json(folder / "result.json", result)


def read_result(folder: Path, layout: Layout) -> Any:
    """Return the content of result.json; raises as `read_json`, and StoreError where it was changed.

    Arguments:
        folder: the run folder.
        layout: how its arrays are stored.
    """
    path = folder / "result.json"
    return opened_result(path, read_json(path), layout)


def create(folder: Path, config: dict[str, Any]) -> None:
    """Start a run folder with its config.json.

    Raises ArgumentError for a folder that holds anything already, StoreError for one that cannot be written.
    """
    refuse_occupied(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)


def vacant(folder: Path) -> bool:
    """Whether a run can start in a folder: it is not there, or holds at most what a killed start left."""
    with writing(folder):
        if not folder.exists():
            return True
        return folder.is_dir() and all(f.name.startswith(".config.json.") for f in folder.iterdir())


def refuse_occupied(folder: Path) -> None:
    """Raise ArgumentError for a folder that holds anything."""
    if vacant(folder):
        return
    if (folder / "config.json").is_file():
        raise ArgumentError(
            f"{folder} holds another run: name another --out (or go on with it: {resume_words(folder)})"
        )
    raise ArgumentError(f"{folder} is not an empty folder: name another --out")


def write_arrays(path: Path, arrays: dict[str, np.ndarray], layout: Layout | None = None) -> None:
    """Write named arrays to one file, atomically: npz without pickle.

    Arguments:
        path: the file.
        arrays: the arrays by name.
        layout: that of the run they belong to, which the file then says; None where it says nothing.
    """
    buffer = io.BytesIO()
    content = arrays if layout is None else sealed(arrays, layout)
    np.savez(buffer, allow_pickle=False, **content)  # pyright: ignore[reportArgumentType]
    write(path, buffer.getvalue())


def read_arrays(path: Path, layout: Layout | None = None) -> dict[str, np.ndarray]:
    """Read named arrays; every byte is checked against the file's checksums.

    Arguments:
        path: the file.
        layout: that of the run, for a file that must be its own and unchanged; None to read any file.

    Raises StoreError for a file that is missing, damaged, cut short, or not of this run.
    """
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            if isinstance(content, np.ndarray):
                raise ValueError("not a file of named arrays")
            arrays = {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: the run has kept no weights yet") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise StoreError(f"{path} is damaged or cut short ({type(error).__name__})") from error
    if layout is None:
        return {name: array for name, array in arrays.items() if not name.startswith(PREFIX)}
    return opened(path, arrays, layout)


def save_checkpoint(folder: Path, step: int, arrays: dict[str, np.ndarray], layout: Layout) -> None:
    """Write the state after a training step; older checkpoints go only when it is safely there.

    Arguments:
        folder: the run folder.
        step: training steps done.
        arrays: the state by name, with the times spent.
        layout: that of the run.
    """
    kept = folder / "checkpoint" / f"step-{step:09d}.npz"
    with writing(kept):
        kept.parent.mkdir(exist_ok=True)
    write_arrays(kept, arrays, layout)
    for other in kept.parent.iterdir():
        if other != kept and (CHECKPOINT.fullmatch(other.name) or other.name.endswith(".tmp")):
            other.unlink(missing_ok=True)


def last_checkpoint(folder: Path) -> tuple[int, Path] | None:
    """Return (training step, file) of the newest complete checkpoint; None where there is none."""
    files = (folder / "checkpoint").iterdir() if (folder / "checkpoint").is_dir() else ()
    found = [(int(m[1]), f) for f in files if (m := CHECKPOINT.fullmatch(f.name))]
    return max(found, default=None)


def log(folder: Path, line: dict[str, Any]) -> None:
    """Append one line to metrics.jsonl.

    Arguments:
        folder: the run folder.
        line: the numbers of a chunk of steps, by name.
    """
    path = folder / "metrics.jsonl"
    with writing(path), open(path, "a") as file:
        file.write(json.dumps(to_json(line), allow_nan=False) + "\n")
        file.flush()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the complete lines of metrics.jsonl; a half-written last line does not count.

    Raises StoreError for a file that cannot be read, or holds anything else.
    """
    path, lines = folder / "metrics.jsonl", []
    try:
        texts = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not (isinstance(line, dict) and isinstance(line.get("step"), int)):
            raise StoreError(f"{path}:{number}: not a line of metrics")
        lines.append(line)
    return lines


def drop_metrics_after(folder: Path, step: int) -> list[dict[str, Any]]:
    """Drop the lines of metrics.jsonl after a step, and return those that are left.

    Arguments:
        folder: the run folder.
        step: the training step that the run goes on from.
    """
    lines = [line for line in read_metrics(folder) if line["step"] <= step]
    write(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    return lines
