"""What tests of several rooms share: tiny networks and data, references by autodiff, small data files."""

import gzip
import itertools
import shutil
import struct
from typing import Any

import equinox as eqx
import h5py
import jax
import jax.flatten_util
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import perturbax as px
from perturbax.cells.stack import stack as stack_layers
from perturbax.learning.noise import Rademacher, Recorded
from perturbax.learning.pace import CPU
from perturbax.network.layer import is_fixed

# --- tiny networks, data, and averages over every sign of the noise

T, B = 3, 2


def mse(y, target):
    return jnp.mean((y - target) ** 2, -1)


MANY, LEAVES = 1024, 24


@jax.jit
def many_normal(key):
    return jr.normal(key, (MANY,))


@jax.jit
def normal_per_leaf(key):
    """Numbers `(LEAVES, MANY)`, each row of a key of its own, as jr.split gives them."""
    return jax.vmap(lambda k: jr.normal(k, (MANY,)))(jr.split(key, LEAVES))


@jax.jit
def split_key(seed, i):
    """Key number i of those that jr.split makes of the seed's, however many are asked for."""
    return jr.split(jr.key(seed), LEAVES)[i]


def normal(key, shape):
    """The numbers of `jr.normal(key, shape)`, of one compiled program for all small shapes."""
    size = int(np.prod(shape))
    if size > MANY:
        return jr.normal(key, shape)
    return jax.device_put(np.asarray(many_normal(key))[:size].reshape(shape))


def drawn(build, key, scale):
    """The network that `build()` makes, all of its weights random numbers of that scale, biases included.

    What weights start from is not computed: it would be most of the small programs of a test.
    """
    made = eqx.filter_eval_shape(build)
    is_weight = lambda leaf: not is_fixed(leaf) and jnp.issubdtype(getattr(leaf, "dtype", bool), jnp.inexact)
    shapes, rest = eqx.partition(made, is_weight, is_leaf=is_fixed)
    if any(is_fixed(leaf) for leaf in jax.tree.leaves(rest, is_leaf=is_fixed)):
        rest = eqx.filter_jit(lambda: px.split(build())[1])()
    leaves, tree = jax.tree.flatten(shapes)
    if max(leaf.size for leaf in leaves) > MANY:
        numbers = [normal(k, leaf.shape) for k, leaf in zip(jr.split(key, len(leaves)), leaves, strict=True)]
    else:
        numbers = np.asarray(normal_per_leaf(key))
    values = [
        jnp.asarray(scale * np.ravel(x)[: leaf.size].reshape(leaf.shape), leaf.dtype)
        for x, leaf in zip(numbers, leaves, strict=False)
    ]
    return px.join(tree.unflatten(values), rest)


def network(cell, *, n_in=1, n=1, n_out=1, depth=1, seed=0, scale=0.8):
    """A stack of recurrent cells and a readout with strong random weights, biases included."""

    def build():
        keys = jr.split(jr.key(seed), depth + 2)
        cells, width = [], n_in
        for key in keys[:depth]:
            cells.append(cell(width, n, key=key))
            width = cells[-1].width
        return px.Network((*cells, px.cells.Readout(width, n_out, key=keys[-2])))

    return drawn(build, split_key(seed, depth + 1), scale)


def stack(cell, n_in=2, n=3, n_out=2, depth=1, key=0, **options):
    """A stack of a cell, by its name, and its readout, with the weights that they start from."""
    return eqx.filter_jit(lambda: stacked(cell, n_in, n, n_out, depth, key, options))()


def strong(cell, n_in=2, n=3, n_out=2, depth=1, scale=0.8, seed=3, **options):
    """The same with strong random weights."""
    build = lambda: stacked(cell, n_in, n, n_out, depth, 0, options)
    return drawn(build, jr.key(seed), scale)


def stacked(cell, n_in, n, n_out, depth, key, options):
    return px.Network(stack_layers(px.CELLS[cell], (n_in, n_out), (n,) * depth, jr.key(key), **options))


def two_loops(scale=0.8):
    """Two recurrent layers that read each other, and a readout of both; strong random weights."""

    def build():
        inputs, below, above = px.Source(-1), px.Source(0), px.Source(1)
        cells = [px.cells.Tanh(4, 2, key=jr.key(i)) for i in range(2)]
        reads = [[inputs, px.Source(1, late=True)], [below, inputs], [above, below]]
        return px.Network([*cells, px.cells.Readout(4, 2, key=jr.key(2))], reads=reads)

    return drawn(build, jr.key(3), scale)


