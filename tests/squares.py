"""Levenberg-Marquardt with plain NumPy: the whole Jacobian by the complex step, its product with itself, a solver.

Nothing here comes from fastbp.  A network is a `tests.cases.Case`.
"""

import itertools

import numpy as np

from tests import complex_step


def outputs(network, params, X):
    """The outputs (copies, n, n_outputs) for complex parameters (copies, n_params)."""
    a, start = np.broadcast_to(X.astype(complex), (len(params), *X.shape)), 0
    for names, (fan_in, fan_out) in zip(network.neuron_activations, itertools.pairwise(network.sizes), strict=True):
        W = params[:, start : start + fan_in * fan_out].reshape(-1, fan_in, fan_out)
        start += (fan_in + 1) * fan_out
        z = a @ W + params[:, None, start - fan_out : start]
        if names == "softmax":
            a = complex_step.softmax(z)
            continue
        a = np.empty_like(z)
        for name in set(names):
            columns = [j for j, each in enumerate(names) if each == name]
            a[..., columns] = complex_step.ACTIVATIONS[name](z[..., columns])
    return a


def jacobian(network, params, X):
    """Derivatives of all outputs (n, n_outputs) by all parameters, (n * n_outputs, n_params)."""
    n = len(params)
    found = outputs(network, params + 1j * complex_step.STEP * np.eye(n), X).imag / complex_step.STEP
    return found.reshape(n, -1).T


def predicted(network, params, X):
    """The outputs (n * n_outputs,)."""
    return outputs(network, params[None].astype(complex), X)[0].real.reshape(-1)


def is_weight(network):
    """Which parameters are weights: those that the L2 penalty is on."""
    runs = [(True, p * q) if kind else (False, q) for p, q in itertools.pairwise(network.sizes) for kind in (1, 0)]
    return np.concatenate([np.full(count, weight) for weight, count in runs])


class Squares:
    """The weighted sum of squares of a network on some data, half of it, and what it is made from."""

    def __init__(self, network, X, Y, sample_weight=None):
        self.network, self.X, self.Y = network, X, Y.reshape(-1)
        w = np.ones(len(X)) if sample_weight is None else sample_weight
        self.total, self.root = w.sum(), np.sqrt(np.repeat(w, Y.shape[1]))
        self.ridge = network.l2_penalty * self.total * is_weight(network)

    def cost(self, params):
        e = self.root * (predicted(self.network, params, self.X) - self.Y)
        return 0.5 * (e @ e + self.ridge @ params**2)

    def equations(self, params):
        """The gradient and J^T J, both with the penalty."""
        J = self.root[:, None] * jacobian(self.network, params, self.X)
        e = self.root * (predicted(self.network, params, self.X) - self.Y)
        return J.T @ e + self.ridge * params, J.T @ J + np.diag(self.ridge)


def levenberg_marquardt(squares, params, n_iterations, damping, mu=1e-3):
    """Rows of cost, mu, the gradient's norm and tries after each iteration, and the last parameters."""
    rows, nu = [], 2.0
    for _ in range(n_iterations):
        cost = squares.cost(params)
        g, H = squares.equations(params)
        if not rows and damping == "gain_ratio":
            mu *= np.diag(H).max()
        for tries in itertools.count(1):
            step = np.linalg.solve(H + mu * np.eye(len(g)), -g)
            after = squares.cost(params + step)
            if after < cost:
                break
            mu *= 10.0 if damping == "trainlm" else nu
            nu *= 2.0
            assert tries < 100
        ratio = (cost - after) / (0.5 * step @ (mu * step - g))
        mu = max(mu * (0.1 if damping == "trainlm" else max(1 / 3, 1 - (2 * ratio - 1) ** 3)), 1e-20)
        nu, params = 2.0, params + step
        norm = np.linalg.norm(squares.equations(params)[0])
        rows.append([after / squares.total, mu, norm / squares.total, tries])
    return np.array(rows), params
