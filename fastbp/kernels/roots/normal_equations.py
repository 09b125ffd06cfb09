"""Levenberg-Marquardt: J^T J and the gradient of a quadratic cost, and the loop over steps that are tried.

With F = scale sum_x w_x |e_x|^2 / 2 + sum_i ridge_i p_i^2 / 2 over all samples, of which the cost that is reported is a
multiple, a step s from the parameters p solves

    (scale J^T J + diag(ridge) + mu) s = -dF/dp

and is taken if F falls; else mu grows and another is tried.  Trials are made on a copy of the parameters.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.normal_equations import NormalJob, assemble, help_with, squares_of_trial
from fastbp.kernels.machine import team
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, float32_from_address, from_address, real, shift
from fastbp.kernels.matrix.cholesky import factorize, solve_factored
from fastbp.kernels.roots import entry
from fastbp.kernels.roots.entry import net_at
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# tasks
EQUATIONS = 0  # J^T J, the gradient and the sum of squares
ITERATE = 1  # up to N_WANTED iterations
SQUARES = 2  # the sum of squares, of the parameters that are tried

# addresses behind those of all roots; float64 unless it is said
ROOMS = entry.N_ADDRESSES  # int64, of `fastbp.kernels.layers.side_by_side`
PAIRS = ROOMS + 1  # int64, of `fastbp.kernels.layers.normal_equations`
SIZES = ROOMS + 2  # int64, of `fastbp.kernels.jobs.normal_equations`
LOW = ROOMS + 3  # each thread's low copies and products, float32 or the network's dtype
SUMS = ROOMS + 4  # each piece's sums of products, likewise
GRADIENTS = ROOMS + 5  # of each piece, (n_pieces, n_params)
HESSIAN = ROOMS + 6  # J^T J: the lower triangle, (n_params, n_params)
FACTOR = ROOMS + 7
VECTORS = ROOMS + 8  # (3, n_params), below
SETTINGS = ROOMS + 9  # below
RECORDS = ROOMS + 10  # (N_WANTED, 4): the cost after each iteration, mu, the gradient's norm, and tries
TRIAL = ROOMS + 11  # parameters that are tried, the network's dtype
N_ADDRESSES = ROOMS + 12

# vectors
_SLOPE = 0  # dF/dp
_STEP = 1
RIDGE = 2

# places in SETTINGS
N_WANTED = 0
RULE = 1  # GAIN_RATIO or FIXED_FACTORS
MU_DECREASE = 2
MU_INCREASE = 3
MU_MAX = 4
MIN_GRADIENT = 5
GOAL = 6
SCALE = 7
TOTAL_WEIGHT = 8  # by which sums are divided to be reported
REPORTS_PENALTY = 9  # whether the cost that is reported includes the ridge's
MU = 10  # from here on the state
NU = 11  # by which mu grows next
UNIT = 12  # what MU_MAX is a multiple of; 0 where MU still is as well, and the unit not known
HALF_SQUARES = 13  # sum_x w_x |e_x|^2 / 2 of the parameters, if the next is 1
IS_ASSEMBLED = 14
N_DONE = 15  # results
STOPPED = 16
GRADIENT_NORM = 17
SETTINGS_LENGTH = 18

# rules
GAIN_RATIO = 0
FIXED_FACTORS = 1

# why there are no more iterations
GOES_ON = 0
GOAL_REACHED = 1
SMALL_GRADIENT = 2
LARGE_MU = 3
NOT_FINITE = 4

LEAST_MU = 1e-20  # MATLAB's; a smaller one vanishes beside every number that is not 0


class _Steps(NamedTuple):
    """The parameters, and what their steps are made from."""

    job: NormalJob
    params: Any
    n: Any  # parameters
    slope: Any
    step: Any
    ridge: Any
    factor: Any
    records: Any
    settings: Any


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Do a task as the leader (slot 0), or help with it (slot > 0) until the leader says that it is over.

    Arguments as of `fastbp.kernels.roots.entry.run`.  EQUATIONS and SQUARES overwrite what their results are, and the
    work; ITERATE all that is not a table, and params.  Returns FINISHED, or UNKNOWN where the tables have a code that
    the kernels do not know; then nothing was overwritten.
    """
    table, reals, doubles = at(addresses, 0), at(like, 0), at(rates, 0)
    net = net_at(table, reals, doubles, at(control, 0))
    job = NormalJob(
        net,
        from_address(table[TRIAL], reals),
        from_address(table[entry.WORK], reals),
        from_address(table[entry.COSTS], doubles),
        from_address(table[ROOMS], table),
        from_address(table[PAIRS], table),
        from_address(table[SIZES], table),
        from_address(table[LOW], reals),
        float32_from_address(table[LOW]),
        from_address(table[SUMS], reals),
        float32_from_address(table[SUMS]),
        from_address(table[GRADIENTS], doubles),
        from_address(table[HESSIAN], doubles),
        at(control, 0),
    )
    if slot > entry.LEADER:
        help_with(job, slot)
        return in_scalars.FINISHED
    if not knows(net, True, False):
        return in_scalars.UNKNOWN
    settings = from_address(table[SETTINGS], doubles)
    if task == ITERATE:
        n, vectors = net.plan[in_plan.N_PARAMS], from_address(table[VECTORS], doubles)
        factor, records = from_address(table[FACTOR], doubles), from_address(table[RECORDS], doubles)
        slope, step, ridge = shift(vectors, _SLOPE * n), shift(vectors, _STEP * n), shift(vectors, RIDGE * n)
        _iterate(_Steps(job, net.params, n, slope, step, ridge, factor, records, settings))
    elif task == SQUARES:
        settings[HALF_SQUARES] = squares_of_trial(job)
    else:
        settings[HALF_SQUARES] = assemble(job, 0)
    team.stop(job.control)
    return in_scalars.FINISHED


