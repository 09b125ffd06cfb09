"""Arithmetic that the compiler may not put into another order, on vectors whose bits are promised.

The leaves are compiled with leave to reorder sums and products; these operations are not part of that, see
`fastbp.kernels.compiler.jit`.
"""

from fastbp.kernels.compiler.jit import formula


@formula
def plus(x, y):
    """x + y."""
    return x + y


@formula
def minus(x, y):
    """x - y."""
    return x - y


@formula
def times(x, y):
    """x y."""
    return x * y


@formula
def over(x, y):
    """x / y."""
    return x / y
