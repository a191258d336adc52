"""Spikes, images and labels as other tools store them: read as what they are, or refused in one line that
says what was expected and what came.
"""

import gzip
import sys

import h5py
import jax.random as jr
import numpy as np
import pytest
from helpers import FakeGym, idx

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks import Mnist, NeuroGym, Shd, Text
from perturbax.tasks.labels import class_numbers


def refused(call, *expected, kind=DataError):
    with pytest.raises(kind) as raised:
        call()
    said = str(raised.value)
    assert "\n" not in said
    for words in expected:
        assert words in said, said


# Spikes

SIZES = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def spikes(scale=1.0, kind=np.float64, n=12):
    """Recordings of 0.9 to 1 s with 80 spikes each: times and units."""
    rng = np.random.default_rng(0)
    times = [np.sort(rng.uniform(0, 0.9 + 0.1 * rng.random(), 80)) for _ in range(n)]
    units = [rng.integers(0, 700, 80) for _ in range(n)]
    return [(t * scale).astype(kind) for t in times], units


def written(folder, times, units, labels, kind=np.uint16):
    """Both files of a folder, with the same recordings."""
    for part in ("train", "test"):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            lists = {"spikes/times": times, "spikes/units": [np.asarray(u) for u in units]}
            for name, values in lists.items():
                stored = kind if name.endswith("units") else values[0].dtype
                made = file.create_dataset(name, (len(values),), dtype=h5py.vlen_dtype(stored))
                for i, value in enumerate(values):
                    made[i] = value
            file["labels"] = labels
    return folder


def counts(task):
    return np.asarray(task.opened["test"].x, float)


@pytest.mark.parametrize("unit", SIZES)
@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_times_of_spikes_are_read_in_their_unit_or_refused(tmp_path, unit, kind):
    if (unit, kind) == ("s", np.int64):
        return
    times, units = spikes(SIZES[unit], kind)
    folder = written(tmp_path, times, units, np.arange(12))
    assert counts(Shd(time_unit=unit).open(folder)).sum() == 12 * 80
    for other in set(SIZES) - {unit}:
        words = f"spike times must be from 0 to 1.4 s, read in {other}; the last"
        refused(lambda other=other: Shd(time_unit=other).open(folder), words, f"(--task.time_unit {unit} if")


def test_times_in_other_units_count_as_the_same_spikes(tmp_path):
    made = []
    for unit, size in SIZES.items():
        (tmp_path / unit).mkdir()
        folder = written(tmp_path / unit, *spikes(size), np.arange(12))
        made.append(counts(Shd(time_unit=unit).open(folder)))
    for other in made[1:]:
        np.testing.assert_array_equal(other, made[0])


def test_unsorted_spikes_are_counted_as_sorted_ones(tmp_path):
    times, units = spikes()
    order = np.random.default_rng(1).permutation(80)
    for name in ("sorted", "unsorted"):
        (tmp_path / name).mkdir()
    sorted_ones = Shd().open(written(tmp_path / "sorted", times, units, np.arange(12)))
    shuffled = [t[order] for t in times], [u[order] for u in units]
    unsorted = Shd().open(written(tmp_path / "unsorted", *shuffled, np.arange(12)))
    np.testing.assert_array_equal(counts(unsorted), counts(sorted_ones))


def test_longer_recordings_need_a_longer_time(tmp_path):
    times, units = spikes(3)
    folder = written(tmp_path, times, units, np.arange(12))
    refused(lambda: Shd().open(folder), "the last is 2.", "--task.seconds 3", "if recordings are that long")
    assert counts(Shd(seconds=3.0).open(folder)).sum() == 12 * 80
    (tmp_path / "some").mkdir()
    times = [*spikes()[0][:10], *[1.2 * t + 0.5 for t in spikes()[0][10:]]]
    folder = written(tmp_path / "some", times, units, np.arange(12))
    assert counts(Shd().open(folder)).sum() > 0.9 * 12 * 80  # a few late spikes are outside the frames
    times = [*spikes()[0][:6], *[1.2 * t + 0.6 for t in spikes()[0][6:]]]
    folder = written(tmp_path / "some", times, units, np.arange(12))
    refused(lambda: Shd().open(folder), "% are later, the last 1.7", "--task.seconds 1.9")
    refused(lambda: Shd(seconds=0.0), "seconds must be above 0", kind=ArgumentError)
    refused(lambda: Shd(time_unit="min"), "unknown time_unit 'min'", kind=ArgumentError)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "negative",
            "example 3: each spike needs a time of 0 or more and a unit from 0 to 699; spike 5 has time -0.1",
        ),
        ("infinite", "spike 5 has time inf s"),
        ("not a number", "spike 5 has time nan s"),
        ("unit 700", "spike 5 has time 0.0"),
        ("unit -1", "unit -1"),
        ("unit 3.5", "unit 3.5"),
        ("no spikes", "has no spikes"),
    ],
)
def test_spikes_that_cannot_be(tmp_path, change, words):
    times, units = spikes()
    units = [u.astype(float) for u in units]
    number = {"negative": -0.1, "infinite": np.inf, "not a number": np.nan}.get(change)
    if number is not None:
        times[3][5] = number
    if change.startswith("unit"):
        units[3][5] = float(change.split()[1])
    if change == "no spikes":
        times, units = [t[:0] for t in times], [u[:0] for u in units]
    folder = written(tmp_path, times, units, np.arange(12), np.float32)
    refused(lambda: Shd().open(folder), "shd_train.h5", words)


