"""Tiny networks, data and references that the exactness tests share."""

import itertools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import perturbax as px
from perturbax.noise import Recorded

T, B = 3, 2


def mse(y, target):
    return jnp.mean((y - target) ** 2, -1)


def network(cell, *, n_in=1, n=1, n_out=1, depth=1, seed=0, scale=0.8):
    """A stack of recurrent cells and a readout with strong random weights, biases included."""
    keys = jr.split(jr.key(seed), depth + 2)
    cells = []
    for key in keys[:depth]:
        cells.append(cell(n_in, n, key=key))
        n_in = jax.eval_shape(cells[-1].start)[1].shape[-1]
    net = px.Network((*cells, px.cells.Readout(n_in, n_out, key=keys[-2])))
    some, rest = px.split(net)
    leaves, tree = jax.tree.flatten(some)
    ks = jr.split(keys[-1], len(leaves))
    leaves = [scale * jr.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(ks, leaves, strict=True)]
    return px.join(tree.unflatten(leaves), rest)


def data(n_in=1, n_out=1, steps=T, batch=B, seed=1):
    a, b = jr.split(jr.key(seed))
    return jr.normal(a, (steps, batch, n_in)), jr.normal(b, (steps, batch, n_out))


def every_sign(shapes):
    """All sign patterns of the leaves: a tree with an axis of 2^bits in front."""
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda s: isinstance(s, tuple))
    sizes = [int(np.prod(s)) for s in leaves]
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=sum(sizes))))
    parts = np.split(signs, np.cumsum(sizes)[:-1], axis=1)
    return tree.unflatten([jnp.asarray(p.reshape(-1, *s)) for p, s in zip(parts, leaves, strict=True)])


def node_patterns(net, steps, samples=1):
    """All signs of node noise for ONE example, as the table that `Recorded` replays."""
    shapes = jax.eval_shape(net.step, net.start(1), jnp.zeros((1, first_width(net))))[2]
    return every_sign([(steps, samples, *site.a.shape) for site in shapes])


def weight_patterns(net, samples=1):
    leaves, tree = jax.tree.flatten(px.weights(net))
    signs = every_sign([(1, samples, *leaf.shape) for leaf in leaves])
    return tree.unflatten(signs)


def first_width(net):
    return net.layers[0].W.shape[0]


def fresh(rule, loss=mse):
    """The estimate (net, xs, ys, key) -> (loss, grads) of a rule that has learnt nothing yet."""
    learn = px.learner(rule, loss)

    def estimate(net, xs, ys, key):
        return learn.update(learn.init(net, xs[0], key), net, xs, ys, key)[1:]

    return estimate


def averaged(make_rule, table, net, xs, ys, loss=mse):
    """The mean estimate over all patterns, each example alone: a batch of one has all of its own noise."""

    @jax.jit
    @jax.vmap
    def one(table):
        return fresh(make_rule(Recorded(table)), loss)(net, xs, ys, jr.key(0))[1]

    return jax.tree.map(lambda g: g.mean(0), one(table))


def distance(got, want):
    """Largest absolute difference over the largest value."""
    got, want = (jnp.concatenate([v.ravel() for v in jax.tree.leaves(t)]) for t in (got, want))
    return float(jnp.max(jnp.abs(got - want)) / jnp.max(jnp.abs(want)))
