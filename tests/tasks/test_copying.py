"""Settings that the copying task ships."""

import pytest

from perturbax.experiment.config import Experiment
from perturbax.experiment.resolve import resolve

LONG = {"delay": "10", "length": "16"}  # as typed


@pytest.mark.parametrize(("options", "penalty", "lags"), [({}, 1e-2, 24), (LONG, 0.0, 42)])
def test_long_sequences_need_room_and_reach(options, penalty, lags):
    of = {r: resolve(Experiment(task="copy", rule=r, task_options=options)) for r in ("mirror", "feedback")}
    assert of["mirror"].rule_options["penalty"] == penalty
    assert of["mirror"].lr == 8e-3
    assert of["feedback"].rule_options["lags"] == lags
