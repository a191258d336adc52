"""How finely products of matrices are rounded where they really run, and passes whose difference survives
it.

On a GPU or a TPU float32 matrices are multiplied in less than float32 unless
`jax_default_matmul_precision` says otherwise. A single pass bears that; the difference of two losses under
noise of standard deviation sigma does not:

    error of a difference  ~  (1.3 eps_loss + 0.2 eps_products) / sigma      relative, root mean square

eps_loss is that of the dtype losses are computed in, float32 or finer. The two numbers bound what was
measured (benchmarks/precision.py).
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr

from perturbax.errors import ArgumentError
from perturbax.learning.rule import Rule
from perturbax.network.layer import weights
from perturbax.network.network import Network

OF_LOSS, OF_PRODUCTS = 1.3, 0.2  # the numbers above
# Passes are compared in full float32 where coarser products would leave a larger error. That costs 1.0 to 2.5
# times the time on one H200; a sigma large enough for TF32 would cost no time, but be 200 times the default.
TOLERATED = 1e-3
LOST = 10  # a sigma below so many eps of what bears it is refused: rounding would leave less than nine tenths
FULL = "highest"

FLOAT32_BITS = 24
# Significant bits of the operands, of float32 matrices as the level says (on a CPU: all of them). TPU: passes
# over one, two or three pieces of bfloat16. GPU: TF32 below the highest level; cards and backends without it
# have more bits than is said here, and nothing to lose by the highest level.
LEVELS = {
    "gpu": {"default": 11, "high": 11, "highest": FLOAT32_BITS},
    "tpu": {"default": 8, "high": 16, "highest": FLOAT32_BITS},
    "cpu": {"default": FLOAT32_BITS, "high": FLOAT32_BITS, "highest": FLOAT32_BITS},
}
COARSEST = 8  # assumed of a setting that a later version of JAX may have
LEVEL_NAMES = {"bfloat16": "default", "tensorfloat32": "high", "float32": "highest"}

# The same for the algorithms of jax.lax.DotAlgorithmPreset, wherever they run, and for matrices of any float.
ALGORITHMS = {
    "ANY_F8_ANY_F8_F32": 3,
    "ANY_F8_ANY_F8_F32_FAST_ACCUM": 3,
    "ANY_F8_ANY_F8_ANY": 3,
    "ANY_F8_ANY_F8_ANY_FAST_ACCUM": 3,
    "F16_F16_F16": 11,
    "F16_F16_F32": 11,
    "BF16_BF16_BF16": 8,
    "BF16_BF16_F32": 8,
    "BF16_BF16_F32_X3": 16,
    "BF16_BF16_F32_X6": FLOAT32_BITS,
    "BF16_BF16_F32_X9": FLOAT32_BITS,
    "TF32_TF32_F32": 11,
    "TF32_TF32_F32_X3": 22,
    "F32_F32_F32": FLOAT32_BITS,
    "F64_F64_F64": 53,
}


def product_eps(dtype: Any) -> float:
    """Return the eps that products of matrices have here and now: that of their dtype, or a coarser one.

    It follows from the backend (or `jax_default_device`) and `jax_default_matmul_precision`, as they are when
    a program is traced. For what a network names itself see `check_own_rounding`.

    Arguments:
        dtype: of the matrices.
    """
    return _product_eps(dtype, str(getattr(jax.config, "jax_default_matmul_precision", None) or "default"))


def _product_eps(dtype: Any, setting: str) -> float:
    """Return the eps of products of a dtype, with the name of a level or an algorithm."""
    own = float(jnp.finfo(dtype).eps)
    if setting in ALGORITHMS:
        return max(own, _eps(ALGORITHMS[setting]))
    if own != _eps(FLOAT32_BITS):  # levels speak of 32 bits alone
        return own
    levels = LEVELS.get(_platform(), LEVELS["tpu"])  # of one that is not known the worst is assumed
    level = setting.lower()
    return _eps(levels.get(LEVEL_NAMES.get(level, level), COARSEST))


def rounds_products(net: Network) -> bool:
    """Return whether products with the weights of a network are coarser than these weights are.

    Arguments:
        net: the network.
    """
    return any(product_eps(dtype) > float(jnp.finfo(dtype).eps) for dtype in _dtypes(net))


def in_full(rule: Rule, net: Network) -> bool:
    """Return whether a rule's passes run in full float32, whatever the precision of other products.

    They do where products are coarser than the weights, and would leave a difference of losses with an error
    above 1e-3: with TF32, below sigma 0.2. A sigma that is not known yet, as it is traced, counts as small.

    Arguments:
        rule: the rule; `compared_noise` says sigma.
        net: the network.
    """
    sigma = rule.compared_noise()
    if sigma is None or not rounds_products(net):
        return False
    return not isinstance(sigma, int | float) or _error(sigma, net) > TOLERATED


def passes_of(rule: Rule, net: Network) -> contextlib.AbstractContextManager:
    """Return the context in which the passes of a rule are traced: the one place that decides their
    precision.

    Both passes of a pair run in it, so that they differ in their noise only.

    Arguments:
        rule: the rule.
        net: the network.
    """
    return full() if in_full(rule, net) else contextlib.nullcontext()


def full() -> contextlib.AbstractContextManager:
    """Return the context in which products of float32 are traced as such, whatever the setting."""
    return jax.default_matmul_precision(FULL)


def difference_error(rule: Rule, net: Network) -> float | None:
    """Return the relative error that rounding leaves in a rule's differences of losses, about.

    Arguments:
        rule: the rule.
        net: the network.

    Returns None for a rule that compares no passes, or whose sigma is not known yet.
    """
    sigma = rule.compared_noise()
    if not isinstance(sigma, int | float):
        return None
    with passes_of(rule, net):
        return _error(sigma, net)


def check_own_rounding(traced: ClosedJaxpr, net: Network, sigma: Any) -> None:
    """Raise ArgumentError where a network itself rounds so coarsely that noise is lost in it.

    That is in products whose precision it names, and in numbers of fewer bits than its weights have.

    Arguments:
        traced: a step of the network, traced with products in full, so that what is coarser was asked for.
        net: the network.
        sigma: standard deviation of the noise under which passes are compared; None, or one that is not known
            yet, passes.
    """
    if not isinstance(sigma, int | float):
        return
    coarsest = max(_roundings(traced.jaxpr), default=0.0)
    if coarsest > max((float(jnp.finfo(dtype).eps) for dtype in _dtypes(net)), default=1.0):
        least = LOST * coarsest
        if sigma < least:
            raise ArgumentError(
                f"sigma {sigma:g} is lost where the network itself rounds to {1 - math.log2(coarsest):.0f} "
                f"significant bits, fewer than its weights have: take at least {least:.2g}"
            )


def _roundings(jaxpr: Jaxpr) -> Iterator[float]:
    """Yield the eps of every number that a program makes, and of every product whose precision is coarser."""
    for eqn in jaxpr.eqns:
        for made in eqn.outvars:
            dtype: Any = getattr(made.aval, "dtype", None)
            if jnp.issubdtype(dtype, jnp.inexact):
                yield float(jnp.finfo(dtype).eps)
        if eqn.primitive.name == "reduce_precision":
            yield 2.0 ** -eqn.params["mantissa_bits"]
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            yield _eps_of_product(eqn)
        for value in eqn.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, Jaxpr | ClosedJaxpr):
                    yield from _roundings(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def _eps_of_product(eqn: Any) -> float:
    """Return the eps of a product whose precision is named: by one level, by one per operand, or an
    algorithm.
    """
    named = eqn.params["precision"]
    dtype: Any = eqn.invars[0].aval.dtype
    if named is None or not jnp.issubdtype(dtype, jnp.inexact):
        return 0.0
    several = named if type(named) is tuple else (named,)
    return max(_product_eps(dtype, getattr(one, "name", str(one))) for one in several)


def _error(sigma: float, net: Network) -> float:
    """Return the error of a difference, of the coarsest weights, with products as they are set here."""
    errors = [0.0]
    for dtype in _dtypes(net):
        of_loss = float(jnp.finfo(jnp.promote_types(dtype, jnp.float32)).eps)
        errors.append((OF_LOSS * of_loss + OF_PRODUCTS * product_eps(dtype)) / sigma)
    return max(errors)


def _eps(bits: int) -> float:
    """Return the distance from 1 to the next number of so many significant bits."""
    return 2.0 ** (1 - bits)


def _platform() -> str:
    """Return where programs run: the platform of the default device, else of the default backend."""
    device = getattr(jax.config, "jax_default_device", None)
    found = device if isinstance(device, str) else getattr(device, "platform", jax.default_backend())
    return "gpu" if found in ("cuda", "rocm") else found


def _dtypes(net: Network) -> set:
    """Return the dtypes of a network's weights that are rounded at all."""
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(weights(net))}
    return {dtype for dtype in dtypes if jnp.issubdtype(dtype, jnp.inexact)}
