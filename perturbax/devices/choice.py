"""Which rules a device can carry out: what each needs, and the strongest that it allows."""

from typing import Any, NamedTuple

from perturbax.devices.abilities import Abilities
from perturbax.errors import ArgumentError
from perturbax.learning.noise import Scaled
from perturbax.learning.rule import Rule
from perturbax.rules import RULES
from perturbax.rules.perturbation.node_base import NodeRule
from perturbax.rules.perturbation.weight_base import WeightRule

NOISY_SIGMA = 0.05  # of noise in pre-activations of a noisy device (measured on a crossbar of 24 units)
GRID_SIGMA = 2  # steps of the grid that a weight is shifted by


class Choice(NamedTuple):
    """A rule for a device.

    Attributes:
        rule: its name.
        why: a sentence that says why it was taken.
    """

    rule: str
    why: str


def strongest(abilities: Abilities) -> Choice:
    """Return the strongest rule that a device allows: node, else innovation, else weight perturbation.

    Arguments:
        abilities: what the device said of itself.
    """
    missing = _missing_for_currents(abilities)
    if not missing:
        why = "every layer takes a current and shows what its synapses saw"
        return Choice("node", f"node perturbation: {why}")
    if not _missing_for_own_noise(abilities):
        why = f"the device's own noise is the perturbation, since {missing}"
        return Choice("innovation", f"innovation: {why}")
    return Choice("weight", f"weight perturbation: {missing}")


def defaults(rule: str, abilities: Abilities, exact: bool = True) -> dict[str, Any]:
    """Return the settings of a rule for a device, below those that a user names.

    Passes are compared with passes as noisy as they are, and with shifts held as they are; credit is given
    for all later losses, and weights are shifted by whole steps of their grid.

    Arguments:
        rule: its name.
        abilities: what the device said of itself.
        exact: whether it holds weights as it is asked to, as far as is known.
    """
    cls: Any = RULES.get(rule)
    noisy = abilities.noise != "none"
    found: dict[str, Any] = {}
    if cls is None:
        return found
    uneven = issubclass(cls, WeightRule) and (not exact or bool(_bounded(abilities)))
    if uneven or (noisy and issubclass(cls, NodeRule | WeightRule)):
        found["difference"] = "antithetic"
    if issubclass(cls, NodeRule):
        found["credit"] = "to-go"
        if rule == "innovation" and abilities.noise == "own":
            found["difference"] = "noisy"
        elif noisy:
            found["sigma"] = NOISY_SIGMA
    if issubclass(cls, WeightRule):
        grid = max((about.step or 0.0 for about in abilities.weights.values()), default=0.0)
        if grid:
            found["sigma"] = GRID_SIGMA * grid
    return found


def learns_from_own_noise(rule: Any, abilities: Abilities) -> bool:
    """Whether a rule takes the device's own noise as its perturbation, and injects none."""
    return (
        type(rule) is RULES["innovation"]
        and abilities.noise == "own"
        and getattr(rule, "difference", "") == "noisy"
    )


def reads_pre_activations(rule: Rule) -> bool:
    """Whether a rule that injects noise also reads pre-activations; that of a user's own may."""
    return type(rule) is not RULES["node"]


def check_rule(rule: Rule, abilities: Abilities, score: str) -> None:
    """Raise ArgumentError, which says why in one sentence, for a rule that the device cannot carry out.

    Arguments:
        rule: the rule with its settings.
        abilities: what the device said of itself.
        score: `task` for the task's loss on the outputs, `device` for the score that the device returns.
    """
    if score == "device" and not abilities.score:
        raise ArgumentError(f"{abilities.name} returns no score: take --score task")
    if score == "task" and not abilities.outputs:
        raise ArgumentError(f"{abilities.name} returns a score alone: take --score device")
    if reason := _why_not(rule, abilities, score):
        raise ArgumentError(f"{abilities.name} cannot be trained by {_name_of(rule)}: {reason}")


def _why_not(rule: Rule, abilities: Abilities, score: str) -> str:
    """Return why a device cannot carry out a rule; empty where it can."""
    if isinstance(rule, WeightRule):
        return _why_not_weights(rule, abilities)
    if not isinstance(rule, NodeRule):
        return "it takes rules that perturb weights or pre-activations (weight, node, innovation, ...)"
    if rule.credit == "replay":
        return "its record is kept whole anyway, so credit replay has no use (take to-go)"
    if rule.ambient:
        return "ambient noise is its own (leave ambient at 0)"
    if rule.noisy_state == "restarted":
        return "its state cannot be set between two steps (leave noisy_state at free)"
    if isinstance(rule.noise, Scaled):
        return "scaled noise follows activity step by step, while a device runs whole sequences"
    if rule.difference == "linearised" and score == "device":
        return "a linearised difference needs outputs, and the device returns its score"
    if learns_from_own_noise(rule, abilities):
        return _missing_for_own_noise(abilities)
    if type(rule) is RULES["innovation"] and abilities.drifts:
        return (
            "its weights drift, so that what is left of a pre-activation is not the injected noise alone "
            "(take node, which knows what it injects)"
        )
    missing = _missing_for_currents(abilities)
    return missing or (_missing_taps(abilities, "a") if reads_pre_activations(rule) else "")


def _why_not_weights(rule: WeightRule, abilities: Abilities) -> str:
    """Return why a device cannot carry out weight perturbation; empty where it can."""
    if rule.hold_steps:
        return "weights are written between two runs, never within (leave hold_steps at 0)"
    for name, about in abilities.weights.items():
        if about.step is not None and isinstance(rule.sigma, int | float) and rule.sigma < about.step:
            return (
                f"sigma {rule.sigma:g} is below the grid of {name}, {about.step:g}, which would not hold the "
                f"shift (take at least {about.step:g})"
            )
    bounded = _bounded(abilities)
    if rule.clean and bounded:
        return (
            f"difference {rule.difference} takes shifts of both signs to be held alike, which the grid or "
            f"range of {bounded} does not do (take antithetic)"
        )
    return ""


def _bounded(abilities: Abilities) -> str:
    """Return the first array of weights that has a grid or a range; empty where none has."""
    for name, about in abilities.weights.items():
        if any(bound is not None for bound in (about.low, about.high, about.step)):
            return name
    return ""


def _missing_for_currents(abilities: Abilities) -> str:
    """Return what is missing for injected noise; empty where nothing is."""
    for name, about in abilities.weights.items():
        if about.layer not in abilities.currents:
            where = f"layer {about.layer} takes" if about.layer else f"what {name} drives takes"
            return f"{where} no current"
    return _missing_taps(abilities)


def _missing_for_own_noise(abilities: Abilities) -> str:
    """Return what is missing for learning from the device's own noise; empty where nothing is."""
    if abilities.noise != "own":
        return f"its noise is {abilities.noise}, not known to be its own"
    return _missing_taps(abilities, "a")


def _missing_taps(abilities: Abilities, also: str = "") -> str:
    """Return the first tap that is missing of what the synapses saw, and of another one; empty for none."""
    for name, about in abilities.weights.items():
        taps = abilities.taps.get(about.layer or "", ())
        if about.reads is None:
            return f"it does not say what {name} reads"
        for tap in (about.reads, also):
            if tap not in ("", "1") and tap not in taps:
                return f"tap {tap} of layer {about.layer} cannot be read"
    return ""


def _name_of(rule: Rule) -> str:
    """Return the name of a rule."""
    return next((name for name, cls in RULES.items() if cls is type(rule)), type(rule).__name__)