def test_other_layouts_of_spikes_are_refused(tmp_path):
    times, units = spikes()

    def store(name, data):
        written(tmp_path, times, units, np.arange(12))
        with h5py.File(tmp_path / "shd_test.h5", "a") as file:
            del file[name]
            if data is not None:
                file[name] = data
        return lambda: Shd().open(tmp_path)

    lists = "spikes/times must hold one list of numbers for each recording"
    refused(store("spikes/times", np.stack(times)), lists, "not float64 of shape (12, 80)")
    refused(store("spikes/times", np.concatenate(times)), lists, "not float64 of shape (960,)")
    refused(store("spikes/times", ["0.1 0.2"] * 12), lists, "not object of shape (12,)")
    refused(store("spikes/units", 3), "spikes/units must hold")
    refused(store("spikes/units", None), "has no data set spikes/units; it has labels, spikes, spikes/times")
    refused(store("labels", 3), "labels must be one per recording, not a single 3")
    refused(store("labels", np.arange(11)), "12 times, 12 units, 11 labels")


# Labels

GOOD = np.array([3, 0, 2, 1])


@pytest.mark.parametrize(
    "labels",
    [
        GOOD,
        GOOD[:, None],
        GOOD.astype(np.uint8),
        GOOD.astype(float),
        np.eye(4)[GOOD],
        np.eye(4, dtype=bool)[GOOD],
        GOOD.astype(str),
        GOOD.astype("S"),
        np.array([b"3", b"0", b"2", b"1"], object),
    ],
)
def test_labels_are_read(labels):
    found = class_numbers("file", labels, 4)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, GOOD)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (GOOD + 1, "not from 1 to 4; they seem to be counted from 1: subtract 1"),
        (GOOD - 1, "not from -1 to 2"),
        (GOOD / 2, "whole numbers; entry 0 is 1.5"),
        (np.array([0, np.nan]), "whole numbers; entry 1 is nan"),
        (np.array(["two", "one"]), "not text such as 'two' (entry 0)"),
        (np.array([b"x"], object), "not text such as 'x' (entry 0)"),
        (np.eye(4)[GOOD] * 0.7, "row 0 has not a single 1 among 0s"),
        (np.ones((3, 4)), "row 0 has not a single 1 among 0s"),
        (np.eye(5)[GOOD], "one-hot as (N, 4), not of shape (4, 5)"),
        (GOOD[None], "row 0 has not a single 1"),
        (np.zeros((2, 3, 4)), "not of shape (2, 3, 4)"),
        (GOOD.astype(complex), "not complex128"),
    ],
)
def test_labels_that_are_refused(labels, words):
    refused(lambda: class_numbers("file", labels, 4), "file: labels must be from 0 to 3", words)


def test_labels_of_spikes(tmp_path):
    times, units = spikes()
    folder = written(tmp_path, times, units, np.eye(20)[np.arange(12)])
    np.testing.assert_array_equal(Shd().open(folder).opened["test"].label, np.arange(12))
    for labels, words in (
        (np.arange(9, 21), "labels must be from 0 to 19, not from 9 to 20"),
        ([0.5] * 12, "0.5"),
    ):
        refused(lambda labels=labels: Shd().open(written(tmp_path, times, units, labels)), words)


# Images


def stored(path, train, test=None, **labels):
    """An NPZ file of 12 images for training and 4 for testing."""
    test = train[:4] if test is None else test
    made = {"y_train": np.arange(len(train)) % 10, "y_test": np.arange(len(test))} | labels
    np.savez(path, x_train=train, x_test=test, **made)
    return path


