"""Layers that do not fit each other, their inputs or their contract end in one sentence with their name."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import pytest
from jaxtyping import Array

import perturbax as px
from perturbax.errors import ArgumentError, LayerError
from perturbax.network.linearity import step_through_integers

KEY = jr.key(0)


class Cell(px.Layer):
    """A sound layer, which siblings spoil."""

    W: Array

    def start(self):
        return jnp.zeros(3), jnp.zeros(3)

    def drive(self, z, r):
        return z @ self.W

    def advance(self, h, a):
        return 0.5 * h + a, jnp.tanh(a)


class WideState(Cell):
    def advance(self, h, a):
        return jnp.zeros(4), jnp.tanh(a)


class OtherTree(Cell):
    def advance(self, h, a):
        return (h, h), jnp.tanh(a)


class NarrowOutput(Cell):
    def advance(self, h, a):
        return h, jnp.tanh(a)[:1]


class Counting(Cell):
    def advance(self, h, a):
        return (h > 0).astype(int), jnp.tanh(a)


class NoPair(Cell):
    def advance(self, h, a):
        return jnp.tanh(a)


class StartsAlone(Cell):
    def start(self):
        return jnp.zeros(3)


class StartsWithBatch(Cell):
    def start(self):
        return (), jnp.zeros((4, 3))


class StartsAsNumber(Cell):
    def start(self):
        return (), 0.0


class StartsWider(Cell):
    def start(self):
        return jnp.zeros(3), jnp.zeros(5)


class StartsOtherState(Cell):
    def start(self):
        return jnp.zeros(2), jnp.zeros(3)


def net_of(cell, n_in=2, n=3):
    return px.Network((cell(jr.normal(KEY, (n_in, 3))), px.cells.Readout(n, 1, key=KEY)))


def data(n_in=2, dtype=jnp.float32):
    xs, ys = helpers.data(n_in, 1, 3, 4)
    return xs.astype(dtype), ys


FAULTY = {
    "wrong n_in": (net_of(Cell, n_in=5), r"layer 0 \(Cell\): drive fails on z, 2 values from the inputs"),
    "layers that do not chain": (
        net_of(Cell, n=4),
        r"layer 1 \(Readout\): drive fails on z, 3 values from layer 0 \(Cell\).*W float32 of shape \(4, 1\)",
    ),
    "another width of h": (net_of(WideState), r"layer 0 \(WideState\): advance must return.*\(3,\).*\(4,\)"),
    "another tree": (net_of(OtherTree), r"layer 0 \(OtherTree\): advance must return.*h is float32 \(3,\)"),
    "another width of y": (net_of(NarrowOutput), r"layer 0 \(NarrowOutput\).*y float32 \(3,\).*\(1,\)"),
    "another dtype of h": (
        net_of(Counting),
        r"layer 0 \(Counting\): its state is float32 before.*int32 after",
    ),
    "no pair": (net_of(NoPair), r"layer 0 \(NoPair\): advance fails for h float32 \(3,\)"),
    "start without pair": (net_of(StartsAlone), r"layer 0 \(StartsAlone\): start must return \(h, y\)"),
    "start with batch": (net_of(StartsWithBatch), r"\(StartsWithBatch\): start must.*shape \(4, 3\)"),
    "start of a number": (net_of(StartsAsNumber), r"\(StartsAsNumber\): start must.*y float"),
    "start wider": (net_of(StartsWider), r"layer 0 \(StartsWider\).*y float32 \(5,\) and float32 \(3,\)"),
    "start of another state": (
        net_of(StartsOtherState),
        r"layer 0 \(StartsOtherState\): advance fails for h",
    ),
}


@pytest.mark.parametrize("case", FAULTY)
def test_layers_that_do_not_fit_are_named_in_every_door(case):
    """px.forward, px.bptt, px.learner, px.value_and_estimate and px.online say the same."""
    import optax

    net, message = FAULTY[case]
    xs, ys = data()
    node = px.RULES["node"]()
    doors = {
        "forward": lambda: px.forward(net, xs),
        "bptt": lambda: px.bptt(helpers.mse)(net, xs, ys),
        "learner": lambda: px.learner(node, helpers.mse).update((), net, xs, ys, KEY),
        "value_and_estimate": lambda: px.value_and_estimate(px.RULES["bptt"](), helpers.mse)(
            net, xs, ys, KEY
        ),
        "online": lambda: px.online(node, helpers.mse, optax.sgd(0.1))[0](net, xs[0], ys[0], KEY),
    }
    for name, door in doors.items():
        with pytest.raises(LayerError, match=message) as caught:
            door()
        assert "\n" not in str(caught.value), name


@pytest.mark.parametrize(
    ("xs", "message"),
    [
        (jnp.zeros((3, 2)), r"xs must have shape \(T, B, n_in\).*\(3, 2\)"),
        (jnp.zeros(3), r"xs must have shape \(T, B, n_in\)"),
        (jnp.zeros((1, 3, 4, 2)), r"xs must have shape \(T, B, n_in\)"),
        (3.0, r"xs must have shape \(T, B, n_in\).*float"),
        ([1.0], r"xs must have shape \(T, B, n_in\).*list"),
    ],
)
def test_inputs_without_three_axes_are_refused(xs, message):
    with pytest.raises(ArgumentError, match=message):
        px.forward(net_of(Cell), xs)


def test_a_layer_without_a_method_is_refused_by_name():
    class NoAdvance(px.Layer):
        W: Array

        def start(self):
            return (), jnp.zeros(3)

        def drive(self, z, r):
            return z @ self.W

    class NoRule(px.StepRule):
        pass

    class NoUpdate(px.SequenceRule):
        pass

    class NoSample(px.Task):
        @property
        def sizes(self):
            return 1, 1

    with pytest.raises(LayerError, match="layer NoAdvance has no advance"):
        NoAdvance(jnp.zeros((2, 3)))
    with pytest.raises(ArgumentError, match="rule NoRule has no step"):
        NoRule()
    with pytest.raises(ArgumentError, match="rule NoUpdate has no update"):
        NoUpdate()
    with pytest.raises(ArgumentError, match="task NoSample has no sample and steps"):
        NoSample()


def test_a_decorrelating_matrix_of_another_size_is_named():
    net = px.add_decorrelation(net_of(Cell), "hidden+input", 5)
    with pytest.raises(
        LayerError, match=r"layer 0 \(Cell\): it reads 2 values through a D of shape \(5, 5\)"
    ):
        px.forward(net, data()[0])


# --- drives that are not linear in their weights


def drive_by(change, name="Through"):
    def drive(self, z, r):
        return z @ change(self.W)

    return type(name, (Cell,), {"drive": drive, "__module__": __name__})


def in_a_scan(W):
    def one_row(total, row):
        return total + row, (row > 0).astype(float)

    return jax.lax.scan(one_row, jnp.zeros(3), W)[1]


def carried_by_a_scan(W):
    """What the carry holds after the first step is an integer of the weights."""

    def one_row(carry, row):
        return jnp.floor(row), carry.astype(int).astype(float)

    return jax.lax.scan(one_row, jnp.zeros(3), W)[1]


THROUGH_INTEGERS = {
    "int8": lambda W: (W * 16).astype(jnp.int8).astype(jnp.float32) / 16,
    "truth values": lambda W: (W > 0).astype(jnp.float32),
    "where": lambda W: jnp.where(jnp.abs(W) > 0.5, 1.0, 0.0),
    "rank": lambda W: jnp.argsort(W, 0).astype(jnp.float32),
    "largest": lambda W: jax.nn.one_hot(jnp.argmax(W, 0), 2).T,
    "own jit": jax.jit(lambda W: (W > 0).astype(jnp.float32)),
    "cond": lambda W: jax.lax.cond(True, lambda V: (V > 0).astype(jnp.float32), lambda V: V, W),
    "scan": in_a_scan,
    "carry": carried_by_a_scan,
    "pruned": lambda W: W * (jnp.abs(W) > 0.1),
}
NOT_LINEAR = {
    "norm": lambda W: W / jnp.linalg.norm(W, axis=0, keepdims=True),
    "square": lambda W: W * W,
    "round": jnp.round,
    "sign": jnp.sign,
    "softplus": jax.nn.softplus,
}
LINEAR = {
    "mask": lambda W: W * jnp.asarray([[1.0], [0.0]]),
    "lower triangle": jnp.tril,
    "gather": lambda W: W[jnp.asarray([1, 0])],
    "own jit": jax.jit(lambda W: jnp.where(jnp.asarray([True, False])[:, None], W, 0.0)),
    "scan": lambda W: jax.lax.scan(lambda total, row: (total + row, total), jnp.zeros(3), W)[1],
    "half precision": lambda W: W.astype(jnp.bfloat16).astype(jnp.float32),
}


def test_steps_through_integers_are_found_in_the_traced_function():
    W = jnp.ones((2, 3))
    for name, change in THROUGH_INTEGERS.items():
        assert "turns them into" in step_through_integers(jax.make_jaxpr(change)(W)), name
    for name, change in LINEAR.items():
        assert not step_through_integers(jax.make_jaxpr(change)(W)), name
    unused = jax.make_jaxpr(lambda W: (jnp.argsort(W), 2 * W)[1])(W)  # the rank goes nowhere
    assert not step_through_integers(unused)
    data_alone = jax.make_jaxpr(lambda W: jax.jit(lambda z, W: (z > 0) @ W)(jnp.ones(2), W))(W)
    assert not step_through_integers(data_alone)


@pytest.mark.parametrize("name", [*THROUGH_INTEGERS, *NOT_LINEAR])
def test_drives_that_are_not_linear_are_refused_by_bptt_and_by_node(name):
    net = net_of(drive_by((THROUGH_INTEGERS | NOT_LINEAR)[name]))
    xs, ys = data()
    for rule in ("bptt", "node", "forward"):
        estimate = px.value_and_estimate(px.RULES[rule](), helpers.mse)
        with pytest.raises(LayerError, match=r"layer 0 \(Through\): drive is not linear in its weights"):
            estimate(net, xs, ys, KEY)


@pytest.mark.parametrize("name", ["mask", "scan"])
def test_linear_drives_are_taken(name):
    net = net_of(drive_by(LINEAR[name]))
    for rule in ("bptt", "node"):
        loss, grads = px.value_and_estimate(px.RULES[rule](), helpers.mse)(net, *data(), KEY)
        assert jnp.isfinite(loss)
        assert grads.layers[0].W.any()


def test_rules_of_weights_do_not_need_a_linear_drive():
    """Binary weights learn by weight perturbation and by evolution, as before."""
    net = net_of(drive_by(THROUGH_INTEGERS["truth values"]))
    for rule in ("weight", "evolution"):
        assert jnp.isfinite(px.value_and_estimate(px.RULES[rule](), helpers.mse)(net, *data(), KEY)[0])


# --- dtypes


def cast(tree, dtype):
    return jax.tree.map(lambda w: w.astype(dtype), tree)


def mixed(first, second):
    one, two = net_of(Cell).layers
    return px.Network((cast(one, first), cast(two, second)))


@pytest.mark.parametrize(
    ("first", "second", "inputs", "layer"),
    [
        ("bfloat16", "bfloat16", "float32", 0),
        ("bfloat16", "float32", "float32", 0),
        ("float16", "float16", "float32", 0),
        ("float16", "float16", "bfloat16", 0),
        ("float32", "bfloat16", "float32", 1),
        ("float64", "float32", "float32", 1),
    ],
)
def test_parts_of_other_precision_are_refused_by_layer(first, second, inputs, layer, x64):
    net, (xs, ys) = mixed(first, second), data(dtype=inputs)
    name = ("Cell", "Readout")[layer]
    message = (
        rf"layer {layer} \({name}\): its state is \w+ before a step.*cast inputs and weights to one dtype"
    )
    for rule in ("bptt", "node"):
        own = {"sigma": 0.2} if rule == "node" else {}
        with pytest.raises(LayerError, match=message):
            px.value_and_estimate(px.RULES[rule](**own), helpers.mse)(net, xs, ys.astype("float32"), KEY)
    with pytest.raises(LayerError, match=message):
        px.forward(net, xs)


def test_doubles_through_forward_are_refused_by_layer(x64):
    with pytest.raises(LayerError, match=r"layer 0 \(Cell\): its state is float32 before.*float64"):
        px.forward(cast(net_of(Cell), "float32"), jnp.zeros((3, 4, 2), "float64"))


def test_a_small_cell_below_a_larger_readout_works():
    net, (xs, ys) = mixed("bfloat16", "float32"), data(dtype="bfloat16")
    for rule, own in (("bptt", {}), ("node", {"sigma": 0.2})):
        loss, grads = px.value_and_estimate(px.RULES[rule](**own), helpers.mse)(net, xs, ys, KEY)
        assert jnp.isfinite(loss)
        assert [g.dtype for g in jax.tree.leaves(grads)] == [
            w.dtype for w in jax.tree.leaves(px.weights(net))
        ]


# --- complex numbers


class Rotating(Cell):
    """Real weights, and a complex state."""

    def start(self):
        return jnp.zeros(3, complex), jnp.zeros(3)

    def advance(self, h, a):
        h = 1j * h + a
        return h, h.real


class ComplexOutput(Cell):
    def start(self):
        return jnp.zeros(3), jnp.zeros(3, complex)

    def advance(self, h, a):
        return h, a * 1j


class ComplexDrive(Cell):
    def drive(self, z, r):
        return 1j * (z @ self.W)

    def advance(self, h, a):
        return h, a.imag


class TakesReal(px.Layer):
    W: Array

    def start(self):
        return (), jnp.zeros(1)

    def drive(self, z, r):
        return z.real @ self.W

    def advance(self, h, a):
        return h, a


@pytest.mark.parametrize("rule", ["bptt", "node", "weight", "evolution", "forward"])
def test_complex_weights_are_refused_by_name(rule):
    W = jr.normal(KEY, (2, 3), complex)
    above = TakesReal(jnp.ones((3, 1)))
    net = px.Network((ComplexOutput(W), above))
    with pytest.raises(
        LayerError, match=r"layer 0 \(ComplexOutput\): the weight W is complex64: hold two real"
    ):
        px.value_and_estimate(px.RULES[rule](), helpers.mse)(net, *data(), KEY)


@pytest.mark.parametrize("cell", [Rotating, ComplexOutput, ComplexDrive])
def test_complex_activity_runs_forward_and_is_refused_in_learning(cell):
    net = px.Network((cell(jr.normal(KEY, (2, 3))), TakesReal(jnp.ones((3, 1)))))
    xs, ys = data()
    assert jnp.isfinite(px.forward(net, xs)).all()
    for rule in ("bptt", "node"):
        with pytest.raises(LayerError, match=rf"layer 0 \({cell.__name__}\).*complex: hold two real arrays"):
            px.value_and_estimate(px.RULES[rule](), helpers.mse)(net, xs, ys, KEY)


# --- what rules of one's own return


class OneLoss(px.StepRule):
    def step(self, net, carry, x, score, noise):
        carry, y, sites = net.step(carry, x)
        signal = [site.a[None] for site in sites]
        return carry, px.Estimate(score(y).mean(), y, sites, None, px.Outer.of(sites, signal))


class FlatDelta(OneLoss):
    def step(self, net, carry, x, score, noise):
        carry, y, sites = net.step(carry, x)
        signal, loss = [site.a[None] for site in sites], score(y)
        return carry, px.Estimate(loss, y, sites, loss, px.Outer.of(sites, signal))


class FlatSignal(OneLoss):
    def step(self, net, carry, x, score, noise):
        carry, y, sites = net.step(carry, x)
        return carry, px.Estimate(score(y), y, sites, None, px.Outer.of(sites, [s.a for s in sites]))


class LossAlone(px.SequenceRule):
    def update(self, state, net, xs, ys, loss, key):
        return jax.vmap(loss)(px.forward(net, xs), ys).mean()


class LossOfSteps(px.SequenceRule):
    def update(self, state, net, xs, ys, loss, key):
        return state, jax.vmap(loss)(px.forward(net, xs), ys), px.weights(net)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (OneLoss, r"rule OneLoss: the loss .*\(B,\) = \(4,\); it is float32 of shape \(\)"),
        (FlatDelta, r"rule FlatDelta: the delta .*\(K, B\), with B = 4; it is float32 of shape \(4,\)"),
        (FlatSignal, r"rule FlatSignal: the signal of layer 0 .*\(K, B, \.\.\.\).*shape \(4, 3\)"),
        (LossAlone, r"rule LossAlone: update must return \(state, loss, grads\).*float32 of shape \(\)"),
        (LossOfSteps, r"rule LossOfSteps: update must return.*the loss one number; got float32 .*\(3, 4\)"),
    ],
)
def test_what_rules_return_is_checked(rule, message):
    with pytest.raises(ArgumentError, match=message):
        px.learner(rule(), helpers.mse).update((), net_of(Cell), *data(), KEY)


def test_a_cell_that_cannot_be_made_is_named():
    from perturbax.cells.stack import stack

    with pytest.raises(LayerError, match=r"cell Cell cannot be made as Cell\(n_in, n, key=key\): "):
        stack(Cell, (2, 1), (3,), KEY)
    with pytest.raises(LayerError, match="StartsAlone: start must return"):
        stack(lambda n_in, n, key: StartsAlone(jnp.zeros((n_in, n))), (2, 1), (3,), KEY)
