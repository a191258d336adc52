"""Studies: many runs planned as one, worked through by one machine or several, then judged."""
