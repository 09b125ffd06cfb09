"""The text of C functions for one number, in their order: what `fastbp.export.c_formulas` fills in.

``$T`` is the type of the numbers, ``$U`` that of as many bits, ``$F`` the end of the names in <math.h>, ``$P`` what all
names begin with, and every other ``$NAME`` a constant that the compiled formulas have by that name.  A line
``$NAME(total, x)`` is the polynomial NAME of x, by Horner's rule.  A function is added with those that it names.
"""

CONDITIONS = """
#if defined(__FAST_MATH__) || defined(_M_FP_FAST) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
#error "compile this file without -ffast-math and -Ofast, under which its formulas are wrong"
#endif
#if $DIGITS != $MANTISSA || FLT_RADIX != 2
#error "$T must be a number of IEEE 754 with $BITS bits"
#endif
#if defined(FLT_EVAL_METHOD) && $WIDER
#error "compile this file such that $T is computed as $T: on a PC with -msse2 -mfpmath=sse"
#endif
"""

FUSED = """
/* a b + c, rounded once. */
#if $HAS_FMA
static $T ${P}_fma($T a, $T b, $T c)
{
    return fma$F(a, b, c);
}
#else
$SLOWLY_FUSED
#endif
"""

SLOWLY_FUSED = {
    "float": """
#if defined(__GLIBC__) || defined(__APPLE__) || defined(_MSC_VER)
static float ${P}_fma(float a, float b, float c)
{
    return fmaf(a, b, c);
}
#elif DBL_MANT_DIG == 53 && (!defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD >= 0)
/* The product is exact; the sum is rounded to an odd number unless exact, so that rounding it again does no harm. */
static float ${P}_fma(float a, float b, float c)
{
    const double p = (double)a * b, s = p + c, t = s - p, lost = (p - (s - t)) + (c - t);
    union { double x; uint64_t n; } u;
    u.x = s;
    if ((lost > 0 || lost < 0) && !(u.n & 1)) u.n = (lost > 0) == (s > 0) ? u.n + 1 : u.n - 1;
    return (float)u.x;
}
#else
#error "there is no fused multiply-add here: write this file with exact=False"
#endif
""",
    "double": """
#if defined(__NEWLIB__) || defined(__AVR__)
#error "fma of this library rounds twice: write this file with exact=False, or the network in float32"
#endif
static double ${P}_fma(double a, double b, double c)
{
    return fma(a, b, c);
}
""",
}

PLAIN = """
/* a b + c, rounded twice or once as the compiler likes. */
static $T ${P}_fma($T a, $T b, $T c)
{
    return a * b + c;
}
"""

# --- activations ------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "product": """
/* a b, which no compiler may make a part of a fused multiply-add. */
static $T ${P}_product($T a, $T b)
{
#if $HAS_FMA
    return fma$F(a, b, $ZERO);
#else
    return a * b;
#endif
}
""",
    "bits": """
static $U ${P}_bits($T x)
{
    union { $T x; $U n; } u;
    u.x = x;
    return u.n;
}
""",
    "from_bits": """
static $T ${P}_from_bits($U n)
{
    union { $T x; $U n; } u;
    u.n = n;
    return u.x;
}
""",
    "round_product": """
/* The integer nearest to z c: what is added leaves no bits behind the point. */
static $T ${P}_round_product($T z, $T c)
{
    return ${P}_fma(z, c, $ROUNDER) - $ROUNDER;
}
""",
    "power_of_two": """
/* 2^n for an integer n, from bits. */
static $T ${P}_power_of_two($T n)
{
    return ${P}_from_bits(${P}_bits(n + $BIASED_ROUNDER) << $FRACTION);
}
""",
    "scale": """
/* x 2^n for an integer n, by two halves of it, neither of which leaves the range. */
static $T ${P}_scale($T x, $T n)
{
    const $U both = ${P}_bits(n + $TWICE_BIASED_ROUNDER), first = both >> 1, second = both - first;
    return x * ${P}_from_bits(first << $FRACTION) * ${P}_from_bits(second << $FRACTION);
}
""",
    "expm1_near_zero": """
/* exp(r) - 1 for |r| up to about ln(2) / 2. */
static $T ${P}_expm1_near_zero($T r)
{
    $EXPM1_SERIES(p, r)
    return ${P}_fma(r * r, p, r);
}
""",
    "exp": """
/* exp(z): z = n ln 2 + r. */
static $T ${P}_exp($T z)
{
    const $T below = $EXP_HIGH < z ? $EXP_HIGH : z, x = $EXP_LOW > below ? $EXP_LOW : below;
    const $T n = ${P}_round_product(x, $LOG2_E), rest = ${P}_fma(-n, $LN2_HIGH, x);
    return ${P}_scale($ONE + ${P}_expm1_near_zero(${P}_fma(-n, $LN2_LOW, rest)), n);
}
""",
    "expm1": """
