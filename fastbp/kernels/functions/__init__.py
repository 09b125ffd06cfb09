"""Activations, losses and dropout, value and derivative side by side."""
