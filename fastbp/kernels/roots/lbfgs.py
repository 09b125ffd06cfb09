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


class Search(NamedTuple):
    """Pointers to what an iteration knows and changes; cost and gradient of what it tries come from elsewhere."""

    pairs: Pairs
    x: Any  # the accepted parameters
    tried: Any
    memory: Any
    g: Any  # the gradient at x
    d: Any  # the direction
    alpha: Any
    line: Any  # of `line_search`
    rules: Any


class Fit(NamedTuple):
    """A search beside the job of its gradients, whose parameters are those that are tried."""

    job: Job
    at: Search


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
        n, memory = net.plan[in_plan.N_PARAMS], from_address(table[MEMORY], doubles)
        search = search_of(n, x, net.params, memory, scratch, doubles)
        minimise(Fit(job, search), from_address(table[RECORD], doubles))
        team.stop(at(control, 0))
    set_float_mode(mode)
    return in_scalars.FINISHED


@leaf
def search_of(n, x, tried, memory, scratch, rules):
    """Where everything lies in the memory and in the scratch."""
    most = int(rules[HISTORY])
    rho = shift(memory, GRADIENT + n)
    s = shift(rho, most)
    pairs = Pairs(n, most, shift(memory, N_PAIRS), shift(memory, GAMMA), rho, s, shift(s, most * n))
    alpha = shift(scratch, n)
    return Search(pairs, x, tried, memory, shift(memory, GRADIENT), scratch, alpha, shift(alpha, most), rules)


@leaf
def minimise(fit, record):
    """Iterations until one of the rules says that it is enough; each writes its row of the record."""
    search, scalars = fit.at, fit.job.net.scalars
    memory, n_iterations = search.memory, int(search.rules[N_ITERATIONS])
    scalars[in_scalars.EPOCHS] = 0.0
    if differs(search.pairs.n, search.x, search.tried):  # somebody has changed the parameters since
        memory[HAS_GRADIENT], memory[N_PAIRS] = 0.0, 0.0
    status = in_scalars.FINISHED if memory[HAS_GRADIENT] != 0.0 else begin(fit)
    k = 0
    while status == in_scalars.FINISHED and k < n_iterations:
        n_evaluations, cost = memory[EVALUATIONS], memory[COST]
        status = iteration(fit)
        if status == in_scalars.FINISHED:
            status = note(search, cost, n_evaluations, shift(record, k * RECORD_COLUMNS))
            k += 1
            scalars[in_scalars.EPOCHS] = np.float64(k)
            if status == in_scalars.FINISHED and k < n_iterations and team.is_asked_to_pause(fit.job.control):
                status = in_scalars.INTERRUPTED
    scalars[in_scalars.STATUS] = np.float64(status)
    put_back(search)  # so that a change that somebody makes until the next call is noticed


@leaf
def evaluate(fit):
    """Cost and gradient of the parameters that are tried; the cost, which means nothing if the call is abandoned."""
    fit.at.memory[EVALUATIONS] += 1.0
    leader.value_and_grad(fit.job)
    return fit.job.net.scalars[in_scalars.COST_SUM]


@leaf
def begin(fit):
    """Cost and gradient where the fit begins; a status."""
    put_back(fit.at)
    cost = evaluate(fit)
    if team.is_abandoned(fit.job.control):
        fit.at.memory[EVALUATIONS] -= 1.0
        return in_scalars.INTERRUPTED
    return begin_with(fit.at, cost, fit.job.grads)


@leaf
def iteration(fit):
    """One iteration; the parameters, and what is known there, change only if it is finished.  A status."""
    memory = fit.at.memory
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
    accept(fit.at, fit.job.net.scalars[in_scalars.COST_SUM], fit.job.grads)
    return in_scalars.FINISHED


@leaf
def search_along(fit):
    """Look for a step along the direction of the pairs; ACCEPTED or FAILED."""
    if not begin_line(fit.at):
        return line_search.FAILED
    for _ in range(int(fit.at.rules[MOST_TRIES])):
        take_trial(fit.at)
        cost = evaluate(fit)
        if team.is_abandoned(fit.job.control):
            return line_search.FAILED
        answer = judge_trial(fit.at, cost, fit.job.grads)
        if answer != line_search.GO_ON:
            return answer
    return line_search.FAILED


# --- the parts of an iteration between two evaluations, wherever those come from --------------------------------------


@leaf
def differs(n, x, y):
    """Whether any number of x is another one in y, or NaN."""
    found = 0
    for i in range(n):
        found += 0 if x[i] == y[i] else 1
    return found != 0


@leaf
def put_back(search):
    """Make the parameters that are tried the accepted ones."""
    for i in range(search.pairs.n):
        search.tried[i] = search.x[i]


@leaf
def begin_with(search, cost, grads):
    """Take note of cost and gradient where the fit begins; a status."""
    memory, n = search.memory, search.pairs.n
    if not is_finite(cost):
        return in_scalars.DIVERGED
    for i in range(n):
        search.g[i] = np.float64(grads[i])
        if not is_finite(search.g[i]):
            return in_scalars.DIVERGED
    memory[COST], memory[HAS_GRADIENT] = cost, 1.0
    return SMALL_GRADIENT if largest(n, search.g) <= search.rules[GTOL] else in_scalars.FINISHED


@leaf
def begin_line(search):
    """The direction of the pairs, and the first step along it; False if the cost does not fall there."""
    memory, n, d = search.memory, search.pairs.n, search.d
    descent(search.pairs, search.g, search.alpha, d)
    slope = dot(n, search.g, d)
    if not slope < 0.0:
        return False
    # Without pairs nothing is known of the scale: as in SciPy's L-BFGS-B the first step has length 1.
    t = 1.0 if memory[N_PAIRS] > 0.0 else 1.0 / dot(n, d, d) ** 0.5
    line_search.begin_search(search.line, t, memory[COST], slope)
    return True


@leaf
def take_trial(search):
    """Try the step that the line search wants to know."""
    t, tried = search.line[line_search.T], search.tried
    for i in range(search.pairs.n):
        tried[i] = real(np.float64(search.x[i]) + t * search.d[i], tried)


@leaf
def judge_trial(search, cost, grads):
    """What the line search says to cost and gradient of the parameters that are tried."""
    return line_search.judge(search.line, cost, dot(search.pairs.n, grads, search.d) if is_finite(cost) else 0.0)


@leaf
def accept(search, cost, grads):
    """Make the parameters that are tried the accepted ones, and what is known there what is known."""
    remember(search.pairs, search.x, search.tried, search.g, grads)
    search.memory[COST] = cost
    for i in range(search.pairs.n):
        search.g[i] = np.float64(grads[i])
        search.x[i] = search.tried[i]


@leaf
def note(search, cost_before, evaluations_before, row):
    """Write the row of a finished iteration; which rule ends the fit after it, or FINISHED if none does."""
    cost, rules = search.memory[COST], search.rules
    row[0], row[1], row[2] = (
        cost,
        largest(search.pairs.n, search.g),
        search.memory[EVALUATIONS] - evaluations_before,
    )
    if row[1] <= rules[GTOL]:
        return SMALL_GRADIENT
    if cost_before - cost <= rules[FTOL] * max(abs(cost_before), abs(cost), 1.0):
        return SMALL_DECREASE
    return ENOUGH_EVALUATIONS if search.memory[EVALUATIONS] >= rules[MOST_EVALUATIONS] else in_scalars.FINISHED
