"""What only windows, signs, rings and feedback weights can show of the rules that carry influence forward."""

import itertools

import equinox as eqx
import helpers
import helpers as ref
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from helpers import stack, strong

import perturbax as px
from perturbax.errors import LayerError
from perturbax.learning.sequence import apply_estimate, run_block
from perturbax.rules import RULES
from perturbax.rules.rtrl.kf_rtrl import KFRTRL
from perturbax.rules.rtrl.uoro import UORO

pytestmark = pytest.mark.usefixtures("x64")


@jax.jit
def full(net, xs, ys):
    """The exact gradient, by BPTT."""
    return px.bptt(helpers.mse)(net, xs, ys)[1]


def estimate(rule, net, xs, ys, key=0):
    return helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(key))[1]


class Signs:
    """Noise from a table `(T, ...)` instead of keys."""

    table: object = None

    def draw(self, net, carry, xs, keys):
        return carry, self.table


class SignedUORO(Signs, UORO):
    table: object = eqx.field(default=None)


class SignedKF(Signs, KFRTRL):
    table: object = eqx.field(default=None)


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {"n": 1}),
        ("lif", {"n": 2}),
        ("tanh", {"n": 1, "depth": 2}),
    ],
)
def test_uoro_over_all_signs(cell, options):
    """The mean over every sign pattern is the gradient: no sampling error. A single pattern is not."""
    net = strong(cell, n_in=1, n_out=1, scale=1.2, **options)
    xs, ys = helpers.data(steps=4, batch=1)
    width = jax.eval_shape(
        lambda: helpers.first_carry(
            RULES["uoro"](), net, jnp.zeros((1, helpers.first_width(net))), jr.key(0)
        )[1]
    ).shape[1]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=3 * width))).reshape(-1, 3, 1, width)
    signs = np.concatenate(
        [signs, np.ones((len(signs), 1, 1, width))], 1
    )  # the last step's signs meet no error
    run = jax.jit(
        jax.vmap(lambda t: helpers.fresh(SignedUORO(table=t), helpers.mse)(net, xs, ys, jr.key(0))[1])
    )
    every, exact = run(signs), full(net, xs, ys)
    assert helpers.distance(helpers.mean(every), exact) < 1e-10
    assert helpers.distance(jax.tree.map(lambda g: np.asarray(g)[0], every), exact) > 1e-4


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {"n": 2}),
        ("sparse-tanh", {"n": 3, "sparsity": 0.4}),
    ],
)
def test_kf_rtrl_over_all_signs(cell, options):
    net = strong(cell, n_in=1, n_out=1, **options)
    xs, ys = helpers.data(steps=4, batch=1)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=6))).reshape(-1, 3, 2)
    table = np.ones((len(signs), 4, 2, 2, 1))
    table[:, :3, 0, :, 0] = signs
    run = jax.jit(
        jax.vmap(lambda t: helpers.fresh(SignedKF(table=t), helpers.mse)(net, xs, ys, jr.key(0))[1])
    )
    every, exact = run(table), full(net, xs, ys)
    assert helpers.distance(helpers.mean(every), exact) < 1e-10
    assert helpers.distance(jax.tree.map(lambda g: np.asarray(g)[0], every), exact) > 1e-4


@pytest.mark.parametrize("rule", ["uoro", "kf-rtrl"])
def test_noise_is_apart_for_examples_layers_and_steps(rule):
    """The same key for every leaf or example would leave their estimates correlated."""
    net = stack("tanh", depth=2)
    made = RULES[rule]()

    @jax.jit
    def draw(key):
        carry = helpers.first_carry(made, net, jnp.zeros((3, 2)), jr.key(0))
        return made.draw(net, carry, jnp.zeros((500, 3, 2)), jr.split(key, 500))[1]

    noise = np.asarray(draw(jr.key(1))).reshape(500, -1)
    corr = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert np.abs(corr).max() < 5 / 500**0.5
    assert np.abs(np.mean(noise[1:] * noise[:-1])) < 0.05


@jax.jit
def late(net, xs, ys):
    """The gradient of the losses from step 3 on, through all of the past."""
    some, rest = px.split(net)

    def loss(some):
        def body(state, now):
            state, y, _ = px.join(some, rest).step(state, now[0])
            return state, helpers.mse(y, now[1]).mean()

        return jax.lax.scan(body, net.start(2), (xs, ys))[1][3:].sum() / 6

    return jax.grad(loss)(some)


