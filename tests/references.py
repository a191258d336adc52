"""Autodiff of models with paths cut, which approximate rules must equal, written without the library's derivations."""

import jax
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