def grey(kind=np.uint8, shape=(6, 5)):
    """Images whose values reach 255 in each."""
    made = np.random.default_rng(0).integers(0, 256, (12, *shape))
    made.reshape(12, -1)[:, 0] = 255
    return made.astype(kind)


def inputs(path, **settings):
    """The test part as `(N, T, n_in)`."""
    return np.swapaxes(Mnist(valid=3, **settings).open(path).held_out("test").xs, 0, 1)


BINARY = (grey() > 127).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (BINARY, BINARY),
        (BINARY.astype(bool), BINARY),
        (BINARY.astype(float), BINARY),
        (BINARY * np.uint8(255), BINARY),
        (grey(), grey() / 255),
        (grey(np.int64), grey() / 255),
        (grey(np.float32), grey() / 255),
        (grey() / 255, grey() / 255),
        ((grey() / 255).astype(np.float16), (grey() / 255).astype(np.float16)),
    ],
)
def test_pixels_are_read_from_0_to_1(tmp_path, images, expected):
    found = inputs(stored(tmp_path / "m.npz", images))
    np.testing.assert_allclose(found, np.asarray(expected, float)[:4], rtol=1e-6)
    if images.dtype != np.uint8:
        return
    for part, count in {"train": 12, "t10k": 4}.items():
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images[:count]))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count) % 10)))
    np.testing.assert_array_equal(inputs(tmp_path), found)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            BINARY * 16,
            "pixels must be from 0 to 1 or from 0 to 255, not 0 to 16 (--task.white 16 divides by 16)",
        ),
        (grey(np.uint16) * 257, "not 0 to 65535 (--task.white 65535 divides"),
        (grey(np.int16) - 128, "not -128 to 127 (--task.white 1 reads them as they are)"),
        (grey() / 127.5 - 1, "not -1 to 1 (--task.white 1 reads"),
        (np.where(grey() == 255, np.nan, grey()), "image 0 has NaN or infinity"),
        (grey().astype(str), "pixels must be numbers, not <U"),
    ],
)
def test_pixels_that_are_refused(tmp_path, images, words):
    refused(lambda: inputs(stored(tmp_path / "m.npz", images)), "images for train", words)


def test_the_value_of_white_can_be_named(tmp_path):
    binary = stored(tmp_path / "b.npz", BINARY * 16)
    np.testing.assert_array_equal(inputs(binary, white=16.0), BINARY[:4])
    signed = stored(tmp_path / "s.npz", grey() / 127.5 - 1)
    np.testing.assert_allclose(inputs(signed, white=1.0), grey()[:4] / 127.5 - 1, rtol=1e-6)
    refused(lambda: Mnist(white=-1.0), "white must be 0 or more", kind=ArgumentError)


def test_both_parts_are_scaled_alike(tmp_path):
    for train, test in ((grey(), grey() / 255), (grey() / 255, grey())):
        refused(
            lambda train=train, test=test: inputs(stored(tmp_path / "m.npz", train, test[:4])),
            "as those for training",
        )


def test_colours_may_come_first_or_last(tmp_path):
    last = grey(shape=(6, 5, 3))
    expected = last[:4].reshape(4, 6, 15) / 255
    for images in (last, np.moveaxis(last, -1, 1)):
        np.testing.assert_allclose(inputs(stored(tmp_path / "c.npz", images)), expected, rtol=1e-6)
    for shape in ((1, 28, 28), (28, 28, 1), (3, 4, 4), (4, 4, 3), (8, 8, 10)):
        height = next(n for n in shape if shape.count(n) == 2)
        assert inputs(stored(tmp_path / "c.npz", grey(shape=shape))).shape[1] == height
    for shape in ((3, 32, 3), (20, 9, 9), (1, 9, 1), (3, 3, 3), (5, 6, 7, 3)):
        refused(
            lambda shape=shape: inputs(stored(tmp_path / "c.npz", grey(shape=shape))), f"{(12, *shape)}"[1:-1]
        )


def test_images_without_rows(tmp_path):
    flat = stored(tmp_path / "f.npz", grey(shape=(40,)))
    refused(lambda: inputs(flat), "not of shape (12, 40); as they have no rows", "--task.order pixels")
    np.testing.assert_allclose(inputs(flat, order="pixels")[..., 0], grey(shape=(40,))[:4] / 255, rtol=1e-6)
    signal = np.random.default_rng(0).normal(size=(12, 40))
    np.savez(tmp_path / "d.npz", x=signal, y=np.arange(12) % 10, x_test=signal[:4], y_test=np.arange(4), t=0)
    refused(lambda: inputs(tmp_path / "d.npz", order="pixels"), "--task.white 1 reads them as they are")
    found = inputs(tmp_path / "d.npz", order="pixels", white=1.0)
    np.testing.assert_allclose(found[..., 0], signal[:4], rtol=1e-6)


