"""What the leader of a job does: one gradient, one step, an epoch's steps, outputs and costs of a data set."""

import numpy as np

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.jobs.regions import (
    BACKWARD,
    COSTS_OF_ROWS,
    FEATURES,
    FORWARD,
    FORWARD_OF_ROWS,
    GRADIENT_OF_ROWS,
    LOAD,
    OUTPUT,
    OUTPUTS_OF_ROWS,
    SUM_AND_UPDATE,
    UPDATE_ONLY,
    UPPER_LAYERS,
    WEIGHTS_BY_FEATURES,
    gradient_of_rows,
    parallel,
)
from fastbp.kernels.layers.narrow import narrow_step, pack, packed_params, trains_narrow, unpack, unpack_params
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.passes import weighted_cost
from fastbp.kernels.layers.samples import row_of
from fastbp.kernels.layers.sparse import multiplies_numbers
from fastbp.kernels.layers.weight_steps import ADD_PENALTY, KEEP, STEP, gradient_norm
from fastbp.kernels.machine import team
from fastbp.kernels.machine.finite import all_finite, is_finite
from fastbp.kernels.machine.pointers import from_address, shift
from fastbp.kernels.machine.processor import (
    FLOPS_OF_A_STEP,
    LEAST_PIECE_FLOPS,
    LEAST_PIECE_NEURONS,
    LEAST_SPARSE_ROWS,
    LEAST_UPPER_ROWS,
    LOAD_ELEMENTS,
    MOST_LAYER_PIECES,
    OUTPUT_ELEMENTS,
)
from fastbp.kernels.machine.random_order import shuffle_rows
from fastbp.kernels.optimizers.updates import multiply_gradient, penalty
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars


