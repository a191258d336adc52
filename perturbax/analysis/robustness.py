"""Accuracy on images that were changed on purpose, and whether it says anything: masked gradients."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float

from perturbax.errors import ArgumentError
from perturbax.experiment.attacks import ascent, near, one_step
from perturbax.experiment.finished import finished_run
from perturbax.fields import positive, whole
from perturbax.network.network import Network
from perturbax.network.passes import forward
from perturbax.tasks.base import Task
from perturbax.tasks.classify import Classify, right
from perturbax.tasks.images import Images

ATTACKS = ("fgsm", "pgd", "margin", "random")
DEAD = 0.05  # share of images without a gradient from which on attacks by the loss say little
APART = 0.1  # accuracy that one attack leaves above another that is as strong


class Pictures(NamedTuple):
    """Images to attack, all steps of them, and what they show.

    Attributes:
        image: what may be changed, pixels in [0, 1]: `(T, B, n_in)`; of images that are held `(1, B, n_in)`.
        target: `(T, B, classes)`, NaN where no answer is asked for.
    """

    image: Float[Array, "S B n_in"]
    target: Float[Array, "T B classes"]


def measure_robustness(
    net: Network, task: Task, eps: Sequence[float], steps: int = 40, images: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return the accuracy of a network on test images as they are, and on attacked ones.

        fgsm     clip(x + eps sign(dL/dx), 0, 1)
        pgd      steps of 2.5 eps / steps along sign(dL/dx) from a random point, kept within eps of x
        margin   the same, along the slope of max_{k != class} y_k - y_class
        random   x + eps times random signs, clipped

    L is the cross-entropy. Attacks use the true gradient, whatever rule trained the network. A loss that is 0
    in floating point has no gradient: the first two attacks then do nothing, and the network only looks
    robust. So the margin is attacked as well, images without a gradient are counted, and random signs must do
    less harm than an attack. Goodfellow et al. 2015 (fgsm), Madry et al. 2018 (pgd), Athalye et al. 2018
    (masked gradients).

    Arguments:
        net: the network.
        task: a task of images, opened.
        eps: largest changes of a pixel, each above 0.
        steps: of pgd and margin.
        images: how many test images, evenly spaced; fewer where there are fewer.
        seed: of random starts and signs.

    Returns `natural` (accuracy), `zero_gradient` (share of images whose loss has no gradient), `outputs`
    (mean absolute output), `images`, and the accuracies by eps for every attack and for `worst`, the least of
    all for each image.
    Raises ArgumentError for a task that is none of images.
    """
    if not isinstance(task, Images):
        raise ArgumentError(
            f"robustness is measured on images, whose pixels are in [0, 1]; not on {type(task).__name__}"
        )
    for value in eps:
        positive("eps", value)
    whole("the number of attack steps", steps)
    whole("images", images)
    held_out = task.held_out("test")
    count = min(images, held_out.xs.shape[1])
    rows = np.linspace(0, held_out.xs.shape[1] - 1, count).round().astype(int)
    xs, ys = jnp.asarray(held_out.xs)[:, rows], jnp.asarray(held_out.ys)[:, rows]
    pictures = Pictures(xs[:1] if task.hold > 1 else xs, ys)

    @jax.jit
    def attacked(net: Network, pictures: Pictures, eps: Array, key: Array) -> dict[str, Array]:
        """Return how many answers stay right under every attack, `(B,)` each."""
        changed = _attacks(net, task, pictures, eps, steps, key)
        return {name: _right(net, task, image, pictures.target) for name, image in changed.items()}

    @jax.jit
    def natural(net: Network, pictures: Pictures) -> tuple[Array, Array, Array]:
        """Return right answers `(B,)`, whether there is no gradient `(B,)`, and the mean absolute output."""
        slope = jax.grad(lambda image: _cost(net, task, image, pictures.target).sum())(pictures.image)
        outputs = jnp.abs(_outputs(net, task, pictures.image)[-1]).mean()
        return _right(net, task, pictures.image, pictures.target), jnp.all(slope == 0, (0, 2)), outputs

    clean, dead, outputs = natural(net, pictures)
    found: dict[str, list[float]] = {name: [] for name in (*ATTACKS, "worst")}
    for i, value in enumerate(eps):
        stays = attacked(net, pictures, jnp.asarray(value, xs.dtype), jr.fold_in(jr.key(seed), i))
        for name in ATTACKS:
            found[name].append(float(stays[name].mean()))
        found["worst"].append(float(jnp.stack([clean, *stays.values()]).min(0).mean()))
    measured = {
        "natural": float(clean.mean()),
        "zero_gradient": float(dead.mean()),
        "outputs": float(outputs),
    }
    return {**measured, "images": count, **found}


