"""L-BFGS by cost and gradient that are computed elsewhere: each call goes from one evaluation to the next."""

import numba
import numpy as np

from fastbp.kernels.compiler.jit import typed_root
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.pointers import at, shift
from fastbp.kernels.optimizers import line_search
from fastbp.kernels.roots import lbfgs
from fastbp.kernels.tables import scalars as in_scalars

# tasks
BEGIN = 0  # cost and gradient are those of the accepted parameters
SEARCH = 1  # begin an iteration; no cost and no gradient
JUDGE = 2  # they are those of the parameters that are tried

# places in the counts; an iteration that is open was begun and not finished
N_DONE = 0  # rows of the record
IS_OPEN = 1
TRIES = 2  # along this direction
PAIRS_BEFORE = 3  # from before the iteration, with evaluations and cost
EVALUATIONS_BEFORE = 4
COST_BEFORE = 5
COUNTS_LENGTH = 6

GO_ON = 20  # evaluate the parameters that are tried; beside the status of `lbfgs`


def _types(real):
    """Types of the arguments for parameters of a dtype."""
    vector, double = numba.types.Array(real, 1, "C"), numba.types.float64
    doubles = numba.types.Array(double, 1, "C")
    return numba.types.int64, doubles, doubles, doubles, doubles, doubles, vector, vector, vector, double


@typed_root(_types)
def run(task, rules, memory, scratch, counts, record, x, tried, grads, cost):
    """Go on to the next evaluation, the end of the iteration, or that of the fit; a status.

    GO_ON asks for `cost` and `grads` of `tried`.  Where an iteration is finished, x, memory and the record's next row
    have become its, and the status is FINISHED or says why there are no more.  NO_STEP leaves x as it was.
    """
    mode = float_mode()
    set_float_mode(mode | FLUSH_DENORMALS)
    search = lbfgs.search_of(x.size, at(x, 0), at(tried, 0), at(memory, 0), at(scratch, 0), at(rules, 0))
    status = in_scalars.FINISHED
    if task == BEGIN:
        memory[lbfgs.EVALUATIONS] += 1.0
        status = lbfgs.begin_with(search, cost, at(grads, 0))
    else:
        answer = line_search.FAILED
        if task == SEARCH:
            counts[PAIRS_BEFORE], counts[EVALUATIONS_BEFORE] = memory[lbfgs.N_PAIRS], memory[lbfgs.EVALUATIONS]
            counts[COST_BEFORE], counts[IS_OPEN], counts[TRIES] = memory[lbfgs.COST], 1.0, 0.0
            answer = line_search.GO_ON if lbfgs.begin_line(search) else line_search.FAILED
        else:
            memory[lbfgs.EVALUATIONS] += 1.0
            counts[TRIES] += 1.0
            answer = lbfgs.judge_trial(search, cost, at(grads, 0))
            if answer == line_search.GO_ON and counts[TRIES] >= rules[lbfgs.MOST_TRIES]:
                answer = line_search.FAILED
        if answer == line_search.FAILED and memory[lbfgs.N_PAIRS] > 0.0:
            memory[lbfgs.N_PAIRS], counts[TRIES] = 0.0, 0.0  # down along the gradient
            answer = line_search.GO_ON if lbfgs.begin_line(search) else line_search.FAILED
        if answer == line_search.GO_ON:
            lbfgs.take_trial(search)
            status = GO_ON
        elif answer == line_search.FAILED:
            status, counts[IS_OPEN] = lbfgs.NO_STEP, 0.0
        else:
            lbfgs.accept(search, cost, at(grads, 0))
            row = shift(at(record, 0), int(counts[N_DONE]) * lbfgs.RECORD_COLUMNS)
            status = lbfgs.note(search, counts[COST_BEFORE], counts[EVALUATIONS_BEFORE], row)
            counts[N_DONE] += 1.0
            counts[IS_OPEN] = 0.0
    set_float_mode(mode)
    return np.int64(status)
