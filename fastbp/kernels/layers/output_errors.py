"""Derivatives of every output of a block's rows: by the z of a layer, by the inputs, by the parameters.

``d[i, q, j]`` is the derivative of output q of row i by the z_j of a layer, so that each row has as many rows of d as
there are outputs, and one product takes all of them a layer back.  Where an output has a z of its own, the step from
the outputs to the last hidden layer is a product of three numbers.
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.layers.net import field, is_softmax, output_runs
from fastbp.kernels.layers.passes import finish_softmax, forward_neurons, multiply_by_derivative, previous_activation
from fastbp.kernels.layers.row_gradients import store_gradient
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.machine.team import is_abandoned
from fastbp.kernels.matrix.dense import dense_backward_error, dense_forward_part
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import segment as in_segment

# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def forward_for_outputs(net, first, m, work):
    """The forward pass as far as derivatives of the outputs need it: identity outputs need not be known."""
    n_layers = net.plan[in_plan.N_LAYERS]
    runs, n_runs = output_runs(net)
    is_identity = n_runs == 1 and runs[in_segment.CODE] == codes.IDENTITY
    for layer in range(n_layers - 1 if is_identity else n_layers):
        if is_abandoned(net.control):
            return
        forward_neurons(net, layer, first, 0, m, 0, field(net, layer, in_layer.FAN_OUT), work)
    finish_softmax(net, 0, m, work)


@leaf
def slopes(net, layer, m, work):
    """f'(z) for m rows of a layer without softmax, written where its delta lies; a pointer to it."""
    n = field(net, layer, in_layer.FAN_OUT)
    z, a = shift(work, field(net, layer, in_layer.Z)), shift(work, field(net, layer, in_layer.A))
    f = shift(work, field(net, layer, in_layer.DELTA))
    for i in range(m * n):
        f[i] = real(1.0, f)
    multiply_by_derivative(net, layer, m, 0, n, z, a, f)
    return f


# --- steps back -------------------------------------------------------------------------------------------------------


@leaf
def transpose_last_weights(net, W_T):
    """W_T[q, j] = W[j, q] of the output layer."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, k = field(net, last, in_layer.FAN_IN), field(net, last, in_layer.FAN_OUT)
    W = shift(net.params, field(net, last, in_layer.WEIGHTS))
    for q in range(k):
        row = shift(W_T, q * n)
        for j in range(n):
            row[j] = W[j * k + q]


@leaf
def softmax_errors(m, n, a, d):
    """d[i, q, j] = da_q/dz_j = a_q (delta_qj - a_j); 1 - a of the most probable class is the sum of all others."""
    one = real(1.0, a)
    for i in range(m):
        a_i, top, rest = shift(a, i * n), 0, real(0.0, a)
        for j in range(n):
            top = j if a_i[j] > a_i[top] else top
        for j in range(n):
            rest += real(0.0, a) if j == top else a_i[j]
        for q in range(n):
            row, a_q = shift(d, (i * n + q) * n), a_i[q]
            for j in range(n):
                row[j] = -a_q * a_i[j]
            row[q] = a_q * (rest if q == top else one - a_q)


@leaf
def errors_before(m, n, fan_out, delta, W, error):
    """error = delta @ W.T for m rows that lie side by side."""
    dense_backward_error(m, n, fan_out, delta, fan_out, W, error, n)


@leaf
def scale_rows(m, k, n, f, d):
    """d[i, q, j] *= f[i, j] for k rows of n for each of m."""
    for i in range(m):
        f_i = shift(f, i * n)
        for q in range(k):
            row = shift(d, (i * k + q) * n)
            for j in range(n):
                row[j] *= f_i[j]


@leaf
def _scaled_outer(m, k, n, W_T, s, f, d):
    """d[i, q, j] = W_T[q, j] s[i, q] f[i, j]."""
    for i in range(m):
        f_i = shift(f, i * n)
        for q in range(k):
            row, w, s_iq = shift(d, (i * k + q) * n), shift(W_T, q * n), s[i * k + q]
            for j in range(n):
                row[j] = w[j] * s_iq * f_i[j]


@leaf
def step_back(net, layer, m, d_next, W_T, d, work):
    """d of a hidden layer from that of the next one, or from the outputs' own slopes."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, k = field(net, layer, in_layer.FAN_OUT), field(net, last, in_layer.FAN_OUT)
    f = slopes(net, layer, m, work)
    if layer == last - 1 and not is_softmax(net, last):
        _scaled_outer(m, k, n, W_T, slopes(net, last, m, work), f, d)
        return
    W = shift(net.params, field(net, layer + 1, in_layer.WEIGHTS))
    errors_before(m * k, n, field(net, layer + 1, in_layer.FAN_OUT), d_next, W, d)
    scale_rows(m, k, n, f, d)


