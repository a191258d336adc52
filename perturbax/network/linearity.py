"""What a function does with its inputs, read off its jaxpr: whether it leaves the floating-point numbers on
its way, and whether it uses an input at all.

`jax.linear_transpose` refuses most functions that are not linear, but not those that go through integers or
truth values, as `(W > 0)`, `argsort(W)` and `W.astype(int)` do: their transpose is silently zero.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def step_through_integers(closed: ClosedJaxpr) -> str:
    """Return how the inputs of a traced function become integers or truth values on the way to its outputs.

    Arguments:
        closed: the function as `jax.make_jaxpr` returns it.

    Returns words such as `turns them into bool by gt`; none where all that depends on the inputs stays
    floating-point.
    """
    jaxpr = closed.jaxpr
    return _walk(jaxpr, [True] * len(jaxpr.invars), [True] * len(jaxpr.outvars))[1]


def uses_input(closed: ClosedJaxpr, i: int) -> bool:
    """Return whether any output of a traced function is computed from its input i.

    Arguments:
        closed: the function as `jax.make_jaxpr` returns it.
        i: number of the input, from 0.
    """
    jaxpr = closed.jaxpr
    return jaxpr.invars[i] in _needed(jaxpr, [True] * len(jaxpr.outvars))


def _walk(jaxpr: Jaxpr, depends: Sequence[bool], wanted: Sequence[bool]) -> tuple[list[bool], str]:
    """Return which outputs depend on certain inputs, and the first step through integers, if there is one.

    Arguments:
        jaxpr: the traced function.
        depends: which of its inputs are looked at.
        wanted: which of its outputs matter.
    """
    needed = _needed(jaxpr, wanted)
    dependent = {v for v, d in zip(jaxpr.invars, depends, strict=True) if d}
    for eqn in jaxpr.eqns:
        inputs = [not isinstance(v, Literal) and v in dependent for v in eqn.invars]
        if not any(inputs) or not any(v in needed for v in eqn.outvars):
            continue
        outputs, found = _through(eqn, inputs, [v in needed for v in eqn.outvars])
        if found:
            return [], found
        for v, d in zip(eqn.outvars, outputs, strict=True):
            dtype: Any = getattr(v.aval, "dtype", None)
            if d and v in needed and not jnp.issubdtype(dtype, jnp.inexact):
                return [], f"turns them into {dtype} by {eqn.primitive.name}"
            if d:
                dependent.add(v)
    return [not isinstance(v, Literal) and v in dependent for v in jaxpr.outvars], ""


def _needed(jaxpr: Jaxpr, wanted: Sequence[bool]) -> set:
    """Return the variables that the outputs which matter are computed from."""
    outputs = zip(jaxpr.outvars, wanted, strict=True)
    needed = {v for v, w in outputs if w and not isinstance(v, Literal)}
    for eqn in reversed(jaxpr.eqns):
        if any(v in needed for v in eqn.outvars):
            needed |= {v for v in eqn.invars if not isinstance(v, Literal)}
    return needed


def _through(eqn: Any, inputs: list[bool], wanted: list[bool]) -> tuple[list[bool], str]:
    """Return which outputs of one equation depend on its inputs, and a step through integers inside it."""
    if eqn.primitive.name == "scan":
        return _through_scan(eqn, inputs)
    inner = [_plain(j) for value in eqn.params.values() for j in _as_jaxprs(value)]
    outputs = [False] * len(eqn.outvars)
    for jaxpr in inner:
        skipped = len(inputs) - len(jaxpr.invars)  # the index of a `cond`, which comes first
        if skipped not in (0, 1) or len(jaxpr.outvars) != len(outputs):
            return [True] * len(outputs), ""
        found_outputs, found = _walk(jaxpr, inputs[skipped:], wanted)
        if found:
            return [], found
        outputs = [a or b for a, b in zip(outputs, found_outputs, strict=True)]
    return (outputs, "") if inner else ([True] * len(outputs), "")


def _through_scan(eqn: Any, inputs: list[bool]) -> tuple[list[bool], str]:
    """Return the same for a scan: what its carry depends on after a step, it depends on before the next."""
    jaxpr = _plain(eqn.params["jaxpr"])
    first, carried = _constants_and_carried(eqn.params)
    while True:
        outputs, found = _walk(jaxpr, inputs, [True] * len(jaxpr.outvars))
        if found:
            return [], found
        before = inputs[first : first + carried]
        after = [a or b for a, b in zip(before, outputs[:carried], strict=True)]
        if after == before:
            return outputs, ""
        inputs = [*inputs[:first], *after, *inputs[first + carried :]]


def _constants_and_carried(params: Any) -> tuple[int, int]:
    """Return how many inputs of a scan are constants, and how many its carry (JAX 0.12 groups them)."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].elts
    return len(constants), len(carried)


def _as_jaxprs(value: Any) -> list:
    """Return the jaxprs in a parameter of an equation: one, several, or none."""
    several = value if isinstance(value, tuple | list) else (value,)
    return [one for one in several if isinstance(one, Jaxpr | ClosedJaxpr)]


def _plain(jaxpr: Any) -> Jaxpr:
    """Return a jaxpr without the constants it is closed over."""
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