@leaf
def _iterate(steps):
    """Up to N_WANTED iterations; whenever it returns, params and state are those after the last whole one."""
    settings = steps.settings
    settings[N_DONE], settings[STOPPED] = 0.0, GOES_ON
    if settings[IS_ASSEMBLED] == 0.0:
        half_squares = assemble(steps.job, 0)
        if team.is_abandoned(steps.job.control):
            return
        settings[HALF_SQUARES], settings[IS_ASSEMBLED] = half_squares, 1.0
    _note_gradient(steps)
    _look(steps)
    if settings[UNIT] == 0.0 and settings[STOPPED] == GOES_ON:
        _scale_mu(steps)
    while settings[STOPPED] == GOES_ON and settings[N_DONE] < settings[N_WANTED]:
        if not _take_step(steps):
            return
        _look(steps)
        if team.is_asked_to_pause(steps.job.control):
            return


@leaf
def _scale_mu(steps):
    """Make MU a number to add, from a fraction of the largest element of the diagonal."""
    settings, largest = steps.settings, _largest_diagonal(steps)
    if not is_finite(largest):
        settings[STOPPED] = NOT_FINITE
        return
    settings[UNIT] = largest if largest > 0.0 else 1.0
    settings[MU] = max(settings[MU] * settings[UNIT], LEAST_MU)


@leaf
def _look(steps):
    """Whether the goal is reached, or the gradient small enough; STOPPED."""
    settings, cost = steps.settings, _reported_cost(steps)
    if not is_finite(cost) or not is_finite(settings[GRADIENT_NORM]):
        settings[STOPPED] = NOT_FINITE
    elif cost <= settings[GOAL]:
        settings[STOPPED] = GOAL_REACHED
    elif settings[GRADIENT_NORM] <= settings[MIN_GRADIENT]:
        settings[STOPPED] = SMALL_GRADIENT


