"""The public door, px.learner: what a rule learns is kept, and what does not fit is refused in words."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import perturbax as px
from perturbax.cli import main
from perturbax.errors import ArgumentError

T, B = 6, 4


@pytest.fixture(scope="module")
def net():
    return helpers.network(px.cells.Tanh, n_in=2, n=3, n_out=2)


def sequence(net, steps=T, batch=B):
    return helpers.data(2, 2, steps, batch)


def cosine(one, other):
    one, other = (jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)]) for tree in (one, other))
    return float(one @ other / jnp.linalg.norm(one) / jnp.linalg.norm(other))


def lag_one(key):
    xs = jr.normal(key, (10, 64, 1))
    return xs, jnp.roll(xs, 1, 0).at[0].set(0)


def test_what_a_rule_learns_is_kept_from_update_to_update():
    """The README's loop: learnt feedback comes close to BPTT, and does not where its state is thrown away."""
    key = jr.key(0)
    net = px.Network((px.cells.Tanh(1, 32, key=key), px.cells.Readout(32, 1, key=key)))
    learn, adam = px.learner(px.RULES["feedback"](), helpers.mse), optax.adam(3e-3)

    @jax.jit
    def update(state, opt, net, key):
        xs, ys = lag_one(key)
        state, _, grads = learn.update(state, net, xs, ys, key)
        updates, opt = adam.update(grads, opt)
        return state, opt, px.apply_updates(net, updates)

    @jax.jit
    def last(state, net, key):
        """The exact gradient, and what the rule says that has kept what it learnt, or nothing."""
        xs, ys = lag_one(key)
        estimates = [learn.update(s, net, xs, ys, key)[2] for s in (state, learn.init(net, xs[0], key))]
        return px.bptt(helpers.mse)(net, xs, ys)[1], *estimates

    state, opt = learn.init(net, lag_one(key)[0][0], key), adam.init(px.weights(net))
    for i in range(200):
        key = jr.fold_in(key, i)
        state, opt, net = update(state, opt, net, key)
    exact, kept, forgot = last(state, net, key)
    assert cosine(kept, exact) > 0.9
    assert cosine(forgot, exact) < 0.7


@pytest.mark.parametrize("name", ["feedback", "mirror", "reward", "ou"])
def test_rules_that_keep_something_are_refused_where_it_would_be_lost(name):
    with pytest.raises(ArgumentError, match=r"keeps .*px\.learner"):
        px.value_and_estimate(px.RULES[name](), helpers.mse)


def test_rules_that_keep_nothing_have_an_estimator(net):
    xs, ys = sequence(net)
    key = jr.key(1)
    loss, grads = px.value_and_estimate(px.RULES["node"](), helpers.mse)(net, xs, ys, key)
    learn = px.learner(px.RULES["node"](), helpers.mse)
    _, same_loss, same = learn.update(learn.init(net, xs[0], key), net, xs, ys, key)
    assert loss == same_loss
    assert helpers.distance(grads, same) == 0


def test_a_rule_for_whole_sequences_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_exact_rule.py").write_text(
        "import perturbax as px\n"
        "class Own(px.SequenceRule):\n"
        "    facts = px.Facts(uses=('derivatives',))\n"
        "    def update(self, state, net, xs, ys, loss, key):\n"
        "        return state, *px.bptt(loss)(net, xs, ys)\n"
    )
    words = ["--rule", "own_exact_rule:Own", "--task", "probe-now", "--steps", "4", "--units", "4"]
    assert main(["run", *words, "--out", str(tmp_path / "r")]) == 0


def test_what_is_no_rule_is_refused():
    with pytest.raises(ArgumentError, match=r"px\.StepRule or px\.SequenceRule"):
        px.learner(px.Rule(), helpers.mse)


@pytest.mark.parametrize("state", [(), None, jnp.ones(3), "of another network"], ids=str)
def test_a_state_of_something_else_is_refused(net, state):
    xs, ys = sequence(net)
    init, update = px.learner(px.rules.Feedback(), helpers.mse)
    if isinstance(state, str):
        wider = px.Network((px.cells.Tanh(2, 9, key=jr.key(0)), px.cells.Readout(9, 2, key=jr.key(0))))
        state = init(wider, xs[0], jr.key(0))
    with pytest.raises(ArgumentError, match="the state given to update is none of rule Feedback"):
        update(state, net, xs, ys, jr.key(0))


@pytest.mark.parametrize("name", px.RULES)
def test_rules_say_whether_they_keep_something(net, name):
    """`keeps` says in words what `init_state` returns; value_and_estimate takes rules that keep nothing."""
    rule = px.RULES[name](**({"field": True} if name == "equilibrium" else {}))  # the cell is not symmetric
    state = rule.init_state(net, sequence(net)[0][0], jr.key(0))
    assert bool(rule.described().keeps) == bool(jax.tree.leaves(state))


