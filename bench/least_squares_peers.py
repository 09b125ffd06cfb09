"""Nonlinear least squares: iterations of Levenberg-Marquardt and of L-BFGS, and whole fits down to a given error.

Each iteration takes a Jacobian of all residuals, or what stands for it, one Cholesky or QR factorisation for each try
of a damping, and the cost of each try.  All begin with the same weights; how they change the damping is their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.peers import Jax, Peer, Torch, flat
from bench.shapes import Array, Layers, Shape

MOST = 30  # of a round, before a fit stands still and each iteration takes many tries
FIRST = 10  # iterations after which the cost must be well below that of the initial weights
_DAMPING = 1e-3


class _EnoughError(Exception):
    """As many iterations as were asked for."""


class Iterations(Peer):
    """A library's Levenberg-Marquardt on the network of a shape."""

    def prepare(self, shape: Shape) -> None:
        self.shape = shape
        self.X, self.Y, _ = shape.data
        self.restart()

    def restart(self) -> None:
        self.params = flat(self.shape.initial_layers()).astype(self.shape.dtype)

    def layers(self) -> Layers:
        found, begin = [], 0
        for fan_in, fan_out in zip(self.shape.sizes, self.shape.sizes[1:], strict=False):
            block = self.params[begin : begin + (fan_in + 1) * fan_out].reshape(fan_in + 1, fan_out)
            found.append((block[:-1], block[-1]))
            begin += block.size
        return found

    def iterate(self, n: int) -> None:
        """Take iterations from the present weights on."""
        raise NotImplementedError


class NumPyIterations(Iterations):
    """As people write it: the whole Jacobian, J.T @ J, `solve`; ten times or a tenth of the damping."""

    name, module = "NumPy, LM", "numpy"

    def restart(self) -> None:
        super().restart()
        self.damping = _DAMPING

    def jacobian(self, params: Array) -> tuple[Array, Array]:
        """Residuals (n n_outputs,) and their Jacobian."""
        self.params = params
        layers, activations = self.layers(), [self.X]
        for index, (W, b) in enumerate(layers):
            z = activations[-1] @ W + b
            activations.append(np.tanh(z) if index < len(layers) - 1 else z)
        n, k = self.Y.shape
        J = np.zeros((n, k, params.size))
        delta, end = np.broadcast_to(np.eye(k), (n, k, k)), params.size
        for layer in reversed(range(len(layers))):
            fan_in, fan_out = layers[layer][0].shape
            begin = end - (fan_in + 1) * fan_out
            weights = J[:, :, begin : begin + fan_in * fan_out].reshape(n, k, fan_in, fan_out)
            np.multiply(activations[layer][:, None, :, None], delta[:, :, None, :], out=weights)
            J[:, :, begin : begin + fan_in * fan_out] = weights.reshape(n, k, -1)
            J[:, :, begin + fan_in * fan_out : end] = delta
            if layer:
                delta = (delta @ layers[layer][0].T) * (1 - activations[layer] ** 2)[:, None, :]
            end = begin
        return (activations[-1] - self.Y).ravel(), J.reshape(n * k, -1)

    def residuals(self, params: Array) -> Array:
        """Residuals alone."""
        self.params, a = params, self.X
        layers = self.layers()
        for index, (W, b) in enumerate(layers):
            a = a @ W + b
            a = np.tanh(a) if index < len(layers) - 1 else a
        return (a - self.Y).ravel()

    def iterate(self, n: int) -> None:
        params = self.params
        for _ in range(n):
            e, J = self.jacobian(params)
            g, H, before = J.T @ e, J.T @ J, e @ e
            while self.damping < 1e10:
                tried = params - np.linalg.solve(H + self.damping * np.eye(params.size), g)
                if np.square(self.residuals(tried)).sum() < before:
                    params, self.damping = tried, max(self.damping / 10, 1e-20)
                    break
                self.damping *= 10
        self.params = params


class SciPyIterations(NumPyIterations):
    """`scipy.optimize.least_squares`, MINPACK's Levenberg-Marquardt, with the same Jacobian; counted by Jacobians."""

    name, module = "SciPy, LM", "scipy"

    def iterate(self, n: int) -> None:
        import scipy.optimize

        left, latest = n, self.params

        def jacobian(params: Array) -> Array:
            nonlocal left, latest
            latest = params.copy()
            if left == 0:
                raise _EnoughError
            left -= 1
            return self.jacobian(params)[1]

        tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 10**9}
        while left:  # where it thinks that it is done it begins again
            try:
                latest = scipy.optimize.least_squares(self.residuals, latest, jacobian, method="lm", **tight).x
            except _EnoughError:
                break
        self.params = latest


