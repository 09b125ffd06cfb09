"""sin and cos for loops that are vectorised, up to `SIN_LIMIT_32` and `SIN_LIMIT_64`.

Stated errors are in units in the last place (ulp) of the exact result, on processors that have a fused multiply-add;
see `fastbp.kernels.vectors.elementary`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula
from fastbp.kernels.vectors.exponential import ONE
from fastbp.kernels.vectors.float_bits import (
    Elementary,
    constant,
    fma,
    is_odd,
    negate_in_upper_half,
    polynomial,
    round_product,
    select,
)

# So far n times the short parts of pi/2 is exact. Farther out use the C library.
SIN_LIMIT_32 = 2.0**13
SIN_LIMIT_64 = 2.0**20
SIN_LIMIT = constant(SIN_LIMIT_32, SIN_LIMIT_64)

HALF = constant(0.5)
TWO_OVER_PI = constant(0.6366197723675814)

# pi/2 in parts (Cody and Waite, 1980): A and B so short, 11 and 11 bits in float32, 33 and 20 in float64, that
# z - n A - n B is exact. C and D have all bits.
PI_HALF_A = constant(1.5703125, 1.5707963267341256)
PI_HALF_B = constant(0.0004837512969970703, 6.077094383272197e-11)
PI_HALF_C = constant(7.549789415861596e-08, 6.123233995736765e-17)
PI_HALF_D = constant(5.390302529957765e-15, 1.0828566739219139e-32)

# (r - sin(r)) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4 as polynomials in r**2 for |r| <= pi/4: least largest error
# of sin(r)/r and cos(r) (Remez exchange in 240 bits, then rounded); 2**-27.5 and 2**-30.9 in float32, 2**-57.4 and
# 2**-60.0 in float64.
SIN_SERIES = polynomial(
    (0.16666655242443085, -0.008332177996635437, 0.00019517262990120798),
    (
        0.16666666666666632,
        -0.008333333333322434,
        0.00019841269829822518,
        -2.7557313696375747e-06,
        2.5050758725461034e-08,
        -1.5896826831119098e-10,
    ),
)
COS_SERIES = polynomial(
    (0.04166664555668831, -0.001388736767694354, 2.4438446416752413e-05),
    (
        0.0416666666666666,
        -0.0013888888888874138,
        2.480158728948988e-05,
        -2.755731435440931e-07,
        2.087572354297648e-09,
        -1.1359661377023272e-11,
    ),
)


@formula
def reduce_angle(z):
    """Return (n, r, lost) with z = n pi/2 + r - lost, |r| at most about pi/4, lost below r's last place."""
    # z - z: 0, or NaN for an infinite z.
    x = select(abs(z) <= SIN_LIMIT(z), z, z - z)
    n = round_product(x, TWO_OVER_PI(z))
    rest = fma(-n, PI_HALF_B(z), fma(-n, PI_HALF_A(z), x))
    c = n * PI_HALF_C(z)
    r = rest - c
    lost = (c - (rest - r)) + fma(n, PI_HALF_D(z), fma(n, PI_HALF_C(z), -c))
    return n, r, lost


@formula
def sin_and_cos_near_zero(r, lost):
    """Sine and cosine of r - lost for |r| up to about pi/4."""
    t = r * r
    sine = r - fma(t * r, SIN_SERIES(t), lost)
    half_square = HALF(r) * t
    head = ONE(r) - half_square
    cosine = head + (((ONE(r) - head) - half_square) + fma(t * t, COS_SERIES(t), r * lost))
    return sine, cosine


@Elementary
def sin_limit(z):
    """Return the largest |z| for `sin` and `cos`, in the dtype of z."""
    kind = np.asarray(z).dtype
    return kind.type(SIN_LIMIT_32 if kind == np.float32 else SIN_LIMIT_64)


@sin_limit.formula
def _sin_limit(z):
    return SIN_LIMIT(z)


@Elementary
@np.errstate(invalid="ignore")
def sin(z):
    """Sine of z radians.

    Error at most 0.9 ulp for |z| up to the limit, also near the zeros. 0 beyond, NaN at infinity.
    """
    return np.sin(z)


@sin.formula
def _sin(z):
    n, r, lost = reduce_angle(z)
    sine, cosine = sin_and_cos_near_zero(r, lost)
    return negate_in_upper_half(select(is_odd(n), cosine, sine), n)


@Elementary
@np.errstate(invalid="ignore")
def cos(z):
    """Cosine of z radians.

    Error at most 0.9 ulp for |z| up to the limit, also near the zeros. 1 beyond, NaN at infinity.
    """
    return np.cos(z)


@cos.formula
def _cos(z):
    n, r, lost = reduce_angle(z)
    sine, cosine = sin_and_cos_near_zero(r, lost)
    return negate_in_upper_half(select(is_odd(n), sine, cosine), n + ONE(n))
