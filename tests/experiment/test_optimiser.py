"""Optimisers and schedules by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from perturbax.experiment.optimiser import OptimiserSettings


@pytest.mark.parametrize(("name", "alike"), [("muon", True), ("sgd", False)])
def test_those_of_optax_contrib_go_by_name(name, alike):
    """Muon's updates have singular values that are about equal, whatever those of the gradient are."""
    optimiser = OptimiserSettings(name, "constant", 0, 1).optimiser(0.1)
    gradient = jnp.diag(jnp.array([1.0, 0.1]))
    update, _ = optimiser.update(gradient, optimiser.init(gradient), gradient)
    large, small = np.linalg.svd(update, compute_uv=False)
    assert (large < 2 * small) == alike
