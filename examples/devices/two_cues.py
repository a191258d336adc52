"""Remember which of two cues came, and answer after a signal: a task for spiking devices."""

from typing import ClassVar

import jax.numpy as jnp
import jax.random as jr

from perturbax.tasks.classify import Classify

CUE, GO, STEPS, NEURONS = 8, 16, 26, 4


class TwoCues(Classify):
    """Four inputs of one cue or of the other spike for 8 steps; after 8 more, the ninth asks for the answer.

    Only the last step is judged.
    """

    summary: ClassVar[str] = "remember which of two cues came; spiking input"

    @property
    def classes(self):
        return 2

    @property
    def sizes(self):
        return 2 * NEURONS + 1, 2

    @property
    def steps(self):
        return STEPS

    @property
    def asked_steps(self):
        return 1

    def sample(self, key, batch):
        which, spikes, signal = jr.split(key, 3)
        label = jr.permutation(which, jnp.arange(batch) % 2)  # (B,)
        on = jnp.repeat(jnp.stack([label == 0, label == 1], -1), NEURONS, -1)  # (B, 8)
        cued = jr.bernoulli(spikes, 0.5, (CUE, batch, 2 * NEURONS)) & on[None]
        asks = jr.bernoulli(signal, 0.8, (CUE, batch))
        xs = jnp.zeros((STEPS, batch, 2 * NEURONS + 1)).at[:CUE, :, :-1].set(cued)
        xs = xs.at[GO : GO + CUE, :, -1].set(asks)
        return xs, self.answers(label)
