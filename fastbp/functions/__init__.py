"""Activations and losses: by name, with what is to be known of each, and those that a user brings."""
