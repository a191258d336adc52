"""Autodiff of models with paths cut, which approximate rules must equal, written without the library's derivations."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import tiny

import perturbax as px

stop = jax.lax.stop_gradient


def rolled(net, xs, ys, cut, loss=tiny.mse):
    """Mean loss when `cut(state)` stands between steps."""

    def body(state, now):
        state, y, _ = net.step(cut(state), now[0])
        return state, loss(y, now[1]).mean()

    return jax.lax.scan(body, net.start(xs.shape[1]), (xs, ys))[1].mean()


def layer_by_layer(net, xs, ys, cut):
    """Gradients, each layer's from a network of its own: cut(i) -> what stands between steps for layer i's weights."""
    some, rest = px.split(net)
    layers = []
    for i in range(len(net.layers)):
        g = jax.grad(lambda some, i=i: rolled(px.join(some, rest), xs, ys, cut(i)))(some)
        layers.append(g.layers[i])
    return some.like(layers)


def without_r(net, leaky=True):
    """E-prop: layer i's own r is constant, and so is all that layers above carry, but for a leaky readout's output."""
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
    """RTRL of one recurrent layer, written out per example; influence is kept where reach[unit, owner] says so.

    The state is the layer's hidden values and its undecorrelated output; the readout is taken within the step.
    """
    layer, rest = net.layers[0], net.layers[1]
    some, fixed = px.split(layer)
    flat, build = jax.flatten_util.ravel_pytree(some)
    n = reach.shape[0]
    owner = build(jnp.zeros_like(flat))
    owner = jax.flatten_util.ravel_pytree(jax.tree.map(lambda w: jnp.broadcast_to(jnp.arange(n), w.shape), owner))[0]
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
        s, M, total = s0, jnp.zeros((len(s0), len(flat))), 0
        for x, target in zip(xs, ys, strict=True):
            M = jax.jacfwd(step, 1)(flat, s, x) @ M + jax.jacfwd(step)(flat, s, x)
            M = M * reach[unit[:, None], owner[None]]
            s = step(flat, s, x)

            def score(s, target=target):
                y = rebuild(s)[1]
                return tiny.mse(rest.drive(mixed(y), jnp.zeros(())), target)

            total += jax.grad(score)(s) @ M / len(xs)
        return total

    return build(jax.vmap(one, (1, 1))(xs, ys).mean(0))


def spread(wiring, steps):
    """Which unit is reached from which within so many steps, from powers of the wiring."""
    reach, power = jnp.eye(len(wiring), dtype=bool), jnp.eye(len(wiring))
    for _ in range(steps):
        power = (wiring.astype(float) @ power > 0).astype(float)
        reach = reach | (power > 0)
    return reach
