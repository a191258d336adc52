"""Images changed so that a network answers wrongly, and training on them beside the images as they are.

fgsm     clip(x + eps sign(dL/dx), 0, 1)
pgd      steps of 2.5 eps / steps along sign(dL/dx) from a random point, kept within eps of x, in [0, 1]

Goodfellow et al. 2015 (fgsm, and training on both), Madry et al. 2018 (pgd).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array

from perturbax.errors import ArgumentError
from perturbax.experiment.config import Resolved
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import Task
from perturbax.tasks.images import Images

STEP = 2.5  # of projected ascent, in units of eps over the number of steps
GRADIENT = 3  # forward passes that one derivative by the inputs is worth


class Attack(NamedTuple):
    """What is done to the images that a run is trained on.

    Attributes:
        kind: fgsm or pgd.
        eps: largest change of a pixel.
        steps: of pgd.
    """

    kind: str
    eps: float
    steps: int

    @property
    def passes(self) -> int:
        """Forward passes over a batch that its attacked copy costs."""
        return GRADIENT * (self.steps if self.kind == "pgd" else 1)

    def batch(self, task: Task, net: Network, xs: Array, ys: Array, key: Array) -> tuple[Array, Array]:
        """Return a batch with its attacked copy behind it, `(T, 2 B, ...)` each.

        The derivative is that of the loss by the inputs, whatever rule trains the network.

        Arguments:
            task: the task.
            net: the network as it is now.
            xs: images, `(T, B, n_in)`, all steps alike where they are held.
            ys: targets, `(T, B, n_out)`.
            key: of random starts.
        """
        held = isinstance(task, Images) and task.hold > 1
        image = xs[:1] if held else xs

        def cost(image: Array) -> Array:
            answers = forward(net, jnp.broadcast_to(image, xs.shape))  # (T, B, n_out)
            return jnp.sum(jax.vmap(task.loss)(answers, ys))

        if self.kind == "fgsm":
            changed = one_step(cost, image, self.eps)
        else:
            changed = ascent(cost, image, self.eps, self.steps, key)
        both = jnp.concatenate([xs, jnp.broadcast_to(changed, xs.shape)], 1)
        return jax.lax.stop_gradient(both), jnp.concatenate([ys, ys], 1)


def attack_of(e: Resolved) -> Attack | None:
    """Return the attack that a run is trained under; None where it is off."""
    return None if e.attack == "off" else Attack(e.attack, e.attack_eps, e.attack_steps)


def check_attack(e: Resolved, task: Task) -> None:
    """Raise ArgumentError for a run that cannot be trained under attack.

    Arguments:
        e: the run.
        task: its opened task.
    """
    if e.attack == "off":
        return
    if not isinstance(task, Images):
        raise ArgumentError(
            f"attack {e.attack} changes images, whose pixels are in [0, 1]; task {e.task} has none"
        )
    if e.mode != "sequence" or e.device is not None:
        raise ArgumentError(f"attack {e.attack} needs mode sequence, and a network in this process")


def near(changed: Array, image: Array, eps: Any) -> Array:
    """Return the nearest image within eps of the original whose pixels are in [0, 1]; all of one shape.

    Arguments:
        changed: the changed image.
        image: the original.
        eps: largest change of a pixel.
    """
    return jnp.clip(jnp.clip(changed, image - eps, image + eps), 0, 1)


def one_step(cost: Callable[[Array], Array], image: Array, eps: Any) -> Array:
    """Return clip(x + eps sign(d cost / dx), 0, 1), like the image.

    Arguments:
        cost: image -> what is to become large, `()`.
        image: the image.
        eps: largest change of a pixel.
    """
    return near(image + eps * jnp.sign(jax.grad(cost)(image)), image, eps)


def ascent(cost: Callable[[Array], Array], image: Array, eps: Any, steps: int, key: Array) -> Array:
    """Return the image that projected ascent finds from a random point within eps.

    Arguments:
        cost: image -> what is to become large, `()`.
        image: the image.
        eps: largest change of a pixel.
        steps: how many, of 2.5 eps / steps.
        key: of the random point.
    """
    slope = jax.grad(cost)
    start = near(image + eps * jr.uniform(key, image.shape, image.dtype, -1, 1), image, eps)

    def climb(_: Any, changed: Array) -> Array:
        return near(changed + STEP * eps / steps * jnp.sign(slope(changed)), image, eps)

    return jax.lax.fori_loop(0, steps, climb, start)
