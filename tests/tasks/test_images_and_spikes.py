"""Tasks that read images, spikes and text: what they make of good files, and one line for each kind of bad
one.
"""

import builtins
import gzip
import sys

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import idx, mnist, shd, write_shd

import perturbax as px
from perturbax.errors import ArgumentError, DataError
from perturbax.experiment.resolve import resolve
from perturbax.tasks import TASKS, Digits, Mnist, NeuroGym, Shd, Text


def refused(kind, call, expected):
    with pytest.raises(kind) as raised:
        call()
    assert "\n" not in str(raised.value)
    assert expected in str(raised.value)


def rows(task, part):
    """Sequences of a part as bytes, one by one."""
    return [np.asarray(x).tobytes() for x in task.opened[part].x]


@pytest.mark.parametrize("cls", [Digits, Mnist, Shd, Text, NeuroGym])
def test_before_open(cls):
    refused(ArgumentError, lambda: cls().sample(jr.key(0), 1), "use the task that open() returns")


def test_wrong_choices():
    refused(
        ArgumentError, lambda: Digits(order="columns"), "unknown order 'columns'; choose from rows, pixels"
    )
    refused(ArgumentError, lambda: Digits(ask="never"), "unknown ask 'never'; choose from last, half")
    refused(ArgumentError, lambda: Shd(pool=9), "pool must divide the 700 channels: 9 does not")
    refused(ArgumentError, lambda: Mnist(valid=0), "valid must be a whole number of at least 1, not 0")
    refused(ArgumentError, lambda: NeuroGym(dt=-1), "dt must be a whole number of at least 0, not -1")


# Digits


def test_digits_are_cut_once_into_parts_that_share_no_image():
    from sklearn.datasets import load_digits

    task, again = Digits().open(None), Digits().open(None)
    found = load_digits()
    parts = {part: rows(task, part) for part in ("train", "valid", "test")}
    assert [len(p) for p in parts.values()] == [1197, 300, 300]
    every = sorted(image.astype(np.uint8).tobytes() for image in found.images)
    assert sorted(image for images in parts.values() for image in images) == every
    assert len(set(every)) == 1797  # no image comes twice, so no part shares one with another
    assert parts == {part: rows(again, part) for part in parts}
    seen = task.seen().xs
    assert seen.shape == task.held_out("test").xs.shape
    spaced = [round(i * 1196 / 299) for i in range(300)]  # as files may be sorted by label
    np.testing.assert_array_equal(seen, task._read("train", jnp.asarray(spaced))[0])
    labels = {
        image.astype(np.uint8).tobytes(): k for image, k in zip(found.images, found.target, strict=True)
    }
    for part, images in parts.items():
        np.testing.assert_array_equal(task.opened[part].label, [labels[i] for i in images])
    assert task.digest() == again.digest() != Digits(permuted=True).open(None).digest()


def test_orders_of_the_pixels():
    row, pixel = Digits().open(None), Digits(order="pixels").open(None)
    whole = Digits(order="whole").open(None)
    assert whole.steps == 1
    np.testing.assert_array_equal(whole.held_out("test").xs[0], pixel.held_out("test").xs[..., 0].T)
    images = np.asarray(row.opened["test"].x)
    xs, ys = row.held_out("test")[:2]
    assert xs.shape == (8, 300, 8)
    np.testing.assert_allclose(xs[3, 7], images[7, 3] / 16)
    assert xs.max() == 1
    assert xs.min() == 0
    np.testing.assert_array_equal(pixel.held_out("test").xs[:, 7, 0], images[7].ravel() / 16)
    assert np.isnan(ys[:-1]).all()
    np.testing.assert_array_equal(jnp.argmax(ys[-1], -1), row.opened["test"].label)
    mixed = Digits(order="pixels", permuted=True).open(None).held_out("test").xs[..., 0]
    np.testing.assert_array_equal(np.sort(mixed, 0), np.sort(pixel.held_out("test").xs[..., 0], 0))
    assert not np.array_equal(mixed, pixel.held_out("test").xs[..., 0])
    half = Digits(ask="half").open(None)
    np.testing.assert_array_equal(half.asked(half.held_out("test").ys).sum(0), np.full(300, 4))
    assert half.asked_steps == 4


