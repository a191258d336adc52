"""Forms of credit that must give the same numbers, and differences and noisy states with known targets."""

import helpers
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError
from perturbax.learning.noise import Rademacher
from perturbax.learning.pace import Loop

pytestmark = pytest.mark.usefixtures("x64")

STEPS = 37  # no multiple of a block: the ragged end is in every test


def estimate(rule, net, xs, ys, **options):
    made = px.RULES[rule](sigma=1e-3, samples=2, **options)
    return helpers.fresh(made, helpers.mse)(net, xs, ys, jr.key(3))


@pytest.fixture
def blocks(monkeypatch):
    """Several blocks, the last one ragged; two steps per turn of their loop."""
    helpers.set_pace(monkeypatch, rows=8 * helpers.B, loops=(Loop(0, 8, 2),))


@pytest.fixture
def blocks_step_by_step(blocks, monkeypatch):
    """The same, one step per turn: half the program."""
    helpers.set_pace(monkeypatch, rows=8 * helpers.B, loops=(Loop(0, 8, 1),))


@pytest.fixture
def case(blocks):
    return helpers.network(px.cells.Tanh, n=3, scale=0.6), *helpers.data(steps=STEPS)


@pytest.fixture
def deep(blocks):
    return helpers.network(px.cells.GRU, n=3, depth=2, scale=0.6), *helpers.data(steps=STEPS)


def all_are_one(rule, case, others=("replay", "trace", "window")):
    options = {"window": {"window": STEPS}}
    loss, stored = estimate(rule, *case, credit="to-go", discount=0.9)
    for credit in others:
        again, grads = estimate(rule, *case, credit=credit, discount=0.9, **options.get(credit, {}))
        assert helpers.distance(grads, stored) < 1e-10, credit
        assert float(again) == pytest.approx(float(loss), rel=1e-12)
    return stored


def test_stored_replayed_traced_and_windowed_are_one(case):
    stored = all_are_one("innovation", case)
    short = estimate("innovation", *case, credit="window", window=5, discount=0.9)[1]
    assert helpers.distance(short, stored) > 1e-4  # negative control


def test_activity_replayed_and_traced_is_one(case):
    """Its replay has passes of its own; what a window does with signals is the same for all rules."""
    all_are_one("activity", case, ("replay", "trace"))


@pytest.mark.usefixtures("blocks_step_by_step")
def test_so_they_are_in_a_stack_with_hidden_state(deep):
    """Node perturbation, which has no signal but that of its units."""
    all_are_one("node", deep)


@pytest.mark.usefixtures("blocks_step_by_step")
@pytest.mark.parametrize(
    ("rule", "difference"), [("innovation", "antithetic"), ("node", "noisy"), ("innovation", "linearised")]
)
def test_replay_of_other_differences(rule, difference, case):
    """Each difference on one rule, and both rules once at least."""
    stored = estimate(rule, *case, credit="to-go", difference=difference)[1]
    assert helpers.distance(estimate(rule, *case, credit="replay", difference=difference)[1], stored) < 1e-10


@pytest.mark.usefixtures("blocks_step_by_step")
@pytest.mark.parametrize("noise", ["scaled", "correlated"])
def test_noise_with_a_state_replays_too(noise, case):
    stored = estimate("node", *case, credit="to-go", noise=noise)[1]
    assert helpers.distance(estimate("node", *case, credit="replay", noise=noise)[1], stored) < 1e-10


def test_replay_refuses_noise_that_cannot_be_drawn_again():
    class Device(Rademacher):
        replayable = False

    with pytest.raises(ArgumentError, match="draws its noise twice, which Device noise cannot do"):
        px.RULES["innovation"](credit="replay", noise=Device())
    px.RULES["innovation"](credit="to-go", noise=Device())


@pytest.mark.parametrize(("rule", "passes"), [("node", 4), ("activity", 6)])
def test_replay_is_paid_for(rule, passes):
    assert px.RULES[rule](credit="replay", samples=2).described().passes == passes


LONG = 2**17  # steps: one number for each is more than all that a block of steps takes


