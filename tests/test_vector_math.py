"""The scalar functions of `fastbp.kernels.vectors.elementary`: accuracy, order and special values."""

import itertools
from math import inf, log, nan, pi

import mpmath
import numpy as np
import pytest

from fastbp.kernels.vectors import elementary as vm
from tests.vector_cases import (
    CASES,
    DTYPES,
    LONG,
    compiled_only,
    each_case,
    each_dtype,
    each_name,
    values,
    with_fma,
)


def neighbours(points, dtype, n):
    """Runs of 2 n + 1 floats next to each other, one run around each point."""
    kind = np.int32 if dtype == np.float32 else np.int64
    centres = np.abs(np.asarray(points, dtype)).view(kind)[:, None]
    bits = np.maximum(centres + np.arange(-n, n + 1, dtype=kind), 0)
    return np.minimum(bits.view(dtype), np.finfo(dtype).max)


def samples(case, dtype):
    """Random floats of all exponents and of usual size, and neighbours of the thresholds, in the function's range."""
    rng = np.random.default_rng(20240)
    i = DTYPES.index(dtype)
    low, high = case.low[i], case.high[i]
    tiny = np.finfo(dtype).smallest_subnormal
    magnitude = np.exp(rng.uniform(log(tiny), log(high), 100_000))
    usual = np.concatenate([rng.uniform(0, top, 100_000) for top in (1, 8, 40)])
    edges = neighbours([*case.thresholds, *np.abs([low, high])], dtype, 200).ravel()
    positive = np.concatenate([magnitude, usual]).astype(dtype)
    z = np.concatenate([positive, edges, -positive, -edges])
    return z[(z >= low) & (z <= high) & (z != -1)]


def error_in_ulp(got, exact, dtype):
    """|got - exact| in units of the last place of the exact result."""
    digits = np.finfo(dtype).nmant + 1
    exponent = np.frexp(np.maximum(np.abs(exact), exact.dtype.type(np.finfo(dtype).smallest_normal)))[1]
    return np.abs(got.astype(exact.dtype) - exact) * np.ldexp(exact.dtype.type(1), digits - exponent)


@compiled_only
@with_fma
@each_dtype
@each_case
def test_error_is_within_the_stated_bound(case, dtype):
    wide = np.float64 if dtype == np.float32 or case.name == "normal_cdf" else LONG
    if np.finfo(wide).nmant < np.finfo(dtype).nmant + 10:
        pytest.skip("no wider floats here; the test with mpmath covers it")
    z = samples(case, dtype)
    error = error_in_ulp(values(case.name, z), case.exact(z.astype(wide)), dtype)
    worst = error.argmax()
    assert error[worst] <= case.ulp[DTYPES.index(dtype)], (z[worst], error[worst])


@compiled_only
@with_fma
@each_case
def test_error_against_mpmath(case):
    z = np.random.default_rng(7).choice(samples(case, np.float64), 1500)
    z = z[np.abs(z) < 1e6]  # mpmath's log_cosh and erfc need too many digits farther out
    with mpmath.workprec(200 + (1500 if case.name == "log_cosh" else 0)):
        for x, got in zip(z, values(case.name, z), strict=True):
            exact = case.mp(mpmath.mpf(float(x)))
            spacing = max(np.spacing(abs(float(exact))), np.spacing(np.finfo(np.float64).smallest_normal))
            assert abs(mpmath.mpf(float(got)) - exact) <= case.ulp[1] * spacing, x


@compiled_only
@with_fma
@each_dtype
@pytest.mark.parametrize("case", [case for case in CASES if case.monotone], ids=str)
def test_never_falls(case, dtype):
    rng = np.random.default_rng(11)
    i = DTYPES.index(dtype)
    logarithm = case.name.startswith("log") and case.name != "logistic"
    high = 3e38 if logarithm else (100, 720)[i]
    points = np.concatenate([np.exp(rng.uniform(log(1e-30), log(high), 400)), rng.uniform(0, 20, 400)])
    runs = neighbours([*points, *case.thresholds, abs(case.low[i]), abs(case.high[i])], dtype, 300)
    scattered = np.sort(rng.choice(samples(case, dtype), 200_000))[None]
    for z in (runs, -runs[:, ::-1], scattered):
        z = np.maximum(z, case.low[i] if logarithm else -inf)
        got = values(case.name, z.ravel()).reshape(z.shape)
        never_falls = got[:, :-1] <= got[:, 1:]  # False also for NaN
        assert never_falls.all(), z[:, 1:][~never_falls][:5]


