"""Which format of integers a network gets, and how far its outputs are from those of real numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.export.fixed_functions import FORMATS
from fastbp.export.fixed_point import FixedNetwork, fixed_network
from fastbp.export.fixed_ranges import find_ranges
from fastbp.export.real_functions import Reals
from fastbp.model.checks import checked_inputs
from fastbp.model.model import Model
from fastbp.system.tables import Table, note
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import as_dense

__all__ = ["Errors", "FixedPointReport", "chosen_network", "fixed_point_report"]

_ROWS = 1000  # drawn where none are given
_SHARE = 0.5  # above it a sigmoid's class is the second


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors of a network of integers over some rows.

    Attributes
    ----------
    n_rows : int
    max_error, mean_error : ndarray of float64, shape (n_outputs,)
        Largest and mean absolute difference to `Network.predict`.
    spread : float
        Largest distance between two values of one output.
    agreement : float or None
        Share of the rows with the same class, of a network with softmax or sigmoid outputs.
    n_cut : tuple of int
        How many of the inputs, and of each layer's outputs, were cut off.
    """

    n_rows: int
    max_error: Reals
    mean_error: Reals
    spread: float
    agreement: float | None
    n_cut: tuple[int, ...]


def _errors(net: Model, fixed: FixedNetwork, X: NDArray[Any]) -> Errors:
    """Compare both networks."""
    integers = fixed.integers(X)
    Y, n_cut = fixed.outputs(integers)
    y, exact = fixed.reals(Y), net.predict(X).astype(np.float64)
    differences = abs(y - exact)
    cut = int((abs(np.ldexp(X.astype(np.float64), fixed.points[0])) >= fixed.form.limit + 1.5).sum())
    agreement = None
    if net.has_softmax:
        agreement = float((y.argmax(axis=1) == exact.argmax(axis=1)).mean())
    elif all(name == "sigmoid" for name, _ in net.activations[-1]):
        agreement = float(((y > _SHARE) == (exact > _SHARE)).all(axis=1).mean())
    spread = float(np.ptp(exact, axis=0).max())
    return Errors(len(X), differences.max(axis=0), differences.mean(axis=0), spread, agreement, (cut, *n_cut))


def chosen_network(
    net: Model,
    format: str,
    calibration: MatrixLike | None,
    input_range: tuple[ArrayLike, ArrayLike] | None,
    tolerance: float,
) -> tuple[FixedNetwork, Errors, NDArray[Any]]:
    """Return a network of integers, its errors and the rows that they are of.

    For ``"auto"`` the format is the narrowest one whose errors are within `tolerance`.

    Parameters
    ----------
    net : Network
    format : {'q15', 'q31', 'auto'}
    calibration : array_like, shape (n, n_features), optional
    input_range : (low, high), optional
    tolerance : float
        Largest error of ``"auto"``, as a share of the outputs' spread.

    Raises
    ------
    TypeError, ValueError
        As `Network.to_c`.
    """
    X = None if calibration is None else checked_inputs(net, calibration, "calibration")
    ranges = find_ranges(net, X, input_range)
    if X is None:
        share = np.random.default_rng(0).random((_ROWS, net.sizes[0]))
        with np.errstate(over="ignore"):  # ranges without end are refused below
            X = (ranges.low * (1 - share) + ranges.high * share).astype(net.dtype)
    if format != "auto":
        fixed = fixed_network(net, ranges, FORMATS[format])
        return fixed, _errors(net, fixed, X), X
    reasons = []
    for form in FORMATS.values():
        try:
            fixed = fixed_network(net, ranges, form)
        except ValueError as error:
            reasons.append(str(error))
            continue
        errors = _errors(net, fixed, X)
        worst = float(errors.max_error.max())
        if worst <= tolerance * errors.spread:
            return fixed, errors, X
        reasons.append(f"{form.name} is off by {worst:.3g} where an output spreads over {errors.spread:.3g}")
    raise ValueError(
        f"`format='auto'` finds no format with errors within `tolerance={tolerance:g}` of the outputs' spread: "
        f"{'; '.join(reasons)}. Scale inputs and targets to about -1 to 1 and train again, pass typical rows as "
        "calibration, or write floats."
    )


