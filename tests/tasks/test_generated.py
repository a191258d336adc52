"""Generated tasks: answers worked out again from the inputs, keys, and settings that mean nothing."""

import jax
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from perturbax.errors import ArgumentError
from perturbax.tasks import TASKS, Adding, DelayedXor, Evidence, FlipFlop, Lorenz, Narma, Pattern, Text

nan = float("nan")


def drawn(task, batch=64, seed=0):
    """Sequences of one compiled program."""
    return tuple(np.asarray(a) for a in sampler(task, batch)(jr.key(seed)))


def sampler(task, batch):
    opened = task.open(None)
    return jax.jit(lambda key: opened.sample(key, batch))


@pytest.mark.parametrize("name", ["adding", "delayed-xor", "flip-flop", "evidence"])
def test_held_out_parts_stay_and_differ(name):
    task = TASKS[name]()
    valid, test, again = (task.held_out(part) for part in ("valid", "test", "test"))
    np.testing.assert_array_equal(test.xs, again.xs)
    np.testing.assert_array_equal(test.ys, again.ys)
    assert not np.array_equal(valid.xs, test.xs)
    # With so many sequences to choose from, none comes twice.
    sample = sampler(task, 64)
    parts = [np.asarray(xs) for xs in (valid.xs, test.xs, *(sample(jr.key(seed))[0] for seed in range(20)))]
    seen = [{xs[:, i].tobytes() for i in range(xs.shape[1])} for xs in parts]
    assert len(set.union(*seen)) == sum(map(len, seen)) == sum(xs.shape[1] for xs in parts)


def test_adding():
    xs, ys = drawn(Adding(length=9), 500)
    value, mark = xs[..., 0], xs[..., 1]
    assert value.min() >= 0
    assert value.max() <= 1
    assert set(np.unique(mark)) == {0, 1}
    np.testing.assert_array_equal(mark[:4].sum(0), np.ones(500))
    np.testing.assert_array_equal(mark[4:].sum(0), np.ones(500))
    assert mark.sum(1).all()  # every step is marked sometimes
    for b in range(500):
        first, second = np.flatnonzero(mark[:, b])
        np.testing.assert_allclose(ys[-1, b, 0], value[first, b] + value[second, b], rtol=1e-6)
    assert np.isnan(ys[:-1]).all()


def test_the_best_constant_of_adding_is_off_by_a_sixth():
    np.testing.assert_allclose(Adding().baselines()["mean"]["loss"], 1 / 6, rtol=0.2)


def test_delayed_xor():
    task, noisy = (DelayedXor(gap=2, delay=3, noise=noise) for noise in (0.0, 0.3))
    xs, ys = drawn(task, 200)
    assert task.steps == 8
    one, two = xs[0, :, 0], xs[3, :, 0]
    assert {(a, b) for a, b in zip(one, two, strict=True)} == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    assert not xs[[1, 2, 4, 5, 6, 7], :, 0].any()
    np.testing.assert_array_equal(xs[..., 1], np.arange(8)[:, None] * np.ones((1, 200)) == 7)
    np.testing.assert_array_equal(ys[-1, :, 1], one != two)
    np.testing.assert_array_equal(ys[-1, :, 0], one == two)
    assert np.isnan(ys[:-1]).all()
    other = drawn(noisy, 200)
    np.testing.assert_array_equal(other[1], ys)
    np.testing.assert_array_equal(other[0][..., 1], xs[..., 1])
    noise = other[0][..., 0] - xs[..., 0]
    assert abs(noise.std() - 0.3) < 5 * 0.3 / (2 * noise.size) ** 0.5
    assert abs(noise.mean()) < 5 * 0.3 / noise.size**0.5


def test_flip_flop():
    xs, ys = drawn(FlipFlop(bits=2, length=30, rate=0.2), 100)
    assert set(np.unique(xs)) == {-1, 0, 1}
    assert xs[0].all()
    state = np.zeros((100, 2))
    for x, y in zip(xs, ys, strict=True):
        state = np.where(x != 0, x, state)
        np.testing.assert_array_equal(y, state)
    pulses = xs[1:] != 0
    assert abs(pulses.mean() - 0.2) < 5 * (0.2 * 0.8 / pulses.size) ** 0.5
    assert abs(xs[1:][pulses].mean()) < 5 / pulses.sum() ** 0.5


