"""Pruning: what penalties do to weights, masks that hold, smaller networks, runs stopped midway."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import copied_at

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.experiment.build import Architecture, units_of
from perturbax.experiment.config import Experiment
from perturbax.experiment.pruning import PruningPlan, Single, growing_regularisation, smallest
from perturbax.experiment.resolve import resolve
from perturbax.experiment.run import resume
from perturbax.network.passes import forward

H = np.array([[0.3, 0.4, 0.5, 0.6], [0.7, 0.8, 1.0, 0.1]])  # curvature
BEST = np.array([[0.5, -0.4, 0.3, 1.0], [-0.9, 0.8, 0.6, 0.62]])  # the minimum
TURNED = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
MIXED = TURNED * np.geomspace(0.3, 6, 8) @ TURNED.T  # curvature in which weights depend on each other
PLANS = {by: PruningPlan(0.5, by, 100, 1000, 1.0) for by in ("greg-1", "greg-2", "magnitude")}
HIGH = PLANS["greg-1"]._replace(ceiling=10.0)
OPTIMISERS = {"momentum": optax.sgd(0.1, momentum=0.9), "adam": optax.adam(3e-2)}
PRUNED = Experiment(
    task="mackey-glass",
    rule="node",
    units=6,
    steps=60,
    batch=2,
    logs=6,
    prune=0.5,
    prune_groups="units",
    prune_from=0.4,
    prune_until=0.8,
    task_options={"length": 900},
)


def apart(w):
    """The gradient of a loss in which no weight depends on another."""
    return H * (w - BEST)


def mixed(w):
    """The gradient of (w - BEST) . MIXED (w - BEST) / 2."""
    return (MIXED @ (w - BEST).ravel()).reshape(w.shape)


@pytest.fixture(scope="module")
def paths():
    """(weights, penalties, who goes, whether removed) after every update, by method and optimiser; those of
    the mixed loss by method and ceiling.
    """

    def path(optimiser, gradient=apart):
        def one_update(carry, _):
            w, state = carry
            updates, state = optimiser.update([gradient(w[0])], state, w)
            w = optax.apply_updates(w, updates)
            return (w, state), (w[0], state.penalty[0], state.gone[0], state.removed)

        start = [jnp.asarray(BEST)]
        return jax.lax.scan(one_update, (start, optimiser.init(start)), None, length=1300)[1]

    @jax.jit
    def all_paths():
        some = {
            (by, name): path(growing_regularisation(optimiser, plan))
            for by, plan in PLANS.items()
            for name, optimiser in OPTIMISERS.items()
        }
        others = {
            (plan.by, f"below {plan.ceiling:g}"): path(
                growing_regularisation(OPTIMISERS["momentum"], plan), mixed
            )
            for plan in (PLANS["magnitude"], PLANS["greg-1"], HIGH)
        }
        return some | others

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, all_paths())


def test_penalised_weights_shrink_by_their_curvature_and_monotonically(paths):
    w, penalty, gone, removed = paths["greg-1", "momentum"]
    assert removed.argmax() == pytest.approx(1000, abs=5)
    held = 990  # grown from 100 to 600, held since
    lam = penalty[held]
    np.testing.assert_allclose(lam[gone[held]], 1.0, rtol=1e-12)
    assert not lam[~gone[held]].any()
    np.testing.assert_allclose(w[held], H / (H + lam) * BEST, rtol=1e-6)
    shrunk = np.abs(w[100:601])[:, gone[held]]
    assert (np.diff(penalty[:held], axis=0) >= 0).all()
    assert (np.diff(shrunk[::50], axis=0) < 0).all()
    assert (shrunk[-1] < 0.6 * np.abs(BEST)[gone[held]]).all()  # alive: much is gone before it is removed


def test_growing_penalties_lead_to_a_better_place_than_removing_at_once(paths):
    """w(lam) = (H + lam)^-1 H w*, that is dw/dlam = -(H + lam)^-1 w, and what removal then costs."""
    losses, largest = {}, {}
    at_once, low, high = names = ("magnitude", "below 1"), ("greg-1", "below 1"), ("greg-1", "below 10")
    for name in names:
        w, penalty, gone, removed = paths[name]
        held, after = w[990], w[removed.argmax()]
        if name != at_once:
            best = np.linalg.solve(MIXED + np.diag(penalty[990].ravel()), MIXED @ BEST.ravel())
            np.testing.assert_allclose(held.ravel(), best, rtol=1e-6)
            alone = np.diag(MIXED) / (np.diag(MIXED) + penalty[990].ravel()) * BEST.ravel()
            assert np.abs(held.ravel() - alone).max() > 0.05  # the control: as if they were apart
        np.testing.assert_array_equal(gone[-1], smallest(jnp.abs(BEST), 0.5))
        largest[name] = np.abs(held[gone[-1]]).max()
        losses[name] = 0.5 * (after - BEST).ravel() @ MIXED @ (after - BEST).ravel()
    assert losses[at_once] > 1.1 * losses[low] > 1.1**2 * losses[high]
    assert largest[high] < 0.5 * largest[low] < 0.25 * largest[at_once]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_masks_survive_momentum_and_adam(paths, name):
    for by in PLANS:
        w, _, gone, removed = paths[by, name]
        after = removed.argmax()
        assert 900 < after < 1010
        assert gone[-1].sum() == 4
        assert not w[after:, gone[-1]].any()
        np.testing.assert_allclose(w[-1][~gone[-1]], np.asarray(BEST)[~gone[-1]], rtol=1e-3)
    # The control: a gradient of zero alone does not stop what the optimiser remembers.
    optimiser = OPTIMISERS[name]
    w, stays = [jnp.asarray(BEST)], jnp.asarray(~gone[-1])
    state = optimiser.init(w)
    _, state = optimiser.update([jnp.ones_like(w[0])], state, w)
    updates, state = optimiser.update([jnp.where(stays, 1.0, 0.0)], state, w)
    assert (np.abs(updates[0])[gone[-1]] > 1e-3).all()


def test_who_goes_is_fixed_in_greg_1_and_told_apart_by_curvature_in_greg_2(paths):
    *_, gone, _ = paths["greg-1", "momentum"]
    assert (gone[101:] == gone[101]).all()
    np.testing.assert_array_equal(gone[101], smallest(jnp.abs(BEST), 0.5))
    w, penalty, gone, _ = paths["greg-2", "momentum"]
    chosen = gone.any((1, 2)).argmax()
    assert 100 < chosen < 170
    assert penalty[chosen - 1].min() == pytest.approx(0.01, rel=1e-3)
    shrunk = np.abs(H / (H + penalty[chosen - 1]) * BEST)
    np.testing.assert_array_equal(gone[-1], smallest(jnp.asarray(shrunk), 0.5))
    assert (gone[-1] != smallest(jnp.abs(BEST), 0.5)).any()  # the two of size 0.6: the flat one goes
    kept = penalty[chosen + 20][~gone[-1]]
    np.testing.assert_allclose(kept, -1e-4, rtol=1e-5)
    assert (np.diff(gone[chosen:].astype(int), axis=0) == 0).all()


def test_never_all_and_biases_stay():
    assert smallest(jnp.arange(4.0), 0.99).sum() == 3
    assert smallest(jnp.arange(5.0), 0.5).tolist() == [True, True, True, False, False]
    assert smallest(jnp.arange(10.0), 0.8).sum() == 8  # 0.8 x 10 is above 8 in floats
    some = {"W": jnp.ones((2, 3)), "b": jnp.ones(3)}
    assert [s.shape for s in Single().sizes(some)] == [(2, 3)]
    assert not Single().spread([jnp.ones((2, 3))], some)["b"].any()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that prunes whole units, and its folder as it was in the middle of growing."""
    folder = tmp_path_factory.mktemp("pruned") / "run"
    return px.run(PRUNED, folder, report=copied_at(40, folder))


