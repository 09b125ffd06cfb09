"""The line search of More and Thuente: a step t along a direction by which the cost falls enough, and its slope.

Phi(t) is the cost and Phi'(t) its slope along the direction.  An accepted step has
``Phi(t) <= Phi(0) + DECREASE t Phi'(0)`` and ``abs(Phi'(t)) <= -CURVATURE Phi'(0)``, or stands where rounding leaves no
room for a better one.  All of it is float64.

J. J. More and D. J. Thuente, "Line search algorithms with guaranteed sufficient decrease", ACM Transactions on
Mathematical Software 20 (1994), sections 2 to 4; the constants are those of SciPy's L-BFGS-B, so that the steps are.
"""

import math

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.finite import is_finite

DECREASE = 1e-3
CURVATURE = 0.9
NARROW = 0.1  # an interval of this width, relative to its upper end, has nothing better to offer
LONGEST = 1e10
LEAST_GROWTH = 1.1  # of a step beyond the last one, in units of their distance, while there is no interval
MOST_GROWTH = 4.0
SHRINKS = 0.66  # an interval that two steps did not shrink to this share of its width is halved
TOWARDS_BEST = 0.25  # where the cost is not finite

# places in the vector of a search
T = 0  # the step to try
START_F = 1  # Phi(0), Phi'(0)
START_D = 2
BEST_T = 3  # the best step so far: t, Phi, Phi'
BEST_F = 4
BEST_D = 5
OTHER_T = 6  # the other end of the interval
OTHER_F = 7
OTHER_D = 8
HAS_INTERVAL = 9  # 1 when a minimum lies between the two
IS_LOW = 10  # 1 from when Phi was low enough with a slope of 0 or above: then Phi itself is searched
WIDTH = 11  # of the interval now, and one step before
OLD_WIDTH = 12
LOW = 13  # between these the next step lies
HIGH = 14
LIMIT = 15  # no step is longer
SEARCH_LENGTH = 16

# answers
GO_ON = 0
ACCEPTED = 1
FAILED = 2


@leaf
def begin_search(search, t, f, d):
    """Begin with step t where the cost is f and its slope d < 0; overwrites search."""
    for i in range(SEARCH_LENGTH):
        search[i] = 0.0
    search[T] = t
    search[START_F] = search[BEST_F] = search[OTHER_F] = f
    search[START_D] = search[BEST_D] = search[OTHER_D] = d
    search[WIDTH], search[OLD_WIDTH] = LONGEST, 2.0 * LONGEST
    search[HIGH], search[LIMIT] = t + MOST_GROWTH * t, LONGEST


@leaf
def judge(search, f, d):
    """Take note of cost and slope at the step T; accept it, give up, or go on with another one in its place."""
    t = search[T]
    if not (is_finite(f) and is_finite(d)):
        search[LIMIT] = 0.5 * (search[BEST_T] + t)
        search[T] = search[BEST_T] + TOWARDS_BEST * (t - search[BEST_T])
        return GO_ON
    slope = DECREASE * search[START_D]
    is_low = f <= search[START_F] + t * slope
    if is_low and d >= 0.0:
        search[IS_LOW] = 1.0
    if is_low and abs(d) <= -CURVATURE * search[START_D]:
        return ACCEPTED
    if _is_last(search, t) or (t == search[LIMIT] and is_low and d <= slope):
        return ACCEPTED if f <= search[START_F] else FAILED
    if search[IS_LOW] == 0.0 and f <= search[BEST_F] and not is_low:
        _narrow(search, f, d, slope)
    else:
        _narrow(search, f, d, 0.0)
    _choose(search, t)
    return GO_ON


@leaf
def _is_last(search, t):
    """Whether the interval leaves no room for another step."""
    return search[HAS_INTERVAL] != 0.0 and (
        t <= search[LOW] or t >= search[HIGH] or search[HIGH] - search[LOW] <= NARROW * search[HIGH]
    )


@leaf
def _narrow(search, f, d, slope):
    """The next step T, and the ends of the interval, for Phi(t) - slope t."""
    t, x, y = search[T], search[BEST_T], search[OTHER_T]
    f_t, d_t = f - t * slope, d - slope
    f_x, d_x = search[BEST_F] - x * slope, search[BEST_D] - slope
    f_y, d_y = search[OTHER_F] - y * slope, search[OTHER_D] - slope
    turns = d_t * d_x < 0.0
    if f_t > f_x:
        search[T] = _after_rise(x, f_x, d_x, t, f_t, d_t)
    elif turns:
        search[T] = _after_turn(x, f_x, d_x, t, f_t, d_t)
    elif abs(d_t) < abs(d_x):
        search[T] = _after_flattening(search, x, f_x, d_x, t, f_t, d_t)
    elif search[HAS_INTERVAL] != 0.0:
        search[T] = _minimum_of_cubic(y, f_y, d_y, t, f_t, d_t)
    else:
        search[T] = search[HIGH] if t > x else search[LOW]
    if f_t > f_x or turns:
        search[HAS_INTERVAL] = 1.0
    if f_t > f_x:
        search[OTHER_T], search[OTHER_F], search[OTHER_D] = t, f, d
        return
    if turns:
        search[OTHER_T], search[OTHER_F], search[OTHER_D] = x, search[BEST_F], search[BEST_D]
    search[BEST_T], search[BEST_F], search[BEST_D] = t, f, d


