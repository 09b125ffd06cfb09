"""The gradient of a whole network by the complex step, all parameters at once: quick enough for thousands of networks.

Nothing here comes from fastbp.  The formulas are those of `tests.reference_formulas` once more, for arrays, and written
so that they lose no digits where an output is saturated: a difference that could cancel is never taken.

A network is a `tests.cases.Case`.  Axis 0 counts the parameters, of which each has its own copy of the network.
"""

import itertools

import numpy as np
from scipy.special import erfc

STEP = 1e-100  # its square vanishes beside everything that matters, and its products with small rates do not underflow


def where(condition, value, z, otherwise):
    """value(z) where the condition holds, otherwise(z) elsewhere, each computed only there."""
    result = np.empty_like(z)
    result[condition] = value(z[condition])
    result[~condition] = otherwise(z[~condition])
    return result


def log1p(w):
    """log(1 + w) with a small imaginary part."""
    return np.log1p(w.real) + 1j * (w.imag / (1 + w.real))


def exp(z):
    """exp(z) with a small imaginary part, 0 where it underflows."""
    e = np.exp(z.real)
    return e + 1j * (e * z.imag)


def log(z):
    """log(z) of a positive number with a small imaginary part."""
    return np.log(z.real) + 1j * (z.imag / z.real)


def expm1(z):
    """exp(z) - 1 with a small imaginary part."""
    return np.expm1(z.real) + 1j * (np.exp(z.real) * z.imag)


def sigmoid(z):
    """1 / (1 + exp(-z)); the derivative by s(z) s(-z), which does not cancel."""
    e = np.exp(-np.abs(z.real))
    return np.where(z.real < 0, e, 1) / (1 + e) + 1j * (e / (1 + e) ** 2 * z.imag)


def tanh(z):
    """tanh(z); the derivative by 1 / cosh(z)**2."""
    e = np.exp(-2 * np.abs(z.real))
    return np.tanh(z.real) + 1j * (4 * e / (1 + e) ** 2 * z.imag)


def softplus(z):
    """log(1 + exp(z))."""
    return where(z.real > 0, lambda x: x + log1p(exp(-x)), z, lambda x: log1p(exp(x)))


def gelu(z):
    """z Phi(z)."""
    x = z.real
    cdf, pdf = erfc(-x / np.sqrt(2)) / 2, np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    return x * cdf + 1j * ((cdf + x * pdf) * z.imag)


def sine(z):
    """sin(z)."""
    return np.sin(z.real) + 1j * (np.cos(z.real) * z.imag)


ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "relu": lambda z: np.where(z.real > 0, z, 0),
    "leaky_relu": lambda z: np.where(z.real > 0, z, 0.01 * z),
    "elu": lambda z: where(z.real > 0, lambda x: x, z, expm1),
    "softplus": softplus,
    "gelu": gelu,
    "silu": lambda z: z * sigmoid(z),
    "sine": sine,
    "exp": exp,
}


def softmax_parts(z):
    """exp(z - z_max) and the sum of all but the largest, of which 1 is the exponential; z (..., fan_out)."""
    largest = np.argmax(z.real, axis=-1)[..., None]
    powers = exp(z - np.take_along_axis(z, largest, -1))
    np.put_along_axis(powers, largest, 0, -1)
    rest = powers.sum(axis=-1, keepdims=True)
    np.put_along_axis(powers, largest, 1, -1)
    return powers, rest, largest


def softmax(z):
    """exp(z_j) / sum_k exp(z_k): the quotient's derivative by w' / s - w s' / s**2, whose terms are all small."""
    powers, rest, _ = softmax_parts(z)
    w, s = powers.real, 1 + rest.real
    return w / s + 1j * (powers.imag / s - w * (rest.imag / s**2))


def absolute(d):
    """|d|."""
    return np.where(d.real >= 0, d, -d)


def log_cosh(d):
    """log(cosh(d)); the derivative is tanh(d)."""
    x = np.abs(d.real)
    value = np.where(x < 1, np.log1p(2 * np.sinh(np.minimum(x, 1) / 2) ** 2), x + np.log1p(np.expm1(-2 * x) / 2))
    return value + 1j * (np.tanh(d.real) * d.imag)