def masked(run: dict[str, Any]) -> list[str]:
    """Return why the accuracy under attack of a network says little about it, as sentences; none if it does.

    Arguments:
        run: what `measure_robustness` returned.
    """
    reasons = []
    if run["zero_gradient"] > DEAD:
        share = round(100 * run["zero_gradient"])
        reasons.append(
            f"the loss of {share} % of the images has a gradient of exactly 0: attacks do nothing there"
        )
    gaps = [loss - margin for loss, margin in zip(run["pgd"], run["margin"], strict=True)]
    if max(gaps) > APART:
        reasons.append(
            f"attacks on the margin do more harm than those on the loss, by {round(100 * max(gaps))} points"
        )
    if any(sign < attack - APART / 10 for sign, attack in zip(run["random"], run["pgd"], strict=True)):
        reasons.append("random signs do more harm than attacks along the gradient")
    return reasons


def robustness_of_runs(
    folders: Sequence[Path], eps: Sequence[float], steps: int, images: int, *, trust: bool = False
) -> dict[str, Any]:
    """Return the content of robustness.json: what was measured of the networks that runs have kept.

    Arguments:
        folders: run folders; the runs have ended.
        eps: largest changes of a pixel.
        steps: of attacks by descent.
        images: how many test images.
        trust: as for `px.load`.
    """
    runs = []
    for folder in folders:
        with finished_run(folder, trust) as (result, task):
            measured = measure_robustness(result.net, task, eps, steps, images)
            experiment = result.experiment
            named = {"folder": str(folder), "task": experiment.task, "rule": experiment.rule}
            runs.append({**named, "seed": experiment.seed, **measured, "masked": masked(measured)})
    return {"eps": list(eps), "attack_steps": steps, "runs": runs}


def _attacks(
    net: Network, task: Images, pictures: Pictures, eps: Array, steps: int, key: Array
) -> dict[str, Array]:
    """Return the images that every attack makes."""
    image, target = pictures
    key_start, key_signs = jr.split(key)

    def summed(cost: Any) -> Any:
        """Return the cost of all images, as a function of what they were changed to."""
        return lambda changed: cost(net, task, changed, target).sum()

    signs = jr.rademacher(key_signs, image.shape, image.dtype)
    return {
        "fgsm": one_step(summed(_cost), image, eps),
        "pgd": ascent(summed(_cost), image, eps, steps, key_start),
        "margin": ascent(summed(_margin), image, eps, steps, key_start),
        "random": near(image + eps * signs, image, eps),
    }


def _outputs(net: Network, task: Images, image: Array) -> Array:
    """Return the outputs for images, `(T, B, classes)`."""
    return forward(net, jnp.broadcast_to(image, (task.steps, *image.shape[1:])))


def _over_asked(task: Images, measure: Any, net: Network, image: Array, target: Array) -> Array:
    """Return the mean of a measure of outputs and targets over the answers asked for, `(B,)`."""
    found = task.judged(measure, _outputs(net, task, image), target)  # (T, B)
    return found.sum(0) / task.asked_steps


def _cost(net: Network, task: Images, image: Array, target: Array) -> Array:
    """Return the cross-entropy of each image, `(B,)`."""
    return _over_asked(task, partial(Classify.error, task), net, image, target)


def _margin(net: Network, task: Images, image: Array, target: Array) -> Array:
    """Return by how much the largest output of another class is above that of the class, `(B,)`."""

    def above(y: Array, target: Array) -> Array:
        others = jnp.where(target > 0, -jnp.inf, y).max(-1)
        return others - jnp.sum(target * y, -1)

    return _over_asked(task, above, net, image, target)


def _right(net: Network, task: Images, image: Array, target: Array) -> Array:
    """Return the share of right answers for each image, `(B,)`."""
    return _over_asked(task, right, net, image, target)
