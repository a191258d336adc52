"""python -m perturbax."""

import sys

from perturbax.cli import main

sys.exit(main())
