"""The adapter is an estimator of sktime by its own checks, which take minutes; where sktime is installed."""

import warnings

import pytest

pytest.importorskip("sktime", reason="sktime is no dependency: pip install sktime")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_sktime_finds_no_fault():
    from sktime.utils.estimator_checks import check_estimator

    from perturbax.experiment.sktime_adapter import PerturbaxForecaster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(PerturbaxForecaster, verbose=False)
    assert {name: outcome for name, outcome in found.items() if outcome != "PASSED"} == {}
