"""Serving a device of this library from a command line. Needs no JAX."""

import sys
from collections.abc import Callable
from typing import Any

from perturbax.devices.driver import serve
from perturbax.errors import PerturbaxError, first_line


def serve_or_say(name: str, make: Callable[[], Any], at: str | None) -> None:
    """Serve a device; end the process with a line on standard error where it cannot be made, or listen.

    Arguments:
        name: what the line calls the device.
        make: returns the device.
        at: as for `driver.serve`.
    """
    try:
        serve(make(), at)
    except PerturbaxError as error:
        print(f"{name}: {first_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (OSError, ValueError) as error:
        sys.exit(f"{name}: cannot listen at {at}: {first_line(error)}")
    except KeyboardInterrupt:
        sys.exit(130)
