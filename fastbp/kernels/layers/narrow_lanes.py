"""A mini-batch through many narrow networks of one architecture at once, a network in each lane, row by row.

Alone such a network is trained in vectors that hold several rows of its weights, see `fastbp.kernels.layers.narrow`,
and its sums over neurons are those of lanes: some chains of multiply-adds, which are then added in pairs.  Here every
number of a network is a vector, and the same chains and pairs are made number by number, so that each network gets the
bits that it has alone.
"""

import numpy as np

from fastbp.kernels.compiler.jit import inlined, leaf, part
from fastbp.kernels.functions.activations import LEAKY_SLOPE
from fastbp.kernels.layers.narrow_rows import activation, code_of
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.samples import row_of
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan
from fastbp.kernels.tables import scalars as in_scalars
from fastbp.kernels.vectors import elementary as vm
from fastbp.kernels.vectors.in_order import minus, over, plus, times
from fastbp.kernels.vectors.values import choose, lanes, load, multiply_add, splat, store, zeros


@leaf
def plus_rounded(x, y):
    """x + y where y is a product that has been rounded, and stays so."""
    return multiply_add(splat(1.0, x), y, x)


@leaf
def times_slope(code, a, delta):
    """delta f'(z) of a hidden layer, from a = f(z); the factors of f' are multiplied first."""
    zero, one = splat(0.0, a), splat(1.0, a)
    if code == codes.RELU:
        return choose(a > zero, delta, times(zero, delta))  # 0 times infinity is NaN
    if code == codes.SIGMOID:
        return times(delta, times(a, minus(one, a)))
    if code == codes.TANH:
        return times(delta, times(minus(one, a), plus(one, a)))
    if code == codes.LEAKY_RELU:
        return times(delta, choose(a > zero, one, splat(LEAKY_SLOPE, a)))
    return delta


@inlined
def number(p, i):
    """Pointer to the vector of a number."""
    return shift(p, i * lanes(p))


@inlined
def at_layer(group, layer, column):
    """Pointer to the vectors of a layer's a or delta for one row."""
    return number(group.work, field(group.net, layer, column))


@leaf
def sum_in_pairs(n, terms):
    """The sum of n vectors at `terms`, which are overwritten: neighbours first, then neighbouring pairs, and so on.

    Where one has no neighbour it gets a 0, as from an empty lane: that makes 0 of -0.
    """
    while n > 1:
        half = n >> 1
        for i in range(half):
            store(plus(load(number(terms, 2 * i)), load(number(terms, 2 * i + 1))), number(terms, i))
        if n & 1:
            store(plus(load(number(terms, n - 1)), zeros(terms)), number(terms, half))
        n = half + (n & 1)
    return load(terms)


# --- samples ----------------------------------------------------------------------------------------------------------


@leaf
def load_row(group, q, net, i, scales):
    """The i-th sample of a network into its lane: inputs, targets, and the scale of its cost."""
    order = from_address(net.data[in_data.ORDER], net.layers)
    sample = row_of(net, i, order)
    last, n_lanes = net.plan[in_plan.N_LAYERS] - 1, lanes(group.w)
    n_in, n = field(net, 0, in_layer.FAN_IN), field(net, last, in_layer.FAN_OUT)
    X = shift(from_address(net.data[in_data.X], net.params), sample * net.data[in_data.X_ROW])
    x, column = shift(number(group.work, net.plan[in_plan.INPUT]), q), net.data[in_data.X_COLUMN]
    for k in range(n_in):
        x[k * n_lanes] = X[k * column]
    y = shift(number(group.work, net.plan[in_plan.TARGET]), q)
    if net.data[in_data.LABELS] != 0:
        label = from_address(net.data[in_data.LABELS], net.layers)[sample]
        for j in range(n):
            y[j * n_lanes] = real(1.0, y) if j == label else real(0.0, y)
    else:
        Y, column = (
            shift(from_address(net.data[in_data.Y], net.params), sample * net.data[in_data.Y_ROW]),
            net.data[in_data.Y_COLUMN],
        )
        for j in range(n):
            y[j * n_lanes] = Y[j * column]
    weight = 1.0
    if net.data[in_data.SAMPLE_WEIGHT] != 0:
        weight = np.float64(from_address(net.data[in_data.SAMPLE_WEIGHT], net.params)[sample])
    scales[q] = real(weight * net.scalars[in_scalars.WEIGHT_FACTOR], group.w)


# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def _inputs(group, layer):
    """Pointer to the inputs of a layer."""
    if layer == 0:
        return number(group.work, group.net.plan[in_plan.INPUT])
    return at_layer(group, layer - 1, in_layer.A)


@leaf
def _forward(group, terms):
    """Every layer's a for one row, but z of the output layer where its a would be."""
    net = group.net
    last, n_lanes = net.plan[in_plan.N_LAYERS] - 1, lanes(group.w)
    for layer in range(last + 1):
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        rows = min(n_lanes >> field(net, layer, in_layer.PITCH), fan_in)
        W, a = number(group.w, field(net, layer, in_layer.WEIGHTS)), at_layer(group, layer, in_layer.A)
        a_prev, step = _inputs(group, layer), rows
        for j in range(n):
            for i in range(rows):
                s, k = zeros(W), i
                while k < fan_in:
                    s = multiply_add(load(number(a_prev, k)), load(number(W, k * n + j)), s)
                    k += step
                store(s, number(terms, i))
            z = plus(sum_in_pairs(rows, terms), load(number(W, fan_in * n + j)))
            store(activation(code_of(net, layer), z) if layer < last else z, number(a, j))


# --- the output -------------------------------------------------------------------------------------------------------


@leaf
def _quadratic(code, n, z, y, scale, terms, delta):
    """Each network's cost ||a - y||^2 / 2; delta = scale (a - y) f'(z)."""
    for j in range(n):
        a = activation(code, load(number(z, j)))
        d = minus(a, load(number(y, j)))
        store(times(d, d), number(terms, j))
        store(times(scale, times_slope(code, a, d)), number(delta, j))
    return times(splat(0.5, scale), sum_in_pairs(n, terms))


@leaf
def _probabilities(n, z, terms, a):
    """a = softmax(z); the largest logit, and the sum of exp(z - largest)."""
    largest = load(z)
    for j in range(1, n):
        z_j = load(number(z, j))
        largest = choose(largest < z_j, z_j, largest)
    for j in range(n):
        powers = vm.exp(minus(load(number(z, j)), largest))
        store(powers, number(a, j))
        store(powers, number(terms, j))
    total = sum_in_pairs(n, terms)
    for j in range(n):
        store(over(load(number(a, j)), total), number(a, j))
    return largest, total


@leaf
def _softmax_cross_entropy(n, z, y, clip, is_clipped, scale, terms, a, delta):
    """Each network's cost; delta = scale (a - y)."""
    zero = zeros(z)
    largest, total = _probabilities(n, z, terms, a)
    for j in range(n):
        store(times(scale, minus(load(number(a, j)), load(number(y, j)))), number(delta, j))
    if is_clipped:
        for j in range(n):
            store(times(load(number(y, j)), load(number(a, j))), number(terms, j))
        p, low, high = sum_in_pairs(n, terms), splat(clip, zero), splat(real(1.0, z) - clip, zero)
        p = choose(p < low, low, p)
        return zero - vm.log(choose(p > high, high, p))
    for j in range(n):
        y_j = load(number(y, j))
        store(choose(abs(y_j) > zero, times(y_j, minus(largest, load(number(z, j)))), zero), number(terms, j))
    cost = sum_in_pairs(n, terms)
    for j in range(n):
        store(load(number(y, j)), number(terms, j))
    return multiply_add(sum_in_pairs(n, terms), vm.log(total), cost)


