"""Activations and losses that a user brings: scalar functions, compiled into loops that the kernels call.

The kernels cannot pass on an exception.  A loop whose function raises one makes its numbers NaN and counts it; whoever
called the kernel looks at the counts and raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

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

    Raises
    ------
    RuntimeError
        By each call of a network during which `f` or `df` raises an exception, such as Numba's own ZeroDivisionError.
    TypeError
        If `f` or `df` is not compiled by Numba.
    ValueError
        If `df` is not the derivative of `f`.

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
    _compiled: dict[str, tuple[Any, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _raised: NDArray[np.int32] = field(
        default_factory=lambda: np.zeros(2, np.int32), init=False, repr=False, compare=False
    )  # how often each of the two loops ended with an exception

    def __post_init__(self) -> None:
        """Check that `df` is the derivative of `f`."""
        _require_jitted("Activation", f=self.f, df=self.df)
        z = np.arange(-41, 42) * 0.0971 + 0.0123  # -4 to 4, off the round numbers where kinks tend to be
        numeric = _central_difference(self.f, z)
        _compare_derivatives("df", "f", z, np.array([self.df(x) for x in z], dtype=float), numeric)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` and `copy` need; the compiled loops are made again where they are used."""
        return Activation, (self.name, self.f, self.df, self.positive)

    def addresses(self, dtype: np.dtype) -> tuple[int, int]:
        """Addresses of the compiled loops ``f(n, a)`` and ``df(n, z, a, delta)`` for a dtype."""
        if dtype.name not in self._compiled:
            self._compiled[dtype.name] = _activation_loops(self.f, self.df, dtype, self._raised)
        forward, backward = self._compiled[dtype.name]
        return forward.address, backward.address


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

    Raises
    ------
    RuntimeError
        By each call of a network during which `value` or `derivative` raises an exception.
    TypeError
        If `value` or `derivative` is not compiled by Numba.
    ValueError
        If `derivative` is not the derivative of `value`.

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
    _compiled: dict[str, tuple[Any, Any]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _raised: NDArray[np.int32] = field(
        default_factory=lambda: np.zeros(2, np.int32), init=False, repr=False, compare=False
    )  # how often each of the two loops ended with an exception

    def __post_init__(self) -> None:
        """Check that `derivative` is the derivative of `value`."""
        _require_jitted("Loss", value=self.value, derivative=self.derivative)
        a = np.arange(-20, 21) * 0.0971 + 0.0123
        for y in (-0.7321, 0.2171, 0.9173):
            numeric = _central_difference(functools.partial(self._value_for, y), a)
            exact = np.array([self.derivative(x, y) for x in a], dtype=float)
            _compare_derivatives("derivative", "value", a, exact, numeric)

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` and `copy` need; the compiled loops are made again where they are used."""
        return Loss, (self.name, self.value, self.derivative)

    def _value_for(self, y: float, a: float) -> float:
        return float(self.value(a, y))

    def addresses(self, dtype: np.dtype) -> tuple[int, int]:
        """Addresses of the compiled loops ``value(n, a, y)`` and ``derivative(n, a, y, delta)`` for a dtype."""
        if dtype.name not in self._compiled:
            self._compiled[dtype.name] = _loss_loops(self.value, self.derivative, dtype, self._raised)
        value, derivative = self._compiled[dtype.name]
        return value.address, derivative.address


# --- compiling them ---------------------------------------------------------------------------------------------------


def _activation_loops(
    f: Callable[..., Any], df: Callable[..., Any], dtype: np.dtype, raised: NDArray[np.int32]
) -> tuple[Any, Any]:
    pointer = types.CPointer(numba.from_dtype(dtype))
    count_f, count_df = _addresses(raised)

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


def _loss_loops(
    value: Callable[..., Any], derivative: Callable[..., Any], dtype: np.dtype, raised: NDArray[np.int32]
) -> tuple[Any, Any]:
    pointer = types.CPointer(numba.from_dtype(dtype))
    count_value, count_derivative = _addresses(raised)

    @numba.njit(error_model="numpy")
    def total_value(n, a, y):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(n):
            total += value(a[i], y[i])
        return total

    @numba.njit(error_model="numpy")
    def all_derivatives(n, a, y, delta):  # type: ignore[no-untyped-def]
        for i in range(n):
            delta[i] = derivative(a[i], y[i])

    @numba.cfunc(types.float64(types.int64, pointer, pointer), error_model="numpy")
    def value_loop(n, a, y):  # type: ignore[no-untyped-def]
        total = np.nan
        try:
            total = total_value(n, a, y)
        except Exception:
            int32_from_address(count_value)[0] += 1
        return total

    @numba.cfunc(types.void(types.int64, pointer, pointer, pointer), error_model="numpy")
    def derivative_loop(n, a, y, delta):  # type: ignore[no-untyped-def]
        try:
            all_derivatives(n, a, y, delta)
        except Exception:
            int32_from_address(count_derivative)[0] += 1
            for i in range(n):
                delta[i] = np.nan

    return value_loop, derivative_loop


def _addresses(raised: NDArray[np.int32]) -> tuple[int, int]:
    first = int(raised.ctypes.data)
    return first, first + raised.itemsize


# --- exceptions of a user's functions ---------------------------------------------------------------------------------

Own = Activation | Loss


def counts_of(own: Sequence[Own]) -> list[int]:
    """Return how often each of the functions has raised an exception so far."""
    return [count for each in own for count in each._raised.tolist()]


def require_none_raised(own: Sequence[Own], before: list[int]) -> None:
    """Raise if one of them has done so since the counts were those of `before`."""
    for place, (now, then) in enumerate(zip(counts_of(own), before, strict=True)):
        if now != then:
            each, second = own[place // 2], place % 2
            names = ("f", "df") if isinstance(each, Activation) else ("value", "derivative")
            raise RuntimeError(
                f"`{names[second]}` of bp.{type(each).__name__} {each.name!r} must return a number whatever it is "
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
