"""The normal distribution's density and cumulative distribution function for loops that are vectorised.

Stated errors are in units in the last place (ulp) of the exact result, on processors that have a fused multiply-add;
see `vector_math`.
"""

import math

import numpy as np

from fastbp.kernels.jit import formula
from fastbp.kernels.vector_exponential import (
    LN2_LOW,
    ONE,
    ZERO,
    expm1_near_zero,
    multiples_of_ln2,
)
from fastbp.kernels.vector_intrinsics import (
    constant,
    fma,
    formula_of,
    halves_of_power_of_two,
    lesser,
    polynomial,
    select,
)

# From here on both functions are 0 or 1.
HIGH = constant(14.5, 39.0)
MINUS_HALF = constant(-0.5)
ONE_OVER_SQRT_2_PI = constant(0.3989422804014327)

# Mills' ratio, Phi(-t) / exp(-t**2 / 2) = erfcx(t / sqrt 2) / 2, as numerator / denominator for 0 <= t <= HIGH: the
# rational function of least largest relative error (Remez exchange in 300 bits), its coefficients then rounded such
# that their errors cancel best. 2**-26.8 in float32, 2**-53.7 in float64. All are positive: no cancellation.
NUMERATOR = polynomial(
    (0.5, 0.4374102056026459, 0.1825539916753769, 0.04039636626839638, 0.004079176113009453),
    (
        0.5,
        0.7743860495181102,
        0.5933289914357079,
        0.28881354707843976,
        0.09746325616784934,
        0.023549271087800413,
        0.004073532627628785,
        0.0004880945650479279,
        3.703873350612472e-05,
        1.3758461579553764e-06,
    ),
)
DENOMINATOR = polynomial(
    (1.0, 1.6727052927017212, 1.199729561805725, 0.4676666259765625, 0.1012653037905693, 0.010224854573607445),
    (
        1.0,
        2.346656659839078,
        2.5590191012625185,
        1.7120621161983522,
        0.780565264175482,
        0.25432928910262265,
        0.0602458433573753,
        0.010303674387277455,
        0.0012269203725278348,
        9.28423366607885e-05,
        3.448734881083942e-06,
    ),
)


@formula
def bell(t):
    """Return (y, u, v) with exp(-t**2 / 2) = y u v for t >= 0; u v is a power of two, y is near 1."""
    square = t * t
    x = MINUS_HALF(t) * square
    lost = MINUS_HALF(t) * fma(t, t, -square)  # what the rounding of the square lost, or the error would grow as t**2
    n, rest = multiples_of_ln2(x)
    q = expm1_near_zero(rest + fma(-n, LN2_LOW(t), lost))
    u, v = halves_of_power_of_two(n)
    return ONE(t) + q, u, v


@np.errstate(over="ignore", under="ignore")
def normal_pdf(z):
    """Density of the standard normal distribution, exp(-z**2 / 2) / sqrt(2 pi).

    Error at most 2.1 ulp.
    """
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@formula_of(normal_pdf)
def _normal_pdf(z):
    y, u, v = bell(lesser(HIGH(z), abs(z)))
    return (ONE_OVER_SQRT_2_PI(z) * y) * u * v


def normal_cdf(z):
    """Standard normal distribution function Phi(z) = erfc(-z / sqrt 2) / 2.

    Error at most 3 ulp, also for very negative z.
    """
    from scipy.special import ndtr  # only here: compiled code never needs it, and it takes time to import

    return ndtr(z)


@formula_of(normal_cdf)
def _normal_cdf(z):
    t = lesser(HIGH(z), abs(z))
    y, u, v = bell(t)
    tail = (y * (NUMERATOR(t) / DENOMINATOR(t))) * u * v
    return select(z > ZERO(z), ONE(z) - tail, tail)
