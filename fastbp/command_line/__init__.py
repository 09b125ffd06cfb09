"""The command ``fastbp``: a demonstration, training on tables, predictions, kernels ahead, the installation."""
