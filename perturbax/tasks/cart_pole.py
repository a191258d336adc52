"""The cart and pole of control theory."""

import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from perturbax.fields import setting, whole
from perturbax.tasks.environment import Environment

GRAVITY = 9.8  # m / s^2
CART, POLE = 1.0, 0.1  # kg
HALF = 0.5  # m, half the length of the pole
FORCE = 10.0  # N
TAU = 0.02  # s, a step
FARTHEST = 2.4  # m, from the middle
STEEPEST = 12 * 2 * math.pi / 360  # rad, from upright
START = 0.05  # all four numbers start between -START and START


class CartPole(Environment):
    """Cart-pole: push a cart left or right so that the pole on it stays upright.

        o = (x, x', theta, theta')      u: two outputs; the larger one pushes, -10 N or +10 N
        q       = (F + m l theta'^2 sin theta) / M
        theta'' = (g sin theta - q cos theta) / (l (4/3 - m cos^2 theta / M))
        x''     = q - m l theta'' cos theta / M,        M = 1.1 kg in all, m = 0.1 kg, l = 0.5 m

    Euler steps of 0.02 s; a reward of 1 for every step; the episode ends when |x| > 2.4 m or |theta| > 12
    degrees, and after `length` steps. The constants, and with them all numbers, are those of CartPole-v1 in
    Gymnasium, which counts as solved from a mean return of 475 over 100 episodes on. After Barto, Sutton and
    Anderson 1983.

    Attributes:
        length: most steps of an episode.
    """

    length: int = setting(500)
    summary: ClassVar[str] = "balance a pole on a cart by pushing left or right; an environment, in JAX"
    papers: ClassVar[tuple[str, ...]] = ("barto1983",)
    settings: ClassVar[dict[str, Any]] = {
        "cell": "tanh",
        "units": 16,
        "batch": 16,
        "steps": 400,
        "lr": 1e-2,
        "logs": 40,
        "optimiser": "adam",
    }
    rule_settings: ClassVar[dict[str, tuple[dict[str, Any], ...]]] = {
        "evolution": ({"population": 16, "sigma": 0.1, "rank": 0, "lr": 3e-2, "batch": 8, "steps": 200},),
        "weight": (
            {"samples": 8, "sigma": 0.1, "difference": "antithetic", "lr": 3e-2, "batch": 8, "steps": 200},
        ),
        "pes": ({"samples": 8, "sigma": 0.1, "window": 100, "lr": 3e-2, "batch": 8, "steps": 200},),
        "node": ({"sigma": 0.5, "credit": "to-go", "discount": 0.97, "difference": "noisy", "lr": 3e-2},),
        "reward": ({"sigma": 0.5, "discount": 0.97, "batch": 32, "lr": 2e-2},),
    }

    def __check_init__(self) -> None:
        """Check the length."""
        whole("length", self.length)

    @property
    def sizes(self) -> tuple[int, int]:
        """(n_in, n_out): position, speed, angle and its speed; left and right."""
        return 4, 2

    @property
    def steps(self) -> int:
        """Most steps of an episode."""
        return self.length

    @property
    def draws(self) -> int:
        """Random numbers of a step: four, for the start."""
        return 4

    @property
    def best(self) -> float:
        """The best return: one for every step."""
        return float(self.length)

    def begin(self, chance: Float[Array, "4"]) -> Float[Array, "4"]:
        """Return (x, x', theta, theta'), each between -0.05 and 0.05."""
        return START * (2 * chance - 1)

    def observe(self, world: Float[Array, "4"]) -> Float[Array, "4"]:
        """Return all four numbers."""
        return world

    def act(
        self, world: Float[Array, "4"], outputs: Float[Array, "2"], chance: Float[Array, "4"]
    ) -> tuple[Float[Array, "4"], Float[Array, ""], Bool[Array, ""]]:
        """Push, and let a step pass."""
        x, x_speed, theta, theta_speed = world
        force = jnp.where(outputs[1] > outputs[0], FORCE, -FORCE)
        mass, sin, cos = CART + POLE, jnp.sin(theta), jnp.cos(theta)
        pushed = (force + POLE * HALF * theta_speed**2 * sin) / mass
        theta_gain = (GRAVITY * sin - cos * pushed) / (HALF * (4.0 / 3.0 - POLE * cos**2 / mass))
        x_gain = pushed - POLE * HALF * theta_gain * cos / mass
        x, x_speed = x + TAU * x_speed, x_speed + TAU * x_gain
        theta, theta_speed = theta + TAU * theta_speed, theta_speed + TAU * theta_gain
        fallen = (jnp.abs(x) > FARTHEST) | (jnp.abs(theta) > STEEPEST)
        return jnp.stack([x, x_speed, theta, theta_speed]), jnp.ones((), world.dtype), fallen
