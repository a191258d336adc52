"""Networks that act in a world: what they do changes what they see next."""

from typing import TYPE_CHECKING

from perturbax.moved import old_names

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)
