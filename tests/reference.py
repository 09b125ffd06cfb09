"""The plain network: every formula once more, as slowly and as obviously as possible.

Nothing here comes from fastbp. Numbers are computed one sample and one neuron at a time; only the dot
product over the inputs of a neuron is left to NumPy. All functions of the parameters also take complex
ones: a piecewise formula chooses its piece by the real part, so that the imaginary part of
``cost(params + 1j * h * direction) / h`` is a derivative without cancellation (the complex step).
Everything is computed in double precision, whatever comes in.

Legend: ``X`` (n, n_features) and ``Y`` (n, n_outputs), one row a sample; ``W`` (fan_in, fan_out) and ``b``
(fan_out,) of one layer; ``z = a_prev @ W + b``; ``a = f(z)``; ``delta = dC_x/dz`` of one sample's own cost.
Layers count from 0, the first one that has weights. ``params`` is flat, ``[W1 b1 W2 b2 ...]``.

A network is any object with the attributes of `Network`, for instance a `tests.cases.Case`.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from tests.reference_formulas import (
    ACTIVATIONS,
    absolute,
    activate,
    jacobian,
    log_of_output,
    log_sum_exp,
    loss_formula,
    sigmoid,
    softplus,
)

COMPLEX_STEP = 1e-30  # its square vanishes beside 1, products with small rates do not underflow
FOURTH_ORDER_STEP = 1e-3  # about eps**(1/5): truncation and rounding are both near 1e-13


@dataclass(frozen=True)
class Network:
    """What the functions below need to know of a network."""

    sizes: tuple[int, ...]
    neuron_activations: list  # one entry per layer: "softmax" or a list of fan_out names
    loss: str
    l2_penalty: float = 0.0
    l1_penalty: float = 0.0
    loss_parameter: float | None = None  # None: the loss's own default, if it has a parameter


# ---- Forward ---------------------------------------------------------------------------------------------


def count_parameters(sizes):
    """Number of weights and biases: (fan_in + 1) * fan_out summed over the layers."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))


def unpack(sizes, params):
    """Split the flat vector into [(W, b), ...], one pair per layer."""
    layers, start = [], 0
    for fan_in, fan_out in itertools.pairwise(sizes):
        W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += fan_in * fan_out
        layers.append((W, params[start : start + fan_out]))
        start += fan_out
    assert start == len(params), f"{start} parameters fit the sizes {sizes}, got {len(params)}"
    return layers


def pack(layers):
    """Join [(W, b), ...] into the flat vector: the inverse of `unpack`."""
    return np.concatenate([part.ravel() for W, b in layers for part in (W, b)])


def one_hot(labels, n_outputs):
    """Rows of 0 with a 1 at the label: (n,) integers -> (n, n_outputs)."""
    return np.array([[1.0 if j == label else 0.0 for j in range(n_outputs)] for label in labels])


def forward(sizes, neuron_activations, params, X):
    """Lists zs and as_ with one (n, fan_out) array per layer; as_[-1] is the output, X is not in them."""
    dtype = np.result_type(params, X, np.float64)
    layers = unpack(sizes, np.asarray(params, dtype))
    zs = [np.zeros((len(X), len(b)), dtype) for _, b in layers]
    as_ = [np.zeros((len(X), len(b)), dtype) for _, b in layers]
    for i in range(len(X)):
        a_prev = np.asarray(X[i], dtype)
        for layer, (W, b) in enumerate(layers):
            for k in range(len(b)):
                zs[layer][i, k] = a_prev @ W[:, k] + b[k]
            as_[layer][i] = activate(neuron_activations[layer], zs[layer][i])
            a_prev = as_[layer][i]
    return zs, as_


def sample_cost(network, z, a, y):
    """C_x of one sample from the output layer's z, a and the target y, each (n_outputs,)."""
    if network.loss == "poisson":
        logs = log_of_output(network.neuron_activations[-1], z)
        return sum(a_j - (y_j * log_j if y_j != 0 else 0) for a_j, log_j, y_j in zip(a, logs, y, strict=True))
    if network.loss != "cross_entropy":
        formula = loss_formula(network.loss, network.loss_parameter)
        return sum(formula.value(a_j, y_j) for a_j, y_j in zip(a, y, strict=True))
    # From logits: log a has no digits left where a rounds to 0 or 1.
    if network.neuron_activations[-1] == "softmax":
        return sum(y_j * (log_sum_exp(z) - z_j) for z_j, y_j in zip(z, y, strict=True))
    return sum(y_j * softplus(-z_j) + (1 - y_j) * softplus(z_j) for z_j, y_j in zip(z, y, strict=True))