@leaf
def _choose(search, t):
    """Where the step after the next may lie, and the next one moved to where it must."""
    if search[HAS_INTERVAL] != 0.0:
        width = abs(search[OTHER_T] - search[BEST_T])
        if width >= SHRINKS * search[OLD_WIDTH]:
            search[T] = search[BEST_T] + 0.5 * (search[OTHER_T] - search[BEST_T])
        search[OLD_WIDTH], search[WIDTH] = search[WIDTH], width
        search[LOW] = min(search[BEST_T], search[OTHER_T])
        search[HIGH] = max(search[BEST_T], search[OTHER_T])
    else:
        search[LOW] = search[T] + LEAST_GROWTH * (search[T] - search[BEST_T])
        search[HIGH] = search[T] + MOST_GROWTH * (search[T] - search[BEST_T])
    search[T] = max(0.0, min(search[T], search[LIMIT]))
    if _is_last(search, search[T]):
        search[T] = search[BEST_T]


# --- the next step, from value and slope at x, the best one, and at t (section 4 of the paper) ------------------------


@leaf
def _half_discriminant(theta, d_x, d_t):
    """sqrt(theta^2 - d_x d_t), 0 where there is none, without overflow."""
    scale = max(abs(theta), abs(d_x), abs(d_t))
    if scale == 0.0:
        return 0.0
    return scale * math.sqrt(max(0.0, (theta / scale) * (theta / scale) - (d_x / scale) * (d_t / scale)))


@leaf
def _theta(x, f_x, d_x, t, f_t, d_t):
    """Of the cubic through values and slopes at x and t."""
    return 3.0 * (f_x - f_t) / (t - x) + d_x + d_t


@leaf
def _after_rise(x, f_x, d_x, t, f_t, d_t):
    """Phi has risen, so that a minimum lies between: that of the cubic, or half-way to that of the parabola."""
    theta = _theta(x, f_x, d_x, t, f_t, d_t)
    gamma = _half_discriminant(theta, d_x, d_t)
    gamma = -gamma if t < x else gamma
    cubic = x + ((gamma - d_x) + theta) / (((gamma - d_x) + gamma) + d_t) * (t - x)
    parabola = x + 0.5 * d_x / ((f_x - f_t) / (t - x) + d_x) * (t - x)
    return cubic if abs(cubic - x) < abs(parabola - x) else cubic + 0.5 * (parabola - cubic)


@leaf
def _minimum_of_cubic(x, f_x, d_x, t, f_t, d_t):
    """The minimum of the cubic, counted from t."""
    theta = _theta(x, f_x, d_x, t, f_t, d_t)
    gamma = _half_discriminant(theta, d_x, d_t)
    gamma = -gamma if t > x else gamma
    return t + ((gamma - d_t) + theta) / (((gamma - d_t) + gamma) + d_x) * (x - t)


@leaf
def _after_turn(x, f_x, d_x, t, f_t, d_t):
    """The slope has another sign: the minimum of the cubic or that of the two slopes, whichever is farther from t."""
    cubic = _minimum_of_cubic(x, f_x, d_x, t, f_t, d_t)
    secant = t + d_t / (d_t - d_x) * (x - t)
    return cubic if abs(cubic - t) > abs(secant - t) else secant


@leaf
def _after_flattening(search, x, f_x, d_x, t, f_t, d_t):
    """The slope has become smaller: the cubic's minimum beyond t if it has one, else as far as is allowed; or secant.

    Without an interval the farther one, within bounds; with one the nearer, and not too near to its other end.
    """
    theta = _theta(x, f_x, d_x, t, f_t, d_t)
    gamma = _half_discriminant(theta, d_x, d_t)
    gamma = -gamma if t > x else gamma
    share = ((gamma - d_t) + theta) / ((gamma + (d_x - d_t)) + gamma)
    cubic = t + share * (x - t)
    if not (share < 0.0 and gamma != 0.0):
        cubic = search[HIGH] if t > x else search[LOW]
    secant = t + d_t / (d_t - d_x) * (x - t)
    is_nearer = abs(cubic - t) < abs(secant - t)
    if search[HAS_INTERVAL] == 0.0:
        return max(search[LOW], min(search[HIGH], secant if is_nearer else cubic))
    found = cubic if is_nearer else secant
    edge = t + SHRINKS * (search[OTHER_T] - t)
    return min(edge, found) if t > x else max(edge, found)
