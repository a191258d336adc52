"""Evolution strategies: populations of perturbed weights."""
