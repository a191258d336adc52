"""Networks that act in a world: what they do changes what they see next."""