def data(n_in=1, n_out=1, steps=T, batch=B, seed=1):
    a, b = jr.split(jr.key(seed))
    return normal(a, (steps, batch, n_in)), normal(b, (steps, batch, n_out))


def every_sign(shapes):
    """All sign patterns of the leaves: a tree with an axis of 2^bits in front."""
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda s: isinstance(s, tuple))
    sizes = [int(np.prod(s)) for s in leaves]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=sum(sizes))))
    parts = np.split(signs, np.cumsum(sizes)[:-1], axis=1)
    return tree.unflatten([jax.device_put(p.reshape(-1, *s)) for p, s in zip(parts, leaves, strict=True)])


def unpacked(kind):
    """The same signs, as arrays from the draw on: what signs that travel packed are compared with."""

    class Unpacked(kind):
        pass

    return Unpacked()


def set_pace(monkeypatch, **changes):
    """Run with other constants of what is run, drawn and multiplied out at once."""
    monkeypatch.setattr("perturbax.learning.pace.PACES", {"cpu": CPU._replace(**changes)})


class Signs(Rademacher):
    """Signs as noise in weights that are given, one row for each sample, and not drawn.

    table: per array of weights `(K, ...)`, or `(2 K, ...)` for difference noisy.
    """

    table: Any

    def draw(self, state, keys, like):
        """The same rows in every step."""
        leaves, tree = jax.tree.flatten(like)
        rows = [jnp.asarray(t, leaf.dtype) for t, leaf in zip(self.table, leaves, strict=True)]
        return state, tree.unflatten([jnp.stack([own] * len(keys)) for own in rows])


def node_patterns(net, steps, samples=1):
    """All signs of node noise for ONE example, as the table that `Recorded` replays."""
    shapes = net.sites_like(jax.ShapeDtypeStruct((1, first_width(net)), jnp.result_type(float)))
    return every_sign([(steps, samples, *site.a.shape) for site in shapes])


def weight_patterns(net, samples=1):
    leaves, tree = jax.tree.flatten(px.weights(net))
    signs = every_sign([(1, samples, *leaf.shape) for leaf in leaves])
    return tree.unflatten(signs)


def first_width(net):
    return net.layers[0].W.shape[0]


def fresh(rule, loss=mse):
    """The estimate (net, xs, ys, key) -> (loss, grads) of a rule that has learnt nothing yet; one program."""
    learn = px.learner(rule, loss)

    @jax.jit
    def estimate(net, xs, ys, key):
        return learn.update(learn.init(net, xs[0], key), net, xs, ys, key)[1:]

    return estimate


def first_carry(rule, net, x, key):
    """What a step rule that has learnt nothing carries into its first step; x is one input `(B, n_in)`."""
    return rule.init_sequence(net, rule.init_state(net, x, key), x, key)


def every_estimate(make_rule, table, net, xs, ys, loss=mse):
    """The estimates under all patterns, each example alone: a batch of one has all of its own noise."""

    @jax.vmap
    def one(table):
        return fresh(make_rule(Recorded(table)), loss)(net, xs, ys, jr.key(0))[1]

    return one(table)


def averaged(make_rule, table, net, xs, ys, loss=mse):
    """The mean estimate over all patterns."""
    every = jax.jit(lambda table: every_estimate(make_rule, table, net, xs, ys, loss))
    return mean(every(table))


def mean(every):
    """The mean over the first axis, in NumPy: a compiled sum is a kernel or two for each array."""
    return jax.tree.map(lambda g: np.asarray(g).mean(0), every)


def distance(got, want):
    """Largest absolute difference over the largest value."""
    got, want = (np.concatenate([np.ravel(v) for v in jax.tree.leaves(t)]) for t in (got, want))
    return float(np.max(np.abs(got - want)) / np.max(np.abs(want)))


# --- autodiff of models with paths cut, which approximate rules must equal

stop = jax.lax.stop_gradient


def rolled(net, xs, ys, cut, loss=mse):
    """Mean loss when `cut(state)` stands between steps."""

    def body(state, now):
        state, y, _ = net.step(cut(state), now[0])
        return state, loss(y, now[1]).mean()

    return jax.lax.scan(body, net.start(xs.shape[1]), (xs, ys))[1].mean()


def layer_by_layer(net, xs, ys, cut):
    """Gradients, each layer's from a network of its own: cut(i) -> what stands between steps for layer i's
    weights.
    """
    some, rest = px.split(net)
    layers = []
    for i in range(len(net.layers)):
        g = jax.grad(lambda some, i=i: rolled(px.join(some, rest), xs, ys, cut(i)))(some)
        layers.append(g.layers[i])
    return some.like(layers)