@pytest.mark.parametrize("rule", ["rtrl", "snap", "m-order"])
def test_windows_reach_behind_their_start(rule):
    """A window's gradient is that of its own losses through all of the past (RTRL), not of a window cut
    off.
    """
    net, (xs, ys) = strong("gru"), helpers.data(2, 2, steps=6, batch=2)
    made = RULES[rule]()

    # The gradient that the steps t >= 3 add, the state and the traces coming from step 0.
    on = np.broadcast_to((np.arange(6) >= 3).astype(float)[:, None, None], (6, 2, 1))
    learn = helpers.fresh(made, lambda y, t: helpers.mse(y, t[:, :2]) * t[:, 2])
    window = learn(net, xs, np.concatenate([ys, on], -1), jr.key(0))[1]

    @jax.jit
    def step(carry, x, target):
        """The carry after a step, and what the step adds to the sum of gradients."""
        carry, e = made.step(net, carry, x, lambda y: helpers.mse(y, target), jr.key(0))
        parts = e.parts.outer._replace(
            sites=jax.tree.map(lambda s: s[None], e.parts.outer.sites),
            signal=tuple(s[None] for s in e.parts.outer.signal),
        )
        return carry, jax.tree.map(jnp.add, parts.settle(net, None), e.parts.direct)

    # The same from the steps themselves, by hand.
    carry, added = jax.jit(lambda: helpers.first_carry(made, net, xs[0], jr.key(0)))(), []
    for x, target in zip(np.asarray(xs), np.asarray(ys), strict=True):
        carry, gradient = step(carry, x, target)
        added.append(gradient)
    total = jax.tree.map(lambda *g: np.sum(g, 0) / 12, *added[3:])
    assert helpers.distance(window, total) < 1e-12

    far = helpers.distance(total, late(net, xs, ys))
    assert far < 1e-10 if rule == "rtrl" else far > 1e-4


def test_snap_falls_to_zero_on_a_ring_and_a_transposed_wiring_does_not():
    class Backwards(px.cells.Tanh):
        def wiring(self):
            return super().wiring().T

    xs, ys = helpers.data(2, 2, steps=6, batch=2)

    def far(cell, orders):
        """How far from the exact gradient SnAp of these orders is."""

        def build():
            layer = cell(2, 4, key=jr.key(0), sparsity=0.75, pattern="ring")
            return px.Network((layer, px.cells.Readout(4, 2, key=jr.key(1))))

        net = helpers.drawn(build, jr.key(3), 1.0)
        exact = full(net, xs, ys)
        snaps = [helpers.fresh(RULES["snap"](n=n)) for n in orders]
        every = jax.jit(lambda net, xs, ys: [snap(net, xs, ys, jr.key(0))[1] for snap in snaps])
        return [helpers.distance(got, exact) for got in every(net, xs, ys)]

    ring = far(px.cells.Tanh, range(1, 5))
    assert all(b < a for a, b in itertools.pairwise(ring))
    assert ring[0] > 1e-2
    assert ring[-1] < 1e-10
    assert far(Backwards, [3])[0] > 10 * ring[-2]


def test_sparse_traces_are_small():
    """The point of SnAp: what is kept per weight is what is reached, not the layer; RTRL of lru is O(p)."""
    ring = px.cells.Tanh(2, 32, key=jr.key(0), sparsity=31 / 32, pattern="ring")
    net = px.Network((ring, px.cells.Readout(32, 1, key=jr.key(1))))
    size = lambda rule, net: sum(
        v.size
        for v in jax.tree.leaves(
            jax.eval_shape(lambda: helpers.first_carry(rule, net, jnp.zeros((1, 2)), jr.key(0)))
        )
    )
    weights = sum(w.size for w in jax.tree.leaves(px.weights(net.layers[0])))
    for n in (1, 2, 3):
        assert size(RULES["snap"](n=n), net) <= n * weights + 100
    assert size(RULES["rtrl"](), net) >= 32 * weights
    lru = px.Network((px.cells.LRU(2, 32, key=jr.key(0)), px.cells.Readout(64, 1, key=jr.key(1))))
    weights = sum(w.size for w in jax.tree.leaves(px.weights(lru.layers[0])))
    assert size(RULES["rtrl"](), lru) <= 2 * weights + 200


