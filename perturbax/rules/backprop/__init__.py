"""Backpropagation through all, some or one of the time steps, and rules with its backward pass changed."""