def test_images_are_held_and_judged_by_squares():
    once, held = (Digits(order="whole", hold=hold, cost="squares").open(None) for hold in (1, 4))
    one, four = once.held_out("test"), held.held_out("test")
    assert (once.steps, held.steps, held.asked_steps) == (1, 4, 1)
    np.testing.assert_array_equal(four.xs, np.repeat(one.xs, 4, 0))
    assert np.isnan(four.ys[:3]).all()
    np.testing.assert_array_equal(four.ys[3], one.ys[0])
    assert held.sample(jr.key(0), 2)[0].shape == (4, 2, 64)
    y = jnp.full((300, 10), 0.1)
    np.testing.assert_allclose(once.error(y, one.ys[0]), (0.9**2 + 9 * 0.1**2) / 2, rtol=1e-6)
    assert once.says(y) is y
    share = np.bincount(np.asarray(once.opened["train"].label)) / 1197
    found = once.baselines()["constant"]["loss"]
    np.testing.assert_allclose(
        found, np.mean(np.sum((share - np.asarray(one.ys[0])) ** 2, -1)) / 2, rtol=1e-5
    )
    refused(ArgumentError, lambda: Digits(hold=3), "hold 3 needs --task.order whole")
    refused(ArgumentError, lambda: Digits(cost="square"), "did you mean 'squares'")


def test_training_draws_from_the_training_part_alone():
    task = Digits().open(None)
    train = set(rows(task, "train"))
    xs = np.asarray(task.sample(jr.key(0), 500)[0])
    drawn = {np.rint(16 * xs[:, b]).astype(np.uint8).tobytes() for b in range(500)}
    assert drawn <= train
    assert len(drawn) > 300


def test_the_constant_of_digits_is_the_most_frequent_one():
    task = Digits().open(None)
    most = np.bincount(task.opened["train"].label).argmax()
    got = task.baselines()["constant"]
    np.testing.assert_allclose(got["accuracy"], np.mean(task.opened["test"].label == most), rtol=1e-6)
    assert np.log(10) - 0.01 < got["loss"] < np.log(10) + 0.05


@pytest.mark.parametrize(
    ("task", "module", "package"),
    [("digits", "sklearn", "scikit-learn"), ("shd", "h5py", "h5py"), ("neurogym", "neurogym", "neurogym")],
)
def test_packages_that_are_missing(task, module, package, monkeypatch, tmp_path):
    real = builtins.__import__

    def none(name, *args, **kw):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kw)

    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.import_module", none)
    data = tmp_path if task == "shd" else None
    with pytest.raises(ArgumentError) as raised:
        TASKS[task]().open(data)
    assert str(raised.value) == f"task {task} needs the package {package}: pip install 'perturbax[{task}]'"


def test_digits_take_no_file(tmp_path):
    refused(
        ArgumentError,
        lambda: Digits().open(tmp_path),
        "task digits reads the images of scikit-learn: it takes no",
    )


# MNIST


@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, packed):
    made = mnist(tmp_path, packed=packed)
    task = Mnist(valid=3).open(tmp_path)
    images, labels = made["train"]
    for part, cut in {"train": slice(9), "valid": slice(9, None)}.items():
        np.testing.assert_array_equal(task.opened[part].x, images[cut])
        np.testing.assert_array_equal(task.opened[part].label, labels[cut])
    test = task.held_out("test")
    np.testing.assert_allclose(test.xs, np.swapaxes(made["test"][0], 0, 1) / 255, rtol=1e-6)
    np.testing.assert_array_equal(np.argmax(test.ys[-1], -1), made["test"][1])
    seen = {round(float(v)) for v in 255 * task.sample(jr.key(0), 200)[0][0, :, 0]}
    assert seen == set(range(9))
    assert Mnist(valid=3, order="pixels").open(tmp_path).sample(jr.key(0), 2)[0].shape == (16, 2, 1)
    digest = task.digest()
    mnist(tmp_path / "other", n=13)
    assert Mnist(valid=3).open(tmp_path / "other").digest() != digest


