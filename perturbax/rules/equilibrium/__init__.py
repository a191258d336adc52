"""Equilibrium propagation."""
