"""L-BFGS where costs and gradients come from outside: each call takes what was found, and says where to look next.

The same algorithm as `fastbp.kernels.roots.lbfgs`, made of the same leaves, with the same memory.
"""

import numba
import numpy as np

from fastbp.kernels.compiler.jit import leaf, typed_root
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, real, shift
from fastbp.kernels.optimizers import line_search
from fastbp.kernels.optimizers.curvature import descent, dot, remember
from fastbp.kernels.roots.lbfgs import COST, GRADIENT, HAS_GRADIENT, HISTORY, N_PAIRS, pairs_of

# tasks
BEGIN = 0  # take note of cost and gradient where the fit begins
SEARCH = 1  # begin a search along the direction of the pairs
JUDGE = 2  # take note of cost and gradient of the parameters that are tried

# answers beside those of `line_search`
NOT_FINITE = 3
WRONG_LENGTH = 4


def _types(real):
    """Types of the arguments for parameters of a dtype."""
    vector, doubles = numba.types.Array(real, 1, "C"), numba.types.Array(numba.types.float64, 1, "C")
    return numba.types.int64, doubles, doubles, doubles, numba.types.float64, vector, vector, vector


@typed_root(_types)
def run(task, memory, scratch, rules, cost, x, tried, grads):
    """Do a task; GO_ON where `tried` are the parameters to look at next, ACCEPTED where x are those that were tried.

    `grads` are the derivatives of `cost` at `tried`, which BEGIN has equal to x.  Memory and scratch are as long as
    `fastbp.kernels.roots.lbfgs` says.  Overwrites memory, scratch, tried, and x when a step is accepted.
    """
    n, most = x.size, int(rules[HISTORY])
    if tried.size != n or grads.size != n:
        return WRONG_LENGTH
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    known, d, p, p_new, g_new = at(memory, 0), at(scratch, 0), at(x, 0), at(tried, 0), at(grads, 0)
    if task == BEGIN:
        answer = _begin(n, known, cost, g_new)
    elif task == SEARCH:
        answer = _begin_search(n, most, known, d, p, p_new)
    else:
        answer = _judge(n, most, known, d, cost, p, p_new, g_new)
    set_float_mode(mode)
    return answer


@leaf
def _begin(n, memory, cost, g_new):
    """Take note of cost and gradient; NOT_FINITE where they are not."""
    g = shift(memory, GRADIENT)
    for i in range(n):
        g[i] = np.float64(g_new[i])
        if not is_finite(g[i]):
            return NOT_FINITE
    if not is_finite(cost):
        return NOT_FINITE
    memory[COST], memory[HAS_GRADIENT] = cost, 1.0
    return line_search.ACCEPTED


@leaf
def _begin_search(n, most, memory, d, x, x_new):
    """Direction and first step of a search, as in `fastbp.kernels.roots.lbfgs.search_along`."""
    g, alpha = shift(memory, GRADIENT), shift(d, n)
    descent(pairs_of(memory, n, most), g, alpha, d)
    slope = dot(n, g, d)
    if not slope < 0.0:
        return line_search.FAILED
    t = 1.0 if memory[N_PAIRS] > 0.0 else 1.0 / dot(n, d, d) ** 0.5
    search = shift(alpha, most)
    line_search.begin_search(search, t, memory[COST], slope)
    _try(n, t, d, x, x_new)
    return line_search.GO_ON


@leaf
def _judge(n, most, memory, d, cost, x, x_new, g_new):
    """Accept the step with all that is known there, or go on with another."""
    search, g = shift(d, n + most), shift(memory, GRADIENT)
    answer = line_search.judge(search, cost, dot(n, g_new, d) if is_finite(cost) else 0.0)
    if answer == line_search.GO_ON:
        _try(n, search[line_search.T], d, x, x_new)
    elif answer == line_search.ACCEPTED:
        remember(pairs_of(memory, n, most), x, x_new, g, g_new)
        memory[COST] = cost
        for i in range(n):
            g[i] = np.float64(g_new[i])
            x[i] = x_new[i]
    return answer


@leaf
def _try(n, t, d, x, x_new):
    """x_new = x + t d."""
    for i in range(n):
        x_new[i] = real(np.float64(x[i]) + t * d[i], x_new)