def test_random_feedback_is_what_it_says():
    """E-prop with feedback B is the gradient of <B error, y>, error constant, with every r constant."""
    net, (xs, ys) = strong("leaky"), helpers.data(2, 2, steps=5, batch=2)
    made, key = RULES["e-prop"](feedback="random"), jr.key(0)
    error = lambda y, t: 2 * (y - t) / y.shape[-1]
    some, rest = px.split(net)

    def taught(some, B):
        def body(state, now):
            (h, r), last = state
            state, y, sites = px.join(some, rest).step(((h, ref.stop(r)), last), now[0])
            return state, jnp.sum(ref.stop(error(y, now[1]) @ B.T) * state[0][1], -1).mean()

        return jax.lax.scan(body, net.start(2), (xs, ys))[1].mean()

    @jax.jit
    def all_of_them():
        B = made.init_sequence(net, made.init_state(net, xs[0], key), xs[0], jr.split(key)[0])[2].B[0]
        got, symmetric = (estimate(rule, net, xs, ys) for rule in (made, RULES["e-prop"]()))
        return got, symmetric, jax.grad(taught)(some, B), full(net, xs, ys)

    got, symmetric, want, exact = all_of_them()
    assert helpers.distance(got.layers[0], want.layers[0]) < 1e-10
    assert helpers.distance(got.layers[1], exact.layers[1]) < 1e-10
    assert helpers.distance(got.layers[0], symmetric.layers[0]) > 1e-2


@pytest.mark.parametrize("feedback", ["adaptive", "random"])
def test_adaptive_feedback_aligns_with_the_readout(feedback):
    """B - W^T shrinks by exactly 1 - decay with every update; random feedback never follows."""
    net, (xs, ys) = strong("leaky"), helpers.data(2, 2, steps=5, batch=2)
    made, optimiser = RULES["e-prop"](feedback=feedback, decay=0.1), optax.adam(1e-2)
    update = px.learner(made, helpers.mse).update

    @jax.jit
    def differences(net):
        """B - W^T of the readout at every update."""

        def learn(carry, key):
            net, opt, kept = carry
            kept, _, grads = update(kept, net, xs, ys, key)
            apart = kept.B[0] - net.layers[-1].W
            return (*apply_estimate(net, optimiser, opt, grads, made), kept), apart

        first = net, optimiser.init(px.weights(net)), made.init_state(net, xs[0], jr.key(0))
        return jax.lax.scan(learn, first, jr.split(jr.key(0), 5))[1]

    apart = np.asarray(differences(net))
    for before, after in itertools.pairwise(apart):
        assert (np.max(np.abs(after - 0.9 * before)) < 1e-12) == (feedback == "adaptive")
    assert np.max(np.abs(apart[0])) > 0.1


def test_feedback_weights_last_over_sequences_and_differ_between_keys():
    net, (xs, ys) = strong("leaky"), helpers.data(2, 2, steps=3, batch=2)
    made = RULES["rflo"]()
    learn, kept = px.learner(made, helpers.mse).update, jax.jit(made.init_state)(net, xs[0], jr.key(0))
    first = learn(kept, net, xs, ys, jr.key(0))[0]
    again = learn(first, net, xs, ys, jr.key(1))[0]
    other = learn(kept, net, xs, ys, jr.key(1))[0]
    assert np.array_equal(first.B[0], again.B[0])
    assert not np.array_equal(first.B[0], other.B[0])


def test_dsf_is_exact_where_units_only_decay():
    class Decaying(px.Layer):
        W: jax.Array
        lam: px.Fixed

        def start(self):
            return jnp.zeros(3), jnp.zeros(3)

        def drive(self, z, r):
            return z @ self.W

        def advance(self, h, a):
            h = self.lam.value * h + a
            return h, h

    lam = jnp.array([0.3, 0.8, -0.5])
    readout = px.cells.Readout(3, 2, key=jr.key(1))
    net = px.Network((Decaying(jr.normal(jr.key(0), (2, 3)), px.Fixed(lam)), readout))
    xs, ys = helpers.data(2, 2, steps=6, batch=2)
    exact = full(net, xs, ys)
    assert helpers.distance(estimate(RULES["dsf"](decay=lam), net, xs, ys), exact) < 1e-12
    assert helpers.distance(estimate(RULES["dsf"](decay=0.5), net, xs, ys), exact) > 1e-2