# --- by the parameters ------------------------------------------------------------------------------------------------


@leaf
def jacobian_block(net, first, m, d, e, W_T, streams, out, work):
    """out[i, q, :] = the derivative of output q of row i by all parameters, for m rows; destroys d and e."""
    last = net.plan[in_plan.N_LAYERS] - 1
    k = field(net, last, in_layer.FAN_OUT)
    if is_softmax(net, last):
        softmax_errors(m, k, shift(work, field(net, last, in_layer.A)), d)
        _store_rows(net, last, first, m, d, streams, out, work)
    else:
        _store_last_layer(net, first, m, out, work)
    for i in range(last):
        layer = last - 1 - i
        step_back(net, layer, m, d, W_T, e, work)
        d, e = e, d
        _store_rows(net, layer, first, m, d, streams, out, work)


@leaf
def _store_rows(net, layer, first, m, d, streams, out, work):
    """The part of a layer with any d."""
    k = field(net, net.plan[in_plan.N_LAYERS] - 1, in_layer.FAN_OUT)
    fan_in, fan_out = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
    a, stride = previous_activation(net, layer, first, 0, m, work)
    here, n_params = shift(out, field(net, layer, in_layer.WEIGHTS)), net.plan[in_plan.N_PARAMS]
    for i in range(m):
        for q in range(k):
            row = i * k + q
            d_row, to = shift(d, row * fan_out), shift(here, row * n_params)
            store_gradient(fan_in, fan_out, shift(a, i * stride), d_row, to, streams)


@leaf
def _store_last_layer(net, first, m, out, work):
    """The part of the output layer without softmax: only what leads to the output itself is not 0."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n, k = field(net, last, in_layer.FAN_IN), field(net, last, in_layer.FAN_OUT)
    a, stride = previous_activation(net, last, first, 0, m, work)
    f = slopes(net, last, m, work)
    here, n_params = shift(out, field(net, last, in_layer.WEIGHTS)), net.plan[in_plan.N_PARAMS]
    for i in range(m):
        a_i = shift(a, i * stride)
        for q in range(k):
            row, s = shift(here, (i * k + q) * n_params), f[i * k + q]
            for j in range((n + 1) * k):
                row[j] = real(0.0, row)
            for j in range(n):
                row[j * k + q] = s * a_i[j]
            row[n * k + q] = s


# --- by the inputs ----------------------------------------------------------------------------------------------------


@leaf
def input_jacobian_back(net, m, d, e, W_T, out, work):
    """out[i, q, :] = dy_q/dx for m rows, from the outputs back; destroys d and e."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n_in, k = field(net, 0, in_layer.FAN_IN), field(net, last, in_layer.FAN_OUT)
    softmax = is_softmax(net, last)
    if last == 0 and not softmax:
        f = slopes(net, 0, m, work)
        for row in range(m * k):
            to, w, s = shift(out, row * n_in), shift(W_T, row % k * n_in), f[row]
            for j in range(n_in):
                to[j] = w[j] * s
        return
    if softmax:
        softmax_errors(m, k, shift(work, field(net, last, in_layer.A)), d)
    for i in range(last):
        step_back(net, last - 1 - i, m, d, W_T, e, work)
        d, e = e, d
    W = shift(net.params, field(net, 0, in_layer.WEIGHTS))
    errors_before(m * k, n_in, field(net, 0, in_layer.FAN_OUT), d, W, out)