WRONG = {
    "loss of the batch": (
        lambda y, t: jnp.mean((y - t) ** 2),
        {},
        r"one number per example.*\(4,\).*returned.*\(\)",
    ),
    "loss with a tail": (lambda y, t: (y - t) ** 2, {}, r"one number per example"),
    "loss that fails": (lambda y, t: jnp.mean((y - t[:, :0]) ** 2, -1), {}, r"loss\(y, target\) failed"),
    "integer loss": (lambda y, t: jnp.zeros(len(y), int), {}, "floating-point"),
    "short targets": (
        helpers.mse,
        {"ys": jnp.zeros((T - 1, B, 2))},
        r"T = 6 steps of B = 4 examples.*\(5, 4, 2\)",
    ),
    "other batch": (helpers.mse, {"ys": jnp.zeros((T, B + 1, 2))}, r"B = 4 examples"),
    "batch first": (helpers.mse, {"xs": jnp.zeros((B, T, 2))}, r"T = 4 steps of B = 6 examples"),
    "no targets": (helpers.mse, {"ys": ()}, "no targets"),
    "wide targets": (helpers.mse, {"ys": jnp.zeros((T, B, 1))}, r"\(B, n_out\) = \(4, 2\).*targets \(4, 1\)"),
    "no batch axis": (helpers.mse, {"xs": jnp.zeros((T, 2))}, r"\(T, B, n_in\).*\(6, 2\)"),
    "integers": (helpers.mse, {"xs": jnp.zeros((T, B, 2), int)}, r"xs must be floating-point.*int32"),
    "no steps": (helpers.mse, {"xs": jnp.zeros((0, B, 2)), "ys": jnp.zeros((0, B, 2))}, "no time step"),
    "a seed": (helpers.mse, {"key": 3}, r"key must be one key.*int"),
    "a part of a raw key": (helpers.mse, {"key": np.ones(3, np.uint32)}, "key must be one key"),
    "many keys": (helpers.mse, {"key": jr.split(jr.key(0))}, "key must be one key"),
    "no network": (helpers.mse, {"net": jnp.zeros(3)}, "px.Network"),
}


@pytest.mark.parametrize("rule", ["node", "bptt"])
@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused(net, case, rule):
    loss, changed, message = WRONG[case]
    xs, ys = sequence(net)
    given = {"net": net, "xs": xs, "ys": ys, "key": jr.key(0)} | changed
    learn = px.learner(px.RULES[rule](), loss)
    with pytest.raises(ArgumentError, match=message):
        learn.update((), given["net"], given["xs"], given["ys"], given["key"])


def test_doubles_are_refused_where_the_network_has_singles(net, x64):
    xs, ys = (s.astype(jnp.float64) for s in sequence(net))
    small = jax.tree.map(lambda w: w.astype(jnp.float32), net)
    update = px.learner(px.RULES["node"](), helpers.mse).update
    with pytest.raises(ArgumentError, match=r"float64.*float32.*cast"):
        update((), small, xs, ys, jr.key(0))
    with pytest.raises(ArgumentError, match="ys are float64"):
        update((), small, xs.astype(jnp.float32), ys, jr.key(0))


@pytest.mark.parametrize("key", [jr.key(0), jr.PRNGKey(0)], ids=["typed", "raw"])
def test_keys_of_both_kinds_are_taken(net, key):
    update = px.learner(px.RULES["node"](), helpers.mse).update
    assert jnp.isfinite(update((), net, *sequence(net), key)[1])


def test_targets_of_a_kind_of_their_own_are_taken(net):
    """Labels, and whatever else a loss needs, in any tree."""
    xs, ys = sequence(net)
    update = px.learner(px.RULES["node"](), lambda y, t: helpers.mse(y, t["y"]) * t["mask"]).update
    assert update((), net, xs, {"y": ys, "mask": jnp.ones((T, B))}, jr.key(0))[1] > 0
    labels = px.learner(px.RULES["node"](), lambda y, t: -jax.nn.log_softmax(y)[jnp.arange(len(y)), t]).update
    assert labels((), net, xs, jnp.zeros((T, B), int), jr.key(0))[1] > 0


def test_the_door_opens_under_jit_and_vmap(net):
    import equinox as eqx

    xs, ys = sequence(net)
    update = px.learner(px.RULES["node"](), helpers.mse).update
    plain = update((), net, xs, ys, jr.key(1))[2]
    for wrapped in (jax.jit(update), eqx.filter_jit(update)):
        assert helpers.distance(wrapped((), net, xs, ys, jr.key(1))[2], plain) < 1e-5
    keys = jnp.stack([jr.key(1), jr.key(2)])
    many = jax.vmap(lambda key: update((), net, xs, ys, key)[2])(keys)
    assert helpers.distance(jax.tree.map(lambda g: g[0], many), plain) < 1e-5


def test_names_of_the_field_are_the_rules():
    assert px.NodePerturbation(sigma=1e-2).sigma == 1e-2
    assert px.NodePerturbation is px.RULES["node"]


@pytest.mark.parametrize(
    ("registry", "typo", "nearest"),
    [
        (px.RULES, "nod", "'node'"),
        (px.CELLS, "tan", "'tanh'"),
        (px.TASKS, "cpoy", "'copy'"),
    ],
)
def test_an_unknown_name_says_the_nearest(registry, typo, nearest):
    with pytest.raises(ArgumentError, match=f"did you mean {nearest}") as caught:
        registry[typo]
    assert isinstance(caught.value, KeyError)
    assert typo not in registry
    assert registry.get(typo) is None


def test_arrays_of_numpy_are_taken(net):
    xs, ys = (np.asarray(s) for s in sequence(net))
    update = px.learner(px.RULES["node"](), helpers.mse).update
    assert np.isfinite(update((), net, xs, ys, jr.key(0))[1])
