"""Whether libraries compute the same thing: a few numbers of each result, compared before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import shapes

# float32 sums in another order, twenty steps long, differ by some 1e-6 of the cost; a wrong constant of Adam's by more
# than 1e-2.
TOLERANCE = 1e-3
DERIVATIVES = (  # of `derivative_peers`
    "input_jacobian",
    "parameter_jacobian",
    "sample_gradients",
    "hessian_product",
    "linearized_product",
    "gauss_newton_product",
    "laplacian",
    "physics_gradient",
)
OF_MANY = ("many_fit", "many_predict", "many_validated")  # of `many`
OF_ONE_ROW = ("predict", "gradient", "step")  # of `one_row`
SWEEP_ROWS = 100  # whose outputs are compared in the sweep over shapes
_STEP = 1e-5  # of central differences of a float64 cost: rounding and truncation are both below TOLERANCE


class DisagreementError(AssertionError):
    """Two libraries that should compute the same do not."""


def directions(size: int) -> NDArray[np.float64]:
    """Three fixed directions (3, size) of about unit length."""
    return np.random.default_rng(22).standard_normal((3, size)) / np.sqrt(size)


def projections(values: Any) -> list[float]:
    """A result's three projections: they differ if the results do."""
    flat = np.asarray(values, np.float64).ravel()
    return [float(value) for value in directions(flat.size) @ flat]


def reference(task: str, shape: shapes.Shape) -> list[float]:
    """The fingerprint of a task by plain NumPy in float64; training has none."""
    layers = shape.initial_layers()
    if task == "prediction":
        return projections(shapes.outputs(shape, layers, shape.data.X))
    if task == "sweep":
        found = projections(shapes.outputs(shape, layers, shape.data.X[:SWEEP_ROWS]))
        shape.forget()
        return found
    if task == "online":
        trained = _descended(shape)
        return [shapes.cost(shape, trained), *projections(shapes.outputs(shape, trained, shape.data.X))]
    if task == "forward":
        return [shapes.cost(shape, layers)]
    if task in ("tiles", "blas"):
        return projections(shape.data.X.astype(np.float64) @ layers[0][0])
    if task in ("gradient", "perturbation"):
        return [_slope(shape, direction) for direction in directions(shape.n_params)]
    if task in DERIVATIVES:
        from bench import derivative_references  # which compares by this module's projections

        return derivative_references.reference(task, shape)
    if task.startswith("one_row_"):
        from bench import one_row  # which compares by this module's projections

        return one_row.reference(task.removeprefix("one_row_"), shape)
    if task in OF_MANY:
        from bench import many  # which compares by this module's projections

        assert isinstance(shape, shapes.Many)
        return many.reference(task, shape)
    if task == "digits":
        from bench import nielsen_peers  # which compares by this module's projections

        return nielsen_peers.reference(shape)
    raise ValueError(f"there is no NumPy reference of {task!r}")


def _descended(shape: shapes.Shape) -> shapes.Layers:
    """The weights after an epoch of plain gradient descent, one sample at a time; sigmoid layers, quadratic cost."""
    layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in shape.initial_layers()]
    for x, y in zip(shape.data.X, shape.data.Y, strict=True):
        activations = [x]
        for W, b in layers:
            activations.append(1 / (1 + np.exp(-(activations[-1] @ W + b))))
        error = activations[-1] - y
        for index in reversed(range(len(layers))):
            (W, b), a = layers[index], activations[index + 1]
            delta = error * a * (1 - a)
            error = W @ delta
            W -= shapes.ONLINE_RATE * np.outer(activations[index], delta)
            b -= shapes.ONLINE_RATE * delta
    return layers


def _slope(shape: shapes.Shape, direction: NDArray[np.float64]) -> float:
    """The derivative of the cost along a direction, by a central difference."""

    def moved(step: float) -> shapes.Layers:
        layers, start = [], 0
        for (W, b), (fan_in, fan_out) in zip(shape.initial_layers(), pairwise(shape.sizes), strict=True):
            block = direction[start : start + (fan_in + 1) * fan_out].reshape(fan_in + 1, fan_out)
            layers.append((W.astype(np.float64) + step * block[:-1], b.astype(np.float64) + step * block[-1]))
            start += block.size
        return layers

    return (shapes.cost(shape, moved(_STEP)) - shapes.cost(shape, moved(-_STEP))) / (2 * _STEP)


def tolerance(library: str, task: str) -> float:
    """How much a library's result may differ from NumPy's, as a part of the largest number."""
    # Of parameters that have moved, not of costs: scikit-learn's Adam adds epsilon before it corrects the moments.
    return 5 * TOLERANCE if library == "scikit-learn" and task in OF_MANY else TOLERANCE


def check(
    library: str, got: Sequence[float], other: str, expected: Sequence[float], tolerance: float = TOLERANCE
) -> None:
    """Raise unless two fingerprints agree."""
    scale = max(abs(value) for value in expected)
    differences = [abs(a - b) for a, b in zip(got, expected, strict=True)]
    if not max(differences) <= tolerance * scale:  # not: a NaN disagrees
        raise DisagreementError(
            f"{library} and {other} disagree: {_numbers(got)} against {_numbers(expected)}; allowed is "
            f"{tolerance:g} of the largest."
        )


def check_progress(library: str, costs: Sequence[float]) -> None:
    """Raise unless training moved the cost by much more than what agreement allows: else it would prove nothing."""
    before, after = costs
    if not before - after > 10 * TOLERANCE * before:
        raise DisagreementError(
            f"{library} trained {shapes.AGREEMENT_STEPS} steps, and the cost went from {before:g} to {after:g} only."
        )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.7g}" for value in values)
