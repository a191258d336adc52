"""One run: from its description to a folder with a trained network."""
