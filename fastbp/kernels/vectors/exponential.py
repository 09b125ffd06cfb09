"""exp, expm1, logistic and tanh for loops that are vectorised.

All start from z = n ln 2 + r with an integer n and a small r, so that exp(z) = 2**n (1 + q), q = expm1(r).  `n ln 2`
is subtracted in two parts, the first so short that n times it is exact (Cody and Waite, Software Manual for the
Elementary Functions, 1980); 2**n is made from bits.  A short polynomial gives q.

Stated errors are in units in the last place (ulp) of the exact result, on processors that have a fused multiply-add;
see `fastbp.kernels.vectors.elementary`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula
from fastbp.kernels.vectors.float_bits import (
    Elementary,
    constant,
    fma,
    greater,
    halves_of_power_of_two,
    lesser,
    polynomial,
    power_of_two,
    round_product,
    with_sign,
)

ZERO = constant(0.0)
ONE = constant(1.0)
TWO = constant(2.0)
LOG2_E = constant(1.4426950408889634)
TWO_LOG2_E = constant(2.8853900817779268)

# ln 2 = high + low; high has 15 bits in float32 and 32 in float64, n at most 9 and 11.
_LN2_32 = (0.693145751953125, 1.428606765330187e-06)
_LN2_64 = (0.6931471803691238, 1.9082149292705877e-10)
LN2_HIGH = constant(_LN2_32[0], _LN2_64[0])
LN2_LOW = constant(_LN2_32[1], _LN2_64[1])
HALF_LN2_HIGH = constant(_LN2_32[0] / 2, _LN2_64[0] / 2)
HALF_LN2_LOW = constant(_LN2_32[1] / 2, _LN2_64[1] / 2)

# (expm1(r) - r) / r**2 for |r| <= ln(2) / 2: 1/2, then the polynomial of least largest error (Remez exchange in
# 240 bits, then rounded). Error of r + r**2 p(r) relative to expm1(r): 2**-26.0 in float32, 2**-55.0 in float64.
EXPM1_SERIES = polynomial(
    (0.5, 0.1666654348373413, 0.041666388511657715, 0.00836650189012289, 0.00139423250220716),
    (
        0.5,
        0.16666666666666682,
        0.04166666666661928,
        0.008333333333316123,
        0.0013888888920859164,
        0.00019841269903230304,
        2.4801515835820834e-05,
        2.7557224702524697e-06,
        2.762245636309129e-07,
        2.511644952920319e-08,
    ),
)

# (tanh(r) - r) / r**3 as a polynomial in r**2 for |r| <= ln(2) / 4, made as above.
# Error of tanh(r), relative: 2**-32.1 in float32, 2**-57.7 in float64.
TANH_SERIES = polynomial(
    (-0.33333322405815125, 0.1333117038011551, -0.052723124623298645),
    (
        -0.3333333333333247,
        0.1333333333277569,
        -0.05396825276755319,
        0.021869369605490387,
        -0.00885727080321648,
        0.003444360963243802,
    ),
)

# Beyond these the result is what it is at them: inf and 0 (half the smallest subnormal is 2**-150, 2**-1075), ...
EXP_HIGH = constant(89.0, 710.0)
EXP_LOW = constant(-105.0, -746.0)
# ... -1, 1, 0 (2**n of n = -127, -1023 is 0 as `power_of_two` makes it), and 1.
EXPM1_LOW = constant(-20.0, -40.0)
LOGISTIC_HIGH = constant(20.0, 40.0)
LOGISTIC_LOW = constant(-88.0, -709.0)
TANH_HIGH = constant(10.0, 22.0)
# 2**-n beside 1 does not matter from here on, and stays a normal number.
SMALL_POWER = constant(-64.0, -256.0)


@formula
def multiples_of_ln2(x):
    """Return (n, rest), where x = n ln 2 + r and r = rest - n LN2_LOW has at most about ln(2) / 2."""
    n = round_product(x, LOG2_E(x))
    return n, fma(-n, LN2_HIGH(x), x)


@formula
def expm1_near_zero(r):
    """expm1(r) for |r| up to about ln(2) / 2."""
    return fma(r * r, EXPM1_SERIES(r), r)


@Elementary
@np.errstate(over="ignore", under="ignore")
def exp(z):
    """exp(z).

    Error at most 1.05 ulp; subnormal results to 1 ulp of theirs, overflow is inf. Never falls where z grows.
    """
    return np.exp(z)


@exp.formula
def _exp(z):
    x = greater(EXP_LOW(z), lesser(EXP_HIGH(z), z))
    n, rest = multiples_of_ln2(x)
    q = expm1_near_zero(fma(-n, LN2_LOW(x), rest))
    u, v = halves_of_power_of_two(n)
    return (ONE(x) + q) * u * v


@Elementary
@np.errstate(over="ignore", under="ignore")
def expm1(z):
    """exp(z) - 1.

    Error at most 1.2 ulp in float32, 1.4 in float64, also near 0; expm1(-0.0) is -0.0. Never falls where z grows.
    """
    return np.expm1(z)


@expm1.formula
def _expm1(z):
    x = greater(EXPM1_LOW(z), lesser(EXP_HIGH(z), z))
    n, rest = multiples_of_ln2(x)
    r = fma(-n, LN2_LOW(x), rest)
    tail = fma(r * r, EXPM1_SERIES(r), fma(-n, LN2_LOW(x), rest - r))
    # 2**n ((1 - 2**-n) + r + tail), where the sum of the first two is exact as head + what it lost.
    a = ONE(x) - power_of_two(greater(SMALL_POWER(x), -n))
    head = a + r
    y = head + ((r - (head - a)) + tail)
    # 2**(n - 1), since 2**n would overflow before the result does.
    return with_sign((y + y) * power_of_two(n - ONE(x)), z)


@Elementary
@np.errstate(under="ignore")
def logistic(z):
    """The logistic function 1 / (1 + exp(-z)).

    Error at most 1.4 ulp, also for very negative z, where it is close to exp(z); 0 below the smallest normal number.
    Never falls where z grows.
    """
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e, 1) / (1 + e)


@logistic.formula
def _logistic(z):
    # With w = 2**n, z = n ln 2 - r and q = expm1(r): w / (w + exp(r)) = w / ((1 + w) + q).
    x = greater(LOGISTIC_LOW(z), lesser(LOGISTIC_HIGH(z), z))
    n, rest = multiples_of_ln2(x)
    q = expm1_near_zero(fma(n, LN2_LOW(x), -rest))
    w = power_of_two(n)
    inverse = ONE(x) / ((ONE(x) + w) + q)
    # s, the quotient rounded to a grid, has so few bits that the remainder w - s (1 + w + q) suffers from the
    # rounding of none of its terms. With it the result is rounded once, and monotone.
    grid = lesser(w, ONE(x))
    s = fma(w, inverse, grid) - grid
    remainder = fma(-s, q, fma(-s, w, w) - s)
    return fma(remainder, inverse, s)


@Elementary
def tanh(z):
    """tanh(z).

    Error at most 1.1 ulp in float32, 1.5 in float64; tanh(-0.0) is -0.0. Never falls where z grows.
    """
    return np.tanh(z)


@tanh.formula
def _tanh(z):
    # |z| = n ln(2)/2 + r; tanh of the first is c/d with w = 2**-n, c = 1 - w, d = 1 + w; tanh(r) is b.
    # The addition theorem: (c/d + b) / (1 + b c/d) = (c + d b) / (d + c b).
    x = lesser(TANH_HIGH(z), abs(z))
    n = round_product(x, TWO_LOG2_E(x))
    r = fma(-n, HALF_LN2_LOW(x), fma(-n, HALF_LN2_HIGH(x), x))
    t = r * r
    b = fma(r * t, TANH_SERIES(t), r)
    w = power_of_two(-n)
    d = ONE(x) + w
    c = d - (w + w)  # not 1 - w: where w is about to be lost beside 1, d - c = 2 w is what matters
    inverse = ONE(x) / fma(c, b, d)
    # As for the logistic function: s on a grid, the remainder (c + d b) - s (d + c b) almost exact.
    s = fma(fma(d, b, c), inverse, TWO(x)) - TWO(x)
    remainder = fma(b, fma(-s, c, d), fma(-s, d, c))
    return with_sign(fma(remainder, inverse, s), z)
