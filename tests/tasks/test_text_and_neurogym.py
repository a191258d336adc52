"""Text and NeuroGym: what is read and drawn, what is held out, and one line for what cannot be used."""

import sys

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from helpers import FakeGym

from perturbax.errors import ArgumentError, DataError
from perturbax.tasks import NeuroGym, Text


def written(tmp_path, text):
    path = tmp_path / "text.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def counted(tmp_path):
    """200 characters that are all different, so that each says where it stands."""
    return written(tmp_path, "".join(chr(0x4E00 + i) for i in range(200)))


def codes(a):
    np.testing.assert_array_equal(a.sum(-1), 1)
    return np.asarray(jnp.argmax(a, -1))


def test_text_says_the_next_character(counted):
    task = Text(window=10, valid=0.2, test=0.1).open(counted)
    assert task.classes == 141
    xs, ys = (codes(a) for a in task.sample(jr.key(0), 2000))
    np.testing.assert_array_equal(ys, xs + 1)
    np.testing.assert_array_equal(xs, xs[:1] + np.arange(10)[:, None])
    assert set(xs[0]) == set(range(130))
    assert ys.max() == 139  # the last one of the training part
    for part, length in (("valid", 40), ("test", 20)):
        held = task.held_out(part)
        assert (codes(held.xs) == 140).all()  # none of its characters is in the alphabet
        assert (codes(held.ys) == 140).all()
        assert held.xs.size // 141 == {40: 39, 20: 19}[length]


def test_held_out_text_is_read_in_order(tmp_path):
    text = "".join("abcdefghij"[i] for i in np.random.default_rng(0).integers(0, 10, 2000))
    task = Text(window=20, valid=0.2, test=0.2).open(written(tmp_path, text))
    for part, first in (("valid", 1200), ("test", 1600)):
        held = task.held_out(part)
        streams, length = 19, 21
        assert held.xs.shape == (length, streams, 11)
        for b in range(streams):
            at = first + b * length
            assert "".join("abcdefghij"[i] for i in codes(held.xs)[:, b]) == text[at : at + length]
            assert "".join("abcdefghij"[i] for i in codes(held.ys)[:, b]) == text[at + 1 : at + length + 1]


def test_text_streams_go_on_where_they_were(counted):
    task = Text(window=10, valid=0.2, test=0.1).open(counted)
    pieces = [task.stream(jr.key(i), i, 3) for i in range(13)]
    xs, ys = (np.concatenate([codes(p[k]) for p in pieces]) for k in (0, 1))
    np.testing.assert_array_equal(xs, (np.arange(130)[:, None] + np.array([[0, 46, 92]])) % 139)
    np.testing.assert_array_equal(ys, xs + 1)
    np.testing.assert_array_equal(task.stream(jr.key(0), 13 * 10**7, 3)[0], pieces[0][0])


def test_bits_per_character(tmp_path):
    task = Text(window=5).open(written(tmp_path, "abcd" * 100))
    test = task.held_out("test")
    even = task.metrics(jnp.zeros_like(test.ys), test.ys)
    np.testing.assert_allclose(even["bits_per_character"], np.log2(5), rtol=1e-6)
    np.testing.assert_allclose(even["loss"], np.log(5), rtol=1e-6)
    assert list(even) == ["loss", "bits_per_character", "accuracy"]
    assert task.metrics(1e3 * test.ys, test.ys)["accuracy"] == 1


def test_baselines_of_text_are_counts(tmp_path):
    """Every character follows from the one before it; alone, each is as likely as the others."""
    task = Text(window=5).open(written(tmp_path, "abcd" * 100))
    got = task.baselines()
    np.testing.assert_allclose(got["constant"]["loss"], -np.log(81 / 325), rtol=1e-3)
    assert got["pairs"]["accuracy"] == 1
    chance = [-np.log(81 / 85), -np.log(80 / 84)]  # of d, the last of the training text, one less is followed
    assert min(chance) - 1e-6 < got["pairs"]["loss"] < max(chance) + 1e-6