def poisson_cost(network, z, a, y):
    """a - y log a; log a is z after exp, and beside softplus and sigmoid far out."""
    names = network.neuron_activations[-1]
    if names == "softmax":
        _, rest, largest = softmax_parts(z)
        log_a = z - np.take_along_axis(z, largest, -1) - log1p(rest)
    else:
        logs = {
            "exp": lambda z: z,
            "sigmoid": lambda z: -softplus(-z),
            "softplus": lambda z: where(z.real < -100, lambda x: x, z, lambda x: log(softplus(x))),
        }
        log_a = np.stack([logs[name](z[..., j]) for j, name in enumerate(names)], axis=-1)
    return a - np.where(y != 0, y * log_a, 0)


def output_costs(network, z, a, Y):
    """The cost of each output of each row, (copies, n, n_outputs)."""
    d = a - Y
    if network.loss == "cross_entropy":
        if network.neuron_activations[-1] == "softmax":
            _, rest, largest = softmax_parts(z)
            costs = Y * (log1p(rest) - (z - np.take_along_axis(z, largest, -1)))
        else:
            costs = Y * softplus(-z) + (1 - Y) * softplus(z)
    elif network.loss == "quadratic":
        costs = d * d / 2
    elif network.loss == "absolute":
        costs = absolute(d)
    elif network.loss == "huber":
        t = 1.0 if network.loss_parameter is None else network.loss_parameter
        costs = np.where(np.abs(d.real) <= t, d * d / 2, t * (absolute(d) - t / 2))
    elif network.loss == "quantile":
        q = 0.5 if network.loss_parameter is None else network.loss_parameter
        costs = np.where(d.real >= 0, (1 - q) * d, -q * d)
    elif network.loss == "log_cosh":
        costs = log_cosh(d)
    else:
        costs = poisson_cost(network, z, a, Y)
    return costs


def outputs(network, copies, a):
    """The outputs' z and a, (copies, n, n_outputs), for parameters (copies, n_params) and inputs (copies, n, k)."""
    n, start = len(copies), 0
    for names, (fan_in, fan_out) in zip(network.neuron_activations, itertools.pairwise(network.sizes), strict=True):
        W = copies[:, start : start + fan_in * fan_out].reshape(n, fan_in, fan_out)
        start += (fan_in + 1) * fan_out
        z = a @ W + copies[:, None, start - fan_out : start]
        if names == "softmax":
            a = softmax(z)
        else:
            a = np.empty_like(z)
            for name in set(names):
                columns = [j for j, each in enumerate(names) if each == name]
                a[..., columns] = ACTIVATIONS[name](z[..., columns])
    return z, a


def by_params(network, params, X, Y):
    """Derivatives of the outputs, (n, n_outputs, n_params), and of each row's cost, (n, n_params)."""
    n = len(params)
    z, a = outputs(network, params + 1j * STEP * np.eye(n), np.broadcast_to(X.astype(complex), (n, *X.shape)))
    costs = output_costs(network, z, a, Y).sum(axis=-1)
    return np.moveaxis(a.imag / STEP, 0, -1), costs.imag.T / STEP


def by_inputs(network, params, X, Y):
    """Derivatives of the outputs, (n, n_outputs, n_features), and of each row's cost, (n, n_features)."""
    k = X.shape[1]
    inputs = X + 1j * STEP * np.eye(k)[:, None, :]
    z, a = outputs(network, np.broadcast_to(params.astype(complex), (k, len(params))), inputs)
    costs = output_costs(network, z, a, Y).sum(axis=-1)
    return np.moveaxis(a.imag / STEP, 0, -1), costs.imag.T / STEP


def cost_and_gradient(network, params, X, Y, sample_weight=None):
    """The cost, its derivatives with respect to all parameters, (n_params,), and how far rounding may have moved them.

    Of softmax's outputs the largest moves against all others, and what the sum over them loses is this function's loss.
    """
    n = len(params)
    copies = params + 1j * STEP * np.eye(n)
    z, a = outputs(network, copies, np.broadcast_to(X.astype(complex), (n, *X.shape)))
    penalties, start = np.zeros(n, complex), 0
    for fan_in, fan_out in itertools.pairwise(network.sizes):
        W = copies[:, start : start + fan_in * fan_out].reshape(n, fan_in, fan_out)
        start += (fan_in + 1) * fan_out
        penalties += network.l2_penalty / 2 * (W * W).sum(axis=(1, 2)) + network.l1_penalty * absolute(W).sum(
            axis=(1, 2)
        )
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    costs = output_costs(network, z, a, Y) * (w / w.sum())[:, None]
    gradient = (costs.sum(axis=(1, 2)) + penalties).imag / STEP
    rounding = np.finfo(float).eps * np.abs(costs.imag).sum(axis=(1, 2)) / STEP
    return (costs[0].sum() + penalties[0]).real, gradient, 4 * rounding