def cost_derivative(network, a, y):
    """dC_x/da of one sample, (n_outputs,)."""
    if network.loss != "cross_entropy":
        formula = loss_formula(network.loss, network.loss_parameter)
        return np.array([formula.derivative(a_j, y_j) for a_j, y_j in zip(a, y, strict=True)])
    if network.neuron_activations[-1] == "softmax":
        return -y / a
    return (a - y) / (a * (1 - a))


def sample_costs(network, params, X, Y):
    """C_x of every sample, without weights and penalties, (n,)."""
    zs, as_ = forward(network.sizes, network.neuron_activations, params, X)
    Y = np.asarray(Y, np.float64)
    return np.array([sample_cost(network, zs[-1][i], as_[-1][i], Y[i]) for i in range(len(X))])


def cost(network, params, X, Y, sample_weight=None, divisor=None):
    """C = sum_x w_x C_x / divisor + l2_penalty / 2 * sum W**2 + l1_penalty * sum |W|; biases are free.

    The divisor is sum_x w_x; of a mini-batch it is its number of rows times the mean weight of all data.
    """
    costs = sample_costs(network, params, X, Y)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    total = sum(w[i] * costs[i] for i in range(len(X))) / (sum(w) if divisor is None else divisor)
    for W, _ in unpack(network.sizes, np.asarray(params, np.result_type(params, np.float64))):
        total += network.l2_penalty / 2 * sum(w_jk * w_jk for w_jk in W.flat)
        total += network.l1_penalty * sum(absolute(w_jk) for w_jk in W.flat)
    return total


# ---- The four equations ----------------------------------------------------------------------------------


def deltas(network, params, X, Y):
    """dC_x/dz of every neuron for every sample's own cost: one (n, fan_out) array per layer."""
    layers = unpack(network.sizes, np.asarray(params, np.result_type(params, np.float64)))
    zs, as_ = forward(network.sizes, network.neuron_activations, params, X)
    Y = np.asarray(Y, np.float64)
    errors = [np.zeros_like(z) for z in zs]
    for i in range(len(X)):
        errors[-1][i] = output_delta(network, zs[-1][i], as_[-1][i], Y[i])
        for layer in reversed(range(len(layers) - 1)):
            W_next = layers[layer + 1][0]
            for j, name in enumerate(network.neuron_activations[layer]):
                back = sum(W_next[j, k] * errors[layer + 1][i, k] for k in range(W_next.shape[1]))
                errors[layer][i, j] = back * ACTIVATIONS[name].derivative(zs[layer][i, j])
    return errors


def output_delta(network, z, a, y):
    """delta of the output layer for one sample: sum_m dC_x/da_m da_m/dz_k, (n_outputs,)."""
    if network.loss == "cross_entropy":
        return a - y  # what the sum below comes to; literally it is 0/0 where a rounds to 0 or 1
    if network.loss == "poisson" and np.any(a.real < 1e-100):  # likewise
        return poisson_delta(network.neuron_activations[-1], z, a, y)
    rates, slopes = cost_derivative(network, a, y), jacobian(network.neuron_activations[-1], z)
    return np.array([sum(rates[m] * slopes[m, k] for m in range(len(z))) for k in range(len(z))])


def poisson_delta(names, z, a, y):
    """f'(z) (1 - y / a) = f' - y (log f)', (n_outputs,)."""
    if names == "softmax":
        return a * sum(y) - y
    slopes = np.array([ACTIVATIONS[name].derivative(z_j) for name, z_j in zip(names, z, strict=True)])
    logs = [{"exp": 1.0, "sigmoid": sigmoid(-z_j), "softplus": 1.0}[name] for name, z_j in zip(names, z, strict=True)]
    large = a >= 1e-100
    return slopes - y * np.where(large, slopes / np.where(large, a, 1), logs)


def gradient(network, params, X, Y, sample_weight=None, divisor=None):
    """dC/dparams by the four equations, (n_params,); the divisor as for `cost`.

    Of complex parameters with small imaginary parts these of the result are the derivative along them.
    """
    X = np.asarray(X, np.float64)
    layers = unpack(network.sizes, np.asarray(params, np.result_type(params, np.float64)))
    _, as_ = forward(network.sizes, network.neuron_activations, params, X)
    errors = deltas(network, params, X, Y)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    result = []
    for layer, (W, b) in enumerate(layers):
        a_prev = X if layer == 0 else as_[layer - 1]
        dW = network.l2_penalty * W + network.l1_penalty * np.sign(W.real)
        db = np.zeros_like(b)
        for i in range(len(X)):
            for k in range(len(b)):
                share = w[i] / (sum(w) if divisor is None else divisor) * errors[layer][i, k]
                db[k] += share
                for j in range(len(W)):
                    dW[j, k] += a_prev[i, j] * share
        result.append((dW, db))
    return pack(result)