@leaf
def _sigmoid_cross_entropy(n, z, y, clip, is_clipped, scale, terms, delta):
    """Each network's cost; delta = scale (a - y)."""
    zero, one = zeros(z), splat(1.0, zeros(z))
    low, high = splat(clip, zero), splat(real(1.0, z) - clip, zero)
    for j in range(n):
        z_j, y_j = load(number(z, j)), load(number(y, j))
        a = vm.logistic(z_j)
        if is_clipped:
            q = choose(a < low, low, choose(a > high, high, a))
            store(zero - vm.log(y_j * q + (one - y_j) * (one - q)), number(terms, j))
        else:
            store(vm.log1p(vm.exp(-abs(z_j))) + (choose(z_j > zero, z_j, zero) - y_j * z_j), number(terms, j))
        store(times(scale, minus(a, y_j)), number(delta, j))
    return sum_in_pairs(n, terms)


@leaf
def _outputs(group, scales, terms, row_costs):
    """Each network's cost of the row, and its delta_L; `fastbp.kernels.layers.narrow_rows` knows the loss."""
    net = group.net
    last, loss = net.plan[in_plan.N_LAYERS] - 1, net.plan[in_plan.LOSS]
    n, scale = field(net, last, in_layer.FAN_OUT), load(scales)
    z, delta = at_layer(group, last, in_layer.A), at_layer(group, last, in_layer.DELTA)
    y = number(group.work, net.plan[in_plan.TARGET])
    clip = real(net.scalars[in_scalars.LOSS_PARAMETER], group.w)
    if loss in codes.SOFTMAX_LOSSES:
        a = number(terms, lanes(terms))
        is_clipped = loss != codes.SOFTMAX_CROSS_ENTROPY
        store(_softmax_cross_entropy(n, z, y, clip, is_clipped, scale, terms, a, delta), row_costs)
    elif loss in codes.SIGMOID_LOSSES:
        is_clipped = loss != codes.SIGMOID_CROSS_ENTROPY
        store(_sigmoid_cross_entropy(n, z, y, clip, is_clipped, scale, terms, delta), row_costs)
    else:
        store(_quadratic(code_of(net, last), n, z, y, scale, terms, delta), row_costs)


# --- backward ---------------------------------------------------------------------------------------------------------


@leaf
def _backward(group, add, terms):
    """The gradients of a row from its delta_L; added to what is in g if `add`, else they overwrite g."""
    net = group.net
    for i in range(net.plan[in_plan.N_LAYERS]):
        layer = net.plan[in_plan.N_LAYERS] - 1 - i
        fan_in, n = field(net, layer, in_layer.FAN_IN), field(net, layer, in_layer.FAN_OUT)
        weights = field(net, layer, in_layer.WEIGHTS)
        W, dW = number(group.w, weights), number(group.g, weights)
        delta, a_prev = at_layer(group, layer, in_layer.DELTA), _inputs(group, layer)
        for k in range(fan_in):
            a_k = load(number(a_prev, k))
            for j in range(n):
                here, d = number(dW, k * n + j), load(number(delta, j))
                store(plus_rounded(load(here), times(a_k, d)) if add else times(a_k, d), here)
        for j in range(n):
            here, d = number(dW, fan_in * n + j), load(number(delta, j))
            store(plus(load(here), d) if add else d, here)
        if layer > 0:
            code, delta_prev = code_of(net, layer - 1), at_layer(group, layer - 1, in_layer.DELTA)
            for k in range(fan_in):
                for j in range(n):
                    store(times(load(number(W, k * n + j)), load(number(delta, j))), number(terms, j))
                error = sum_in_pairs(n, terms)
                store(times_slope(code, load(number(a_prev, k)), error), number(delta_prev, k))


@part
def narrow_row(group, add, scales, terms, row_costs):
    """A row of each network through it and back, when `load_row` has loaded them."""
    _forward(group, terms)
    _outputs(group, scales, terms, row_costs)
    _backward(group, add, terms)
