"""Activations in integers: tables with interpolation, and the same steps on NumPy integers that the C file takes.

z comes as an integer with `Format.bits` binary places, of 32 bits (q15) or 64 (q31).  A function is a table of its
values at the distance 2**-step, read with Bessel's interpolation to the second difference for q15, to the third for
q31; what a table cannot hold is cut off first: the sign of an odd function, the line that softplus, gelu and silu have
beside a part that fades away, the powers of 2 of an exponential, whole turns of a sine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.export.real_functions import Reals, normal_cdf
from fastbp.kernels.functions.activations import LEAKY_SLOPE

__all__ = ["FORMATS", "INTEGER_FUNCTIONS", "TABLE_OF", "Format", "Table", "shifted", "table"]

Integers = NDArray[np.int64]

LEAKY_DIVISOR = round(1 / LEAKY_SLOPE)  # a division, which is exact, where a product with 0.01 would not be
GUARD = {15: 8, 31: 16}  # places more than z's in which the powers of 2 of an exponential are cut off
TURN_PLACES = 14  # the same for the turns of a sine, in 64 bits: 2**14 * 2**32 * 2**14 is below 2**62
EXP_REACH = {15: 5, 31: 6}  # exponentials are taken of |z| below 2**5 and 2**6: exp of more fills no format
Z_REACH = 14  # |z| is cut off at 2**14, where every activation is a line or flat, but for exp and sine
_FINEST = 9  # steps below 2**-9 are not tried: a table would be of 10,000 numbers


class Format(NamedTuple):
    """A format of fixed-point numbers.

    Attributes
    ----------
    name : str
    bits : int
        Of a weight and of an activation; z has as many binary places, in twice as many bits.
    order : int
        The highest difference that the interpolation takes.
    interpolation : float
        Largest error of the interpolation that a table may have, in units of the last place.
    error : float
        Largest error of an activation, in units of the last place of its output or of 2**-places, whichever is larger.
    """

    name: str
    bits: int
    order: int
    interpolation: float
    error: float

    @property
    def places(self) -> int:
        """Binary places of a number between -1 and 1."""
        return self.bits - 1

    @property
    def limit(self) -> int:
        """The largest number; the smallest is its negative, so that no product of two is out of reach."""
        return (1 << self.places) - 1


FORMATS = {"q15": Format("q15", 16, 2, 0.25, 2.0), "q31": Format("q31", 32, 3, 4.0, 8.0)}


# --- tables -----------------------------------------------------------------------------------------------------------

# What is in a table, as a function of u >= 0, and its end; None where it is flat to half a unit of the last place.
_TABLED: dict[str, tuple[Callable[[Reals], Reals], float | None]] = {
    "tanh": (np.tanh, None),
    "elu": (lambda u: -np.expm1(-u), None),
    "softplus": (lambda u: np.log1p(np.exp(-u)), None),
    "gelu": (lambda u: -u * normal_cdf(-u), None),
    "silu": (lambda u: u * (0.5 * np.tanh(u / 2) - 0.5), None),
    "sine": (np.sin, math.pi / 2),
    "exp": (
        lambda u: np.exp(u) - 1.5,
        math.log(2),
    ),  # so that all of them are within -1 to 1, also those beside its ends
}
TABLE_OF = {name: name for name in _TABLED} | {"sigmoid": "tanh", "softmax": "exp"}


class Table(NamedTuple):
    """Values at the places -1, 0, 1, ... `n_intervals` + 1 times 2**-step, as integers."""

    values: Integers
    step: int
    n_intervals: int


@functools.cache
def table(name: str, form: Format) -> Table:
    """Return the coarsest table whose interpolation is near enough."""
    function, end = _TABLED[name]
    unit = 2.0**-form.places
    if end is None:
        grid = np.arange(1, 4096) / 64.0
        last = function(np.array([1e3]))[0]
        end = float(grid[np.flatnonzero(np.abs(function(grid) - last) > unit / 2)[-1] + 1])
    for step in range(_FINEST + 1):
        n_intervals = math.ceil(end * 2**step)
        places = np.arange(-1, n_intervals + 2) / 2.0**step
        values = function(places)
        if form.interpolation * unit >= _interpolation_error(values, function, step, form.order) or step == _FINEST:
            break
    numbers = np.floor(values / unit + 0.5).astype(np.int64).clip(-form.limit, form.limit)
    return Table(numbers, step, n_intervals)


def _interpolation_error(values: Reals, function: Callable[[Reals], Reals], step: int, order: int) -> float:
    """Return the largest error of the interpolation between exact values."""
    t = np.arange(1, 16)[:, np.newaxis] / 16
    before, left, right, after = (values[k : len(values) - 3 + k] for k in range(4))
    found = left + t * (right - left) - t * (1 - t) / 4 * (after - right - left + before)
    if order == 3:
        found += t * (t - 1) * (2 * t - 1) / 12 * (after - 3 * (right - left) - before)
    exact = function((np.arange(len(left)) + t) / 2.0**step)
    return float(np.abs(found - exact).max())


def _read(name: str, u: Integers, form: Format) -> Integers:
    """Return the table's function of u >= 0, which has `form.bits` binary places; constant from its end on."""
    numbers, step, n_intervals = table(name, form)
    places = form.bits - step
    u = np.minimum(u, (n_intervals << places) - 1)
    index, t = u >> places, u & ((1 << places) - 1)
    before, left, right, after = (numbers[index + k] for k in range(4))
    q = (t * ((1 << places) - t)) >> places
    change = t * (right - left) - ((q * (after - right - left + before)) >> 2)
    if form.order == 3:
        r = (q * (2 * t - (1 << places))) >> places
        change -= (r * (after - 3 * (right - left) - before) * 5461) >> 16  # 5461 / 65536 is 1 / 12
    result: Integers = left + shifted(change, places)
    return result