def npz(path, change=None, **arrays):
    made = {
        "x_train": np.arange(12 * 16, dtype=np.uint8).reshape(12, 4, 4),
        "y_train": np.arange(12) % 10,
        "x_test": np.full((5, 4, 4), 7, np.uint8),
        "y_test": np.arange(5),
    }
    made |= arrays
    np.savez(path, **{k: v for k, v in made.items() if k != change})
    return made


def test_mnist_from_one_file(tmp_path):
    made = npz(tmp_path / "m.npz")
    task = Mnist(valid=3).open(tmp_path / "m.npz")
    np.testing.assert_array_equal(task.opened["train"].x, made["x_train"][:9])
    np.testing.assert_array_equal(task.opened["test"].label, made["y_test"])
    colours = {"x_train": np.ones((12, 4, 4, 3), np.uint8), "x_test": np.ones((5, 4, 4, 3), np.uint8)}
    npz(tmp_path / "c.npz", y_train=made["y_train"][:, None], **colours)
    assert Mnist(valid=3, order="whole").open(tmp_path / "c.npz").sizes == (48, 10)
    assert Mnist(valid=3).open(tmp_path / "c.npz").sizes == (12, 10)


@pytest.mark.parametrize(
    ("change", "arrays", "words"),
    [
        ("y_test", {}, "has no arrays x_test and y_test"),
        (None, {"x_train": np.zeros((12, 4, 4), complex)}, "pixels must be numbers, not complex128"),
        (None, {"x_train": np.zeros((12, 16), np.uint8)}, "images must be (N, height, width), not of shape"),
        (None, {"y_train": np.full(12, -1)}, "labels must be from 0 to 9, not from -1 to -1"),
        (None, {"y_train": np.full(12, 10)}, "labels must be from 0 to 9, not from 10 to 10"),
        (None, {"y_train": np.array([object()] * 12)}, "not an NPZ file of plain arrays"),
        (None, {"x_test": np.zeros((5, 3, 3), np.uint8)}, "of different size"),
    ],
)
def test_npz_files_that_are_wrong(tmp_path, change, arrays, words):
    npz(tmp_path / "m.npz", change, **arrays)
    refused(DataError, lambda: Mnist(valid=3).open(tmp_path / "m.npz"), words)


def test_npz_files_that_are_none(tmp_path):
    (tmp_path / "m.npz").write_bytes(b"nothing of the kind")
    refused(DataError, lambda: Mnist().open(tmp_path / "m.npz"), "not an NPZ file")
    refused(ArgumentError, lambda: Mnist().open(tmp_path / "n.npz"), "no such file")


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
GOOD = idx(np.zeros((12, 4, 4)))
BAD_MNIST = {
    "missing": (IMAGES, None, "has no file train-images-idx3-ubyte or train-images-idx3-ubyte.gz"),
    "empty": (IMAGES, b"", "is no IDX file: it begins with nothing, not with 00000803 (bytes, 3 axes)"),
    "magic": (IMAGES, b"\x00\x00\x0a\x03" + GOOD[4:], "it begins with 00000a03, not with 00000803"),
    "labels for images": (
        IMAGES,
        idx(np.zeros(12)),
        "must hold an array with 3 axes, it has one of bytes with 1",
    ),
    "header": (IMAGES, GOOD[:9], "is cut off: 9 bytes, the header alone has 16"),
    "short": (IMAGES, GOOD[:-1], "is cut off: 191 bytes of entries, its header says 192"),
    "long": (IMAGES, GOOD + b"1", "is too long: 193 bytes of entries, its header says 192"),
    "gzip": (IMAGES + ".gz", GOOD, "is not a gzip file"),
    "torn gzip": (IMAGES + ".gz", gzip.compress(GOOD)[:-9], "is cut off: the compressed data end too early"),
    "counts": (LABELS, idx(np.zeros(11)), "12 images for train, but 11 labels"),
    "sizes": (
        IMAGES,
        idx(np.zeros((12, 4, 3))),
        "for training and for testing are of different size, 4x3 and 4x4",
    ),
    "none": (IMAGES, idx(np.zeros((0, 4, 4))), "0 images for train, but 12 labels"),
    "classes": (LABELS, idx(np.arange(12)), "labels for train: labels must be from 0 to 9, not from 0 to 11"),
}