def test_flip_flop_accuracy_counts_signs():
    task = FlipFlop(bits=2, length=4)
    _, ys = drawn(task, 3)
    wrong, metrics = ys.copy(), jax.jit(task.metrics)
    wrong[1, 2, 0] *= -1
    assert metrics(0.1 * ys, ys)["accuracy"] == 1
    np.testing.assert_allclose(metrics(wrong, ys)["accuracy"], 23 / 24, rtol=1e-6)


def test_evidence_counts_cues():
    task = Evidence(cues=5, cue=2, gap=1, delay=4, recall=3, neurons=0)
    xs, ys = drawn(task, 300)
    assert task.steps == 22
    cues = xs[[0, 3, 6, 9, 12], :, :2]
    np.testing.assert_array_equal(cues.sum(-1), np.ones((5, 300)))
    np.testing.assert_array_equal(xs[[1, 4, 7, 10, 13], :, :2], cues)
    assert not xs[[2, 5, 8, 11, *range(14, 22)], :, :2].any()
    np.testing.assert_array_equal(xs[..., 2], np.arange(22)[:, None] * np.ones((1, 300)) >= 19)
    more = cues[..., 1].sum(0) > cues[..., 0].sum(0)
    for step in ys[-3:]:
        np.testing.assert_array_equal(step, np.stack([~more, more], -1))
    assert np.isnan(ys[:-3]).all()
    agree = (cues[..., 1] == more[None]).mean()
    assert 0.65 < agree < 0.85
    assert 0.4 < more.mean() < 0.6


def test_evidence_spikes_where_the_plain_inputs_are_on():
    fields = {"cues": 3, "cue": 3, "gap": 1, "delay": 2, "recall": 2, "rate": 0.5}
    plain, targets = drawn(Evidence(neurons=0, **fields), 200)
    xs, ys = drawn(Evidence(neurons=6, **fields), 200)
    np.testing.assert_array_equal(ys, targets)
    assert set(np.unique(xs)) == {0, 1}
    groups = xs.reshape(*xs.shape[:2], 4, 6)
    assert not groups[..., :3, :][plain == 0].any()
    for rate, spikes in ((0.5, groups[..., :3, :][plain == 1]), (13 / 256, groups[..., 3, :])):
        assert abs(spikes.mean() - rate) < 5 * (rate * (1 - rate) / spikes.size) ** 0.5
    assert drawn(Evidence(neurons=2, rate=1.0), 3)[0][-1, :, 4:6].all()


def test_pattern():
    task = Pattern(outputs=2, length=60, clock=4, pattern_seed=7)
    xs, ys = drawn(task, 3)
    rng = np.random.default_rng(7)
    size, phase = rng.uniform(0.5, 2, (2, 4)), rng.uniform(0, 2 * np.pi, (2, 4))
    for o in range(2):
        wave = [
            sum(size[o, k] * np.sin(2 * np.pi * f * t / 60 + phase[o, k]) for k, f in enumerate((1, 2, 3, 5)))
            for t in range(60)
        ]
        for b in range(3):
            np.testing.assert_allclose(ys[:, b, o], wave / np.abs(wave).max(), atol=1e-6)
    np.testing.assert_array_equal(xs[:, 1], np.repeat(np.eye(4), 15, 0))
    np.testing.assert_array_equal(drawn(Pattern(clock=0), 2)[0], np.ones((100, 2, 1)))
    np.testing.assert_array_equal(task.held_out("test").ys[:, 0], ys[:, 0])
    assert not np.allclose(drawn(Pattern(outputs=2, length=60))[1][:, 0], ys[:, 0])


