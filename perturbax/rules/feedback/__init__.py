"""Rules that learn, from noise, how output errors reach each unit."""