def sum_over_paths_gradient(network, params, X, Y, sample_weight=None):
    """dC/dparams as the literal sum over all paths from a parameter to the cost, (n_params,), by brute force.

    A path leaves the weight or bias of neuron k, goes from neuron to neuron through the later layers to one
    output m and into the cost; it contributes the product of the local rates along it. With softmax,
    every z of the output layer leads to every output.
    """
    X, Y = np.asarray(X, np.float64), np.asarray(Y, np.float64)
    layers = unpack(network.sizes, np.asarray(params, np.float64))
    zs, as_ = forward(network.sizes, network.neuron_activations, params, X)
    w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    result = [(network.l2_penalty * W + network.l1_penalty * np.sign(W), np.zeros_like(b)) for W, b in layers]
    for i, layer in itertools.product(range(len(X)), range(len(layers))):
        dW, db = result[layer]
        a_prev = X[i] if layer == 0 else as_[layer - 1][i]
        # rates[later][m, k] = da_m/dz_k of a layer, here only of those the paths pass
        rates = [jacobian(names, z[i]) for names, z in zip(network.neuron_activations, zs, strict=True)]
        cost_rates = cost_derivative(network, as_[-1][i], Y[i])
        for path in itertools.product(*(range(size) for size in network.sizes[layer + 1 :])):
            for m in range(network.sizes[-1]):
                rate = rates[-1][m, path[-1]] * cost_rates[m] * w[i] / sum(w)
                for step, (j, k) in enumerate(itertools.pairwise(path)):
                    rate *= rates[layer + step][j, j] * layers[layer + step + 1][0][j, k]
                db[path[0]] += rate
                for j in range(len(dW)):
                    dW[j, path[0]] += a_prev[j] * rate
    return pack(result)


# ---- Derivatives that know nothing of the four equations -------------------------------------------------


def directional_derivative(network, params, X, Y, direction, sample_weight=None):
    """dC/dt of params + t * direction at t = 0, by one complex step."""
    moved = np.asarray(params, np.float64) + 1j * COMPLEX_STEP * np.asarray(direction, np.float64)
    return cost(network, moved, X, Y, sample_weight).imag / COMPLEX_STEP


def complex_step_gradient(network, params, X, Y, sample_weight=None):
    """dC/dparams by one complex step for each parameter, (n_params,); exact to rounding."""
    directions = np.eye(len(params))
    return np.array([directional_derivative(network, params, X, Y, e, sample_weight) for e in directions])


def fourth_order_gradient(network, params, X, Y, sample_weight=None, step=FOURTH_ORDER_STEP):
    """dC/dparams by five-point differences, (n_params,); no kink may lie within two steps."""
    params, result = np.asarray(params, np.float64), np.zeros(len(params))
    for p in range(len(params)):
        for factor, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            moved = params.copy()
            moved[p] += factor * step
            result[p] += weight * cost(network, moved, X, Y, sample_weight) / (12 * step)
    return result


def relative_error(actual, expected, floor=0.01):
    """Largest difference over the largest expected value, both absolute, the latter at least floor.

    The floor is for gradients that cancel exactly, such as that of a softmax whose outputs are all too
    large: what is left is rounding, to be measured against the terms of order 1 that cancelled.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"expected shape {expected.shape}, got {actual.shape}"
    difference = np.max(np.abs(actual - expected), initial=0.0)
    return float(difference / np.max(np.abs(expected), initial=floor))


def hessian_vector_product(network, params, X, Y, v, sample_weight=None):
    """d2C/dparams2 times v, (n_params,), by one complex step of the four equations; exact to rounding."""
    moved = np.asarray(params, np.float64) + 1j * COMPLEX_STEP * np.asarray(v, np.float64)
    return gradient(network, moved, X, Y, sample_weight).imag / COMPLEX_STEP


def jacobian_vector_product(network, params, X, v, tangent=0.0):
    """d(z, a)/dparams times v and d(z, a)/dX times the tangent of the output layer, two (n, n_outputs) arrays."""
    moved = np.asarray(params, np.float64) + 1j * COMPLEX_STEP * np.asarray(v, np.float64)
    zs, as_ = forward(network.sizes, network.neuron_activations, moved, X + 1j * COMPLEX_STEP * tangent)
    return zs[-1].imag / COMPLEX_STEP, as_[-1].imag / COMPLEX_STEP


def loss_curvature(network, z, a, y, of_z):
    """d2C_x/dz2 or d2C_x/da2 of one sample by complex steps, (n_outputs, n_outputs)."""
    columns = []
    for e in np.eye(len(z)):
        if of_z:
            moved = z + 1j * COMPLEX_STEP * e
            rate = output_delta(network, moved, activate(network.neuron_activations[-1], moved), y)
        else:
            rate = np.array(cost_derivative(network, a + 1j * COMPLEX_STEP * e, y), complex)
        columns.append(rate.imag / COMPLEX_STEP)
    return np.array(columns).T


MATCHING = {("cross_entropy", "softmax"), ("cross_entropy", "sigmoid"), ("poisson", "exp")}


def gauss_newton_matrix(network, params, X, Y, sample_weight=None):
    """Mean of J.T @ B @ J as `Network.gnvp` says, (n_params, n_params), by the whole Jacobian."""
    names = network.neuron_activations[-1]
    zs, as_ = forward(network.sizes, network.neuron_activations, params, X)
    J = np.array([jacobian_vector_product(network, params, X, e)[0] for e in np.eye(len(params))])
    w, total = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64), 0.0
    for i in range(len(X)):
        z, a = zs[-1][i], as_[-1][i]
        slopes, of_z = jacobian(names, z), loss_curvature(network, z, a, Y[i], True)
        B = slopes.T @ loss_curvature(network, z, a, Y[i], False) @ slopes
        if isinstance(names, str):
            B = of_z if (network.loss, names) in MATCHING else B
        else:  # both are diagonal, each output by itself
            B = np.where([(network.loss, name) in MATCHING for name in names], of_z, B)
        total += w[i] / sum(w) * J[:, i] @ B @ J[:, i].T
    return total


# ---- Training: one rule per optimizer, for one parameter w with gradient g -------------------------------


def sgd(w, g, memory, t, *, learning_rate, momentum=0.0, nesterov=False):
    """Gradient descent with momentum; Nesterov's form as in Sutskever et al. (2013)."""
    v = momentum * memory[0] - learning_rate * g
    return (w + momentum * v - learning_rate * g if nesterov else w + v), (v,)