def test_lra_against_targets_by_hand():
    """Two inner steps, rate 0.5, clipped: targets are constants in the local losses, as is the state
    before.
    """
    net, (xs, ys) = strong("tanh"), helpers.data(2, 2, steps=4, batch=1)
    some, rest = px.split(net)
    hidden = lambda some, r, x: px.join(some, rest).step((((), r), net.start(1)[1]), x)
    after = jax.jit(lambda r, x: hidden(some, r, x)[0][0][1])

    def local(some, r, x, target, aim):
        after, y, _ = hidden(some, r, x)
        return jnp.sum((after[0][1] - aim) ** 2) / 2 + helpers.mse(y, target).sum()

    slopes = jax.jit(lambda *now: jax.grad(local, (0, 1))(some, *now))  # by the weights, by the state before
    states = [np.zeros((1, 3))]
    for x in np.asarray(xs):
        states.append(np.asarray(after(states[-1], x)))
    aim, total = states[-1], []
    for t in reversed(range(4)):
        now = np.asarray(xs)[t], np.asarray(ys)[t], aim
        total.append(slopes(states[t], *now)[0])
        moved = states[t]
        for _ in range(2):
            g = np.asarray(slopes(moved, *now)[1])
            moved = moved - 0.5 * g * np.minimum(1.0, 0.3 / np.linalg.norm(g))
        aim = moved
    got = estimate(RULES["lra"](rate=0.5, inner=2, clip=0.3), net, xs, ys)
    assert helpers.distance(got, jax.tree.map(lambda *g: np.mean(g, 0), *total)) < 1e-12
    assert helpers.distance(got, full(net, xs, ys)) > 1e-3


def test_sensitivity_while_weights_change_at_every_step():
    """Two loops that read each other, other weights in every step: the gradient by an offset that all of
    them share.

    Bird, Polivoda 2021. With the weights of the first step throughout it is another one.
    """
    net, (xs, ys) = helpers.two_loops(), helpers.data(2, 2, steps=4, batch=2)
    shift = lambda by, offset: jax.tree.map(
        lambda w, d: w + by * jnp.sin(w + by) + d, px.weights(net), offset
    )
    of_step = lambda t, offset: px.join(shift(0.3 * t, offset), px.split(net)[1])
    score = lambda y, target: jnp.mean((y - target) ** 2, -1)
    zero = jax.tree.map(jnp.zeros_like, px.weights(net))

    def total(offset, changing):
        state, loss = net.start(2), 0.0
        for t in range(4):
            state, y, _ = of_step(changing * t, offset).step(state, xs[t])
            loss += score(y, ys[t]).sum()
        return loss

    def forward(learner):
        carry, found = helpers.first_carry(learner, net, xs[0], jr.key(0)), zero
        for t in range(4):
            block = jax.tree.map(lambda v: v[None], (xs[t], ys[t], jr.key(0)))
            carry, result = run_block(learner, score, of_step(t, zero), carry, block)
            found = jax.tree.map(jnp.add, found, px.weights(result.parts.settle(net, None)))
        return found

    got = jax.jit(lambda: forward(RULES["forward-sensitivity"]()))()
    exact = jax.jit(jax.grad(total))
    assert helpers.distance(got, exact(zero, 1.0)) < 1e-12
    assert helpers.distance(got, exact(zero, 0.0)) > 1e-2


def test_sltt_in_a_share_of_the_steps():
    net, (xs, ys) = strong("lif", scale=1.6), helpers.data(2, 2, steps=6, batch=1)
    run = jax.jit(jax.vmap(lambda k: helpers.fresh(RULES["sltt"](share=0.5), helpers.mse)(net, xs, ys, k)[1]))
    every, whole = run(jr.split(jr.key(0), 4000)), estimate(RULES["sltt"](), net, xs, ys)
    flat = lambda t: np.concatenate([np.asarray(v).reshape(4000, -1) for v in jax.tree.leaves(t)], 1)
    want = np.concatenate([np.asarray(v).ravel() for v in jax.tree.leaves(whole)])
    z = (flat(every).mean(0) - want) / np.maximum(flat(every).std(0) / 4000**0.5, 1e-15)
    assert np.abs(z[np.abs(want) > 1e-9]).max() < 4.5
    assert len(np.unique(flat(every)[:, -1])) > 10