/* exp(z) - 1. */
static $T ${P}_expm1($T z)
{
    const $T below = $EXP_HIGH < z ? $EXP_HIGH : z, x = $EXPM1_LOW > below ? $EXPM1_LOW : below;
    const $T n = ${P}_round_product(x, $LOG2_E), rest = ${P}_fma(-n, $LN2_HIGH, x);
    const $T r = ${P}_fma(-n, $LN2_LOW, rest);
    $EXPM1_SERIES(p, r)
    const $T tail = ${P}_fma(r * r, p, ${P}_fma(-n, $LN2_LOW, rest - r));
    const $T a = $ONE - ${P}_power_of_two($SMALL_POWER > -n ? $SMALL_POWER : -n);
    const $T head = a + r, y = head + ((r - (head - a)) + tail);
    return copysign$F((y + y) * ${P}_power_of_two(n - $ONE), z);
}
""",
    "sigmoid": """
/* The logistic function 1 / (1 + exp(-z)): the quotient on a grid, and what it lacks. */
static $T ${P}_sigmoid($T z)
{
    const $T below = $LOGISTIC_HIGH < z ? $LOGISTIC_HIGH : z, x = $LOGISTIC_LOW > below ? $LOGISTIC_LOW : below;
    const $T n = ${P}_round_product(x, $LOG2_E), rest = ${P}_fma(-n, $LN2_HIGH, x);
    const $T q = ${P}_expm1_near_zero(${P}_fma(n, $LN2_LOW, -rest)), w = ${P}_power_of_two(n);
    const $T inverse = $ONE / (($ONE + w) + q), grid = w < $ONE ? w : $ONE;
    const $T s = ${P}_fma(w, inverse, grid) - grid;
    return ${P}_fma(${P}_fma(-s, q, ${P}_fma(-s, w, w) - s), inverse, s);
}
""",
    "tanh": """
/* tanh(z): |z| = n ln(2)/2 + r and the addition theorem; the quotient on a grid, and what it lacks. */
static $T ${P}_tanh($T z)
{
    const $T size = fabs$F(z), x = $TANH_HIGH < size ? $TANH_HIGH : size;
    const $T n = ${P}_round_product(x, $TWO_LOG2_E);
    const $T r = ${P}_fma(-n, $HALF_LN2_LOW, ${P}_fma(-n, $HALF_LN2_HIGH, x)), t = r * r;
    $TANH_SERIES(p, t)
    const $T b = ${P}_fma(r * t, p, r), w = ${P}_power_of_two(-n), d = $ONE + w, c = d - (w + w);
    const $T inverse = $ONE / ${P}_fma(c, b, d);
    const $T s = ${P}_fma(${P}_fma(d, b, c), inverse, $TWO) - $TWO;
    return copysign$F(${P}_fma(${P}_fma(b, ${P}_fma(-s, c, d), ${P}_fma(-s, d, c)), inverse, s), z);
}
""",
    "relu": """
static $T ${P}_relu($T z)
{
    return z < $ZERO ? $ZERO : z;
}
""",
    "leaky_relu": """
static $T ${P}_leaky_relu($T z)
{
    const $T below = $SLOPE * z;
    return z > below ? z : below;
}
""",
    "elu": """
static $T ${P}_elu($T z)
{
    return z > $ZERO ? z : ${P}_expm1(z);
}
""",
    "silu": """
static $T ${P}_silu($T z)
{
    return z * ${P}_sigmoid(z);
}
""",
    "log1p_to_one": """
/* log(1 + e) for e from 0 to 1, that is log(1 + f) + k ln 2. */
static $T ${P}_log1p_to_one($T e)
{
    const int above = e > $SQRT_2_MINUS_1;
    const $T f = above ? ${P}_fma($HALF, e, -$HALF) : e, k = above ? $ONE : $ZERO;
    const $T s = f / ($TWO + f), t = s * s, half_square = ${P}_product($HALF * f, f);
    $LOG_SERIES(p, t)
    const $T low = ${P}_fma(s, ${P}_fma(t, p, half_square), ${P}_fma(k, $LN2_LOW, $ZERO));
    return ${P}_fma(k, $LN2_HIGH, f - (half_square - low));
}
""",
    "softplus": """
/* log(1 + exp(z)). */
static $T ${P}_softplus($T z)
{
    return ($ZERO > z ? $ZERO : z) + ${P}_log1p_to_one(${P}_exp(-fabs$F(z)));
}
""",
    "normal_cdf": """