def adam(w, g, memory, t, *, learning_rate=1e-3, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    """Kingma and Ba (2015), algorithm 1."""
    m = beta_1 * memory[0] + (1 - beta_1) * g
    v = beta_2 * memory[1] + (1 - beta_2) * g**2
    m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
    return w - learning_rate * m_hat / (np.sqrt(v_hat) + epsilon), (m, v)


def adamw(w, g, memory, t, *, learning_rate=1e-3, weight_decay=0.01, **settings):
    """Loshchilov and Hutter (2019): the weight shrinks first, biases too, then Adam's step."""
    return adam(w - learning_rate * weight_decay * w, g, memory, t, learning_rate=learning_rate, **settings)


def rmsprop(w, g, memory, t, *, learning_rate=1e-3, rho=0.9, epsilon=1e-8, momentum=0.0):
    """Tieleman and Hinton (2012), with the momentum of the scaled steps; 0 is the plain rule."""
    s = rho * memory[0] + (1 - rho) * g**2
    b = momentum * memory[1] + g / (np.sqrt(s) + epsilon)
    return w - learning_rate * b, (s, b)


OPTIMIZERS = {
    "SGD": (sgd, 1),
    "Adam": (adam, 2),
    "AdamW": (adamw, 2),
    "RMSprop": (rmsprop, 2),
}  # rule, memories


def clip(gradient, clip_norm):
    """The gradient, shortened to the norm clip_norm where it is longer; None leaves it."""
    norm = np.sqrt(sum(g * g for g in gradient))
    return gradient if clip_norm is None or norm <= clip_norm else gradient * (clip_norm / norm)


def optimizer_step(name, hyper_parameters, state, params, gradient, t):
    """Step t = 1, 2, ...: returns new params and the new state, a list of each parameter's memories.

    The state before step 1 is None. Nothing is modified.
    """
    rule, n_memories = OPTIMIZERS[name]
    params, gradient = np.asarray(params, np.float64), np.asarray(gradient, np.float64)
    state = [(0.0,) * n_memories] * len(params) if state is None else state
    steps = [rule(w, g, s, t, **hyper_parameters) for w, g, s in zip(params, gradient, state, strict=True)]
    return np.array([w for w, _ in steps]), [s for _, s in steps]


def train(network, params, X, Y, batches, name, hyper_parameters, *, sample_weight=None, clip_norm=None):
    """Params after each mini-batch step, (n_steps, n_params); batches are arrays of row numbers."""
    params, state, trajectory = np.asarray(params, np.float64), None, []
    for t, rows in enumerate(batches, start=1):
        w = None if sample_weight is None else np.asarray(sample_weight)[rows]
        divisor = None if w is None else len(rows) * np.mean(sample_weight, dtype=np.float64)
        g = clip(gradient(network, params, X[rows], Y[rows], w, divisor), clip_norm)
        params, state = optimizer_step(name, hyper_parameters, state, params, g, t)
        trajectory.append(params)
    return np.array(trajectory)
