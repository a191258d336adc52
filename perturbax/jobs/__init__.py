"""Many pieces of work, done side by side by other processes: what they are, who does them, what is told."""