def memory(credit, units=64, steps=LONG, **options):
    """Bytes that the compiler plans for the estimate from a sequence, without inputs and outputs."""
    net = px.Network((px.cells.Tanh(2, units, key=jr.key(0)), px.cells.Readout(units, 1, key=jr.key(1))))
    xs, ys = (jax.ShapeDtypeStruct((steps, 8, w), net.layers[0].W.dtype) for w in (2, 1))
    run = helpers.fresh(px.RULES["node"](credit=credit, **options), helpers.mse)
    made = jax.jit(lambda net, xs, ys, key: run(net, xs, ys, key)).lower(net, xs, ys, jr.key(0)).compile()
    return made.memory_analysis().temp_size_in_bytes


def test_replay_and_trace_save_memory():
    """Replay keeps a few scalars per step and example, a trace nothing; stored credit keeps every unit's
    signal.
    """
    taken = {credit: memory(credit) for credit in ("to-go", "replay", "trace")}
    scalars = LONG * 8 * 8
    assert taken["replay"] < 6 * scalars
    assert taken["trace"] < scalars
    assert taken["to-go"] > 64 * scalars


def test_memory_grows_with_samples_by_the_states_of_their_rows_alone():
    """Signals meet their delta as they are made, or wait as packed bits."""

    def taken(samples, **options):
        return memory(units=256, steps=50, samples=samples, **options)

    def more(large, **options):
        """What 256 samples take more than 16, as a multiple of the states of their rows."""
        return (large - taken(16, **options)) / (256 - 16) / of_one

    of_one = 8 * 256 * 8  # examples, units, bytes of a float64
    window = {"credit": "window", "window": 20}
    # What goes in and comes out of a step, and one product with the weights.
    assert more(taken(256, **window), **window) < 3
    assert (
        more(taken(256, credit="to-go"), credit="to-go") < 3 + 50 / 64
    )  # and a bit for each of 64 in a step
    assert taken(256, **window, noise="gaussian") > 20 * 256 * of_one  # negative control: nothing to pack


def test_traces_online_are_the_sequence_estimate():
    """With weights that stay, online updates sum to the gradient of the sequence; one for every 5 steps."""
    import optax

    every = 5
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=3), helpers.data(steps=20, batch=1)
    rule = px.RULES["node"](sigma=1e-3, credit="trace", discount=0.8)
    seen = []

    def note(updates, state, params=None):
        return jax.tree.map(jnp.zeros_like, updates), jax.tree.map(jnp.add, state, updates)

    optimiser = optax.GradientTransformation(lambda p: jax.tree.map(jnp.zeros_like, p), note)
    init, run = px.online(rule, helpers.mse, optimiser, every)
    stream = init(net, xs[0], ys[0], jr.key(3))
    seen = run(stream, xs, ys)[0].opt
    want = helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(3))[1]
    assert helpers.distance(jax.tree.map(lambda g: g * every / 20, seen), want) < 1e-10


def test_weights_take_no_traces():
    for credit in ("trace", "replay"):
        with pytest.raises(ArgumentError, match="noise in pre-activations"):
            px.RULES["weight"](credit=credit, hold_steps=1)


def test_linearised_differences_are_unbiased():
    net = helpers.network(px.cells.GRU, n=1)
    xs, ys = helpers.data(batch=1)
    make = lambda noise: px.RULES["node"](sigma=1e-5, credit="to-go", difference="linearised", noise=noise)
    got = helpers.averaged(make, helpers.node_patterns(net, helpers.T), net, xs, ys)
    assert helpers.distance(got, px.bptt(helpers.mse)(net, xs, ys, None)[1]) < 1e-8


def test_linearised_differences_live_where_the_loss_is_small():
    """Near a perfect output in float32, differences of losses drown in the curvature; <dL/dy, dy> does
    not.
    """
    net, (xs, _) = helpers.network(px.cells.Tanh, n=4), helpers.data(steps=8, batch=4)
    ys = px.forward(net, xs) + 1e-4
    want = px.bptt(helpers.mse)(net, xs, ys, None)[1]

    def miss(difference):
        rule = px.RULES["node"](sigma=1e-2, samples=256, credit="to-go", difference=difference)
        return helpers.distance(helpers.fresh(rule, helpers.mse)(net, xs, ys, jr.key(0))[1], want)

    assert miss("linearised") < 0.5 < 3 < miss("one-sided")


