"""Spoken digits as spikes."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import in_range, one_of, setting, whole
from perturbax.moved import old_names
from perturbax.plugins import import_optional
from perturbax.tasks.labelled import Labelled
from perturbax.tasks.labels import class_numbers

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)

CHANNELS, CLASSES = 700, 20
LAYOUT = ("spikes/times", "spikes/units", "labels")  # data sets of a file
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # in seconds
WORDS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


class Shd(Labelled):
    """Classify spoken digits from spikes: the Spiking Heidelberg Digits, zero to nine in English and German.

        input    x_{t,c} = number of spikes of `pool` neighbouring channels in frame t
        target   one of 20 classes, asked for in the second half

    Frames are the first `seconds` of a recording, cut in `frames` equal pieces.

    Cramer et al. 2022. --data is a folder with shd_train.h5 and shd_test.h5: data sets spikes/times
    (in `time_unit`, in any order), spikes/units (0 to 699) and labels (0 to 19). A tenth of the training
    file, drawn once, is for validation.

    Attributes:
        frames: frames of a recording, T.
        pool: neighbouring channels added up; a divisor of 700.
        seconds: length of a recording that is read, in seconds; 1.4 is longer than all of these recordings.
        time_unit: unit of the times in the files: s, ms, us or ns.
    """

    ask: str = setting("half")
    frames: int = setting(100)
    pool: int = setting(10)
    seconds: float = setting(1.4)
    time_unit: str = setting("s")
    summary: ClassVar[str] = (
        "say which spoken digit was heard, from spikes of an artificial cochlea (--data FOLDER)"
    )
    papers: ClassVar[tuple[str, ...]] = ("cramer2022",)
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 32, "passes": 9000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Check the frames, their time, and that pools of channels come out even."""
        whole("frames", self.frames)
        in_range("seconds", self.seconds, 0, above=True)
        one_of("time_unit", self.time_unit, TIME_UNITS)
        whole("pool", self.pool)
        if CHANNELS % self.pool:
            raise ArgumentError(f"pool must divide the {CHANNELS} channels: {self.pool} does not")

    @property
    def classes(self) -> int:
        """Number of classes: ten digits in two languages."""
        return CLASSES

    def open(self, data: Path | None) -> "Shd":
        """Return the task with its files read.

        Arguments:
            data: folder with the two HDF5 files.

        Raises ArgumentError without h5py, the folder or a file, DataError for files that do not hold such
        spikes.
        """
        if data is None or not Path(data).is_dir():
            raise ArgumentError("task shd needs --data FOLDER" + (f": {data} is none" if data else ""))
        h5py = import_optional("task shd", "h5py", "h5py")
        x, label = self._read_file(h5py, Path(data) / "shd_train.h5")
        test = self._read_file(h5py, Path(data) / "shd_test.h5")
        order = np.random.default_rng(0).permutation(len(x))
        n_valid = math.ceil(len(x) / 10)
        valid, train = order[:n_valid], np.sort(order[n_valid:])  # row numbers
        return self._with_parts(
            {"train": (x[train], label[train]), "valid": (x[valid], label[valid]), "test": test}
        )

    def _read_file(self, h5py: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return counts `(N, T, 700 / pool)` and labels `(N,)`."""
        times, units, labels = _stored(h5py, path)
        if not 2 <= len(labels) == len(times) == len(units):
            raise DataError(
                f"{path}: {len(times)} times, {len(units)} units, {len(labels)} labels; "
                "needs 2 or more of each, and as many of one as of the others"
            )
        label = class_numbers(str(path), labels, CLASSES)  # (N,)
        in_seconds = [np.asarray(when, float) * TIME_UNITS[self.time_unit] for when in times]
        for i, (when, who) in enumerate(zip(in_seconds, units, strict=True)):
            _check_spikes(f"{path}, example {i}", when, np.asarray(who))
        self._check_duration(path, in_seconds)
        counts = np.zeros((len(label), self.frames, CHANNELS // self.pool), np.uint8)
        for i, (when, who) in enumerate(zip(in_seconds, units, strict=True)):
            counts[i] = self._count(when, np.asarray(who, int))
        return counts, label

    def _check_duration(self, path: Path, in_seconds: list[np.ndarray]) -> None:
        """Raise DataError where the times of spikes, in seconds, do not fit the length of a recording.

        A recording that would lose more than half of its spikes, or a file that would lose more than a tenth,
        has times in another unit, or longer recordings; one whose last spike comes within a twentieth of the
        time, another unit.
        """
        every = np.concatenate(in_seconds)  # (spikes,)
        if not every.size:
            raise DataError(f"{path} has no spikes")
        expected = f"spike times must be from 0 to {self.seconds:g} s, read in {self.time_unit}"
        shares = [np.mean(when >= self.seconds) if when.size else 0.0 for when in in_seconds]
        lost = np.array(shares)  # (N,) of the spikes of each recording
        worst = int(np.argmax(lost))
        if lost[worst] > 0.5:
            last = in_seconds[worst].max()
            raise DataError(f"{path}, example {worst}: {expected}; the last is {self._as_read(last)}")
        if np.mean(every >= self.seconds) > 0.1:
            share, last = np.mean(every >= self.seconds), every.max()
            raise DataError(f"{path}: {expected}; {share:.0%} are later, the last {self._as_read(last)}")
        if every.max() < self.seconds / 20:
            raise DataError(f"{path}: {expected}; the last of all is {self._as_read(every.max())}")

    def _as_read(self, last: float) -> str:
        """Return the time in seconds of a last spike as the file has it, and a setting that would fit."""
        stored = last / TIME_UNITS[self.time_unit]
        units = [
            unit
            for unit, size in TIME_UNITS.items()
            if unit != self.time_unit and self.seconds / 20 <= stored * size <= self.seconds
        ]
        ways = [f"--task.time_unit {unit} if they are {WORDS[unit]}" for unit in units]
        if last >= self.seconds and not units:
            ways = [f"--task.seconds {math.ceil(last * 10 + 1) / 10:g} if recordings are that long"]
        return f"{stored:g}" + (f" ({ways[0]})" if ways else "")

    def _count(self, when: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Return how many spikes lie in each frame and pool of channels, up to 255, `(T, 700 / pool)`.

        Arguments:
            when: time of each spike in seconds, `(spikes,)`, in any order.
            who: channel of each spike, `(spikes,)`.
        """
        pools = CHANNELS // self.pool
        early = when < self.seconds
        frame = (when[early] / self.seconds * self.frames).astype(int)
        pool = who[early] // self.pool
        total = np.bincount(frame * pools + pool, minlength=self.frames * pools)
        return np.minimum(total, 255).reshape(self.frames, pools)


def _stored(h5py: Any, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the data sets of times, units and labels of a file.

    Raises ArgumentError where there is no file, DataError for one of another layout.
    """
    if not path.is_file():
        raise ArgumentError(f"no such file: {path}")
    try:
        with h5py.File(path, "r") as file:
            found = {name: file.get(name) for name in LAYOUT}
            if lost := [name for name, held in found.items() if not isinstance(held, h5py.Dataset)]:
                held_names: list[str] = []
                file.visit(held_names.append)
                has = ", ".join(held_names[:8]) or "nothing"
                raise DataError(f"{path} has no data set {', '.join(lost)}; it has {has}")
            for name in LAYOUT[:2]:
                _check_lists(h5py, path, name, found[name])
            times, units, labels = (np.asarray(found[name][()]) for name in LAYOUT)
    except OSError as error:
        raise DataError(f"{path} is no readable HDF5 file: {str(error).splitlines()[0]}") from error
    if labels.ndim == 0:
        raise DataError(f"{path}: labels must be one per recording, not a single {labels}")
    return times, units, labels


def _check_lists(h5py: Any, path: Path, name: str, data: Any) -> None:
    """Raise DataError for a data set that is not one list of numbers, of its own length, per recording."""
    kind = h5py.check_vlen_dtype(data.dtype)
    is_of_numbers = kind is not None and np.dtype(kind).kind in "iuf"
    if data.ndim != 1 or not is_of_numbers:
        came = f"{data.dtype} of shape {data.shape}"
        raise DataError(
            f"{path}: {name} must hold one list of numbers for each recording, each of its own length "
            f"(variable-length data), not {came}"
        )


def _check_spikes(source: str, when: np.ndarray, who: np.ndarray) -> None:
    """Raise DataError unless each spike has a finite time from 0 and a whole unit from 0 to 699.

    Arguments:
        source: what errors call the recording.
        when: time of each spike in seconds, `(spikes,)`.
        who: channel of each spike, `(spikes,)`.
    """
    expected = f"each spike needs a time of 0 or more and a unit from 0 to {CHANNELS - 1}"
    if when.shape != who.shape:
        raise DataError(f"{source}: {expected}; there are {when.size} times and {who.size} units")
    is_time = np.isfinite(when) & (when >= 0)
    is_unit = (who >= 0) & (who < CHANNELS) & (who == np.floor(who))
    wrong = np.flatnonzero(~(is_time & is_unit))
    if wrong.size:
        spike = wrong[0]
        raise DataError(f"{source}: {expected}; spike {spike} has time {when[spike]:g} s, unit {who[spike]}")
