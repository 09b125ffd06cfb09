"""The optimizers' steps."""
