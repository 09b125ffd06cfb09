"""Activations and losses that a user brings: scalar functions, compiled into loops that the kernels call.

The kernels cannot pass on an exception.  A loop whose function raises one makes its numbers NaN and counts it; whoever
called the kernel looks at the counts and raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numba
import numpy as np
from numba import types
from numpy.typing import NDArray

from fastbp.kernels.machine.pointers import int32_from_address

_CHECK_STEP = 1e-5  # central difference of the check in float64: truncation 1e-10, rounding 1e-11 of the value
_CHECK_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Activation:
    """An activation function of your own, as a pair of jitted scalar functions.

    Parameters
    ----------
    name : str
        What the activation is called in messages and tables.
    f : callable
        ``f(z) -> a``, one number to one number, compiled with `numba.njit`.
    df : callable
        Its derivative ``df(z) -> f'(z)``, compiled likewise.  It is compared with central differences of `f` at once.
    positive : bool
        Whether every value of `f` is positive, as the Poisson loss needs.
    d2f, d3f : callable, optional
        The second and third derivative, compiled and compared likewise.  Products with second derivatives, such as
        `Network.hvp` and `Network.laplacian`, need `d2f`, and gradients of a loss of such products `d3f` as well.

    Raises
    ------
    RuntimeError
        By each call of a network during which one of them raises an exception, such as Numba's own ZeroDivisionError.
    TypeError
        If one of them is not compiled by Numba, or `positive` is no bool.
    ValueError
        If `df`, `d2f` or `d3f` is not the derivative of the one before, or `d3f` comes without `d2f`.

    Examples
    --------
    >>> import numba, fastbp as bp
    >>> cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    >>> bp.Network([2, 3, 1], activation=cube, seed=0).n_params
    13
    """

    name: str
    f: Callable[..., Any]  # of one number; stubs of Numba say that what `njit` returns takes a function
    df: Callable[..., Any]
    positive: bool = False
    d2f: Callable[..., Any] | None = None
    d3f: Callable[..., Any] | None = None
    _compiled: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _raised: NDArray[np.int32] = field(
        default_factory=lambda: np.zeros(4, np.int32), init=False, repr=False, compare=False
    )  # how often each of the loops ended with an exception

    names: ClassVar[tuple[str, ...]] = ("f", "df", "d2f", "d3f")

    def __post_init__(self) -> None:
        """Check that each derivative is that of the function before it."""
        functions = {name: getattr(self, name) for name in self.names if getattr(self, name) is not None}
        _require_jitted("Activation", **functions)
        if not isinstance(self.positive, bool | np.bool_):
            raise TypeError(
                f"`positive` of a bp.Activation must be True or False; got {type(self.positive).__name__}. Pass higher "
                "derivatives by their names, d2f=... and d3f=..."
            )
        if self.d3f is not None and self.d2f is None:
            raise ValueError("`d3f` of a bp.Activation must come with `d2f`, whose derivative it is; got none.")
        z = np.arange(-41, 42) * 0.0971 + 0.0123  # -4 to 4, off the round numbers where kinks tend to be
        for (of, function), (name, derivative) in pairwise(functions.items()):
            exact = np.array([derivative(x) for x in z], dtype=float)
            _compare_derivatives(name, of, z, exact, _central_difference(function, z))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` and `copy` need; the compiled loops are made again where they are used."""
        return Activation, (self.name, self.f, self.df, self.positive, self.d2f, self.d3f)

    def addresses(self, dtype: np.dtype) -> tuple[int, int, int, int]:
        """Addresses of the loops ``f(n, a)``, ``df(n, z, a, delta)``, ``d2f(n, z, out)`` and ``d3f(n, z, out)``.

        Those compiled for one dtype; 0 where there is none.
        """
        if dtype.name not in self._compiled:
            higher = [
                None if function is None else _values_loop(function, dtype, address)
                for function, address in zip((self.d2f, self.d3f), _addresses(self._raised)[2:], strict=True)
            ]
            self._compiled[dtype.name] = *_activation_loops(self.f, self.df, dtype, self._raised), *higher
        f, df, d2f, d3f = (0 if loop is None else int(loop.address) for loop in self._compiled[dtype.name])
        return f, df, d2f, d3f