def test_shapes_that_are_refused(tmp_path):
    images = grey()
    one = stored(tmp_path / "1.npz", images[0], images[:4], y_train=np.zeros(1, int))
    refused(lambda: inputs(one), "6 images for train, but 1 labels", "shapes are (6, 5) and (1,)")
    scalar = stored(tmp_path / "2.npz", images, y_train=3)
    refused(lambda: inputs(scalar), "labels (N,), not of shapes (12, 6, 5) and ()")
    along_the_last = stored(
        tmp_path / "3.npz", np.moveaxis(images, 0, -1), images[:4], y_train=np.arange(12) % 10
    )
    refused(lambda: inputs(along_the_last), "6 images for train, but 12 labels", "the first axis")
    other_size = stored(tmp_path / "4.npz", images, np.moveaxis(images, 1, 2)[:4])
    refused(lambda: inputs(other_size), "of different size, 6x5 and 5x6")
    np.savez(tmp_path / "5.npz", images=images, labels=np.arange(12))
    refused(lambda: inputs(tmp_path / "5.npz"), "has no arrays x_train and y_train; it has images, labels")
    single = stored(tmp_path / "6.npz", images[:4], images[:1])
    assert inputs(single).shape == (1, 6, 5)


def test_labels_of_images(tmp_path):
    names = np.arange(12) % 10
    for labels in (names.astype(float), np.eye(10)[names], names.astype(str), names[:, None]):
        task = Mnist(valid=3).open(stored(tmp_path / "m.npz", grey(), y_train=labels))
        np.testing.assert_array_equal(task.opened["train"].label, names[:9])
    refused(lambda: inputs(stored(tmp_path / "m.npz", grey(), y_train=names + 0.5)), "entry 0 is 0.5")


def test_index_files_of_other_numbers(tmp_path):
    for part, count in {"train": 12, "t10k": 4}.items():
        content = np.array([count, 6, 5], ">u4").tobytes()
        floats = (grey()[:count] / 255).astype(">f4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x0d\x03" + content + floats)
        labels = np.array([count], ">u4").tobytes() + (np.arange(count) % 10).astype(">i4").tobytes()
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x0c\x01" + labels)
    np.testing.assert_allclose(inputs(tmp_path), grey()[:4] / 255, rtol=1e-6)


# Text and NeuroGym


def test_text_of_another_encoding(tmp_path):
    for encoding, words in {
        "utf-16": "is not UTF-8: byte 0 is 0xff",
        "utf-16-le": "byte 1 is 0, as in UTF-16",
        "utf-16-be": "byte 0 is 0, as in UTF-16",
        "utf-32-le": "byte 1 is 0",
        "latin-1": "is not UTF-8: byte 4 is 0xe9",
    }.items():
        text = "abc é" if encoding in ("utf-16", "latin-1") else "abcde"
        (tmp_path / "t.txt").write_bytes((text * 200).encode(encoding))
        refused(lambda: Text().open(tmp_path / "t.txt"), words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: (x, y + 1), "right actions must be whole numbers from 0 to 2, not from 1 to 3"),
        (lambda x, y: (x, y - 1), "not from -1 to 1"),
        (lambda x, y: (x, y + 0.5), "not from 0.5 to 2.5"),
        (lambda x, y: (x * np.nan, y), "observations must be finite numbers"),
        (lambda x, y: (x, y[..., None]), "right actions (6, 16), not (6, 16, 2) and (6, 16, 1)"),
        (lambda x, y: (np.swapaxes(x, 0, 1), y.T), "not (16, 6, 2) and (16, 6)"),
    ],
)
def test_trials_that_are_refused(monkeypatch, change, words):
    class Changed(FakeGym):
        def Dataset(self, *args, **options):
            made = super().Dataset(*args, **options)
            draw = type(made).__call__
            made.__class__ = type("Data", (type(made),), {"__call__": lambda self: change(*draw(self))})
            return made

    monkeypatch.setitem(sys.modules, "neurogym", Changed())
    refused(lambda: NeuroGym(length=6, pool=40).open(None), "environment", words, kind=ArgumentError)


def test_samples_are_pixels_from_0_to_1(tmp_path):
    xs, _ = Mnist(valid=3).open(stored(tmp_path / "m.npz", BINARY)).sample(jr.key(0), 4)
    assert float(xs.max()) == 1