def test_the_network_that_is_left_is_smaller_and_is_read_back(finished, tmp_path):
    assert finished.summary["pruned"]["units"] == [3]
    assert finished.net.layers[0].U.shape == (3, 3)
    assert finished.summary["pruned"]["left"] == 3 + 9 + 3 + 3 + 1
    assert finished.summary["best_step"] > 40
    again = px.load(finished.folder)
    xs = jnp.ones((4, 2, 1))
    np.testing.assert_array_equal(forward(again.net, xs), forward(finished.net, xs))
    (tmp_path / "new.csv").write_text("x\n" + "0.1\n0.2\n" * 40)
    assert px.predict(finished.folder, tmp_path / "new.csv")
    page = px.report([finished.folder], tmp_path / "page.html")
    assert "to 3 of 6 units" in page.read_text()
    assert "Wang H., Qin C." in page.read_text()


def test_a_run_stopped_while_penalties_grow_goes_on_with_the_same_numbers(finished, tmp_path):
    shutil.copytree(finished.folder.with_name("cut-run"), tmp_path / "cut")
    again = resume(tmp_path / "cut")
    assert len(again.metrics) == 6
    for a, b in zip(jax.tree.leaves(finished.net), jax.tree.leaves(again.net), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.summary["test"] == finished.summary["test"]
    assert again.summary["pruned"] == finished.summary["pruned"]


@pytest.mark.parametrize("cell", ["lstm", "lru", "settling"])  # tanh is what the run above has
def test_units_leave_as_if_their_weights_were_zero(cell):
    shape = Architecture.of(resolve(Experiment(cell=cell, units=6)), (2, 3))
    units, key = units_of(shape), jax.random.key(0)
    net = shape.network(key)
    some, rest = px.split(net)
    gone = [jnp.array([0, 1, 0, 0, 1, 0], bool)]
    stays = jax.tree.map(lambda g: g == 0, units.spread([gone[0].astype(float)], some))
    masked = px.join(jax.tree.map(lambda w, m: jnp.where(m, w, 0), some, stays), rest)
    small, left = units.left(masked, gone)
    assert left == (4,)
    assert units.sizes(px.weights(masked))[0][1] == 0
    xs = jax.random.normal(key, (3, 2, 2))
    np.testing.assert_allclose(forward(masked, xs), forward(small, xs), atol=1e-6)
    assert np.abs(forward(net, xs) - forward(masked, xs)).max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prune": 1.0}, "prune must be"),
        ({"prune_by": "greg-3"}, "prune_by"),
        ({"prune_from": 0.9}, "prune_from below prune_until"),
        ({"normalise": True}, "take prune_groups weights"),
        ({"decorrelate": "hidden"}, "take prune_groups weights"),
        ({"cell": "sparse-tanh"}, "take prune_groups weights"),
        ({"rule": "frozen"}, "leaves weights as they are"),
    ],
)
def test_what_cannot_be_pruned_is_refused(settings, said):
    with pytest.raises(ArgumentError, match=said):
        px.run(PRUNED.changed(**settings))
