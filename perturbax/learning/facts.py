"""What a rule says of itself: for tables, reports and tests. Needs no JAX."""

# What a rule may be told or may use, from least to most.
USES = (
    "score",
    "own activity",
    "forward weights",
    "output error",
    "stored sequence",
    "derivatives",
    "transposed weights",
)
