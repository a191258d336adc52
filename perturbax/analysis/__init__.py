"""How good the estimates of a rule are."""
