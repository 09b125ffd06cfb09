"""The normal distribution's density and cumulative distribution function for loops that are vectorised.

Stated errors are in units in the last place (ulp) of the exact result, on processors that have a fused multiply-add;
see `fastbp.kernels.vectors.elementary`.
"""

import math

import numpy as np

from fastbp.kernels.compiler.jit import formula
from fastbp.kernels.vectors.exponential import LN2_LOW, ONE, ZERO, expm1_near_zero, multiples_of_ln2
from fastbp.kernels.vectors.float_bits import (
    Elementary,
    constant,
    fma,
    halves_of_power_of_two,
    lesser,
    polynomial,
    select,
)

# From here on both functions are 0 or 1.
HIGH = constant(14.5, 39.0)
MINUS_HALF = constant(-0.5)
ONE_OVER_SQRT_2_PI = constant(0.3989422804014327)

# erfcx(t / sqrt 2) / 2 = Phi(-t) / exp(-t**2 / 2) as N / (N L + R) with polynomials N, L and R, where L is a straight
# line: the rational function of least largest relative error for 0 <= t <= HIGH (Remez exchange in 300 bits), its
# coefficients rounded one after the other, the rest refitted each time, with exactly 1/2 at t = 0; 2**-27.2 in
# float32, 2**-54.0 in float64. R is small beside N L for large t, so that an error of N almost cancels, and only one
# of the coefficients is negative.
N = polynomial(
    (0.5, 0.43741267919540405, 0.18255265057086945, 0.0403948649764061, 0.004078533034771681),
    (
        0.5,
        0.7743860496291314,
        0.5933289915002256,
        0.2888135471064886,
        0.09746325617722051,
        0.02354927109012784,
        0.004073532627978699,
        0.0004880945649937185,
        3.70387335114643e-05,
        1.3758461577879042e-06,
    ),
)
L = polynomial((0.0019237995147705078, 2.5065979957580566), (-1.7958603493184455e-09, 2.5066282746386808))
R = polynomial(
    (0.9990381002426147, 0.4185697138309479, 0.10296208411455154, 0.009997943416237831),
    (
        1.0000000008979302,
        1.0933425241324701,
        0.6179211351481025,
        0.22480689064917916,
        0.05661706115029632,
        0.010025135497155729,
        0.0012165746087395373,
        9.284232609002924e-05,
        3.448735147324342e-06,
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


@Elementary
@np.errstate(over="ignore", under="ignore")
def normal_pdf(z):
    """Density of the standard normal distribution, exp(-z**2 / 2) / sqrt(2 pi).

    Error at most 2.1 ulp in float32, 2.4 in float64.
    """
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


@normal_pdf.formula
def _normal_pdf(z):
    y, u, v = bell(lesser(HIGH(z), abs(z)))
    return (ONE_OVER_SQRT_2_PI(z) * y) * u * v


@Elementary
def normal_cdf(z):
    """Standard normal distribution function Phi(z) = erfc(-z / sqrt 2) / 2.

    Error at most 4.3 ulp in float32, 3.6 in float64, also for very negative z; 2.6 and 2.2 for positive z.
    """
    from scipy.special import ndtr  # only here: compiled code never needs it, and it takes time to import

    return ndtr(z)


@normal_cdf.formula
def _normal_cdf(z):
    t = lesser(HIGH(z), abs(z))
    y, u, v = bell(t)
    numerator = N(t)
    tail = (y * (numerator / fma(numerator, L(t), R(t)))) * u * v
    return select(z > ZERO(z), ONE(z) - tail, tail)