def test_sltt_in_distinct_steps():
    """All choices of 2 of 4 steps come equally often, and their gradients average to that of all steps."""
    net, (xs, ys) = strong("lif", scale=1.6), helpers.data(2, 2, steps=8, batch=1)
    rule, keys = RULES["sltt"](steps=2, of=4), jr.split(jr.key(0), 3000)
    carry = rule.init_sequence(net, (), xs[0], jr.key(0))
    draws = jax.jit(jax.vmap(lambda key: rule.draw(net, carry, xs, jr.split(key, 8))[1]))(keys)
    patterns, counts = np.unique(np.asarray(draws), axis=0, return_counts=True)
    assert set(np.unique(patterns)) == {0.0, 2.0}
    assert (patterns.reshape(-1, 2, 4).sum(-1) == 2 * 2).all()  # K of every stretch, each weighing T / K
    assert len(patterns) == 6**2
    assert abs(counts - 3000 / 36).max() < 4.5 * (3000 / 36) ** 0.5

    first = jr.split(jr.key(1), 200)
    run = jax.jit(
        jax.vmap(lambda k: helpers.fresh(RULES["sltt"](steps=2, of=4), helpers.mse)(net, xs, ys, k)[1])
    )
    flat = np.concatenate([np.asarray(v).reshape(200, -1) for v in jax.tree.leaves(run(first))], 1)
    different = np.unique(flat.round(10), axis=0)  # one gradient per choice of steps
    assert len(different) == 36
    whole = estimate(RULES["sltt"](), net, xs, ys)
    want = np.concatenate([np.asarray(v).ravel() for v in jax.tree.leaves(whole)])
    assert np.abs(different.mean(0) - want).max() < 1e-9 * np.abs(want).max() + 1e-9
    assert np.abs(different - want).max() > 1e-2 * np.abs(want).max()


@pytest.mark.parametrize(
    "wrong", [{"steps": 3}, {"of": 3}, {"steps": 5, "of": 4}, {"steps": 1, "of": 2, "share": 0.5}]
)
def test_sltt_refuses_steps_that_say_nothing(wrong):
    with pytest.raises(px.PerturbaxError, match="sltt"):
        RULES["sltt"](**wrong)


def test_layers_that_no_trace_fits_are_refused():
    class Mixing(px.cells.Tanh):
        unitwise = False

    class Shared(px.cells.Tanh):
        def drive(self, z, r):
            return super().drive(z, r) + self.W[0, 0] * jnp.ones_like(self.b)

    xs, ys = helpers.data(2, 2, steps=3, batch=2)
    for cell, why in ((Mixing, "mixes units"), (Shared, "last axis is their unit")):
        net = px.Network((cell(2, 3, key=jr.key(0)), px.cells.Readout(3, 2, key=jr.key(1))))
        with pytest.raises(LayerError, match=why):
            estimate(RULES["snap"](), net, xs, ys)
        assert helpers.distance(estimate(RULES["rtrl"](), net, xs, ys), full(net, xs, ys)) < 1e-10


def test_orders_between_e_prop_and_rtrl():
    """r -> c r + (1 - c) stop(r) gives every crossing a factor c: order m is the part of its polynomial below
    c^m.
    """
    net, (xs, ys), m = strong("gru"), helpers.data(2, 2, steps=5, batch=2), 3
    some, rest = px.split(net)
    order, more = jax.jit(lambda: [estimate(RULES["m-order"](m=k), net, xs, ys) for k in (m, m + 1)])()

    @jax.jit
    @jax.vmap
    def at(c):
        between = lambda state: tuple((h, c * r + (1 - c) * ref.stop(r)) for h, r in state)
        return jax.grad(lambda some: ref.rolled(px.join(some, rest), xs, ys, between))(some)

    points = np.linspace(0.0, 1.0, 5)  # no more than T - 1 = 4 crossings
    values = jax.tree.map(lambda g: np.asarray(g).reshape(5, -1), at(points))
    powers = jax.tree.map(lambda v: np.linalg.solve(points[:, None] ** np.arange(5)[None], v), values)
    below = jax.tree.map(lambda p, w: p[:m].sum(0).reshape(w.shape), powers, some)
    assert helpers.distance(order, below) < 1e-10
    assert helpers.distance(order, more) > 1e-5