# --- steps on integers ------------------------------------------------------------------------------------------------


def shifted(x: Any, places: int) -> Any:
    """Return x / 2**places rounded to the nearest integer, halves up; a product for negative places."""
    return (x + (1 << (places - 1))) >> places if places > 0 else x << -places


def _cut(x: Integers, form: Format) -> Integers:
    return x.clip(-form.limit, form.limit)


def _power(z: Integers, form: Format) -> tuple[Integers, Integers]:
    """Return m and n with exp(z) = m 2**(n - places), 2**places <= m < 2**(places + 1)."""
    guard, reach = GUARD[form.places], 1 << (form.bits + EXP_REACH[form.places])
    z = z.clip(-reach, reach)
    ln2 = round(math.log(2) * 2 ** (form.bits + guard))
    n = ((z >> (form.bits - 8)) * 369) >> 16  # 369 / 256 is 1 / ln 2, to 3e-4
    rest = (z << guard) - n * ln2
    n, rest = n - (rest < 0), np.where(rest < 0, rest + ln2, rest)
    n, rest = n + (rest >= ln2), np.where(rest >= ln2, rest - ln2, rest)
    return 3 * (1 << (form.places - 1)) + _read("exp", rest >> guard, form), n


def _identity(z: Integers, point: int, form: Format) -> Integers:
    return _cut(shifted(z, form.bits - point), form)


def _tanh(z: Integers, point: int, form: Format) -> Integers:
    a = _read("tanh", abs(z), form)
    return _cut(shifted(np.where(z < 0, -a, a), form.places - point), form)


def _sigmoid(z: Integers, point: int, form: Format) -> Integers:
    a = _read("tanh", abs(z) >> 1, form)
    return _cut(shifted(shifted((1 << form.places) + np.where(z < 0, -a, a), 1), form.places - point), form)


def _elu(z: Integers, point: int, form: Format) -> Integers:
    return _identity(np.where(z < 0, -2 * _read("elu", abs(z), form), z), point, form)


def _line_and_rest(name: str, z: Integers, point: int, form: Format) -> Integers:
    return _identity(np.maximum(z, 0) + 2 * _read(name, abs(z), form), point, form)


def _sine(z: Integers, point: int, form: Format) -> Integers:
    """Of z = 2 pi n + r, n and r by steps of 64 bits."""
    turn = round(2 * math.pi * 2 ** (form.bits + TURN_PLACES))
    n = ((z >> (form.bits - 6)) * 10430) >> 22  # 10430 / 65536 is 1 / (2 pi), to 4e-5
    rest = (z << TURN_PLACES) - n * turn
    rest = np.where(rest < 0, rest + turn, rest)
    rest = np.where(rest >= turn, rest - turn, rest)
    negative = rest >= turn // 2
    rest = np.where(negative, rest - turn // 2, rest)
    rest = np.where(rest > turn // 4, turn // 2 - rest, rest)
    a = _read("sine", np.maximum(rest, 0) >> TURN_PLACES, form)
    return _cut(shifted(np.where(negative, -a, a), form.places - point), form)


def _exp(z: Integers, point: int, form: Format) -> Integers:
    m, n = _power(z, form)
    right = form.places - n - point
    left = (-right).clip(0, form.places)
    up = np.where(m > form.limit >> left, form.limit, m << left)
    return _cut(np.where(right > 0, _lowered(m, right, form), up), form)


def _lowered(m: Integers, places: Integers, form: Format) -> Integers:
    """Return m / 2**places rounded, for places from 0 to any number."""
    places = places.clip(0, form.bits + 2)
    lowered: Integers = (m + ((1 << places) >> 1)) >> places
    return lowered


def _softmax_integers(z: Integers, point: int, form: Format) -> Integers:
    """Shares of exp(z - max z), of which each has `places` binary places."""
    m, n = _power(z - z.max(axis=1, keepdims=True), form)
    e = _lowered(m, -n, form)
    total = e.sum(axis=1, keepdims=True)
    shares: Integers = ((e << form.places) + (total >> 1)) // total
    return shares.clip(None, form.limit)


INTEGER_FUNCTIONS: dict[str, Callable[[Integers, int, Format], Integers]] = {
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "elu": _elu,
    "softplus": functools.partial(_line_and_rest, "softplus"),
    "gelu": functools.partial(_line_and_rest, "gelu"),
    "silu": functools.partial(_line_and_rest, "silu"),
    "sine": _sine,
    "exp": _exp,
    "softmax": _softmax_integers,
}
