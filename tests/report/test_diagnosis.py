"""The table of a diagnosis."""

import pytest

from perturbax.report.diagnosis import limit_of, table_lines

AVERAGE = {"samples": 8, "passes": 9, "cosine": 0.5, "variance": 3.0, "norm": 2.0, "snr": 0.3}
GROUP = {
    "name": "all",
    "bias": 0.8,
    "biased": True,
    "bias_bound": 0.9,
    "bias_squared_error": 0.01,
    "along": 0.3,
    "expected": 0.36,
    "reach": "yes",
    "reach_passes": 9,
    "averages": [AVERAGE],
}


def test_last_row_is_what_the_cosine_tends_to():
    assert limit_of(GROUP) == pytest.approx(0.5)  # <E x, g> / (|E x| |g|) = 0.3 / 0.6
    assert limit_of(GROUP | {"biased": False}) == 1
    assert limit_of(GROUP | {"reach": "unknown", "along": None, "expected": None}) is None
    rows = table_lines(GROUP)
    assert [row[1] for row in rows] == ["8", "∞"]
    assert rows[1][3] == "0.500"
    without_noise = GROUP | {"averages": [AVERAGE | {"variance": 0.0}]}
    assert len(table_lines(without_noise)) == 1