@pytest.mark.parametrize("rule", ["rtrl", "uoro", "kf-rtrl", "rflo", "ottt"])
def test_online_at_rest_adds_up_to_the_sequence(rule):
    """Updates of size nought, taken every two steps: what they add is the estimate of the whole sequence."""
    net, (xs, ys) = strong("lif", scale=1.6), helpers.data(2, 2, steps=6, batch=2)
    made = RULES[rule]()
    watch = optax.GradientTransformation(
        lambda w: jax.tree.map(jnp.zeros_like, w),
        lambda g, total, w=None: (jax.tree.map(jnp.zeros_like, g), jax.tree.map(jnp.add, total, g)),
    )
    init, run = px.online(made, helpers.mse, watch, every=2)

    @jax.jit
    def both(net, xs, ys):
        stream = run(init(net, xs[0], ys[0], jr.key(0)), xs, ys)[0]
        return stream.opt, estimate(made, net, xs, ys)

    added, whole = both(net, xs, ys)
    assert helpers.distance(jax.tree.map(lambda g: np.asarray(g) / 3, added), whole) < 1e-12


PRECISE = (
    "rtrl",
    "snap",
    "m-order",
    "e-prop",
    "rflo",
    "d-rtrl",
    "uoro",
    "kf-rtrl",
    "dsf",
    "lra",
    "ottt",
    "sltt",
)
PRECISE += ("predictive-coding", "activation-relaxation")


@pytest.mark.parametrize(
    ("dtype", "rule"), [*(("bfloat16", rule) for rule in PRECISE), ("float32", "snap"), ("float32", "uoro")]
)
def test_networks_keep_their_precision(dtype, rule):
    """Weights of another precision than JAX's default: gradients come in theirs."""
    net, (xs, ys) = stack("lif"), helpers.data(2, 2, steps=3, batch=2)
    some, rest = px.split(net)
    net = px.join(jax.tree.map(lambda w: w.astype(dtype), some), rest)
    run = helpers.fresh(RULES[rule](), helpers.mse)
    grads = jax.eval_shape(run, net, xs.astype(dtype), ys.astype(dtype), jr.key(0))[1]
    assert {g.dtype for g in jax.tree.leaves(grads)} == {jnp.dtype(dtype)}


def test_a_drive_that_bends_its_input_is_refused_by_kf_rtrl():
    class Bent(px.cells.Tanh):
        def drive(self, z, r):
            return super().drive(jnp.tanh(z) ** 2, r)

    net = px.Network((Bent(2, 3, key=jr.key(0)), px.cells.Readout(3, 2, key=jr.key(1))))
    xs, ys = helpers.data(2, 2, steps=3, batch=2)
    with pytest.raises(LayerError, match="linear in z and r"):
        estimate(RULES["kf-rtrl"](), net, xs, ys)
    assert helpers.distance(estimate(RULES["rtrl"](), net, xs, ys), full(net, xs, ys)) < 1e-10


def test_a_leaky_readout_behind_normalise_is_refused_by_traces():
    net = px.Network(stack("lif").layers, normalise=True)
    xs, ys = helpers.data(2, 2, steps=3, batch=2)
    with pytest.raises(LayerError, match="kappa of 0"):
        estimate(RULES["e-prop"](), net, xs, ys)


def test_weightless_layers_have_no_traces():
    class Square(px.Layer):
        def start(self):
            return (), jnp.zeros(3)

        def drive(self, z, r):
            return z

        def advance(self, h, a):
            return (), a**2

        def wiring(self):
            return np.zeros((3, 3), bool)

    below = strong("leaky").layers
    net = px.Network((below[0], Square(), below[1]))
    xs, ys = helpers.data(2, 2, steps=4, batch=2)
    want = jax.jit(lambda: ref.layer_by_layer(net, xs, ys, ref.without_r(net)))()
    assert helpers.distance(estimate(RULES["e-prop"](), net, xs, ys), want) < 1e-10