/* The normal distribution function: a rational function times exp(-t^2 / 2) is the tail. */
static $T ${P}_normal_cdf($T z)
{
    const $T size = fabs$F(z), t = $HIGH < size ? $HIGH : size, square = t * t;
    const $T x = $MINUS_HALF * square, lost = $MINUS_HALF * ${P}_fma(t, t, -square);
    const $T n = ${P}_round_product(x, $LOG2_E), rest = ${P}_fma(-n, $LN2_HIGH, x);
    const $T y = $ONE + ${P}_expm1_near_zero(rest + ${P}_fma(-n, $LN2_LOW, lost));
    $N(numerator, t)
    $L(line, t)
    $R(remainder, t)
    const $T tail = ${P}_scale(y * (numerator / ${P}_fma(numerator, line, remainder)), n);
    return z > $ZERO ? $ONE - tail : tail;
}
""",
    "gelu": """
static $T ${P}_gelu($T z)
{
    return z * ${P}_normal_cdf(z);
}
""",
    "sin": """
/* sin(z) for |z| up to the limit below: z = n pi/2 + r - lost. */
static $T ${P}_sin($T z)
{
    const $T n = ${P}_round_product(z, $TWO_OVER_PI);
    const $T rest = ${P}_fma(-n, $PI_HALF_B, ${P}_fma(-n, $PI_HALF_A, z)), c = ${P}_product(n, $PI_HALF_C);
    const $T r = rest - c, lost = (c - (rest - r)) + ${P}_fma(n, $PI_HALF_D, ${P}_fma(n, $PI_HALF_C, -c));
    const $T t = r * r, half_square = $HALF * t, head = $ONE - half_square;
    const $U quarter = ${P}_bits(n + $ROUNDER);
    $SIN_SERIES(p, t)
    $COS_SERIES(q, t)
    const $T sine = r - ${P}_fma(t * r, p, lost);
    const $T cosine = head + ((($ONE - head) - half_square) + ${P}_fma(t * t, q, r * lost));
    return ${P}_from_bits(${P}_bits((quarter & 1) ? cosine : sine) ^ ((quarter << $TOP_BIT) & $SIGN));
}
""",
    "sine": """
/* Sines; those of the C library where one argument is beyond the limit of the formula. */
static void ${P}_sine(size_t n, $T *a)
{
    size_t j;
    int far = 0;
    for (j = 0; j < n; j++) far |= !(fabs$F(a[j]) <= $SIN_LIMIT);
    for (j = 0; j < n; j++) a[j] = far ? sin$F(a[j]) : ${P}_sin(a[j]);
}
""",
    "exp_of_negative": """
/* exp(x) for x <= 0. */
static $T ${P}_exp_of_negative($T z)
{
    const $T x = z < $EXP_LOW ? $EXP_LOW : z, n = rint$F(x * $LOG2_E);
    const $T r = ${P}_fma(-n, $LN2_LOW, ${P}_fma(-n, $LN2_HIGH, x));
    const $U both = ${P}_bits(n + $TWICE_BIASED_ROUNDER), first = both >> 1, second = both - first;
    const $T power = ${P}_from_bits(first << $FRACTION) * ${P}_from_bits(second << $FRACTION);
    return ($ONE + ${P}_expm1_near_zero(r)) * power;
}
""",
    "softmax_of_pairs": """
/* exp(z - max z) over its sum, in which neighbours are added, then neighbouring sums, and so on. */
static void ${P}_softmax_of_pairs(size_t n, $T *a)
{
    $T sums[$SUMS], largest = a[0];
    size_t i, j, d;
    for (j = 1; j < n; j++) largest = largest < a[j] ? a[j] : largest;
    for (j = 0; j < n; j++) sums[j] = a[j] = ${P}_exp(a[j] - largest);
    for (d = 1; d < n; d *= 2)
        for (i = 0; i + d < n; i += 2 * d) sums[i] += sums[i + d];
    for (j = 0; j < n; j++) a[j] /= sums[0];
}
""",
    "powers_and_sum": """
/* exp(z - max z), and their sum: of each $SUMS-th, then of those sums, halves to halves. */
static $T ${P}_powers_and_sum(size_t n, $T *a)
{
    $T sums[$SUMS] = {$ZERO}, largest = a[0];
    size_t j, d;
    for (j = 1; j < n; j++) largest = largest < a[j] ? a[j] : largest;
    for (j = 0; j < n; j++) sums[j % $SUMS] += a[j] = ${P}_exp_of_negative(a[j] - largest);
    for (d = $SUMS / 2; d > 0; d /= 2)
        for (j = 0; j < d; j++) sums[j] += sums[j + d];
    return sums[0];
}
""",
    "softmax_of_one_vector": """
static void ${P}_softmax_of_one_vector(size_t n, $T *a)
{
    const $T sum = ${P}_powers_and_sum(n, a);
    size_t j;
    for (j = 0; j < n; j++) a[j] /= sum;
}
""",
    "softmax": """
static void ${P}_softmax(size_t n, $T *a)
{
    const $T factor = $ONE / ${P}_powers_and_sum(n, a);
    size_t j;
    for (j = 0; j < n; j++) a[j] *= factor;
}
""",
}
