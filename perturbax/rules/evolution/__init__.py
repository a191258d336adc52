"""Evolution strategies: populations of perturbed weights."""

from typing import TYPE_CHECKING

from perturbax.moved import old_names

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)
