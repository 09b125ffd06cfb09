"""The formulas of the reference network: activations and losses, each a function of single numbers.

Nothing here comes from fastbp. Every formula also takes complex numbers: a piecewise one chooses its piece
by the real part, so that the imaginary part of ``f(z + 1j * h) / h`` is the derivative without cancellation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import erfc

LEAKY_SLOPE = 0.01  # slope of leaky_relu left of 0
HUBER_THRESHOLD = 1.0  # by default: where huber turns from a parabola into a straight line
QUANTILE = 0.5  # by default: the median


# ---- Activations: f(z) and f'(z) of one number ---------------------------------------------------------


@dataclass(frozen=True)
class Activation:
    """Value and derivative of an activation, each a function of one real or complex number."""

    value: Callable
    derivative: Callable


def log1p(w):
    """log(1 + w); NumPy's own loses the small real part when w is complex."""
    if not np.iscomplexobj(w):
        return np.log1p(w)
    return np.log1p(w.real) + np.log(1 + 1j * w.imag / (1 + w.real))


def sigmoid(z):
    """1 / (1 + exp(-z)), without overflow for very negative z."""
    if z.real >= 0:
        return 1 / (1 + np.exp(-z))
    return np.exp(z) / (1 + np.exp(z))


def softplus(z):
    """log(1 + exp(z)), without overflow for very positive z."""
    if z.real > 0:
        return z + log1p(np.exp(-z))
    return log1p(np.exp(z))


def normal_cdf(z):
    """Phi(z) = (1 + erf(z / sqrt 2)) / 2, by erfc so that the left tail keeps its digits."""
    return erfc(-z / np.sqrt(2)) / 2


def normal_pdf(z):
    """phi(z) = exp(-z**2 / 2) / sqrt(2 pi)."""
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


ACTIVATIONS = {
    "identity": Activation(lambda z: z, lambda z: 1.0),
    # s(z) s(-z) is s (1 - s) and sech^2 is 1 - tanh^2, without the cancellation where they are small
    "sigmoid": Activation(sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": Activation(np.tanh, lambda z: 4 * sigmoid(2 * z) * sigmoid(-2 * z)),
    "relu": Activation(lambda z: z if z.real > 0 else 0.0 * z, lambda z: 1.0 if z.real > 0 else 0.0),
    "leaky_relu": Activation(
        lambda z: z if z.real > 0 else LEAKY_SLOPE * z, lambda z: 1.0 if z.real > 0 else LEAKY_SLOPE
    ),
    "elu": Activation(lambda z: z if z.real > 0 else np.expm1(z), lambda z: 1.0 if z.real > 0 else np.exp(z)),
    "softplus": Activation(softplus, sigmoid),
    "gelu": Activation(lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * normal_pdf(z)),
    "silu": Activation(lambda z: z * sigmoid(z), lambda z: sigmoid(z) + z * sigmoid(z) * sigmoid(-z)),
    "sine": Activation(np.sin, np.cos),
    "exp": Activation(np.exp, np.exp),
}


def log_sum_exp(z):
    """log(sum_k exp(z_k)) of one row of logits, shifted by its largest real part."""
    shift = max(z_k.real for z_k in z)
    return shift + np.log(sum(np.exp(z_k - shift) for z_k in z))


def log_of_output(names, z):
    """log a_k of each output that can be had from z where a_k itself underflows, (n_outputs,)."""
    if isinstance(names, str):
        return z - log_sum_exp(z)
    logs = {
        "exp": lambda z: z,
        "sigmoid": lambda z: -softplus(-z),
        "softplus": lambda z: z if z.real < -100 else np.log(softplus(z)),
    }
    return np.array([logs[name](z_k) for name, z_k in zip(names, z, strict=True)])


def softmax(z):
    """exp(z_k) / sum_m exp(z_m) of one row of logits, (fan_out,) -> (fan_out,)."""
    shift = max(z_k.real for z_k in z)
    total = sum(np.exp(z_m - shift) for z_m in z)
    return np.array([np.exp(z_k - shift) / total for z_k in z])


def activate(names, z):
    """a = f(z) of one row z (fan_out,) of a layer; names is "softmax" or one name per neuron."""
    if isinstance(names, str):
        return softmax(z)
    return np.array([ACTIVATIONS[name].value(z_k) for name, z_k in zip(names, z, strict=True)])


def jacobian(names, z):
    """da_m/dz_k of one row of a layer as a full (fan_out, fan_out) matrix, row m, column k."""
    rates = np.zeros((len(z), len(z)), dtype=z.dtype)
    a = activate(names, z)
    for m in range(len(z)):
        for k in range(len(z)):
            if isinstance(names, str):
                rates[m, k] = a[m] * ((m == k) - a[k])
            elif m == k:
                rates[m, k] = ACTIVATIONS[names[k]].derivative(z[k])
    return rates


# ---- Losses: the cost of one output of one sample, summed over the outputs ------------------------------


@dataclass(frozen=True)
class Loss:
    """C(a, y) of one output and its derivative with respect to a."""

    value: Callable
    derivative: Callable


def absolute(d):
    """|d|, continued to complex d."""
    return d if d.real >= 0 else -d


def huber(threshold):
    """d**2 / 2 near 0, a straight line beyond the threshold."""
    return Loss(
        lambda a, y: (
            (a - y) ** 2 / 2 if abs((a - y).real) <= threshold else threshold * (absolute(a - y) - threshold / 2)
        ),
        lambda a, y: a - y if abs((a - y).real) <= threshold else threshold * np.sign((a - y).real),
    )


def quantile(q):
    """q times what a is too small by, 1 - q times what it is too large by."""
    return Loss(
        lambda a, y: (1 - q) * (a - y) if (a - y).real >= 0 else -q * (a - y),
        lambda a, y: {1: 1 - q, 0: 0.0, -1: -q}[int(np.sign((a - y).real))],
    )


def log_cosh(d):
    """log(cosh(d)); sinh near 0 keeps the small values' digits, the other form does not overflow."""
    if abs(d.real) < 1:
        return log1p(np.sinh(d) ** 2) / 2
    return absolute(d) + log1p(np.exp(-2 * absolute(d))) - np.log(2)


LOSSES = {
    "quadratic": Loss(lambda a, y: (a - y) ** 2 / 2, lambda a, y: a - y),
    "absolute": Loss(lambda a, y: absolute(a - y), lambda a, y: np.sign((a - y).real)),
    "huber": huber(HUBER_THRESHOLD),
    "log_cosh": Loss(lambda a, y: log_cosh(a - y), lambda a, y: np.tanh(a - y)),
    "poisson": Loss(lambda a, y: a - y * np.log(a) if y != 0 else a, lambda a, y: 1 - y / a if y != 0 else 1.0),
    "quantile": quantile(QUANTILE),
}
WITH_PARAMETER = {"huber": huber, "quantile": quantile}


def loss_formula(name, parameter=None):
    """Return a loss with a parameter, or by default with its own one or none."""
    return LOSSES[name] if parameter is None else WITH_PARAMETER[name](parameter)
