"""What the study measures about the published rules agrees with what their equations predict."""

import pytest

from perturbax.study.findings import (
    direction,
    one_step_is_not_bptt,
    scaled_by_layer,
    scaled_by_sigma,
    shared_difference,
)

DRAWS = 6016  # of which 64 are drawn at once: what is left over would be a program of its own


def test_the_published_gradient_is_cut():
    cosine = one_step_is_not_bptt(20)["cosine"]
    assert cosine["W1"] == pytest.approx(1, abs=1e-5)
    assert cosine["R"] < 0.95
    assert cosine["W0"] < 0.95


def test_published_rules_move_by_sigma_times_the_gradient():
    found = scaled_by_sigma(4, DRAWS)["along"]
    for name in ("published-node", "published-weight"):
        for array in ("W0", "R", "W1"):
            assert found[name][array] == pytest.approx(found[name]["sigma"], rel=0.15), (name, array)
    assert found["node"]["R"] == pytest.approx(1, rel=0.15)


def test_published_activity_scales_layers_by_their_size():
    found = scaled_by_layer(32, DRAWS)
    for array in ("W0", "W1"):
        assert found["along"][array] == pytest.approx(found["predicted"][array], rel=0.1)
    assert found["predicted"]["W1"] / found["predicted"]["W0"] == 32


def test_directions():
    cosine = direction(4, DRAWS, 2)["cosine"]
    assert cosine["node, to-go"]["through time"] > 0.98
    assert cosine["node, to-go"]["cut"] < 0.9
    assert cosine["innovation, to-go"]["through time"] > 0.98
    assert cosine["node, same step"]["cut"] > 0.98
    biased = cosine["published-activity"]
    assert biased["with half the draws"] > 0.98  # it has settled, elsewhere
    assert max(biased["cut"], biased["through time"]) < 0.9


def test_one_difference_for_the_batch_gains_nothing_from_it():
    variance = shared_difference(4, 7 * 64, (1, 64))["variance"]
    assert variance["published-node"]["64"] == pytest.approx(1, rel=0.3)
    assert variance["node"]["64"] == pytest.approx(1 / 64, rel=0.3)