@pytest.mark.parametrize("case", BAD_MNIST)
def test_bad_mnist(case, tmp_path):
    mnist(tmp_path)
    name, content, expected = BAD_MNIST[case]
    if content is None or name.endswith(".gz"):
        (tmp_path / name.removesuffix(".gz")).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(
        ArgumentError if case == "missing" else DataError, lambda: Mnist(valid=3).open(tmp_path), expected
    )


def test_mnist_needs_its_folder(tmp_path):
    mnist(tmp_path)
    refused(ArgumentError, lambda: Mnist().open(None), "task mnist needs --data FOLDER")
    refused(
        ArgumentError,
        lambda: Mnist().open(tmp_path / "no"),
        f"needs --data FOLDER or FILE.npz: {tmp_path / 'no'} is none",
    )
    refused(
        ArgumentError,
        lambda: Mnist(valid=12).open(tmp_path),
        "valid must be below the number of training images",
    )


# Spiking Heidelberg Digits


def test_shd_bins_spikes(tmp_path):
    made = shd(tmp_path)
    task = Shd(frames=7, pool=100).open(tmp_path)
    assert (task.sizes, task.steps, task.asked_steps) == ((7, 20), 7, 4)
    test = task.held_out("test")
    for b, (times, units) in enumerate(made["test"]):
        counts = np.zeros((7, 7))
        for t, u in zip(np.asarray(times, np.float16).astype(float), units, strict=True):
            if t < 1.4:
                counts[int(t / 1.4 * 7), u // 100] += 1
        np.testing.assert_array_equal(test.xs[:, b], counts)
    np.testing.assert_array_equal(np.argmax(test.ys[-1], -1), np.arange(4))
    train, valid = set(rows(task, "train")), set(rows(task, "valid"))
    assert (len(train), len(valid)) == (18, 2)
    assert not train & valid


SPIKES = [(np.array([0.1, 0.2]), np.array([3, 699]))] * 2
BAD_SHD = {
    "no hdf5": (lambda p: p.write_bytes(b"hello"), DataError, "is no readable HDF5 file"),
    "missing": (lambda p: p.unlink(), ArgumentError, "no such file"),
    "no units": (
        lambda p: write_shd(p, SPIKES, [1, 2], ["spikes/units"]),
        DataError,
        "has no data set spikes/units",
    ),
    "nothing": (
        lambda p: write_shd(p, SPIKES, [1, 2], ["spikes/units", "spikes/times", "labels"]),
        DataError,
        "has no data set spikes/times, spikes/units, labels",
    ),
    "counts": (lambda p: write_shd(p, SPIKES, [1]), DataError, "2 times, 2 units, 1 labels"),
    "labels": (lambda p: write_shd(p, SPIKES, [1, 20]), DataError, "labels must be from 0 to 19"),
    "units": (
        lambda p: write_shd(p, [*SPIKES[:1], (np.array([0.1]), np.array([700]))], [1, 2]),
        DataError,
        "example 1: each spike needs a time of 0 or more and a unit from 0 to 699; spike 0 has time",
    ),
    "lengths": (
        lambda p: write_shd(p, [(np.array([0.1]), np.array([3, 4]))] * 2, [1, 2]),
        DataError,
        "a unit from 0 to 699; there are 1 times and 2 units",
    ),
}


@pytest.mark.parametrize("case", BAD_SHD)
def test_bad_shd(case, tmp_path):
    shd(tmp_path)
    spoil, kind, expected = BAD_SHD[case]
    spoil(tmp_path / "shd_test.h5")
    refused(kind, lambda: Shd().open(tmp_path), expected)
    refused(ArgumentError, lambda: Shd().open(None), "task shd needs --data FOLDER")


@pytest.mark.parametrize(("order", "lr", "discount"), [("rows", 3e-4, 0.9), ("pixels", 3e-3, 1.0)])
def test_credit_that_fades_is_for_images_read_row_by_row(order, lr, discount):
    e = resolve(px.Experiment(task="mnist", rule="node", task_options={"order": order}))
    assert e.lr == lr
    assert e.rule_options["discount"] == discount
