"""Run folders as plain data: every file checked as it is read, every string made safe to print."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perturbax.errors import ArgumentError, StoreError
from perturbax.experiment.layout import Layout, layout_of, opened_result
from perturbax.experiment.run_folder import JUDGEMENTS, read_arrays
from perturbax.moved import old_names

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_OFF = (None, "", "off", "none", False)


@dataclass(frozen=True)
class Run:
    """One run folder: its settings, its logged steps, and (once it has ended) its result and predictions."""

    folder: Path
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    result: dict[str, Any] | None
    predictions: tuple[np.ndarray, np.ndarray] | None  # truth and prediction, both (T, n_out)
    judgements: tuple[dict[str, Any], ...] = ()  # of its network on devices that it was moved to

    @property
    def experiment(self) -> dict[str, Any]:
        """Every setting of the run."""
        return self.config["experiment"]

    @property
    def seed(self) -> int:
        """The seed; 0 when none is stored."""
        value = as_number(self.experiment.get("seed"))
        return int(value) if math.isfinite(value) else 0

    @property
    def decorrelated(self) -> bool:
        """Whether the run decorrelated its activity."""
        return self.experiment.get("decorrelate") not in _OFF

    @property
    def name(self) -> str:
        """The label of the variant; the rule's name (and +decor) when none is stored."""
        given = self.config.get("name")
        return str(given) if given else str(self.experiment["rule"]) + ("+decor" if self.decorrelated else "")

    @property
    def device(self) -> dict[str, Any]:
        """What the result says of the device that the network lives on; empty in process."""
        return as_dict(as_dict(self.result).get("device"))

    @property
    def status(self) -> str:
        """finished, diverged, interrupted, or running when no result is stored."""
        return "running" if self.result is None else str(self.result.get("status", "finished"))

    def fact(self, kind: str, key: str, default: Any = "") -> Any:
        """Return what the run's own config says about its rule, task, cell or decorrelation.

        Arguments:
            kind: rule, task, cell or decorrelation.
            key: its name.
            default: what is returned where config.json has none.
        """
        value = as_dict(as_dict(self.config.get("facts")).get(kind)).get(key)
        return default if value is None else value

    def number(self, *path: str) -> float:
        """Return a number of the result by its path, such as ("test", "loss"); nan when it is not there."""
        value: Any = self.result
        for key in path:
            value = as_dict(value).get(key)
        return as_number(value)

    @property
    def test(self) -> dict[str, Any]:
        """What was measured on test data, as it is stored."""
        return as_dict(as_dict(self.result).get("test"))

    @property
    def updates(self) -> float:
        """Updates made until the last logged step; nan when nothing is logged."""
        return next(
            (n for m in reversed(self.metrics) if math.isfinite(n := as_number(m.get("updates")))), math.nan
        )

    @property
    def last_step(self) -> float:
        """The last logged step; nan when nothing is logged."""
        return as_number(self.metrics[-1].get("step")) if self.metrics else math.nan


