"""Accumulation of evidence."""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.fields import chance, setting, whole
from perturbax.tasks.classify import Classify
from perturbax.tasks.shipped_credit import for_node_rules


class Evidence(Classify):
    """Evidence accumulation: cues come from the left or the right; when asked, report the side with more.

        phase    cue, gap, cue, gap, ..., cue, gap      delay      recall
        input    left or right is on in each cue        nothing    recall is on
        target   not asked for                                     class 0: more on the left, 1: on the right

    T = cues (cue + gap) + delay + recall. As a mouse runs down a corridor in Morcos and Harvey 2016; as in
    Bellec et al. 2020 with each cue on the trial's preferred side with probability 0.7, and with inputs of
    four groups of neurons (left, right, recall, background) that spike at random: with probability `rate` per
    step while their group is on, the background at a tenth of it.

    Attributes:
        cues: number of cues; odd, so that there is an answer.
        cue: steps of a cue.
        gap: steps after each cue.
        delay: steps between the last gap and recall.
        recall: steps in which the answer is asked for.
        neurons: neurons of a group; 0 for plain inputs left, right and recall, 1 while on.
        rate: probability of a spike per step of a neuron whose group is on; to 1/256.
    """

    cues: int = setting(7)
    cue: int = setting(5)
    gap: int = setting(3)
    delay: int = setting(20)
    recall: int = setting(10)
    neurons: int = setting(10)
    rate: float = setting(0.4)
    summary: ClassVar[str] = "say on which side there were more cues; spiking input; generated"
    papers: ClassVar[tuple[str, ...]] = ("bellec2020", "morcos2016")
    settings: ClassVar[dict[str, Any]] = {"units": 64, "batch": 64, "passes": 6000, "lr": 3e-3}
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        **for_node_rules({"lr": 1e-3}),
        "feedback": ({"gate": False, "discount": 0.9},),
        "mirror": ({"lr": 3e-4},),
        "bptt": ({"lr": 3e-4},),
    }

    def __check_init__(self) -> None:
        """Check the counts and the rate; cues are odd, so that there is an answer."""
        for name, least in {"cues": 1, "cue": 1, "gap": 0, "delay": 0, "recall": 1, "neurons": 0}.items():
            whole(name, getattr(self, name), least)
        chance("rate", self.rate)
        if self.cues % 2 == 0:
            raise ArgumentError(f"cues must be odd, so that one side has more; not {self.cues}")

    @property
    def classes(self) -> int:
        """Number of classes: left or right."""
        return 2

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): four groups of neurons, or three plain inputs; one output per class."""
        return 4 * self.neurons or 3, self.classes

    @property
    def steps(self) -> int:
        """Steps of a trial: all phases."""
        return self.cues * (self.cue + self.gap) + self.delay + self.recall

    @property
    def asked_steps(self) -> int:
        """Steps whose answer is judged: those of recall."""
        return self.recall

    def sample(self, key: Array, batch: int) -> tuple[Float[Array, "T B n_in"], Float[Array, "T B n_out"]]:
        """Return trials: a preferred side each, cues that mostly keep to it, spikes."""
        side, cues, spikes = jr.split(key, 3)
        preferred = jr.bernoulli(side, 0.5, (1, batch))
        right = preferred ^ jr.bernoulli(cues, 0.3, (self.cues, batch))  # (cues, B): a cue on the right
        period = self.cue + self.gap
        on = jnp.repeat(jnp.stack([~right, right], -1), period, 0)  # (cues * period, B, 2)
        shown = jnp.arange(len(on)) % period < self.cue
        on = jnp.pad(on & shown[:, None, None], ((0, self.delay + self.recall), (0, 0), (0, 0)))  # (T, B, 2)
        recalls = jnp.arange(self.steps)[:, None, None] >= self.steps - self.recall
        recalls = jnp.broadcast_to(recalls, (self.steps, batch, 1))
        xs = jnp.concatenate([on, recalls], -1).astype(jnp.result_type(float))  # (T, B, 3)
        target = self.answers((right.sum(0) > self.cues // 2).astype(int))
        if self.neurons == 0:
            return xs, target
        background = jnp.full_like(xs[..., :1], 0.1)
        p = self.rate * jnp.concatenate([xs, background], -1)  # (T, B, 4): per group
        threshold = jnp.round(256 * p).astype(jnp.uint16)[..., None]
        fired = _random_bytes(spikes, (*p.shape, self.neurons)) < threshold  # (T, B, 4, neurons)
        return fired.reshape(*p.shape[:2], -1).astype(xs.dtype), target


def _random_bytes(key: Array, shape: tuple[int, ...]) -> Array:
    """Return random whole numbers from 0 to 255, four from each word drawn: in a quarter of the time."""
    n = math.prod(shape)
    words = jr.bits(key, (math.ceil(n / 4),), jnp.uint32)
    numbers = jax.lax.bitcast_convert_type(words, jnp.uint8).ravel()[:n]
    return numbers.reshape(shape).astype(jnp.uint16)
