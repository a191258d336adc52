"""Train a recurrent network to repeat its previous input, without a derivative."""

import jax
import jax.numpy as jnp
import optax

import perturbax as px

key = jax.random.key(0)
net = px.Network((px.cells.Tanh(1, 32, key=key), px.cells.Readout(32, 1, key=key)))
rule = px.rules.Node(credit="to-go")
init, update = px.learner(rule, lambda y, target: jnp.mean((y - target) ** 2, -1))
kept = init(net, jnp.zeros((64, 1)), key)  # what the rule keeps from update to update
adam = optax.adam(3e-3)
state = adam.init(px.weights(net))
for step in range(1000):
    key, _ = jax.random.split(key)
    xs = jax.random.normal(key, (10, 64, 1))  # time, batch, inputs
    ys = jnp.roll(xs, 1, 0).at[0].set(0)
    kept, loss, grads = update(kept, net, xs, ys, key)  # forward passes alone
    updates, state = adam.update(grads, state)
    net = px.apply_updates(net, updates)
    if step % 250 == 249:
        print(f"step {step}: loss {loss:.4f}")
