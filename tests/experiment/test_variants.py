"""Rules with suffixes, as `compare` and `bench` take them."""

import pytest

from perturbax.errors import ArgumentError
from perturbax.experiment.variants import parse_variant


def test_a_setting_may_name_an_object_of_a_module():
    variant = parse_variant("node:noise=mine.noises:draw:samples=2:lr=1e-2")
    assert variant.options == {"noise": "mine.noises:draw", "samples": "2"}
    assert variant.fields == {"rule": "node", "lr": 1e-2}


@pytest.mark.parametrize("text", ["node:draw", "node:samples=2:draw:1", "node:samples=2:draw"])
def test_a_suffix_without_a_name_is_refused(text):
    with pytest.raises(ArgumentError):
        parse_variant(text)