@dataclass(frozen=True)
class Loss:
    """A loss of your own, as a pair of jitted scalar functions; a sample's loss is the sum over its outputs.

    Parameters
    ----------
    name : str
        What the loss is called in messages and tables.
    value : callable
        ``value(a, y) -> C``: the loss of one output `a` with target `y`, compiled with `numba.njit`.
    derivative : callable
        ``derivative(a, y) -> dC/da``, compiled likewise.  It is compared with central differences of `value` at once.
    second_derivative : callable, optional
        ``second_derivative(a, y) -> d2C/da2``, likewise; products with second derivatives, such as `Network.hvp`, need
        it.

    Raises
    ------
    RuntimeError
        By each call of a network during which one of them raises an exception.
    TypeError
        If one of them is not compiled by Numba.
    ValueError
        If `derivative` is not the derivative of `value`, or `second_derivative` not that of `derivative`.

    Examples
    --------
    >>> import numba, fastbp as bp
    >>> quartic = bp.Loss("quartic", numba.njit(lambda a, y: (a - y) ** 4), numba.njit(lambda a, y: 4 * (a - y) ** 3))
    >>> net = bp.Network([1, 1], loss=quartic, initializer="zeros")
    >>> net.loss_value([[1.0]], [[2.0]])
    16.0
    """

    name: str
    value: Callable[..., Any]  # of two numbers; see `Activation`
    derivative: Callable[..., Any]
    second_derivative: Callable[..., Any] | None = None
    _compiled: dict[str, tuple[Any, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _raised: NDArray[np.int32] = field(
        default_factory=lambda: np.zeros(3, np.int32), init=False, repr=False, compare=False
    )  # how often each of the loops ended with an exception

    names: ClassVar[tuple[str, ...]] = ("value", "derivative", "second_derivative")

    def __post_init__(self) -> None:
        """Check that each derivative is that of the function before it."""
        functions = {name: getattr(self, name) for name in self.names if getattr(self, name) is not None}
        _require_jitted("Loss", **functions)
        a = np.arange(-20, 21) * 0.0971 + 0.0123
        for (of, function), (name, derivative) in pairwise(functions.items()):
            for y in (-0.7321, 0.2171, 0.9173):
                numeric = _central_difference(functools.partial(_number_for, function, y), a)
                _compare_derivatives(name, of, a, np.array([derivative(x, y) for x in a], dtype=float), numeric)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` and `copy` need; the compiled loops are made again where they are used."""
        return Loss, (self.name, self.value, self.derivative, self.second_derivative)

    def addresses(self, dtype: np.dtype) -> tuple[int, int, int]:
        """Addresses of the loops ``value(n, a, y)``, ``derivative(n, a, y, delta)`` and ``second(n, a, y, out)``.

        Those compiled for one dtype; 0 where there is none.
        """
        if dtype.name not in self._compiled:
            self._compiled[dtype.name] = _loss_loops(self, dtype)
        value, derivative, second = (0 if loop is None else int(loop.address) for loop in self._compiled[dtype.name])
        return value, derivative, second


def _number_for(function: Callable[..., Any], y: float, a: float) -> float:
    return float(function(a, y))


# --- compiling them ---------------------------------------------------------------------------------------------------


def _activation_loops(
    f: Callable[..., Any], df: Callable[..., Any], dtype: np.dtype, raised: NDArray[np.int32]
) -> tuple[Any, Any]:
    pointer = types.CPointer(numba.from_dtype(dtype))
    count_f, count_df = _addresses(raised)[:2]

    @numba.njit(error_model="numpy")
    def all_f(n, a):  # type: ignore[no-untyped-def] # a function of its own: what may raise within `try` is slow
        for i in range(n):
            a[i] = f(a[i])

    @numba.njit(error_model="numpy")
    def all_df(n, z, delta):  # type: ignore[no-untyped-def]
        for i in range(n):
            delta[i] *= df(z[i])

    @numba.cfunc(types.void(types.int64, pointer), error_model="numpy")
    def forward(n, a):  # type: ignore[no-untyped-def]
        try:
            all_f(n, a)
        except Exception:
            int32_from_address(count_f)[0] += 1
            for i in range(n):
                a[i] = np.nan

    @numba.cfunc(types.void(types.int64, pointer, pointer, pointer), error_model="numpy")
    def backward(n, z, a, delta):  # type: ignore[no-untyped-def]
        try:
            all_df(n, z, delta)
        except Exception:
            int32_from_address(count_df)[0] += 1
            for i in range(n):
                delta[i] = np.nan

    return forward, backward


def _values_loop(function: Callable[..., Any], dtype: np.dtype, count: int) -> Any:
    pointer = types.CPointer(numba.from_dtype(dtype))

    @numba.njit(error_model="numpy")
    def all_values(n, z, out):  # type: ignore[no-untyped-def]
        for i in range(n):
            out[i] = function(z[i])

    @numba.cfunc(types.void(types.int64, pointer, pointer), error_model="numpy")
    def values_loop(n, z, out):  # type: ignore[no-untyped-def]
        try:
            all_values(n, z, out)
        except Exception:
            int32_from_address(count)[0] += 1
            for i in range(n):
                out[i] = np.nan

    return values_loop


def _loss_loops(loss: Loss, dtype: np.dtype) -> tuple[Any, ...]:
    counts, second = _addresses(loss._raised), loss.second_derivative
    return (
        _total_loop(loss.value, dtype, counts[0]),
        _derivatives_loop(loss.derivative, dtype, counts[1]),
        None if second is None else _derivatives_loop(second, dtype, counts[2]),
    )


def _total_loop(value: Callable[..., Any], dtype: np.dtype, count: int) -> Any:
    pointer = types.CPointer(numba.from_dtype(dtype))

    @numba.njit(error_model="numpy")
    def total_value(n, a, y):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(n):
            total += value(a[i], y[i])
        return total

    @numba.cfunc(types.float64(types.int64, pointer, pointer), error_model="numpy")
    def value_loop(n, a, y):  # type: ignore[no-untyped-def]
        total = np.nan
        try:
            total = total_value(n, a, y)
        except Exception:
            int32_from_address(count)[0] += 1
        return total

    return value_loop


def _derivatives_loop(derivative: Callable[..., Any], dtype: np.dtype, count: int) -> Any:
    pointer = types.CPointer(numba.from_dtype(dtype))

    @numba.njit(error_model="numpy")
    def all_derivatives(n, a, y, delta):  # type: ignore[no-untyped-def]
        for i in range(n):
            delta[i] = derivative(a[i], y[i])

    @numba.cfunc(types.void(types.int64, pointer, pointer, pointer), error_model="numpy")
    def derivative_loop(n, a, y, delta):  # type: ignore[no-untyped-def]
        try:
            all_derivatives(n, a, y, delta)
        except Exception:
            int32_from_address(count)[0] += 1
            for i in range(n):
                delta[i] = np.nan

    return derivative_loop


def _addresses(raised: NDArray[np.int32]) -> list[int]:
    first = int(raised.ctypes.data)
    return [first + i * raised.itemsize for i in range(raised.size)]


# --- exceptions of a user's functions ---------------------------------------------------------------------------------

Own = Activation | Loss


def counts_of(own: Sequence[Own]) -> list[int]:
    """Return how often each of the functions has raised an exception so far."""
    return [count for each in own for count in each._raised.tolist()]


def require_none_raised(own: Sequence[Own], before: list[int]) -> None:
    """Raise if one of them has done so since the counts were those of `before`."""
    functions = [(each, name) for each in own for name in each.names]
    for (each, name), now, then in zip(functions, counts_of(own), before, strict=True):
        if now != then:
            raise RuntimeError(
                f"`{name}` of bp.{type(each).__name__} {each.name!r} must return a number whatever it is "
                "given, because the kernels cannot pass on an exception; it raised one during this call. Return "
                "math.nan or math.inf there; called by itself, it raises the exception again."
            )


@contextmanager
def raising_for(own: Sequence[Own]) -> Iterator[None]:
    """Raise at the end if one of the functions has raised an exception meanwhile, in whatever thread."""
    before = counts_of(own)
    yield
    require_none_raised(own, before)


# --- checking them ----------------------------------------------------------------------------------------------------


def _require_jitted(kind: str, **functions: Any) -> None:
    for argument, function in functions.items():
        if not numba.extending.is_jitted(function) and not numba.config.DISABLE_JIT:
            raise TypeError(
                f"`{argument}` of a bp.{kind} must be a function compiled by Numba, because the kernels call it "
                f"without Python; got {type(function).__name__}. Put @numba.njit above its definition."
            )


def _central_difference(function: Callable[[float], float], x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    above = np.array([function(v + _CHECK_STEP) for v in x], dtype=float)
    below = np.array([function(v - _CHECK_STEP) for v in x], dtype=float)
    difference: NDArray[np.floating[Any]] = (above - below) / (2 * _CHECK_STEP)
    return difference


def _compare_derivatives(
    argument: str,
    of: str,
    x: NDArray[np.floating[Any]],
    exact: NDArray[np.floating[Any]],
    numeric: NDArray[np.floating[Any]],
) -> None:
    """Refuse a derivative that differs from the differences wherever both are finite."""
    defined = np.isfinite(numeric)
    wrong = defined & ~(np.abs(exact - numeric) <= _CHECK_TOLERANCE * (1 + np.abs(numeric)))
    if not defined.any():
        raise ValueError(f"`{of}` must be finite somewhere between -4 and 4; it is not at any of {x.size} points.")
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, np.nan_to_num(np.abs(exact - numeric), nan=np.inf), 0.0)))
        raise ValueError(
            f"`{argument}` must be the derivative of `{of}`; at {x[worst]:.4g} it gives {exact[worst]:.6g}, and a "
            f"central difference of `{of}` gives {numeric[worst]:.6g} (wrong at {int(wrong.sum())} of {x.size} points)."
        )