def as_number(value: Any) -> float:
    """Return a stored value as a float: nan for anything that is not a number, infinite or 0 beyond a
    googol.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    if abs(value) > 1e100:  # squares and ratios of what is drawn and averaged must stay within floats
        return math.inf if value > 0 else -math.inf
    return 0.0 if abs(value) < 1e-100 else float(value)


def as_dict(value: Any) -> dict[str, Any]:
    """Return the value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_strings(value: Any) -> list[str]:
    """Return a stored list of strings; a lone string counts as one."""
    if isinstance(value, str):
        return [value] if value else []
    return [str(item) for item in value] if isinstance(value, list | tuple) else []


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the run folders among some folders and directly inside them; folders of `tune` are none.

    Raises ArgumentError for a folder that is not there, and where no run folder is found.
    """
    found = []
    for folder in folders:
        if not folder.exists():
            raise ArgumentError(f"no such folder: {folder}")
        if _is_run(folder):
            found.append(folder)
        elif folder.is_dir():
            found += [inside for inside in sorted(folder.iterdir()) if _is_run(inside)]
    if not found:
        page = next((f / "tune.html" for f in folders if (f / "tune.html").is_file()), None)
        hint = f"; the page of that search is {page}" if page else ""
        raise ArgumentError(f"no run folder in {', '.join(map(str, folders))}{hint}")
    return found


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run; the best settings that `tune` found are none."""
    return (folder / "config.json").is_file() and not (folder / "tune.json").exists()


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Read run folders, each once.

    Raises ArgumentError for no folder or one that holds no run, StoreError for a file that cannot be read.
    """
    if not folders:
        raise ArgumentError("no run folders to report on")
    distinct = {folder.resolve(): folder for folder in reversed(list(folders))}
    return [_read_run(folder) for folder in sorted(distinct.values())]


def _read_run(folder: Path) -> Run:
    """Read one run folder."""
    if not (folder / "config.json").is_file():
        raise ArgumentError(f"{folder} is not a run folder: it has no config.json")
    path = folder / "config.json"
    raw = _parse(path, _read_text(path))
    layout = layout_of(path, raw)
    config = _printable(raw)
    experiment = config.get("experiment")
    if not isinstance(experiment, dict) or not {"task", "rule"} <= experiment.keys():
        raise StoreError(f"{path}:1: no experiment with a task and a rule")
    result = folder / "result.json"
    return Run(
        folder,
        config,
        _read_lines(folder / "metrics.jsonl"),
        _read_result(result, layout) if result.exists() else None,
        _read_predictions(folder / "predictions.npz", layout),
        _read_judgements(folder / JUDGEMENTS),
    )


def _read_text(path: Path) -> str:
    """Read a text file. Raises StoreError, with the line, where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise StoreError(f"{path}:{line}: not UTF-8 text") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, text: str, line: int = 1, kind: type = dict) -> Any:
    """Return a JSON object, or a list as `kind` says; line: where it begins in the file, for the error."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise StoreError(f"{path}:{line + error.lineno - 1}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond Python's limits
        raise StoreError(f"{path}:{line}: not usable JSON: {error}") from error
    if not isinstance(value, kind):
        raise StoreError(f"{path}:{line}: not a JSON {'object' if kind is dict else 'list'}")
    return value


def _printable(value: Any) -> Any:
    """Replace characters that neither HTML nor UTF-8 can carry."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list) else value


def _read_result(path: Path, layout: Layout) -> dict[str, Any]:
    """Read what a run has measured."""
    return _printable(opened_result(path, _parse(path, _read_text(path)), layout))


def _read_judgements(path: Path) -> tuple[dict[str, Any], ...]:
    """Read how the network of a run does on devices that it was moved to; nothing where it was not."""
    if not path.exists():
        return ()
    return tuple(as_dict(_printable(one)) for one in _parse(path, _read_text(path), kind=list))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Read one object a line; a last line that breaks off belongs to a run that is still writing."""
    if not path.exists():
        return []
    lines = [(i, line) for i, line in enumerate(_read_text(path).split("\n"), 1) if line.strip()]
    rows = []
    for i, line in lines:
        try:
            rows.append(_printable(_parse(path, line, i)))
        except StoreError:
            if i != lines[-1][0]:
                raise
    return rows


def _read_predictions(path: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray] | None:
    """Read truth and prediction, `(T, n_out)` each; None where the file is missing, or holds neither."""
    arrays = read_arrays(path, layout) if path.exists() else {}
    if not arrays:
        return None
    try:
        truth, prediction = (np.asarray(arrays[key], float) for key in ("truth", "prediction"))
    except (ValueError, TypeError, KeyError) as error:
        raise StoreError(f"{path} holds no readable truth and prediction: {_one_line(error)}") from error
    truth, prediction = (a[:, None] if a.ndim == 1 else a for a in (truth, prediction))
    if truth.shape != prediction.shape or truth.ndim != 2 or 0 in truth.shape:
        raise StoreError(
            f"{path}: truth {truth.shape} and prediction {prediction.shape} must be equal and (T, n_out)"
        )
    return truth, prediction


def _one_line(error: Exception) -> str:
    """Return the text of an error on one line."""
    return " ".join(str(error).split()) or type(error).__name__
