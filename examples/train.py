"""Train a recurrent network to remember the last but one input, without a derivative."""

import jax
import jax.numpy as jnp
import optax

import perturbax as px

key = jax.random.key(0)
net = px.Network((px.cells.Tanh(1, 32, key=key), px.cells.Readout(32, 1, key=key)))
estimator = px.value_and_estimate(px.RULES["node"](credit="to-go"), lambda y, target: jnp.mean((y - target) ** 2, -1))
adam = optax.adam(3e-3)


@jax.jit
def update(net, state, key):
    xs = jax.random.normal(key, (10, 64, 1))  # time, batch, inputs
    loss, grads = estimator(net, xs, jnp.roll(xs, 1, 0).at[0].set(0), key)  # forward passes alone
    updates, state = adam.update(grads, state)
    return px.apply_updates(net, updates), state, loss


state = adam.init(px.weights(net))
for step in range(2001):
    net, state, loss = update(net, state, jax.random.fold_in(key, step))
    if step % 500 == 0:
        print(f"step {step}: loss {loss:.4f}")