@leaf
def layer_pieces(width, flops):
    """Into how many pieces a layer's neurons are cut: a power of two, by the layer's size alone."""
    most = min(min(width // LEAST_PIECE_NEURONS, flops // LEAST_PIECE_FLOPS), MOST_LAYER_PIECES)
    pieces = 1
    while 2 * pieces <= most:
        pieces *= 2
    return pieces


@leaf
def weight_of_rows(net, first, m):
    """Sum of the sample weights of samples [first, first + m)."""
    if net.data[in_data.SAMPLE_WEIGHT] == 0:
        return np.float64(m)
    weights = from_address(net.data[in_data.SAMPLE_WEIGHT], net.params)
    order = from_address(net.data[in_data.ORDER], net.layers)
    total = 0.0
    for i in range(first, first + m):
        total += np.float64(weights[row_of(net, i, order)])
    return total


@leaf
def divisor_of_rows(net, first, m):
    """What the sum over samples [first, first + m) of a mini-batch is divided by.

    Rows times the mean weight of all data: then the expected step is that of the whole cost, whatever the mini-batch.
    Divided by its own weights' sum, as scikit-learn does it, a mini-batch of few rows forgets how much they weigh.
    """
    mean = net.scalars[in_scalars.MEAN_WEIGHT]
    return np.float64(m) * mean if mean > 0.0 else weight_of_rows(net, first, m)


@leaf
def penalty_of(net):
    """l2/2 sum W^2 + l1 sum |W| over all weights."""
    l2, l1 = net.scalars[in_scalars.L2_PENALTY], net.scalars[in_scalars.L1_PENALTY]
    total = 0.0
    if l2 != 0.0 or l1 != 0.0:
        for layer in range(net.plan[in_plan.N_LAYERS]):
            n = field(net, layer, in_layer.FAN_IN) * field(net, layer, in_layer.FAN_OUT)
            total += penalty(n, l2, l1, shift(net.params, field(net, layer, in_layer.WEIGHTS)))
    return total


# --- one gradient -----------------------------------------------------------------------------------------------------


@leaf
def gradient_by_rows(job, first, m, then):
    """Cost of samples [first, first + m) and its gradient in grads[0], each piece taking some of the rows."""
    control, n_pieces = job.control, job.net.plan[in_plan.N_PIECES]
    if n_pieces == 1 or m < 2 * n_pieces:
        return gradient_of_rows(job, first, m, job.grads, 0, then)
    control[team.FIRST] = first
    control[team.ROWS] = m
    parallel(job, GRADIENT_OF_ROWS, n_pieces)
    cost = 0.0
    for p in range(n_pieces):
        cost += job.costs[p]
    if is_finite(cost):
        control[team.ADD] = n_pieces
        control[team.UPDATE] = then
        parallel(job, SUM_AND_UPDATE, job.net.plan[in_plan.UPDATE_PIECES])
    return cost


@leaf
def gradient_by_neurons(job, first, m, then):
    """The same, all threads sharing each layer of one block; the step follows each piece of the last block."""
    net = job.net
    block_rows = net.plan[in_plan.BLOCK_ROWS]
    cost = 0.0
    for start in range(first, first + m, block_rows):
        rows = min(block_rows, first + m - start)
        cost += _forward_by_neurons(job, start, rows)
        if not is_finite(cost):
            return cost
        update = then if start + rows == first + m else KEEP
        job.control[team.ADD] = 1 if start > first else 0
        job.control[team.UPDATE] = update
        for i in range(net.plan[in_plan.N_LAYERS]):
            if team.is_abandoned(job.control) and (update != STEP or i == 0):  # a step that has begun is finished
                return np.nan
            layer = net.plan[in_plan.N_LAYERS] - 1 - i
            fan_in = field(net, layer, in_layer.FAN_IN)
            job.control[team.LAYER] = layer
            products = 2 if layer > 0 else 1  # the error of the inputs is not needed
            flops_of_weight = 2 * rows * products + (FLOPS_OF_A_STEP if update == STEP else 0)
            parallel(
                job, BACKWARD, layer_pieces(fan_in, flops_of_weight * fan_in * field(net, layer, in_layer.FAN_OUT))
            )
    return cost


@leaf
def _forward_by_neurons(job, first, rows):
    """One block forward and its output error; the block's cost, NaN if abandoned."""
    net, control = job.net, job.control
    control[team.FIRST] = first
    control[team.ROWS] = rows
    by_numbers = multiplies_numbers(net)
    n_features = 1 if by_numbers else field(net, 0, in_layer.FAN_IN)
    parallel(job, LOAD, max(1, min(rows * n_features // LOAD_ELEMENTS, MOST_LAYER_PIECES)))
    for layer in range(net.plan[in_plan.N_LAYERS]):
        if team.is_abandoned(control):
            return np.nan
        control[team.LAYER] = layer
        fan_out = field(net, layer, in_layer.FAN_OUT)
        if layer == 0 and by_numbers:  # rows, since a layer's width may be a few vectors
            parallel(job, FORWARD_OF_ROWS, max(1, min(rows // LEAST_SPARSE_ROWS, MOST_LAYER_PIECES)))
            continue
        parallel(job, FORWARD, layer_pieces(fan_out, 2 * rows * fan_out * field(net, layer, in_layer.FAN_IN)))
    n_outputs = field(net, net.plan[in_plan.N_LAYERS] - 1, in_layer.FAN_OUT)
    parallel(job, OUTPUT, max(1, min(rows * n_outputs // OUTPUT_ELEMENTS, MOST_LAYER_PIECES)))
    return weighted_cost(net, rows, job.work)


@leaf
def gradient_by_features(job, first, m, then):
    """The same for one block where nearly all weights lie in the first layer: threads share it, each some features.

    So a thread finds its columns of X, its rows of W and their moments in its own cache, from pass to pass and from
    step to step.
    """
    control, plan = job.control, job.net.plan
    control[team.FIRST] = first
    control[team.ROWS] = m
    control[team.UPDATE] = then
    parallel(job, FEATURES, plan[in_plan.N_PIECES])
    if team.is_abandoned(control):
        return np.nan
    parallel(job, UPPER_LAYERS, max(1, min(m // LEAST_UPPER_ROWS, MOST_LAYER_PIECES)))
    cost = weighted_cost(job.net, m, job.work)
    if is_finite(cost) and not team.is_abandoned(control):
        parallel(job, WEIGHTS_BY_FEATURES, plan[in_plan.N_PIECES] + plan[in_plan.N_LAYERS] - 1)
        return cost
    return cost if not is_finite(cost) else np.nan


@leaf
def gradient(job, first, m, then):
    """Cost of samples [first, first + m), without penalties, and the gradient in grads[0]."""
    mode = job.net.plan[in_plan.MODE]
    if mode == in_plan.BY_ROWS:
        return gradient_by_rows(job, first, m, then)
    if mode == in_plan.BY_FEATURES and job.net.plan[in_plan.HAS_DROPOUT] == 0:  # dropout destroys a, see `finish_error`
        return gradient_by_features(job, first, m, then)
    return gradient_by_neurons(job, first, m, then)


@leaf
def value_and_grad(job):
    """Cost of the whole data set and its gradient in grads[0], both with penalties."""
    net, n_rows = job.net, job.net.data[in_data.N_ROWS]
    weight = weight_of_rows(net, 0, n_rows)
    net.scalars[in_scalars.WEIGHT_FACTOR] = 1.0 / weight
    net.scalars[in_scalars.COST_SUM] = net.scalars[in_scalars.COST_FACTOR] * gradient(
        job, 0, n_rows, ADD_PENALTY
    ) + penalty_of(net)
    net.scalars[in_scalars.WEIGHT_SUM] = weight


@leaf
def trace(job):
    """One block forward and backward with every row's scale 1: each sample's own cost and deltas stay in slot 0."""
    job.net.scalars[in_scalars.WEIGHT_FACTOR] = 1.0
    gradient_of_rows(job, 0, job.net.data[in_data.N_ROWS], job.grads, 0, KEEP)


# --- steps ------------------------------------------------------------------------------------------------------------


@leaf
def step(job, first, m):
    """One optimizer step on samples [first, first + m); the cost before the step, and a status."""
    s = job.net.scalars
    whole_gradient_first = s[in_scalars.CLIP_NORM] > 0.0 or s[in_scalars.TOLERANCE] >= 0.0
    penalties = penalty_of(job.net)  # of the weights before the step
    cost = penalties + s[in_scalars.COST_FACTOR] * gradient(
        job, first, m, ADD_PENALTY if whole_gradient_first else STEP
    )
    if not is_finite(cost):
        return cost, in_scalars.DIVERGED
    if whole_gradient_first:
        norm = gradient_norm(job)
        s[in_scalars.GRADIENT_NORM] = norm
        if norm <= s[in_scalars.TOLERANCE]:
            return cost, in_scalars.CONVERGED
        if s[in_scalars.CLIP_NORM] > 0.0 and norm > s[in_scalars.CLIP_NORM]:
            multiply_gradient(s[in_scalars.CLIP_NORM] / norm, job.net.plan[in_plan.N_PARAMS], job.grads)
        parallel(job, UPDATE_ONLY, job.net.plan[in_plan.UPDATE_PIECES])
    return cost, in_scalars.FINISHED


@leaf
def train(job, first_step, n_steps, learning_rates):
    """Steps [first_step, first_step + n_steps) of an epoch; the sums of cost and weight are added to the scalars.

    Where the plan has EPOCH_SUMS, the steps go on into the next epochs.
    """
    is_narrow = trains_narrow(job.net)
    if is_narrow:
        pack(job)
    if job.net.plan[in_plan.EPOCH_SUMS] != 0:
        _epochs(job, is_narrow, first_step, n_steps, learning_rates)
    else:
        _steps(job, is_narrow, first_step, n_steps, learning_rates)
    if is_narrow:
        unpack(job)


@leaf
def _epochs(job, is_narrow, first_step, n_steps, learning_rates):
    """Steps of several epochs: an epoch begins with its order, and ends with its sums and a look at the parameters."""
    net = job.net
    s, plan = net.scalars, net.plan
    steps_per_epoch = (net.data[in_data.N_ROWS] + plan[in_plan.BATCH_SIZE] - 1) // plan[in_plan.BATCH_SIZE]
    sums, before = (
        from_address(plan[in_plan.EPOCH_SUMS], learning_rates),
        from_address(plan[in_plan.BEFORE], net.params),
    )
    done, position = 0, first_step
    while done < n_steps:
        if position == 0:
            begin_epoch(job, is_narrow, before)
        m = min(steps_per_epoch - position, n_steps - done)
        _steps(job, is_narrow, position, m, shift(learning_rates, done))
        if s[in_scalars.STATUS] != in_scalars.FINISHED and s[in_scalars.STATUS] != in_scalars.CONVERGED:
            return
        done += m
        position += m
        if position == steps_per_epoch:
            if not has_finite_params(job, is_narrow):
                s[in_scalars.STATUS] = in_scalars.DIVERGED
                return
            k = 2 * np.int64(s[in_scalars.EPOCHS])
            sums[k], sums[k + 1] = s[in_scalars.COST_SUM], s[in_scalars.WEIGHT_SUM]
            s[in_scalars.EPOCHS] += 1.0
            position = 0
        if s[in_scalars.STATUS] == in_scalars.CONVERGED:
            return
        if done < n_steps and team.is_asked_to_pause(job.control):
            s[in_scalars.STATUS] = in_scalars.INTERRUPTED
            return


@leaf
def begin_epoch(job, is_narrow, before):
    """Draw the order of the rows, and keep the parameters, which an epoch that diverges gives back."""
    net = job.net
    net.scalars[in_scalars.COST_SUM] = 0.0
    net.scalars[in_scalars.WEIGHT_SUM] = 0.0
    if net.plan[in_plan.SHUFFLES] != 0:
        shuffle_rows(net)
    if is_narrow:
        unpack_params(job, before)
    else:
        for i in range(net.plan[in_plan.N_PARAMS]):
            before[i] = net.params[i]


@leaf
def has_finite_params(job, is_narrow):
    """Whether no parameter is NaN or infinite."""
    if is_narrow:
        return all_finite(job.net.plan[in_plan.PACKED_SIZE], packed_params(job))
    return all_finite(job.net.plan[in_plan.N_PARAMS], job.net.params)


@leaf
def _steps(job, is_narrow, first_step, n_steps, learning_rates):
    """The same, on packed parameters if `is_narrow`."""
    net = job.net
    s, batch_size, n_rows = net.scalars, net.plan[in_plan.BATCH_SIZE], net.data[in_data.N_ROWS]
    for i in range(n_steps):
        first = (first_step + i) * batch_size
        m = min(batch_size, n_rows - first)
        divisor = divisor_of_rows(net, first, m)
        s[in_scalars.STEP] += 1.0
        s[in_scalars.LEARNING_RATE] = learning_rates[i]
        job.control[team.NEXT] = first + m
        job.control[team.NEXT_ROWS] = min(batch_size, n_rows - first - m) if i < n_steps - 1 else 0
        if divisor == 0.0:  # nothing in this mini-batch counts: no gradient to follow, but the schedule goes on
            continue
        s[in_scalars.WEIGHT_FACTOR] = 1.0 / divisor
        counted = divisor
        if net.plan[in_plan.PER_BATCH] != 0:
            counted = np.float64(m)
            s[in_scalars.L2_PENALTY] = s[in_scalars.BATCH_L2] / divisor
            s[in_scalars.L1_PENALTY] = s[in_scalars.BATCH_L1] / divisor
        power_1, power_2 = s[in_scalars.POWER_1], s[in_scalars.POWER_2]
        s[in_scalars.POWER_1] = power_1 * s[in_scalars.CONSTANTS]
        s[in_scalars.POWER_2] = power_2 * s[in_scalars.CONSTANTS + 1]
        if is_narrow:
            cost, status = narrow_step(job, first, m)
        else:
            cost, status = step(job, first, m)
        s[in_scalars.STATUS] = status
        if status != in_scalars.DIVERGED:
            s[in_scalars.COST_SUM] += cost * counted
            s[in_scalars.WEIGHT_SUM] += counted
        if status != in_scalars.FINISHED:  # the step was not taken
            s[in_scalars.STEP] -= 1.0
            s[in_scalars.POWER_1], s[in_scalars.POWER_2] = power_1, power_2
            if status == in_scalars.DIVERGED and team.is_abandoned(job.control):
                s[in_scalars.STATUS] = in_scalars.INTERRUPTED
            return
        if team.is_asked_to_pause(job.control) and i < n_steps - 1:
            s[in_scalars.STATUS] = in_scalars.INTERRUPTED
            return


# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def outputs(job):
    """Outputs of the whole data set into `out`."""
    parallel(job, OUTPUTS_OF_ROWS, job.net.plan[in_plan.FORWARD_PIECES])


@leaf
def cost(job):
    """Cost of the whole data set, with penalties."""
    net = job.net
    weight = weight_of_rows(net, 0, net.data[in_data.N_ROWS])
    net.scalars[in_scalars.WEIGHT_FACTOR] = 1.0 / weight
    n_pieces = net.plan[in_plan.FORWARD_PIECES]
    parallel(job, COSTS_OF_ROWS, n_pieces)
    total = penalty_of(net)
    for p in range(n_pieces):
        total += net.scalars[in_scalars.COST_FACTOR] * job.costs[p]
    net.scalars[in_scalars.COST_SUM] = total
    net.scalars[in_scalars.WEIGHT_SUM] = weight
