"""Spoken digits as spikes."""

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perturbax.errors import ArgumentError, DataError
from perturbax.fields import setting, whole
from perturbax.plugins import import_optional
from perturbax.tasks.labelled import Labelled

CHANNELS, CLASSES = 700, 20
SECONDS = 1.4  # longer than all recordings


class Shd(Labelled):
    """Classify spoken digits from spikes: the Spiking Heidelberg Digits, zero to nine in English and German.

        input    x_{t,c} = number of spikes of `pool` neighbouring channels in frame t
        target   one of 20 classes, asked for in the second half

    Frames are the first 1.4 s of a recording, cut in `frames` equal pieces.

    Cramer et al. 2022. --data is a folder with shd_train.h5 and shd_test.h5: data sets spikes/times
    (seconds), spikes/units (0 to 699) and labels. A tenth of the training file, drawn once, is for
    validation.

    Attributes:
        frames: frames of a recording, T.
        pool: neighbouring channels added up; a divisor of 700.
    """

    ask: str = setting("half")
    frames: int = setting(100)
    pool: int = setting(10)
    summary: ClassVar[str] = (
        "say which spoken digit was heard, from spikes of an artificial cochlea (--data FOLDER)"
    )
    papers: ClassVar[tuple[str, ...]] = ("cramer2022",)
    settings: ClassVar[dict[str, Any]] = {"units": 128, "batch": 32, "passes": 9000, "lr": 3e-3}

    def __check_init__(self) -> None:
        """Check the frames, and that pools of channels come out even."""
        whole("frames", self.frames)
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
        if not path.is_file():
            raise ArgumentError(f"no such file: {path}")
        try:
            with h5py.File(path, "r") as file:
                names = ("spikes/times", "spikes/units", "labels")
                if lost := [name for name in names if not isinstance(file.get(name), h5py.Dataset)]:
                    raise DataError(f"{path} has no data set {', '.join(lost)}")
                times, units, labels = (file[name][()] for name in names)
        except OSError as error:
            raise DataError(f"{path} is no readable HDF5 file: {str(error).splitlines()[0]}") from error
        if not 2 <= len(labels) == len(times) == len(units):
            raise DataError(
                f"{path}: {len(times)} times, {len(units)} units, {len(labels)} labels; "
                "needs 2 or more of each, and as many of one as of the others"
            )
        if not np.isin(labels, np.arange(CLASSES)).all():
            raise DataError(f"{path}: labels must be from 0 to {CLASSES - 1}")
        counts = np.zeros((len(labels), self.frames, CHANNELS // self.pool), np.uint8)
        for i, (when, who) in enumerate(zip(times, units, strict=True)):
            counts[i] = self._count(f"{path}, example {i}", np.asarray(when, float), np.asarray(who))
        return counts, labels

    def _count(self, source: str, when: np.ndarray, who: np.ndarray) -> np.ndarray:
        """Return how many spikes lie in each frame and pool of channels, up to 255, `(T, 700 / pool)`.

        Arguments:
            source: what errors call the recording.
            when: time of each spike in seconds, `(spikes,)`.
            who: channel of each spike, `(spikes,)`.
        """
        if when.shape != who.shape or not ((when >= 0) & (who >= 0) & (who < CHANNELS)).all():
            raise DataError(f"{source}: each spike needs a time and a unit from 0 to {CHANNELS - 1}")
        pools = CHANNELS // self.pool
        early = when < SECONDS
        frame = (when[early] / SECONDS * self.frames).astype(int)
        pool = who[early] // self.pool
        total = np.bincount(frame * pools + pool, minlength=self.frames * pools)
        return np.minimum(total, 255).reshape(self.frames, pools)