def test_the_alphabet_is_that_of_the_training_part(tmp_path):
    one, other = "ab" * 80 + "aX" * 10 + "aY" * 10, "ab" * 80 + "aU" * 10 + "aV" * 10
    tasks = [Text(window=5).open(written(tmp_path, text)) for text in (one, other)]
    assert [task.alphabet for task in tasks] == ["ab", "ab"]
    np.testing.assert_array_equal(tasks[0].opened, tasks[1].opened)
    assert (
        Text(window=5).open(written(tmp_path, "cb" * 100)).digest() != tasks[0].digest() == tasks[1].digest()
    )


def test_bad_text(tmp_path):
    cases = [
        (tmp_path / "none.txt", ArgumentError, f"no such file: {tmp_path / 'none.txt'}"),
        (written(tmp_path, b"abc\xff"), DataError, f"{tmp_path / 'text.txt'} is not UTF-8: byte 3 is 0xff"),
    ]
    for path, kind, expected in cases:
        with pytest.raises(kind) as raised:
            Text().open(path)
        assert str(raised.value) == expected
    with pytest.raises(
        ArgumentError, match="70 characters are too few: 56 of them are the train part, which needs 65"
    ):
        Text().open(written(tmp_path, "ab" * 35))
    with pytest.raises(
        ArgumentError, match="2 characters are too few: 2 of them are the train part, which needs 65"
    ):
        Text().open(written(tmp_path, "ab"))
    with pytest.raises(DataError, match="cannot be read"):
        Text().open(tmp_path)
    with pytest.raises(ArgumentError, match=r"task text needs --data FILE\.txt"):
        Text().open(None)


# NeuroGym, behind a stand-in for the package


@pytest.fixture
def gym(monkeypatch):
    def put(**kw):
        fake = FakeGym(**kw)
        monkeypatch.setitem(sys.modules, "neurogym", fake)
        return fake

    return put


def test_trials_are_drawn_once_and_held_out_ones_apart(gym):
    fake = gym()
    task, again = (NeuroGym(env="Some-v0", dt=20, length=6, pool=40).open(None) for _ in range(2))
    assert fake.asked[0] == ("Some-v0", {"dt": 20}, 16, 6, 1)
    assert (task.sizes, task.steps, task.asked_steps) == ((2, 3), 6, 6)
    assert {p: pool.x.shape for p, pool in task.opened.items()} == {
        "train": (6, 40, 2),
        "valid": (6, 10, 2),
        "test": (6, 10, 2),
    }
    assert task.digest() == again.digest()
    xs, ys = task.sample(jr.key(0), 300)
    np.testing.assert_array_equal(jnp.argmax(ys, -1), xs[..., 0])
    pools = {part: np.asarray(pool.x) for part, pool in task.opened.items()}
    seen = {part: {x[:, i].tobytes() for i in range(x.shape[1])} for part, x in pools.items()}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 60
    assert {np.asarray(xs[:, b]).tobytes() for b in range(300)} <= seen["train"]
    np.testing.assert_array_equal(task.held_out("test").xs, task.opened["test"].x)


def test_decisions_are_the_answers_that_are_no_waiting(gym):
    gym()
    task = NeuroGym(length=6, pool=40).open(None)
    ys = task.held_out("test").ys
    waiting = task.metrics(jnp.zeros_like(ys).at[..., 0].set(1), ys)
    np.testing.assert_allclose(waiting["accuracy"], np.mean(ys[..., 0]), rtol=1e-6)
    assert waiting["decisions"] == 0
    wrong_waits = ys.at[..., 0].set(0).at[..., 1].add(0.5)
    assert task.metrics(wrong_waits, ys)["decisions"] == 1


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        ({"wrong": KeyError("Nowhere-v0\nmore")}, "environment E-v0 cannot be used: 'Nowhere-v0\\nmore'"),
        ({"wrong": ValueError("no such\nthing")}, "environment E-v0 cannot be used: no such"),
        ({"n": None}, "environment E-v0 has no discrete actions, which task neurogym needs"),
    ],
)
def test_environments_that_cannot_be_used(gym, fake, expected):
    gym(**fake)
    with pytest.raises(ArgumentError) as raised:
        NeuroGym(env="E-v0").open(None)
    assert str(raised.value) == expected
