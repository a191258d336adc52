"""Rules written for version 0.1.0, for one release.

What they say of themselves (equation, target, uses, ...) becomes `facts`, with a DeprecationWarning; methods
that are called otherwise now are refused in one line that names the new ones.
"""

import warnings

from perturbax.errors import ArgumentError
from perturbax.learning.facts import Facts

FACTS = {
    "equation": "equation",
    "target": "target",
    "uses": "uses",
    "cost": "cost",
    "memory": "memory",
    "papers": "papers",
    "locality": "locality",
    "settings": "run_settings",
    "summed": "summed",
}
"""Class attributes of 0.1.0, and the field of `Facts` that each is now."""

METHODS = {
    "told": "described",
    "aim": "described",
    "knows": "described",
    "passes": "described",
    "needs_sequence": "described",
    "begin": "init_state",
    "init": "init_sequence",
    "recall": "init_sequence",
    "keep": "final_state",
    "hold": "modify_updates",
    "credit_over": "pairing",
    "learner": "px.SequenceRule.update",
    "estimator": "px.SequenceRule.update",
    "rewind": "second_pass",
    "again": "second_pass",
}
"""Methods of a rule in 0.1.0, and what does their work now."""


def understand(cls: type) -> None:
    """Give a rule class of 0.1.0 its facts; raise ArgumentError for methods that nothing calls any more."""
    own = vars(cls)
    for name, new in METHODS.items():
        if callable(own.get(name)):
            raise ArgumentError(
                f"rule {cls.__name__}: `{name}` of perturbax 0.1.0 is now `{new}` (see px.StepRule)"
            )
    fields = {name for name, note in own.get("__annotations__", {}).items() if "ClassVar" not in str(note)}
    old = [name for name in FACTS if name in own and name not in fields]
    if not old or "facts" in own:
        return
    warnings.warn(
        f"rule {cls.__name__}: {', '.join(old)} are now facts = px.Facts(...)",
        DeprecationWarning,
        stacklevel=4,
    )
    inherited: Facts = getattr(cls, "facts", Facts())
    changed = {FACTS[name]: own[name] for name in old}
    setattr(cls, "facts", inherited.but(**changed))  # noqa: B010 - of a class whose type says ClassVar
