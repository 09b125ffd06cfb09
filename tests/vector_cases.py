"""The functions of `fastbp.kernels.vectors.elementary`: what each should be, and how near; and a loop around it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from scipy.special import ndtr

from fastbp.kernels.compiler.jit import FAST_MATH
from fastbp.kernels.machine.target import TARGET, instruction_sets
from fastbp.kernels.vectors import elementary as vm

HAS_FMA = not TARGET.is_x86 or "fma" in instruction_sets(TARGET)
LONG = np.longdouble  # 64 bits on x86; on some machines the same as float64, and there only mpmath is a judge

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="about compiled code")
with_fma = pytest.mark.skipif(not HAS_FMA, reason="the bounds are for processors with a fused multiply-add")


def long_logistic(z):
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


def long_log_cosh(z):
    d = np.abs(z)
    near = np.log1p(2 * np.sinh(np.minimum(d, 1) / 2) ** 2)
    return np.where(d < 1, near, d + np.log1p(np.expm1(-2 * d) / 2))


def mp_log_cosh(z):
    return mpmath.log1p(mpmath.cosh(z) - 1)  # with digits enough for the cancellation


def mp_normal_cdf(z):
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2


@dataclass(frozen=True)
class Case:
    """One function: what it should be, where, and how near."""

    name: str
    exact: Callable[[Any], Any]  # of an array of float64 or long double
    mp: Callable[[Any], Any]
    low: tuple[float, float]  # results are normal numbers between low and high; float32, float64
    high: tuple[float, float]
    ulp: tuple[float, float]  # bounds that the docstrings state
    thresholds: tuple[float, ...] = ()  # where formulas change over; both signs are tried
    monotone: bool = False

    def __str__(self):
        return self.name


HALF_LN2 = [(k + 0.5) * log(2) / 2 for k in range(60)]
LN2_STEPS = (0.0, *HALF_LN2, *(2 * x for x in HALF_LN2))
QUADRANTS = tuple(k * pi / 4 for k in (*range(1, 60), 4001, 4002, 10428, 10429))

CASES = [
    Case("exp", np.exp, mpmath.exp, (-87.3, -708.3), (88.72, 709.78), (1.05, 1.05), LN2_STEPS, True),
    Case("expm1", np.expm1, mpmath.expm1, (-100, -800), (88.72, 709.78), (1.2, 1.4), LN2_STEPS, True),
    Case(
        "log",
        np.log,
        mpmath.log,
        (2.0**-149, 2.0**-1074),
        (3.4e38, 1.79e308),
        (0.9, 0.9),
        (0.70710678, 1.0, 1.41421356),
        True,
    ),
    Case(
        "log1p",
        np.log1p,
        mpmath.log1p,
        (-1, -1),
        (3.4e38, 1.79e308),
        (0.9, 0.9),
        (0.0, 0.29289322, 0.41421356, 1.0),
        True,
    ),
    Case(
        "logistic",
        long_logistic,
        lambda z: 1 / (1 + mpmath.exp(-z)),
        (-87.3, -708.3),
        (100, 800),
        (1.4, 1.4),
        LN2_STEPS,
        True,
    ),
    Case("tanh", np.tanh, mpmath.tanh, (-100, -100), (100, 100), (1.1, 1.5), (*LN2_STEPS, 9.0109, 19.06), True),
    Case(
        "softplus",
        lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
        lambda z: mpmath.log1p(mpmath.exp(z)),
        (-87.3, -708.3),
        (3.4e38, 1.79e308),
        (1.8, 1.8),
        (*LN2_STEPS, 0.8813736),
    ),
    Case("log_cosh", long_log_cosh, mp_log_cosh, (-500, -500), (500, 500), (2.2, 2.2), (*LN2_STEPS, 0.6, 1.0)),
    Case(
        "normal_pdf",
        lambda z: np.exp(-z * z / 2) / np.sqrt(8 * np.arctan(np.ones_like(z))),
        lambda z: mpmath.exp(-z * z / 2) / mpmath.sqrt(2 * mpmath.pi),
        (-13, -37.4),
        (13, 37.4),
        (2.1, 2.4),
        (0.0, 1.0),
    ),
    Case("normal_cdf", ndtr, mp_normal_cdf, (-12.9, -37.4), (100, 100), (4.3, 3.6), (0.0, 1.0, 5.41, 8.21)),
    Case(
        "sin",
        np.sin,
        mpmath.sin,
        (-vm.SIN_LIMIT_32, -vm.SIN_LIMIT_64),
        (vm.SIN_LIMIT_32, vm.SIN_LIMIT_64),
        (0.9, 0.9),
        (0.0, *QUADRANTS),
    ),
    Case(
        "cos",
        np.cos,
        mpmath.cos,
        (-vm.SIN_LIMIT_32, -vm.SIN_LIMIT_64),
        (vm.SIN_LIMIT_32, vm.SIN_LIMIT_64),
        (0.9, 0.9),
        (0.0, *QUADRANTS),
    ),
]
NAMES = [case.name for case in CASES]
DTYPES = [np.float32, np.float64]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_name = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


@functools.cache
def loop(name):
    """A kernel's loop around the function, compiled with the flags of kernels."""
    function = getattr(vm, name)

    @numba.njit(fastmath=FAST_MATH, error_model="numpy")
    def apply(z, out):
        for i in range(z.size):
            out[i] = function(z[i])

    return apply


def values(name, z):
    """The function of all elements, by compiled code."""
    out = np.empty_like(z)
    loop(name)(z, out)
    return out
