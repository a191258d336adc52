"""Small data files, as the tasks that read files expect them."""

import gzip
import struct

import h5py
import numpy as np

NAMES = {"train": "train", "test": "t10k"}


def idx(array):
    """The bytes of an IDX file of unsigned bytes."""
    array = np.asarray(array, np.uint8)
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(folder, n=12, n_test=5, side=4, packed=False):
    """Four files of images whose first two pixels say which one it is; images and labels of both parts."""
    folder.mkdir(exist_ok=True)
    made = {}
    for k, (part, count) in enumerate({"train": n, "test": n_test}.items()):
        images = np.random.default_rng(k).integers(0, 256, (count, side, side))
        images[:, 0, 0], images[:, 0, 1] = np.arange(count), 255 * k
        labels = np.arange(count) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path, content = folder / f"{NAMES[part]}-{kind}-ubyte", idx(array)
            path.write_bytes(content) if not packed else path.with_name(path.name + ".gz").write_bytes(
                gzip.compress(content)
            )
        made[part] = images, labels
    return made


def shd(folder, n=20, n_test=4):
    """Two files; the first spike of each example says which one it is."""
    folder.mkdir(exist_ok=True)
    made = {}
    for k, (part, count) in enumerate({"train": n, "test": n_test}.items()):
        rng = np.random.default_rng(k)
        spikes = [(np.sort(rng.uniform(0, 1.5, m)), rng.integers(0, 700, m)) for m in rng.integers(20, 60, count)]
        write_shd(folder / f"shd_{part}.h5", spikes, np.arange(count) % 20)
        made[part] = spikes
    return made


def write_shd(path, spikes, labels, leave=()):
    """One HDF5 file in the layout of the Spiking Heidelberg Digits, data sets named in `leave` left out."""
    with h5py.File(path, "w") as file:
        for name, kind, values in (
            ("spikes/times", np.float16, [t for t, _ in spikes]),
            ("spikes/units", np.uint16, [u for _, u in spikes]),
        ):
            if name not in leave:
                made = file.create_dataset(name, (len(values),), dtype=h5py.vlen_dtype(kind))
                for i, value in enumerate(values):
                    made[i] = np.asarray(value, kind)
        if "labels" not in leave:
            file.create_dataset("labels", data=np.asarray(labels, np.uint16))


class Actions:
    """A space of actions; n is None for one that is not discrete."""

    def __init__(self, n):
        self.n = n


class FakeGym:
    """A stand-in for neurogym, with the one class that is used: observations count up from the seed."""

    def __init__(self, n=3, wrong=None):
        self.n, self.wrong, self.asked = n, wrong, []

    def Dataset(
        self, env, env_kwargs=None, batch_size=1, seq_len=None, max_batch=None, batch_first=False, cache_len=None
    ):
        self.asked.append((env, env_kwargs, batch_size, seq_len, cache_len))
        if self.wrong:
            raise self.wrong
        return FakeData(self.n, seq_len, batch_size)


class FakeData:
    """Sequences of observations that are all different; the right action is what the observation says."""

    def __init__(self, n, length, batch):
        self.length, self.batch, self.n = length, batch, n
        self.rng = np.random.default_rng()  # not reproducible before it is seeded, like the real one
        self.env = type("Env", (), {"action_space": Actions(n)})

    def seed(self, seed):
        self.rng = np.random.default_rng(seed)

    def __call__(self):
        actions = self.rng.integers(0, self.n, (self.length, self.batch))
        noise = self.rng.random((self.length, self.batch))
        return np.stack([actions, noise], -1).astype(np.float32), actions
