"""Truncated Taylor series through a network: its outputs' first and second derivatives along straight lines.

Nothing here comes from fastbp.  A series is three arrays: value, first and second derivative along a line in the
inputs.  All functions also take complex parameters, so that the complex step gives the derivatives of all three by
them; that needs f'' only, so that f''' is compared with something that never wrote it down.
"""

import itertools

import numpy as np
from scipy.special import erfc

from tests import complex_step
from tests.complex_step import exp, sigmoid, tanh

STEP = complex_step.STEP


def normal_pdf(z):
    """exp(-z**2 / 2) / sqrt(2 pi)."""
    return exp(-z * z / 2) / np.sqrt(2 * np.pi)


def normal_cdf(z):
    """The integral of `normal_pdf`."""
    return erfc(-z.real / np.sqrt(2)) / 2 + 1j * (normal_pdf(z.real).real * z.imag)


def cosine(z):
    """cos(z) with a small imaginary part."""
    return np.cos(z.real) - 1j * (np.sin(z.real) * z.imag)


def _slope_of_silu(z):
    s = sigmoid(z)
    return s + z * s * (1 - s)


def _bend_of_silu(z):
    s = sigmoid(z)
    return 2 * s * (1 - s) + z * s * (1 - s) * (1 - 2 * s)


# f' and f'' of one z
DERIVATIVES = {
    "identity": (lambda z: 1 + 0 * z, lambda z: 0 * z),
    "sigmoid": (lambda z: sigmoid(z) * sigmoid(-z), lambda z: sigmoid(z) * sigmoid(-z) * (sigmoid(-z) - sigmoid(z))),
    "tanh": (lambda z: 1 - tanh(z) ** 2, lambda z: -2 * tanh(z) * (1 - tanh(z) ** 2)),
    "relu": (lambda z: np.where(z.real > 0, 1 + 0 * z, 0), lambda z: 0 * z),
    "leaky_relu": (lambda z: np.where(z.real > 0, 1 + 0 * z, 0.01), lambda z: 0 * z),
    "elu": (lambda z: np.where(z.real > 0, 1, exp(z)), lambda z: np.where(z.real > 0, 0, exp(z))),
    "softplus": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "gelu": (lambda z: normal_cdf(z) + z * normal_pdf(z), lambda z: normal_pdf(z) * (2 - z * z)),
    "silu": (_slope_of_silu, _bend_of_silu),
    "sine": (cosine, lambda z: -complex_step.sine(z)),
    "exp": (exp, exp),
}


def softmax(z, dz, ddz):
    """Of series: exp(z - constant), then a quotient."""
    e = exp(z - z.real.max(axis=-1, keepdims=True))
    de, dde = e * dz, e * (ddz + dz * dz)
    s, ds, dds = (x.sum(axis=-1, keepdims=True) for x in (e, de, dde))
    q = e / s
    dq = (de - q * ds) / s
    return q, dq, (dde - 2 * dq * ds - q * dds) / s


def along(net, params, X, direction):
    """Outputs (n, n_outputs) and their first and second derivatives along one direction (n_features,)."""
    a = X.astype(complex)
    da, dda, start = np.broadcast_to(np.asarray(direction, complex), X.shape), 0 * a, 0
    for names, (fan_in, fan_out) in zip(net.neuron_activations, itertools.pairwise(net.sizes), strict=True):
        W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += (fan_in + 1) * fan_out
        z, dz, ddz = a @ W + params[start - fan_out : start], da @ W, dda @ W
        if names == "softmax":
            a, da, dda = softmax(z, dz, ddz)
            continue
        a, da, dda = np.empty_like(z), np.empty_like(z), np.empty_like(z)
        for j, name in enumerate(names):
            slope, bend = (f(z[:, j]) for f in DERIVATIVES[name])
            a[:, j] = complex_step.ACTIVATIONS[name](z[:, j])
            da[:, j], dda[:, j] = slope * dz[:, j], bend * dz[:, j] ** 2 + slope * ddz[:, j]
    return a, da, dda


def derivatives(net, params, X):
    """Outputs (n, n_outputs), first derivatives (n, n_outputs, n_features) and Laplacians (n, n_outputs)."""
    series = [along(net, params, X, direction) for direction in np.eye(X.shape[1])]
    return series[0][0], np.stack([da for _, da, _ in series], axis=2), sum(dda for _, _, dda in series)


def hessians(net, params, X):
    """All second derivatives (n, n_outputs, n_features, n_features), from those along sums and differences."""
    n = X.shape[1]
    second = [[along(net, params, X, v + w)[2] - along(net, params, X, v - w)[2] for v in np.eye(n)] for w in np.eye(n)]
    return np.moveaxis(np.array(second), (0, 1), (2, 3)).real / 4


def slopes(net, params, X, cost, directions):
    """The derivatives of ``cost(u, du, lap)`` along directions of the parameters, by the complex step."""
    return np.array([cost(*derivatives(net, params + 1j * STEP * v, X)).imag / STEP for v in directions])
