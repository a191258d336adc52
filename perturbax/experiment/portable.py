"""Which runs another process understands as they are meant."""

import json

from perturbax.experiment import own_code
from perturbax.experiment.config import Experiment, Resolved
from perturbax.experiment.options import typed_fields
from perturbax.experiment.resolve import resolve


def is_portable(e: Resolved) -> bool:
    """Whether the settings of a run come back as they are from JSON, and any device serves several.

    e: the run.
    """
    if e.device is not None and (not isinstance(e.device, str) or e.device.startswith(("unix:", "tcp:"))):
        return False
    names = own_code.names_of(vars(e)).values()
    if any(name.startswith("__main__:") or own_code.kept_object(name) for name in names):
        return False
    try:
        there = json.loads(json.dumps(e.to_dict()))
        return resolve(Experiment(**typed_fields(there))) == e
    except (TypeError, ValueError):
        return False
