"""log, log1p, softplus and log cosh for loops that are vectorised.

x = 2**k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2). With s = f / (2 + f), log(1 + f) = 2 artanh(s) = f - s (f - R),
R = s**2 times a polynomial in s**2; and f - s (f - R) = f - (f**2/2 - s (f**2/2 + R)) has small corrections only (the
method of FDLIBM's e_log.c and s_log1p.c, Sun Microsystems, 1993).

Stated errors are in units in the last place (ulp) of the exact result, on processors that have a fused multiply-add;
see `fastbp.kernels.vectors.elementary`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula
from fastbp.kernels.vectors.exponential import LN2_HIGH, LN2_LOW, ONE, TWO, ZERO, exp, expm1_near_zero, multiples_of_ln2
from fastbp.kernels.vectors.float_bits import (
    Elementary,
    constant,
    fma,
    fraction_and_exponent,
    greater,
    lesser,
    polynomial,
    power_of_two,
    select,
    with_sign,
)

HALF = constant(0.5)
INFINITY = constant(float("inf"))
NAN = constant(float("nan"))
SQRT_2_MINUS_1 = constant(0.41421357, 0.4142135623730951)

# Smallest normal number, and the power of two (and its exponent) that makes a subnormal number normal.
SMALLEST_NORMAL = constant(2.0**-126, 2.0**-1022)
SCALE = constant(2.0**24, 2.0**54)
SCALE_EXPONENT = constant(24.0, 54.0)

# R / s**2 = (log((1 + s) / (1 - s)) - 2 s) / s**3 as a polynomial in s**2, for 1 + f between sqrt(1/2) and sqrt(2):
# least largest error of R (Remez exchange in 240 bits, then rounded); 2**-28.3 in float32, 2**-57.6 in float64.
LOG_SERIES = polynomial(
    (0.6666677594184875, 0.39976072311401367, 0.2992573380470276),
    (
        0.666666666666671,
        0.3999999999951953,
        0.2857142872936539,
        0.22222199081404306,
        0.1818357208406401,
        0.1531314946958875,
        0.14810677359592228,
    ),
)

# log(cosh(z)) / z**2 as a polynomial in z**2 for |z| <= 0.6: 1/2, then the polynomial of least largest relative
# error (as above); 2**-29.7 in float32, 2**-55.9 in float64.
LOG_COSH_SERIES = polynomial(
    (
        0.5,
        -0.08333331346511841,
        0.022221220657229424,
        -0.006732156965881586,
        0.0021054898388683796,
        -0.0005172358360141516,
    ),
    (
        0.5,
        -0.08333333333333115,
        0.022222222221922848,
        -0.00674603173184941,
        0.002186948520402126,
        -0.0007385984501420615,
        0.0002565426356959965,
        -9.078408693340751e-05,
        3.205580343177088e-05,
        -1.0332778536059219e-05,
        2.201167113343015e-06,
    ),
)
LOG_COSH_SPLIT = constant(0.6)
# exp(-2 |z|) is negligible beside |z| from here on.
LOG_COSH_LOW = constant(-40.0, -80.0)


@formula
def log_of_parts(f, k, correction):
    """log(1 + f) + k ln 2 + correction; the correction is small."""
    s = f / (TWO(f) + f)
    t = s * s
    half_square = HALF(f) * f * f
    low = fma(s, fma(t, LOG_SERIES(t), half_square), fma(k, LN2_LOW(f), correction))
    return fma(k, LN2_HIGH(f), f - (half_square - low))


@formula
def log1p_to_one(e):
    """log(1 + e) for 0 <= e <= 1."""
    above = e > SQRT_2_MINUS_1(e)
    f = select(above, fma(HALF(e), e, -HALF(e)), e)
    return log_of_parts(f, select(above, ONE(e), ZERO(e)), ZERO(e))


@Elementary
@np.errstate(divide="ignore", invalid="ignore")
def log(z):
    """Natural logarithm.

    Error at most 0.9 ulp; log(0) is -inf, log of a negative number NaN. Never falls where z grows.
    """
    return np.log(z)


@log.formula
def _log(z):
    zero = ZERO(z)
    subnormal = z < SMALLEST_NORMAL(z)
    m, k = fraction_and_exponent(select(subnormal, z * SCALE(z), z))
    y = log_of_parts(m - ONE(z), k - select(subnormal, SCALE_EXPONENT(z), zero), zero)
    y = select(z < INFINITY(z), y, z)
    return select(z > zero, y, select(z == zero, -INFINITY(z), NAN(z)))


@Elementary
@np.errstate(divide="ignore", invalid="ignore")
def log1p(z):
    """log(1 + z).

    Error at most 0.9 ulp, also near 0; log1p(-0.0) is -0.0, log1p(-1) is -inf. Never falls where z grows.
    """
    return np.log1p(z)


@log1p.formula
def _log1p(z):
    one = ONE(z)
    u = one + z
    lost = lesser(one, z) - (u - greater(one, z))
    m, k = fraction_and_exponent(u)
    # What the sum lost, in units of 2**k; 2**(1 - k) since 2**-k may be too small for a normal number.
    lost = (HALF(z) * power_of_two(one - k)) * lost
    f = (m - one) + lost
    lost = lost - (f - (m - one))
    y = log_of_parts(f, k, fma(-f, lost, lost))  # log(1 + f + lost) is about log(1 + f) + lost (1 - f)
    y = select(z < INFINITY(z), y, z)
    y = select(z > -one, y, select(z == -one, -INFINITY(z), NAN(z)))
    return with_sign(y, z)


@Elementary
@np.errstate(under="ignore")
def softplus(z):
    """log(1 + exp(z)).

    Error at most 1.8 ulp, also for very negative z, where it is close to exp(z).
    """
    return np.logaddexp(z, 0)


@softplus.formula
def _softplus(z):
    return greater(ZERO(z), z) + log1p_to_one(exp(-abs(z)))


@Elementary
@np.errstate(under="ignore")
def log_cosh(z):
    """log(cosh(z)).

    Error at most 2.2 ulp, also near 0, where it is close to z**2 / 2.
    """
    d = np.abs(z)
    near = np.log1p(2 * np.sinh(np.minimum(d, 1) / 2) ** 2)
    return np.where(d < 1, near, d + np.log1p(np.expm1(-2 * d) / 2))[()]


@log_cosh.formula
def _log_cosh(z):
    d = abs(z)
    t = d * d
    near = t * LOG_COSH_SERIES(t)
    # |z| - ln 2 + log(1 + exp(-2 |z|)); there exp(-2 |z|) < 0.31, so that no power of two need be split off.
    x = greater(LOG_COSH_LOW(d), -(d + d))
    n, rest = multiples_of_ln2(x)
    q = expm1_near_zero(fma(-n, LN2_LOW(x), rest))
    far = (d - LN2_HIGH(d)) + log_of_parts((ONE(d) + q) * power_of_two(n), ZERO(d), -LN2_LOW(d))
    return select(d < LOG_COSH_SPLIT(d), near, far)
