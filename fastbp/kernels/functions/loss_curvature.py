"""Second derivatives of losses: what a tangent of the outputs' z is multiplied by, on its way back.

Each output with an activation of its own has one number D, and the tangent of its delta is ``D Rz``.  A softmax has one
for each output as well, and the tangent of its delta is ``(I - p 1^T) diag(D) (I - 1 p^T) Rz`` (see `apply_curvature`).
So any loss after a softmax, elementwise or not, is exact with as many numbers as there are outputs.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf, part
from fastbp.kernels.functions.losses import LOG_IS_Z
from fastbp.kernels.machine.calls import call_loss_derivative
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import segment as in_segment
from fastbp.kernels.vectors import elementary as vm

# Which curvature of a loss.
EXACT = 0  # d2C/dz2
GAUSS_NEWTON = 1  # f' d2C/da2 f', but d2C/dz2 where the activation matches the loss
FISHER = 2  # f' times Fisher's information of the distribution of y with mean a, times f'

_SMALL = 0.02  # below it the series of `_bend_of_softplus` has more digits than the difference


@part
def loss_curvature(kind, loss, second, m, n, z, a, y, scale, d1, d2, delta, D):
    """D[i, j], scaled as the cost is, for m rows of n outputs; overwrites D.

    `second` is the address of d2C/da2 of a user's loss; d1 and d2 are f' and f'', which softmax has not.  `delta` holds
    the scaled dC/da, or dC/dz where the loss starts from logits or the outputs are a softmax; for EXACT only.
    """
    code, parameter, runs, n_runs = loss.code, loss.parameter, loss.runs, loss.n_runs
    is_softmax = runs[in_segment.CODE] == codes.SOFTMAX
    for i in range(m):
        row = i * n
        a_i, y_i, D_i = shift(a, row), shift(y, row), shift(D, row)
        if code in codes.SOFTMAX_LOSSES:
            for j in range(n):
                D_i[j] = scale[i] * a_i[j]
        elif code == codes.POISSON_OF_LOGITS and is_softmax:
            _poisson_after_softmax(kind, n, a_i, y_i, scale[i], D_i)
        elif code in codes.SIGMOID_LOSSES:
            d1_i = shift(d1, row)
            for j in range(n):
                D_i[j] = scale[i] * d1_i[j]
        elif code == codes.POISSON_OF_LOGITS or code == codes.POISSON_DEVIANCE:
            _poisson(kind, runs, n_runs, shift(z, row), a_i, y_i, scale[i], shift(d1, row), D_i)
        else:
            _second_derivative(kind, code, parameter, second, n, a_i, y_i, D_i)
            slopes = a_i if is_softmax else shift(d1, row)
            for j in range(n):
                D_i[j] *= scale[i] * (slopes[j] * slopes[j])
    if kind == EXACT and not _starts_from_logits(code):
        if is_softmax:
            for i in range(m * n):
                D[i] += delta[i]
        else:
            for i in range(m * n):
                D[i] += delta[i] * d2[i]


@leaf
def _starts_from_logits(code):
    return code in codes.LOSSES_FROM_LOGITS


@leaf
def _second_derivative(kind, code, parameter, second, n, a, y, D):
    """D = d2C/da2 of the losses that look at one output at a time, or Fisher's information of those that have one."""
    zero, one = real(0.0, a), real(1.0, a)
    if code == codes.QUADRATIC:
        for j in range(n):
            D[j] = one
    elif code == codes.POISSON:
        for j in range(n):
            D[j] = one / a[j] if kind == FISHER else (y[j] / (a[j] * a[j]) if y[j] != zero else zero)
    elif code == codes.HUBER:
        for j in range(n):
            D[j] = one if abs(a[j] - y[j]) <= parameter else zero
    elif code == codes.LOG_COSH:
        four, two = real(4.0, a), real(2.0, a)
        for j in range(n):  # 1 - tanh(d)^2, which would cancel
            d = two * (a[j] - y[j])
            D[j] = four * vm.logistic(d) * vm.logistic(-d)
    elif code == codes.CUSTOM_LOSS:
        call_loss_derivative(second, n, a, y, D)
    elif code == codes.ABSOLUTE or code == codes.QUANTILE:
        for j in range(n):
            D[j] = zero
    else:
        for j in range(n):
            D[j] = real(np.nan, a)  # not reached, see `fastbp.kernels.jobs.known_codes`