def without_r(net, leaky=True):
    """E-prop: layer i's own r is constant, and so is all that layers above carry, but for a leaky readout's
    output.
    """
    last = len(net.layers) - 1

    def cut(i):
        def between(state):
            out = []
            for k, (h, r) in enumerate(state):
                through = k < i or (k == last == i + 1 and leaky and hasattr(net.layers[-1], "kappa"))
                out.append((h, r) if through else (h, stop(r)) if k == i else stop((h, r)))
            return tuple(out)

        return between

    return cut


def masked(net, xs, ys, reach):
    """RTRL of one recurrent layer, written out per example; influence is kept where reach[unit, owner] says
    so.

    The state is the layer's hidden values and its undecorrelated output; the readout is taken within the
    step.
    """
    layer, rest = net.layers[0], net.layers[1]
    some, fixed = px.split(layer)
    flat, build = jax.flatten_util.ravel_pytree(some)
    n = reach.shape[0]
    owner = build(jnp.zeros_like(flat))
    owner = jax.flatten_util.ravel_pytree(
        jax.tree.map(lambda w: jnp.broadcast_to(jnp.arange(n), w.shape), owner)
    )[0]
    D = None if net.decor[1] is None else net.decor[1].value
    mixed = lambda y: y if D is None else y @ D
    xs = xs if net.decor[0] is None else xs @ net.decor[0].value
    h0, y0 = layer.start()
    s0, rebuild = jax.flatten_util.ravel_pytree((h0, y0))
    unit = jnp.tile(jnp.arange(n), len(s0) // n)

    def step(flat, s, x):
        layer = px.join(build(flat), fixed)
        h, y = rebuild(s)
        return jax.flatten_util.ravel_pytree(px.split(layer)[1].advance(h, layer.drive(x, mixed(y))))[0]

    def one(xs, ys):
        def body(carry, now):
            (s, M), (x, target) = carry, now
            M = jax.jacfwd(step, 1)(flat, s, x) @ M + jax.jacfwd(step)(flat, s, x)
            M = M * reach[unit[:, None], owner[None]]
            s = step(flat, s, x)
            score = lambda s: mse(rest.drive(mixed(rebuild(s)[1]), jnp.zeros(())), target)
            return (s, M), jax.grad(score)(s) @ M

        start = s0, jnp.zeros((len(s0), len(flat)))
        return jax.lax.scan(body, start, (xs, ys))[1].mean(0)

    return build(jax.vmap(one, (1, 1))(xs, ys).mean(0))


def spread(wiring, steps):
    """Which unit is reached from which within so many steps, from powers of the wiring."""
    reach, power = np.eye(len(wiring), dtype=bool), np.eye(len(wiring))
    for _ in range(steps):
        power = (wiring.astype(float) @ power > 0).astype(float)
        reach = reach | (power > 0)
    return reach


# --- small data files, as the tasks that read files expect them

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
        spikes = [
            (np.sort(rng.uniform(0, 1.5, m)), rng.integers(0, 700, m)) for m in rng.integers(20, 60, count)
        ]
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
        self,
        env,
        env_kwargs=None,
        batch_size=1,
        seq_len=None,
        max_batch=None,
        batch_first=False,
        cache_len=None,
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


# --- the command line

QUICK = ["--task", "probe-lag1", "--units", "6", "--steps", "12", "--batch", "4", "--logs", "4"]


def error_of(capsys, argv):
    """Run a command that must fail; return (status, its one line)."""
    from perturbax.cli import main

    status = main([str(a) for a in argv])
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert len(lines) == 1, said.err
    assert "Traceback" not in said.err
    return status, lines[0]


def everything(folder):
    """The bytes of every file below a folder."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def series(path, rows=400, columns=("time", "load", "temp")):
    """A CSV file of two noisy series."""
    rng = np.random.default_rng(0)
    t = np.arange(rows)
    load = 50 + 10 * np.sin(t / 5) + rng.normal(size=rows)
    lines = [",".join(columns)]
    lines += [
        f"{day},{a:.4f},{20 + b:.4f}"
        for day, a, b in zip(np.datetime64("2020-01-01") + t, load, np.cos(t / 5), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def copied_at(step, *folders):
    """A report that copies what a kill after so many steps leaves: what each folder holds, to `cut-NAME`."""

    def report(done, total, loss):
        if done == step:
            for folder in folders:
                shutil.copytree(folder, folder.with_name(f"cut-{folder.name}"))

    return report
