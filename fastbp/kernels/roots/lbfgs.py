"""L-BFGS on all rows: many iterations in one call, each a direction, a line search and the gradients that it takes.

Steps are tried on a copy of the parameters; the network's own change when one is accepted, and then as a whole.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import leaf, root
from fastbp.kernels.jobs import leader
from fastbp.kernels.jobs.job import Job
from fastbp.kernels.jobs.known_codes import knows
from fastbp.kernels.jobs.regions import help_with
from fastbp.kernels.machine import team
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.finite import is_finite
from fastbp.kernels.machine.pointers import at, from_address, real, shift
from fastbp.kernels.optimizers import line_search
from fastbp.kernels.optimizers.curvature import Pairs, descent, dot, largest, remember
from fastbp.kernels.roots import entry
from fastbp.kernels.roots.entry import job_at, net_at
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars

# addresses beside those of `entry`, whose PARAMS are the copy that steps are tried on; all but ACCEPTED are float64
ACCEPTED = entry.N_ADDRESSES  # the network's parameters
MEMORY = ACCEPTED + 1  # what one iteration leaves to the next, see below
SCRATCH = ACCEPTED + 2  # the direction, a number for each pair, and a line search
RECORD = ACCEPTED + 3  # rows of RECORD_COLUMNS, one for each finished iteration; their number is in_scalars.EPOCHS
N_ADDRESSES = ACCEPTED + 4

# places in `rates`: what stops it
N_ITERATIONS = 0  # of this call
HISTORY = 1  # pairs that are kept
MOST_TRIES = 2  # evaluations of one line search
GTOL = 3
FTOL = 4
MOST_EVALUATIONS = 5

# places in the memory, then follow the gradient, the pairs' rho, s and y
N_PAIRS = 0
NEXT_PAIR = 1
GAMMA = 2
COST = 3
HAS_GRADIENT = 4  # 1 when cost and gradient are those of the parameters
EVALUATIONS = 5  # of the whole fit
GRADIENT = 6

RECORD_COLUMNS = 3  # cost, largest number of the gradient, evaluations

# status, beside that of `tables.scalars`
SMALL_GRADIENT = 16
SMALL_DECREASE = 17
NO_STEP = 18  # the line search has found none, even along the gradient
ENOUGH_EVALUATIONS = 19


class Fit(NamedTuple):
    """Pointers to everything that a fit by L-BFGS has beside the job of its gradients."""

    job: Job
    x: Any  # the accepted parameters; net.params are those that are tried
    memory: Any
    g: Any  # the gradient at x
    pairs: Pairs
    d: Any  # the direction
    alpha: Any
    search: Any
    rules: Any


def memory_length(n_params: int, history: int) -> int:
    """Return how many numbers the memory has."""
    return GRADIENT + n_params + history + 2 * history * n_params


def scratch_length(n_params: int, history: int) -> int:
    """Return how many numbers the scratch has."""
    return n_params + history + line_search.SEARCH_LENGTH


@root
def run(task, slot, addresses, control, like, first_step, rates):
    """Take iterations as the leader (slot 0), or help with their gradients (slot > 0) until the leader is done.

    Arguments as of `fastbp.kernels.roots.entry.run`, but `rates` are the rules above; there is one task.  Overwrites
    scalars, params, accepted parameters, grads, work, costs, memory, scratch, record and control.  Returns FINISHED, or
    UNKNOWN where the tables have a code that the kernels do not know; then nothing was overwritten.
    """
    table, reals, doubles = at(addresses, 0), at(like, 0), at(rates, 0)
    net = net_at(table, reals, doubles, at(control, 0))
    job = job_at(net, table, reals, doubles)
    if slot == entry.LEADER and not knows(net, True, False):
        return in_scalars.UNKNOWN
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    if slot > entry.LEADER:
        help_with(job, slot)
    else:
        x, scratch = from_address(table[ACCEPTED], reals), from_address(table[SCRATCH], doubles)
        fit = fit_of(job, x, from_address(table[MEMORY], doubles), scratch, doubles)
        minimise(fit, from_address(table[RECORD], doubles))
        team.stop(at(control, 0))
    set_float_mode(mode)
    return in_scalars.FINISHED


@leaf
def fit_of(job, x, memory, scratch, rules):
    """Where everything lies in the memory and in the scratch."""
    n, most = job.net.plan[in_plan.N_PARAMS], int(rules[HISTORY])
    alpha = shift(scratch, n)
    pairs = pairs_of(memory, n, most)
    return Fit(job, x, memory, shift(memory, GRADIENT), pairs, scratch, alpha, shift(alpha, most), rules)


@leaf
def pairs_of(memory, n, most):
    """The pairs of steps in the memory of n parameters."""
    rho = shift(memory, GRADIENT + n)
    s = shift(rho, most)
    return Pairs(n, most, shift(memory, N_PAIRS), shift(memory, GAMMA), rho, s, shift(s, most * n))


@leaf
def minimise(fit, record):
    """Iterations until one of the rules says that it is enough; each writes its row of the record."""
    memory, scalars, n_iterations = fit.memory, fit.job.net.scalars, int(fit.rules[N_ITERATIONS])
    scalars[in_scalars.EPOCHS] = 0.0
    if differs(fit.pairs.n, fit.x, fit.job.net.params):  # somebody has changed the parameters since
        memory[HAS_GRADIENT], memory[N_PAIRS] = 0.0, 0.0
    status = in_scalars.FINISHED if memory[HAS_GRADIENT] != 0.0 else begin(fit)
    k = 0
    while status == in_scalars.FINISHED and k < n_iterations:
        n_evaluations, cost = memory[EVALUATIONS], memory[COST]
        status = iteration(fit)
        if status == in_scalars.FINISHED:
            row = shift(record, k * RECORD_COLUMNS)
            row[0], row[1], row[2] = (
                memory[COST],
                largest(fit.pairs.n, fit.g),
                memory[EVALUATIONS] - n_evaluations,
            )
            k += 1
            scalars[in_scalars.EPOCHS] = np.float64(k)
            status = reason_to_stop(fit, cost, row[1])
            if status == in_scalars.FINISHED and k < n_iterations and team.is_asked_to_pause(fit.job.control):
                status = in_scalars.INTERRUPTED
    scalars[in_scalars.STATUS] = np.float64(status)
    put_back(fit)  # so that a change that somebody makes until the next call is noticed


@leaf
def differs(n, x, y):
    """Whether any number of x is another one in y, or NaN."""
    found = 0
    for i in range(n):
        found += 0 if x[i] == y[i] else 1
    return found != 0


@leaf
def put_back(fit):
    """Make the parameters that are tried the accepted ones."""
    params = fit.job.net.params
    for i in range(fit.pairs.n):
        params[i] = fit.x[i]


@leaf
def evaluate(fit):
    """Cost and gradient of the parameters that are tried; the cost, which means nothing if the call is abandoned."""
    fit.memory[EVALUATIONS] += 1.0
    leader.value_and_grad(fit.job)
    return fit.job.net.scalars[in_scalars.COST_SUM]


@leaf
def begin(fit):
    """Cost and gradient where the fit begins; a status."""
    memory, n = fit.memory, fit.pairs.n
    put_back(fit)
    cost = evaluate(fit)
    if team.is_abandoned(fit.job.control):
        memory[EVALUATIONS] -= 1.0
        return in_scalars.INTERRUPTED
    if not is_finite(cost):
        return in_scalars.DIVERGED
    for i in range(n):
        fit.g[i] = np.float64(fit.job.grads[i])
        if not is_finite(fit.g[i]):
            return in_scalars.DIVERGED
    memory[COST], memory[HAS_GRADIENT] = cost, 1.0
    return SMALL_GRADIENT if largest(n, fit.g) <= fit.rules[GTOL] else in_scalars.FINISHED


@leaf
def iteration(fit):
    """One iteration; the parameters, and what is known there, change only if it is finished.  A status."""
    memory, n, params, grads = fit.memory, fit.pairs.n, fit.job.net.params, fit.job.grads
    n_pairs, n_evaluations = memory[N_PAIRS], memory[EVALUATIONS]
    answer = search_along(fit)
    if answer == line_search.FAILED and n_pairs > 0.0 and not team.is_abandoned(fit.job.control):
        memory[N_PAIRS] = 0.0  # what is known of the curvature leads nowhere: down along the gradient
        answer = search_along(fit)
    if team.is_abandoned(fit.job.control):  # the iteration will begin anew
        memory[N_PAIRS], memory[EVALUATIONS] = n_pairs, n_evaluations
        return in_scalars.INTERRUPTED
    if answer == line_search.FAILED:
        return NO_STEP
    remember(fit.pairs, fit.x, params, fit.g, grads)
    memory[COST] = fit.job.net.scalars[in_scalars.COST_SUM]
    for i in range(n):
        fit.g[i] = np.float64(grads[i])
        fit.x[i] = params[i]
    return in_scalars.FINISHED


@leaf
def search_along(fit):
    """Look for a step along the direction of the pairs; ACCEPTED or FAILED."""
    memory, n, d, params = fit.memory, fit.pairs.n, fit.d, fit.job.net.params
    descent(fit.pairs, fit.g, fit.alpha, d)
    slope = dot(n, fit.g, d)
    if not slope < 0.0:
        return line_search.FAILED
    # Without pairs nothing is known of the scale: as in SciPy's L-BFGS-B the first step has length 1.
    t = 1.0 if memory[N_PAIRS] > 0.0 else 1.0 / dot(n, d, d) ** 0.5
    line_search.begin_search(fit.search, t, memory[COST], slope)
    for _ in range(int(fit.rules[MOST_TRIES])):
        t = fit.search[line_search.T]
        for i in range(n):
            params[i] = real(np.float64(fit.x[i]) + t * d[i], params)
        cost = evaluate(fit)
        if team.is_abandoned(fit.job.control):
            return line_search.FAILED
        answer = line_search.judge(fit.search, cost, dot(n, fit.job.grads, d) if is_finite(cost) else 0.0)
        if answer != line_search.GO_ON:
            return answer
    return line_search.FAILED


@leaf
def reason_to_stop(fit, cost_before, largest_slope):
    """Which rule ends the fit after an iteration, or FINISHED if none does."""
    cost = fit.memory[COST]
    if largest_slope <= fit.rules[GTOL]:
        return SMALL_GRADIENT
    if cost_before - cost <= fit.rules[FTOL] * max(abs(cost_before), abs(cost), 1.0):
        return SMALL_DECREASE
    return ENOUGH_EVALUATIONS if fit.memory[EVALUATIONS] >= fit.rules[MOST_EVALUATIONS] else in_scalars.FINISHED