@dataclass(frozen=True, eq=False, repr=False)
class FixedPointReport:
    """What `Network.to_c` wrote in fixed point, and how near it is.

    Attributes
    ----------
    source, header : str
        The two files.
    constant_bytes : int
        What weights, biases and tables take: of flash on a microcontroller, beside the code.
    buffer_bytes : int
        What the buffers of `predict_q` take on the stack while it runs; registers and return addresses come on top.
    format : str
        ``"q15"`` or ``"q31"``.
    points : tuple of int
        Binary points of the inputs and of each layer's outputs: a is the integer a 2**point.
    n_rows : int
        Rows that were compared with `Network.predict`: those of `calibration`, or 1000 drawn from `input_range`.
    max_error, mean_error : ndarray of float64, shape (n_outputs,)
        Largest and mean absolute error of each output.
    error_bound : ndarray of float64, shape (n_outputs,)
        What the error of each output cannot exceed, whatever the inputs, as long as nothing is cut off.  Usually some
        ten to a hundred times what is seen, as all roundings would have to conspire.
    agreement : float or None
        Share of the rows with the same class, where the outputs are a softmax or sigmoids.
    n_cut : tuple of int
        How many of the inputs, and of each layer's outputs, were beyond their range and cut off; of a sine or a softmax
        how many of its weighted inputs were beyond 2**14.
    network : FixedNetwork
        The network of integers: ``report.network.outputs(report.network.integers(X))``.

    Examples
    --------
    >>> import os, tempfile, numpy as np, fastbp as bp
    >>> net = bp.Network([2, 8, 1], activation="tanh", seed=0)
    >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = net.to_c(os.path.join(folder, "net.c"), format="q15", calibration=X)
    >>> report.points, bool(report.max_error[0] < 2e-4), report.n_cut
    ((14, 15, 17), True, (0, 0, 0))
    """

    source: str
    header: str
    constant_bytes: int
    buffer_bytes: int
    format: str
    points: tuple[int, ...]
    n_rows: int
    max_error: Reals
    mean_error: Reals
    error_bound: Reals
    agreement: float | None
    n_cut: tuple[int, ...]
    network: FixedNetwork

    def predict(self, X: MatrixLike) -> Reals:
        """Return the outputs of the C file as real numbers, for real inputs.

        Parameters
        ----------
        X : array_like, shape (n, n_features)
            Inputs, which become integers first.

        Returns
        -------
        ndarray of float64, shape (n, n_outputs)
            ``predict_q`` of them, times 2**-point.

        Raises
        ------
        TypeError, ValueError
            If X is no array of finite numbers of that shape.

        Examples
        --------
        >>> import os, tempfile, fastbp as bp
        >>> net = bp.Network([2, 2, 1], initializer="zeros")
        >>> net.biases[1] = [0.25]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = net.to_c(os.path.join(folder, "net.c"), format="q15", input_range=(-1, 1))
        >>> report.predict([[0.5, -0.5]])
        array([[0.25]])
        """
        network = self.network
        is_float32 = getattr(X, "dtype", None) == np.float32
        dtype = np.dtype(np.float32 if is_float32 else np.float64)
        rows = as_dense(validation.inputs(X, len(network.layers[0].weights), dtype))
        return network.reals(network.outputs(network.integers(rows))[0])

    def __repr__(self) -> str:
        lines = [f"<{self.format} in {self.source!r}, {self.n_rows} rows compared with floats"]
        lines.append(
            f"  error of an output: at most {self.max_error.max():.2g}, on average {self.mean_error.mean():.2g}; "
            f"cannot exceed {self.error_bound.max():.2g}"
        )
        if self.agreement is not None:
            lines.append(f"  same class: {100 * self.agreement:.2f} % of the rows")
        inputs, *layers = zip(self.points, self.n_cut, strict=True)
        for what, (point, cut) in [("inputs", inputs), *((f"layer {i}", each) for i, each in enumerate(layers, 1))]:
            lines.append(f"  {what}: point {point}, {cut} cut off")
        lines.append(f"  {self.constant_bytes} bytes of constants, {self.buffer_bytes} of buffers>")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        facts = [
            ("file", self.source),
            ("rows compared with floats", self.n_rows),
            ("largest error of an output", f"{self.max_error.max():.2g}"),
            ("mean error of an output", f"{self.mean_error.mean():.2g}"),
            ("bound of the error", f"{self.error_bound.max():.2g}"),
            *([] if self.agreement is None else [("rows of the same class", f"{self.agreement:.2%}")]),
            ("bytes of constants", self.constant_bytes),
            ("bytes of buffers", self.buffer_bytes),
        ]
        names = ["inputs", *(f"layer {i}" for i in range(1, len(self.points)))]
        layers = Table(["layer", "point", "cut off"], zip(names, self.points, self.n_cut, strict=True))
        return note(f"network in {self.format}", Table(["quantity", "value"], facts), layers)


def fixed_point_report(net: Model, fixed: FixedNetwork, errors: Errors, **written: Any) -> FixedPointReport:
    """Return the report of a network of integers; `written` are the files and their bytes."""
    return FixedPointReport(
        **written,
        format=fixed.form.name,
        points=fixed.points,
        n_rows=errors.n_rows,
        max_error=errors.max_error,
        mean_error=errors.mean_error,
        error_bound=fixed.error_bound(net),
        agreement=errors.agreement,
        n_cut=errors.n_cut,
        network=fixed,
    )
