"""Looks at a network and its training: neurons in trouble, gradients checked and timed, weights over time."""
