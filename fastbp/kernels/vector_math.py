"""Placeholder with the C library's functions until the vectorisable ones are written (overwrite this file)."""

import math

from fastbp.kernels.jit import formula


@formula
def exp(x):
    return math.exp(x)


@formula
def expm1(x):
    return math.expm1(x)


@formula
def log(x):
    return math.log(x)


@formula
def log1p(x):
    return math.log1p(x)


@formula
def logistic(x):
    return 1 / (1 + math.exp(-x))


@formula
def tanh(x):
    return math.tanh(x)


@formula
def normal_cdf(x):
    return 0.5 * math.erfc(-x * 0.7071067811865476)


@formula
def normal_pdf(x):
    return math.exp(-0.5 * x * x) * 0.3989422804014327


@formula
def sin(x):
    return math.sin(x)


@formula
def cos(x):
    return math.cos(x)


@formula
def log_cosh(x):
    return abs(x) + math.log1p(math.exp(-2 * abs(x))) - 0.6931471805599453


@formula
def softplus(x):
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


@formula
def sin_limit(x):
    return 1e5
