"""The command line: one file per command, with its arguments and its work together. No library module imports
it.
"""

from perturbax.cli.main import main as main
