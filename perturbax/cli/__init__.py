"""The command line: one file per command, with its arguments and its work together. No library module imports
it.
"""

from typing import TYPE_CHECKING

from perturbax.cli.main import main as main
from perturbax.moved import old_names

if not TYPE_CHECKING:  # checkers know the names of today alone
    __getattr__ = old_names(__name__)
