"""python -m perturbax.cli."""

import sys

from perturbax.cli import main

sys.exit(main())