def test_linearised_differences_say_what_they_are_told():
    assert px.RULES["node"](difference="linearised").described().uses == ("score", "output error")
    assert px.RULES["node"]().described().uses == ("score",)


def test_restarted_noise_is_the_cut_gradient_with_less_variance():
    """Node perturbation; where rows restart is the same for every rule."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=2), helpers.data(batch=1)
    longer, (more, goals) = helpers.network(px.cells.Tanh, n=6), helpers.data(steps=16, batch=1)
    patterns = helpers.node_patterns(net, helpers.T)

    @jax.jit
    def everything(patterns, keys):
        cut = px.truncated_bptt(helpers.mse, 1)(net, xs, ys, None)[1]
        found = {}
        for state in ("free", "restarted"):
            make = lambda noise, state=state: px.RULES["node"](sigma=1e-5, noisy_state=state, noise=noise)
            every = helpers.every_estimate(make, patterns, net, xs, ys)
            run = helpers.fresh(make("rademacher"), helpers.mse)
            each = jax.vmap(lambda key, run=run: run(longer, more, goals, key)[1])(keys)
            found[state] = every, each
        return cut, found

    cut, found = everything(patterns, jr.split(jr.key(0), 1000))
    spread = {}
    for state, (every, each) in found.items():
        assert helpers.distance(helpers.mean(every), cut) < 1e-8, state
        spread[state] = sum(np.var(g, 0).sum() for g in jax.tree.leaves(each))
    assert spread["restarted"] < 0.9 * spread["free"]


@pytest.mark.parametrize("options", [{"credit": "to-go"}, {"difference": "noisy"}])
def test_restarting_needs_a_clean_row_and_same_step_credit(options):
    with pytest.raises(ArgumentError, match="restart"):
        px.RULES["node"](noisy_state="restarted", **options)


@pytest.mark.parametrize("rule", ["node", "weight"])
def test_rows_share_everything_but_their_noise(rule):
    """Common random numbers: without noise, no difference is left."""
    net, (xs, ys) = helpers.network(px.cells.GRU, n=2), helpers.data()

    @jax.jit
    def estimates(scale):
        quiet = {"noise": lambda key, shape, dtype: scale * jr.normal(key, shape, dtype)}
        made = [px.RULES[rule](difference=d, **quiet) for d in ("one-sided", "antithetic", "noisy")]
        return [helpers.fresh(one, helpers.mse)(net, xs, ys, jr.key(0))[1] for one in made]

    for silent, heard in zip(estimates(0.0), estimates(1.0), strict=True):
        assert not any(g.any() for g in jax.tree.leaves(silent))
        assert any(g.any() for g in jax.tree.leaves(heard))  # negative control


@pytest.mark.parametrize("rule", ["weight", "guided"])
def test_variance_falls_as_one_over_samples(rule):
    """Slope -1 in log variance against log K, to 15 %; guided is node perturbation, and adds a guess."""
    net, (xs, ys) = helpers.network(px.cells.Tanh, n=2), helpers.data(batch=1)
    options = {} if rule == "weight" else {"credit": "to-go"}
    options |= {"guess_by": "random"} if rule == "guided" else {}

    def estimates(samples, keys):
        made = px.RULES[rule](sigma=1e-4, samples=samples, **options)
        return jax.vmap(lambda key: helpers.fresh(made, helpers.mse)(net, xs, ys, key)[1])(keys)

    many, one = jax.jit(lambda a, b: (estimates(16, a), estimates(1, b)))(
        *(jr.split(jr.key(samples), 2000) for samples in (16, 1))
    )
    spread = [sum(np.var(g, 0).sum() for g in jax.tree.leaves(each)) for each in (many, one)]
    slope = np.log(spread[0] / spread[1]) / np.log(16.0)
    assert float(slope) == pytest.approx(-1, abs=0.15)
