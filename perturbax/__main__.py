"""python -m perturbax."""

import sys

from perturbax.cli.main import main

sys.exit(main())
