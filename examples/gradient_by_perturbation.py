"""The same gradient three times: by backpropagation, by n + 1 forward passes, and with the unchanged layers reused.

What to look for: the numbers agree to the accuracy of a difference; backpropagation needs about three forward passes
whatever the number of parameters, perturbation one for each parameter.

Run: ``python examples/gradient_by_perturbation.py``
"""

import time

import numpy as np

import fastbp as bp


def main() -> None:
    """Print the three gradients' agreement and their times."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(100, 20)), rng.normal(size=(100, 3))
    net = bp.Network([20, 30, 20, 3], activation="tanh", seed=0)
    net.value_and_grad(X, Y)  # the first call compiles the kernels or loads them
    bp.finite_difference_gradient(net, X, Y)

    began = time.perf_counter()
    _, gradient = net.value_and_grad(X, Y)
    backpropagation = time.perf_counter() - began
    print(f"{net}")
    print(f"backpropagation        {backpropagation * 1e3:9.3f} ms   about 3 forward passes")
    for reuse_layers in (False, True):
        began = time.perf_counter()
        result = bp.finite_difference_gradient(net, X, Y, reuse_layers=reuse_layers)
        seconds = time.perf_counter() - began
        difference = np.abs(result.gradient - gradient).max()
        print(
            f"perturbation{', reusing' if reuse_layers else '         '}  {seconds * 1e3:9.3f} ms   "
            f"{result.n_passes} passes, {seconds / backpropagation:.0f} times as long, differs by {difference:.1e}"
        )


if __name__ == "__main__":
    main()
