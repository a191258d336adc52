"""Which rule learns on which cell: tried out on a tiny network, so that the table says what the code does."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr

from perturbax.cells import CELLS
from perturbax.cells.stack import stack
from perturbax.errors import LayerError
from perturbax.learning.rule import check
from perturbax.network.network import Network
from perturbax.rules import RULES


def tiny(
    cell: str, n_in: int = 2, n: int = 3, n_out: int = 2, depth: int = 1, key: Any = 0, **options: Any
) -> Network:
    """Return a small stack of a cell and its readout."""
    return Network(stack(CELLS[cell], (n_in, n_out), (n,) * depth, jr.key(key), **options))


@cache
def _example(cell: str) -> tuple[Network, tuple]:
    data = jax.ShapeDtypeStruct((4, 1, 2), jnp.result_type(float))
    return tiny(cell), (data, data, jax.eval_shape(lambda: jr.key(0)))


def refusal(rule: str, cell: str) -> str:
    """Return why a rule with its default settings cannot learn on a cell; nothing where it can."""
    net, (xs, ys, key) = _example(cell)

    def score(y: jax.Array, target: jax.Array) -> jax.Array:
        return jnp.mean((y - target) ** 2, -1)

    try:
        check(RULES[rule](), net)
        jax.eval_shape(RULES[rule]().estimator(score), net, xs, ys, key)
    except LayerError as error:
        return str(error)
    return ""