@leaf
def _poisson_after_softmax(kind, n, a, y, scale, D):
    """The sum of all a is 1, so that dC/dz is a sum_k y_k - y."""
    factor = real(0.0, a)
    for j in range(n):
        factor += y[j]
    if kind == FISHER:
        factor = real(1.0, a)
    for j in range(n):
        D[j] = scale * (y[j] if kind == GAUSS_NEWTON else factor * a[j])


@leaf
def _poisson(kind, runs, n_runs, z, a, y, scale, d1, D):
    """The derivative of dC/dz by z after exp, softplus and sigmoid, none of which loses digits where a underflows."""
    one, low = real(1.0, a), real(LOG_IS_Z, a)
    for run in range(n_runs):
        entry = shift(runs, run * in_segment.SEGMENT_COLUMNS)
        code, begin, end = entry[in_segment.CODE], entry[in_segment.BEGIN], entry[in_segment.END]
        if code == codes.EXP:  # a - y
            for j in range(begin, end):
                D[j] = scale * a[j]
        elif code == codes.SOFTPLUS:  # s - y s / a
            for j in range(begin, end):
                s, ratio = d1[j], one if z[j] < low else d1[j] / a[j]
                if kind == FISHER:
                    D[j] = scale * (s * ratio)
                elif kind == GAUSS_NEWTON:
                    D[j] = scale * (y[j] * ratio * ratio)
                else:
                    D[j] = scale * (s * vm.exp(-a[j]) + y[j] * ratio * _bend_of_softplus(a[j], ratio, a))
        else:  # (a - y) (1 - a)
            for j in range(begin, end):
                rest = vm.logistic(-z[j])
                if kind == FISHER:
                    D[j] = scale * (d1[j] * rest)
                elif kind == GAUSS_NEWTON:
                    D[j] = scale * (y[j] * rest * rest)
                else:
                    D[j] = scale * (d1[j] * _slope_of_sigmoid(rest, y[j], one))


@formula
def _slope_of_sigmoid(rest, y, one):
    """1 - 2 a + y with a = 1 - rest, in this order, which fast-math flags would change: y = 1 leaves 2 rest."""
    return (rest + rest) + (y - one)


@leaf
def _bend_of_softplus(x, ratio, p):
    """(1 - exp(-x)) / x - exp(-x), where `ratio` is its first term; by its series -sum_k (-x)^k k / (k + 1)! near 0."""
    if x > real(_SMALL, p):
        return ratio - vm.exp(-x)
    rest = real(1 / 30, p) - x * (real(1 / 144, p) - x * real(1 / 840, p))
    return x * (real(1 / 2, p) - x * (real(1 / 3, p) - x * (real(1 / 8, p) - x * rest)))


@leaf
def apply_curvature(m, n, p, D, Rz, Rdelta):
    """Rdelta = D r - p sum_k D_k r_k with r = Rz - sum_k p_k Rz_k for m rows of a softmax; overwrites Rdelta.

    As in `softmax_backward`, the Rz of the most probable class is subtracted first: its r would have no digits left.
    """
    for i in range(m):
        row = i * n
        p_i, D_i, Rz_i, out = shift(p, row), shift(D, row), shift(Rz, row), shift(Rdelta, row)
        top = 0
        for j in range(n):
            top = j if p_i[j] > p_i[top] else top
        Rz_top, mean, total = Rz_i[top], real(0.0, p), real(0.0, p)
        for j in range(n):
            out[j] = Rz_i[j] - Rz_top
            mean += p_i[j] * out[j]
        for j in range(n):
            out[j] = D_i[j] * (out[j] - mean)
            total += out[j]
        for j in range(n):
            out[j] -= p_i[j] * total