@leaf
def _take_step(steps):
    """Try steps until one is taken and J^T J known there; False if there is none, or the call was abandoned."""
    settings, job = steps.settings, steps.job
    before = settings[SCALE] * settings[HALF_SQUARES] + _penalty(steps, steps.params)
    mu, nu, tries = settings[MU], settings[NU], 0
    while True:
        if mu > settings[MU_MAX] * settings[UNIT] or not is_finite(mu):
            settings[STOPPED], settings[MU], settings[NU] = LARGE_MU, mu, nu
            return False
        ratio = _try_step(steps, mu, before)
        if team.is_abandoned(job.control):
            return False
        tries += 1
        if ratio > 0.0:
            settings[IS_ASSEMBLED] = 0.0
            half_squares = assemble(job, 1)
            is_step = _has_gradient(steps)
            if not is_step and not team.is_abandoned(job.control):
                assemble(job, 0)  # back from where the cost is lower and its gradient overflows
            if team.is_abandoned(job.control):
                return False
            settings[IS_ASSEMBLED] = 1.0
            if is_step:
                break
        mu *= settings[MU_INCREASE] if settings[RULE] == FIXED_FACTORS else nu
        nu *= 2.0
    for i in range(steps.n):
        steps.params[i] = job.trial[i]
    mu *= settings[MU_DECREASE] if settings[RULE] == FIXED_FACTORS else max(1.0 / 3.0, 1.0 - (2.0 * ratio - 1.0) ** 3)
    settings[MU], settings[NU], settings[HALF_SQUARES] = max(mu, LEAST_MU), 2.0, half_squares
    _note_gradient(steps)
    record = shift(steps.records, 4 * int(settings[N_DONE]))
    record[0], record[1] = _reported_cost(steps), settings[MU]
    record[2], record[3] = settings[GRADIENT_NORM], float(tries)
    settings[N_DONE] += 1.0
    return True


@leaf
def _has_gradient(steps):
    """Whether the gradient that was computed last is finite."""
    total = 0.0
    for i in range(steps.n):
        total += (steps.settings[SCALE] * steps.job.gradients[i]) ** 2
    return is_finite(total)


@leaf
def _try_step(steps, mu, before):
    """How much F fell by a step, over how much it was to fall; nothing above 0 if it did not, or there is no step."""
    job, settings, step = steps.job, steps.settings, steps.step
    if not factorize(steps.n, job.hessian, settings[SCALE], steps.ridge, mu, steps.factor):
        return -1.0
    for i in range(steps.n):
        step[i] = -steps.slope[i]
    solve_factored(steps.n, steps.factor, step)
    # A loop of its own for each sum: where a loop stores as well, the compiler adds up in one order or another,
    # depending on where the arrays happen to lie.
    expected = 0.0
    for i in range(steps.n):
        expected += step[i] * (mu * step[i] - steps.slope[i])
    for i in range(steps.n):
        job.trial[i] = real(np.float64(steps.params[i]) + step[i], job.trial)
    fall = before - (settings[SCALE] * squares_of_trial(job) + _penalty(steps, job.trial))
    if not is_finite(fall) or not fall > 0.0:
        return -1.0
    ratio = 2.0 * fall / expected
    return ratio if is_finite(ratio) and ratio > 0.0 else 1.0


# --- sums over the parameters -----------------------------------------------------------------------------------------


@leaf
def _penalty(steps, params):
    """sum_i ridge_i p_i^2 / 2."""
    total = 0.0
    for i in range(steps.n):
        total += steps.ridge[i] * np.float64(params[i]) * np.float64(params[i])
    return 0.5 * total


@leaf
def _reported_cost(steps):
    settings = steps.settings
    penalty = _penalty(steps, steps.params) if settings[REPORTS_PENALTY] != 0.0 else 0.0
    return (settings[HALF_SQUARES] + penalty) / settings[TOTAL_WEIGHT]


@leaf
def _note_gradient(steps):
    """dF/dp and its norm, as that of the reported cost."""
    total, settings, slope = 0.0, steps.settings, steps.slope
    for i in range(steps.n):
        slope[i] = settings[SCALE] * steps.job.gradients[i] + steps.ridge[i] * np.float64(steps.params[i])
    for i in range(steps.n):
        total += slope[i] * slope[i]
    settings[GRADIENT_NORM] = np.sqrt(total) / settings[TOTAL_WEIGHT]


@leaf
def _largest_diagonal(steps):
    """The largest element of the diagonal of what mu is added to."""
    largest = 0.0
    for i in range(steps.n):
        largest = max(largest, steps.settings[SCALE] * steps.job.hessian[i * steps.n + i] + steps.ridge[i])
    return largest
