"""Relaxation: errors settle by local messages, of every step and layer at once, instead of one pass back."""