LIMITS = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (inf, inf), (-inf, 0.0), (1e3, inf), (-1e3, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (inf, inf), (-inf, -1.0), (1e3, inf), (-1e3, -1.0)],
    "log": [(1.0, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-1.0, nan), (-inf, nan)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -inf), (inf, inf), (-1.5, nan), (-inf, nan)],
    "logistic": [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (1e3, 1.0), (-1e3, 0.0)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (inf, 1.0), (-inf, -1.0), (30.0, 1.0), (-30.0, -1.0)],
    "softplus": [(inf, inf), (-inf, 0.0), (1e3, 1e3), (-1e3, 0.0)],
    "log_cosh": [(0.0, 0.0), (-0.0, 0.0), (inf, inf), (-inf, inf)],
    "normal_pdf": [(inf, 0.0), (-inf, 0.0), (100.0, 0.0), (1e30, 0.0)],
    "normal_cdf": [(0.0, 0.5), (-0.0, 0.5), (inf, 1.0), (-inf, 0.0), (100.0, 1.0), (-100.0, 0.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (inf, nan), (-inf, nan)],
    "cos": [(0.0, 1.0), (-0.0, 1.0), (inf, nan), (-inf, nan)],
}


@compiled_only
@each_dtype
@each_name
def test_limits_zeros_and_nan(name, dtype):
    arguments, expected = zip(*LIMITS[name], (nan, nan), strict=True)
    got = values(name, np.array(arguments, dtype))
    np.testing.assert_array_equal(got, np.array(expected, dtype))
    finite = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got[finite]), np.signbit(expected)[finite])


@compiled_only
@each_dtype
def test_exp_ends_where_the_largest_float_does(dtype):
    edge = np.log(LONG(np.finfo(dtype).max)).astype(dtype)
    z = neighbours([edge], dtype, 20)[0]
    got = values("exp", z)
    np.testing.assert_array_equal(np.isinf(got[z > edge + 4 * np.spacing(edge)]), True)
    assert np.isfinite(got[z < edge - 4 * np.spacing(edge)]).all()


@compiled_only
@with_fma
@each_dtype
def test_exp_fades_through_the_subnormal_numbers(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    z = np.linspace(np.log(LONG(smallest)) - 2, np.log(LONG(np.finfo(dtype).smallest_normal)) + 1, 20_000).astype(dtype)
    for name, flushed in (("exp", 0), ("softplus", 0), ("logistic", np.finfo(dtype).smallest_normal)):
        exact = np.exp(z.astype(LONG))
        assert (np.abs(values(name, z) - exact) <= np.maximum(1.8 * smallest, flushed)).all()


@compiled_only
@with_fma
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_relative_accuracy_at_the_zeros(name):
    k = np.random.default_rng(3).integers(1, int(vm.SIN_LIMIT_64 / pi * 2), 3000)
    z = k * (pi / 2)
    z = z[z < vm.SIN_LIMIT_64]
    with mpmath.workprec(300):
        for x, got in zip(z, values(name, z), strict=True):
            exact = getattr(mpmath, name)(mpmath.mpf(float(x)))
            assert abs(mpmath.mpf(float(got)) - exact) <= 0.9 * np.spacing(abs(float(exact)))


@compiled_only
@each_dtype
def test_sin_and_cos_beyond_their_limit(dtype):
    z = np.array([vm.SIN_LIMIT_64 * 1.01, 1e10, 1e20, 1e30, np.finfo(dtype).max], dtype)
    for name, got in itertools.product(("sin", "cos"), (z, -z)):
        assert (np.abs(values(name, got)) <= 1).all()
    assert values("sin_limit", z)[0] == (vm.SIN_LIMIT_32 if dtype == np.float32 else vm.SIN_LIMIT_64)
