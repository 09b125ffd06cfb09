"""Activations and losses: by name, with what is to be known of each, and those that a user brings.

The names below have always been found here, by programs and by pickles of functions that a user brings.
"""

from fastbp.functions.activations import ACTIVATION_NAMES
from fastbp.functions.own import Activation, Loss

__all__ = ["ACTIVATION_NAMES", "Activation", "Loss"]
