"""Rules that learn from what noise does to the score."""