@leaf
def input_jacobian_forward(net, m, t, u, out, work):
    """The same by tangents, from the inputs on: t[i, x, j] = dz_j/dx; cheaper with fewer inputs than outputs."""
    last = net.plan[in_plan.N_LAYERS] - 1
    n_in, n = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT)
    W, f = shift(net.params, field(net, 0, in_layer.WEIGHTS)), slopes(net, 0, m, work)
    for i in range(m):
        f_i = shift(f, i * n)
        for x in range(n_in):
            row, w = shift(t, (i * n_in + x) * n), shift(W, x * n)
            for j in range(n):
                row[j] = w[j] * f_i[j]
    for layer in range(1, last + 1):
        fan_out = field(net, layer, in_layer.FAN_OUT)
        W = shift(net.params, field(net, layer, in_layer.WEIGHTS))
        dense_forward_part(m * n_in, field(net, layer, in_layer.FAN_IN), fan_out, t, n, W, u)
        t, u, n = u, t, fan_out
        if layer < last:
            scale_rows(m, n_in, n, slopes(net, layer, m, work), t)
    _through_outputs(net, m, n_in, t, n, 1, out, work)


@leaf
def weights_of_paths(net, paths):
    """paths[j, q, x] = W1[x, j] W2[j, q] of a network with one hidden layer."""
    n_in, n, k = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT), field(net, 1, in_layer.FAN_OUT)
    W1 = shift(net.params, field(net, 0, in_layer.WEIGHTS))
    W2 = shift(net.params, field(net, 1, in_layer.WEIGHTS))
    for j in range(n):
        for q in range(k):
            row, w = shift(paths, (j * k + q) * n_in), W2[j * k + q]
            for x in range(n_in):
                row[x] = w * W1[x * n + j]


@leaf
def input_jacobian_of_paths(net, m, paths, out, work):
    """The same for one hidden layer: f'(z) @ paths, one product for all inputs and outputs."""
    n_in, n, k = field(net, 0, in_layer.FAN_IN), field(net, 0, in_layer.FAN_OUT), field(net, 1, in_layer.FAN_OUT)
    dense_forward_part(m, n, k * n_in, slopes(net, 0, m, work), n, paths, out)
    runs, n_runs = output_runs(net)
    if n_runs > 1 or runs[in_segment.CODE] != codes.IDENTITY:
        _through_outputs(net, m, n_in, out, 1, n_in, out, work)


@leaf
def _through_outputs(net, m, n_in, t, x_step, q_step, out, work):
    """out[i, q, x] = sum_p da_q/dz_p t[i, p, x], whose q are `q_step` apart and x `x_step`; out may be t.

    For softmax as `softmax_backward`: what the logit of the most probable class changes is subtracted from all first.
    """
    last = net.plan[in_plan.N_LAYERS] - 1
    k = field(net, last, in_layer.FAN_OUT)
    a = shift(work, field(net, last, in_layer.A))
    softmax = is_softmax(net, last)
    s = a if softmax else slopes(net, last, m, work)
    for i in range(m):
        t_i, s_i, out_i, top = shift(t, i * k * n_in), shift(s, i * k), shift(out, i * k * n_in), 0
        if softmax:
            for q in range(k):
                top = q if s_i[q] > s_i[top] else top
        for x in range(n_in):
            t_ix = shift(t_i, x * x_step)
            if softmax:
                out_ix, t_top, mean = shift(out_i, x), t_ix[top * q_step], real(0.0, t)
                for q in range(k):
                    out_ix[q * n_in] = t_ix[q * q_step] - t_top  # stored, so that nobody adds t_top and mean up first
                for q in range(k):
                    mean += s_i[q] * out_ix[q * n_in]
                for q in range(k):
                    out_ix[q * n_in] = s_i[q] * (out_ix[q * n_in] - mean)
            else:
                for q in range(k):
                    out_i[q * n_in + x] = s_i[q] * t_ix[q * q_step]
