"""Real-time recurrent learning and its approximations, forward in time."""