def test_narma_targets_follow_from_the_inputs_of_their_window():
    task = Narma(length=700, window=40, series_seed=3, horizon=1).open(None)
    xs, ys = jax.jit(lambda key: task.sample(key, 50))(jr.key(0))
    scale = task.encoding
    u = np.asarray(xs)[..., 0] * scale.stds[0] + scale.means[0]
    y = np.asarray(task.in_units(ys))[..., 0]
    for t in range(10, 40):
        want = 0.3 * y[t - 1] + 0.05 * y[t - 1] * y[t - 10 : t].sum(0) + 1.5 * u[t - 9] * u[t] + 0.1
        np.testing.assert_allclose(y[t], want, atol=2e-6)
    assert u.min() >= 0
    assert u.max() <= 0.5
    assert not np.array_equal(Narma(length=700, series_seed=4).open(None).opened.x, task.opened.x)


def test_narma_that_runs_away_is_drawn_again():
    """Seed 75 runs away in its first draw of 3,100 inputs; seed 30 exceeds 1 in its first, and comes back."""
    from perturbax.tasks import narma

    for seed, draws in ((75, 2), (30, 1)):
        rng = np.random.default_rng(seed)
        inputs = [rng.uniform(0, 0.5, 3100) for _ in range(draws)][-1]
        u, y = narma.generate(3000, seed)
        np.testing.assert_array_equal(u, inputs[100:])
        assert y.max() < 10
        assert (y.max() > 1) == (seed == 30)


def test_lorenz_follows_its_equation():
    task = Lorenz(length=400, window=20, interval=0.07, observed="xyz", series_seed=2).open(None)
    scale = task.encoding
    path = np.asarray(task.opened.x, np.float64) * scale.stds + scale.means

    def slope(_, v):
        return [10 * (v[1] - v[0]), v[0] * (28 - v[2]) - v[1], v[0] * v[1] - 8 / 3 * v[2]]

    for row in (0, 100, 390):
        times = 0.07 * np.arange(8)
        exact = solve_ivp(slope, (0, times[-1]), path[row], t_eval=times, rtol=1e-9, atol=1e-9).y.T
        np.testing.assert_allclose(path[row : row + 8], exact[: len(path[row : row + 8])], atol=2e-2)
    plain = Lorenz(length=400, window=20, interval=0.07, series_seed=2).open(None)
    np.testing.assert_array_equal(plain.opened.x, task.opened.x[:, :1])
    xs, ys = plain.sample(jr.key(0), 5)
    np.testing.assert_allclose(ys[:-10], xs[10:], atol=1e-6)  # 10 samples ahead


@pytest.mark.parametrize(
    ("cls", "kw", "expected"),
    [
        (Adding, {"length": 1}, "length must be a whole number of at least 2, not 1"),
        (DelayedXor, {"gap": -1}, "gap must be a whole number of at least 0, not -1"),
        (DelayedXor, {"noise": -0.1}, "noise must be 0 or more, not -0.1"),
        (FlipFlop, {"rate": 0.0}, "rate must be a probability above 0 and at most 1, not 0.0"),
        (FlipFlop, {"rate": nan}, "rate must be a probability above 0 and at most 1, not nan"),
        (Evidence, {"cues": 6}, "cues must be odd, so that one side has more; not 6"),
        (Evidence, {"recall": 0}, "recall must be a whole number of at least 1, not 0"),
        (Pattern, {"length": 10}, "length must be a whole number of at least 11, not 10"),
        (Narma, {"length": 0}, "length must be a whole number of at least 1, not 0"),
        (Lorenz, {"observed": "y"}, "unknown observed 'y'; did you mean 'xyz'?"),
        (Lorenz, {"interval": 0.0}, "interval must be above 0, not 0.0"),
        (
            Text,
            {"valid": 0.5, "test": 0.5},
            "valid and test are fractions of the text, above 0 and together below 1; not 0.5 and 0.5",
        ),
    ],
)
def test_settings_that_mean_nothing(cls, kw, expected):
    with pytest.raises(ArgumentError) as raised:
        cls(**kw)
    assert str(raised.value) == expected