class OptimistixIterations(Iterations):
    """optimistix, by a QR factorisation of the Jacobian: as many steps as are wanted in one jitted call."""

    name, module, compiles_each_shape = "optimistix", "optimistix", True

    def prepare(self, shape: Shape) -> None:
        import jax

        self.jax = jax
        self.peer = Jax(self.n_threads)
        self.peer.prepare(shape)
        super().prepare(shape)
        self._minimise: Any = jax.jit(self._steps, static_argnums=1)

    def restart(self) -> None:
        super().restart()
        self.jax.block_until_ready(self.jax.numpy.asarray(self.params))

    def _residuals(self, layers: Any, _: Any = None) -> Any:
        return (self.peer._logits(layers, self.peer.X) - self.peer.Y).ravel()

    def _steps(self, layers: Any, n: int) -> Any:
        import optimistix

        solver = optimistix.LevenbergMarquardt(rtol=0.0, atol=0.0)
        return optimistix.least_squares(self._residuals, solver, layers, max_steps=n, throw=False).value

    def iterate(self, n: int) -> None:
        found = self._minimise(self.layers(), n)
        self.params = flat([(np.asarray(W), np.asarray(b)) for W, b in found])


class JaxoptIterations(OptimistixIterations):
    """jaxopt, by a Cholesky factorisation of J.T J."""

    name, module = "jaxopt", "jaxopt"

    @classmethod
    def version(cls) -> str:
        from importlib.metadata import version

        return version("jaxopt")

    def _steps(self, layers: Any, n: int) -> Any:
        import jaxopt
        from jax.flatten_util import ravel_pytree

        params, layers_of = ravel_pytree(layers)
        solver = jaxopt.LevenbergMarquardt(
            lambda params: self._residuals(layers_of(params)),
            maxiter=n,
            damping_parameter=_DAMPING,
            tol=0.0,
            xtol=0.0,
            gtol=0.0,
            solver="cholesky",
            materialize_jac=True,
            implicit_diff=False,
        )
        return layers_of(solver.run(params).params)


class TorchIterations(Torch):
    """torch-levenberg-marquardt's module."""

    name, module = "torch-levenberg-marquardt", "torch_levenberg_marquardt"

    @classmethod
    def version(cls) -> str:
        from importlib.metadata import version

        return version("torch-levenberg-marquardt")

    def restart(self) -> None:
        from torch_levenberg_marquardt.training import LevenbergMarquardtModule

        self.net.to(self.X.dtype)
        super().restart()
        self.training = LevenbergMarquardtModule(self.net, solve_method="cholesky")

    def iterate(self, n: int) -> None:
        """Take iterations from the present weights on."""
        for _ in range(n):
            self.training.training_step(self.X, self.Y)


# --- fastbp -----------------------------------------------------------------------------------------------------------


def iterations(peer: Any, method: str) -> Callable[[int], Any]:
    """Return what takes iterations of a method."""
    if peer.name != "fastbp":
        iterate: Callable[[int], Any] = peer.iterate
        return iterate
    if method == "SciPy's L-BFGS":
        return lambda n: _scipys_lbfgs(peer, n)
    return lambda n: peer.net.fit(
        peer.X, peer.Y, epochs=n, batch_size=None, optimizer=_rule(method), n_threads=peer.n_threads
    )


def _rule(method: str) -> Any:
    import fastbp as bp

    if method == "L-BFGS":
        return bp.LBFGS(gtol=0.0, ftol=0.0)
    kind = "trainlm" if "trainlm" in method else "gain_ratio"
    products = "float32" if "mixed" in method else "float64"
    return bp.LevenbergMarquardt(damping=kind, min_gradient=0.0, products=products)


def _scipys_lbfgs(peer: Any, n: int, goal: float = 0.0) -> None:
    """Iterations of SciPy's L-BFGS-B on fastbp's gradient, or until the mean squared error is small enough."""
    import scipy.optimize

    net, n_outputs = peer.net, peer.shape.sizes[-1]

    def look(params: Array) -> None:
        net.params[...] = params

    def cost(params: Array) -> tuple[float, Array]:
        value, grad = net.value_and_grad(peer.X, peer.Y, params, n_threads=peer.n_threads)
        if 2 * value / n_outputs <= goal:
            raise _EnoughError
        return value, grad

    options = {"maxiter": n, "maxfun": 10**9, "ftol": 0.0, "gtol": 0.0}
    try:
        scipy.optimize.minimize(cost, net.params, jac=True, method="L-BFGS-B", callback=look, options=options)
    except _EnoughError:
        return


def to_goal(peer: Any, method: str) -> None:
    """Train until the mean squared error is that of the shape's goal."""
    import fastbp as bp

    shape, net = peer.shape, peer.net
    if method == "SciPy's L-BFGS":
        _scipys_lbfgs(peer, 10**6, shape.goal)
        return
    goal = 0.5 * shape.goal * shape.sizes[-1]  # of the cost, a mean over rows of half the sum over outputs

    def reached(net: Any, history: Any) -> bool:
        return bool(history.loss[-1] <= goal)

    rule, rows, callbacks = _rule(method), None, [reached]
    if method == "Adam":
        rule, rows = bp.Adam(1e-2), 32
    elif method != "L-BFGS":
        rule, callbacks = replace(rule, goal=goal), []
    net.fit(
        peer.X, peer.Y, epochs=20_000, batch_size=rows, optimizer=rule, seed=0, callbacks=callbacks,
        n_threads=peer.n_threads,
    )  # fmt: skip


PEERS: dict[str, type[Peer]] = {
    peer.name: peer
    for peer in (NumPyIterations, SciPyIterations, OptimistixIterations, JaxoptIterations, TorchIterations)
}
