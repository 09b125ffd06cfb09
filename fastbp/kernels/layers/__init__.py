"""The forward and backward pass through the layers, and the step of their weights."""
