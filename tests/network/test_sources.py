"""Networks that are no stack: layers that read several others, of this step or of the last one."""

import helpers
import jax.random as jr
import numpy as np
import pytest

import perturbax as px
from perturbax.errors import ArgumentError, LayerError

WITHIN_A_STEP = ("e-prop", "d-rtrl", "snap", "one-step", "dsf")
INPUTS = px.Source(-1)


def graph(reads, widths):
    """Tanh units of one each, and a readout, that read what `reads` says."""
    keys = jr.split(jr.key(0), len(reads))
    *hidden, last = zip(widths, keys, strict=True)
    layers = [px.cells.Tanh(n_in, 1, key=key) for n_in, key in hidden]
    return px.Network([*layers, px.cells.Readout(last[0], 1, key=last[1])], reads=reads)


def branched():
    """A below reads B above of the last step; B reads A and the inputs, and the readout reads both."""
    reads = [[INPUTS, px.Source(1, late=True)], [px.Source(0), INPUTS], [px.Source(1), px.Source(0)]]
    return graph(reads, (2, 2, 2))


def test_a_graph_is_what_its_sources_say_and_its_gradients_are_exact(x64):
    net = branched()
    xs, ys = helpers.data(batch=1)
    A, B, out = ([np.asarray(w, np.float64) for w in (c.W, getattr(c, "U", None), c.b)] for c in net.layers)
    a = b = np.zeros(1)
    expected = []
    for x in np.asarray(xs)[:, 0]:
        a = np.tanh(np.concatenate([x, b]) @ A[0] + a @ A[1] + A[2])
        b = np.tanh(np.concatenate([a, x]) @ B[0] + b @ B[1] + B[2])
        expected.append(np.concatenate([b, a]) @ out[0] + out[2])
    np.testing.assert_allclose(px.forward(net, xs)[:, 0], expected, atol=1e-12)
    true = px.bptt(helpers.mse)(net, xs, ys, None)[1]
    make = lambda noise: px.RULES["node"](sigma=1e-5, credit="to-go", noise=noise)
    table = helpers.every_sign([(helpers.T, 1, 1, 1)] * 3)
    assert helpers.distance(helpers.averaged(make, table, net, xs, ys), true) < 1e-8
    rtrl = helpers.fresh(px.RULES["rtrl"]())(net, xs, ys, jr.key(0))[1]
    assert helpers.distance(rtrl, true) < 1e-10
    e_prop = helpers.fresh(px.RULES["e-prop"]())(net, xs, ys, jr.key(0))[1]
    assert 1e-3 < helpers.distance(e_prop, true) < 1  # what B does to A one step later is left out


def test_what_a_graph_cannot_be_is_refused():
    late = [[INPUTS], [px.Source(0)], [px.Source(1, late=True), px.Source(0)]]
    net = graph(late, (1, 1, 2))
    xs, ys = helpers.data()
    for rule, options, words in [
        *((name, {}, "layer 1 .Tanh. acts on the output one step later alone") for name in WITHIN_A_STEP),
        ("e-prop", {"feedback": "adaptive"}, "adaptive feedback follows the readout of a stack"),
        ("mirror", {}, "the way back is learnt through a stack"),
        ("pepita", {"mirror": 0.1, "sign": "minus"}, "an F that mirrors the weights goes down a stack"),
    ]:
        with pytest.raises(LayerError, match=words):
            helpers.fresh(px.RULES[rule](**options))(net, xs, ys, jr.key(0))
    with pytest.raises(ArgumentError, match="a graph takes no decor"):
        px.add_decorrelation(net, "hidden", 1)
    for reads, words in [
        (
            [[INPUTS], [px.Source(1)], [px.Source(0)]],
            "layer 1 reads layer 1 of this step, which is not there",
        ),
        ([[px.Source(-1, late=True)], [INPUTS], [INPUTS]], "layer 0 reads layer -1 of the last step"),
        ([[INPUTS], []], "one source or more for each of 3 layers"),
    ]:
        with pytest.raises(ArgumentError, match=words):
            px.Network(net.layers, reads=reads)
    with pytest.raises(ArgumentError, match="neither residual nor normalised"):
        px.Network(net.layers, reads=late, residual=True)
