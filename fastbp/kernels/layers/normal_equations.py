"""J^T J of a block of rows, pair of layers by pair of layers and without J, for any number of outputs.

For layers l <= l' the block of J^T J over parameters (i, j) of l and (i', j') of l' is

    sum over samples of  A[i, i'] D[j, j'],    A = a_l[i] a_l'[i'],    D = sum over outputs k of d_l[k, j] d_l'[k, j'],

one product of two thin matrices whose common dimension are the samples.  Where l = l' both are symmetric, and i <= i',
j <= j' are all that is needed: a quarter.  Outputs that are their z share one block, a a^T.  These products are summed
over blocks of rows as they come, and `scatter` puts the sums where they belong in J^T J.

`low` is a slot with a and d in the dtype of the products, which may be float32 where the network is float64.
"""

from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.layers.net import Net, field
from fastbp.kernels.layers.side_by_side import A, D, is_diagonal, is_linear, room
from fastbp.kernels.machine.pointers import real, shift
from fastbp.kernels.matrix.side_by_side import sum_products
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan

# columns of the table of pairs of layers
LAYER = 0
OTHER = 1  # not before LAYER
N_INPUTS = 2  # rows of A
N_OUTPUTS = 3  # rows of D
SUMS = 4  # where the sums of their products are
PAIR_COLUMNS = 5


class Pairs(NamedTuple):
    """Where the products of a block are made."""

    net: Net
    rooms: Any
    table: Any
    n_pairs: Any
    low: Any  # a and d of this thread
    left: Any  # room for A (N_INPUTS, m)
    right: Any  # and for D (N_OUTPUTS, m)


@formula
def entry(table, pair, column):
    """Entry of the table of pairs."""
    return table[pair * PAIR_COLUMNS + column]


@leaf
def lowered(n, values, low):
    """low[i] = values[i] in the dtype of `low`."""
    for i in range(n):
        low[i] = real(values[i], low)


@leaf
def add_products(pairs, m, add, sums):
    """sums += the products of all pairs of layers for a block of m samples; overwrites them unless `add` is 1."""
    for pair in range(pairs.n_pairs):
        layer, other = entry(pairs.table, pair, LAYER), entry(pairs.table, pair, OTHER)
        n_inputs, n_outputs = entry(pairs.table, pair, N_INPUTS), entry(pairs.table, pair, N_OUTPUTS)
        c = shift(sums, entry(pairs.table, pair, SUMS))
        if is_linear(pairs.net, layer):
            _products_of_linear_outputs(pairs, layer, m, add, c)
            continue
        _products_of_inputs(pairs, layer, other, m)
        _products_of_outputs(pairs, layer, other, m)
        if n_inputs >= n_outputs:
            sum_products(n_inputs, n_outputs, m, pairs.left, pairs.right, add, c)
        else:  # the thinner one is the one that is made into panels
            sum_products(n_outputs, n_inputs, m, pairs.right, pairs.left, add, c)


@leaf
def _products_of_linear_outputs(pairs, layer, m, add, c):
    """c += a a^T, with the weights of the samples."""
    n = field(pairs.net, layer, in_layer.FAN_IN) + 1
    a, weighted = shift(pairs.low, room(pairs.rooms, layer, A)), shift(pairs.low, room(pairs.rooms, layer, A))
    if pairs.net.data[in_data.SAMPLE_WEIGHT] != 0:
        root, weighted = shift(pairs.low, room(pairs.rooms, layer, D)), pairs.left
        for j in range(n):
            source, target = shift(a, j * m), shift(weighted, j * m)
            for i in range(m):
                target[i] = root[i] * root[i] * source[i]
    sum_products(n, n, m, weighted, a, add, c)


@leaf
def _products_of_inputs(pairs, layer, other, m):
    """A of two layers; of one layer i <= i' alone."""
    p, q = field(pairs.net, layer, in_layer.FAN_IN) + 1, field(pairs.net, other, in_layer.FAN_IN) + 1
    a, b = shift(pairs.low, room(pairs.rooms, layer, A)), shift(pairs.low, room(pairs.rooms, other, A))
    row = 0
    for i in range(p):
        a_i = shift(a, i * m)
        for j in range(i if layer == other else 0, q):
            b_j, product = shift(b, j * m), shift(pairs.left, row * m)
            row += 1
            for x in range(m):
                product[x] = a_i[x] * b_j[x]


@leaf
def _products_of_outputs(pairs, layer, other, m):
    """D of two layers; of one layer j <= j' alone, and of diagonal d only where j = j'."""
    net = pairs.net
    n = field(net, net.plan[in_plan.N_LAYERS] - 1, in_layer.FAN_OUT)
    p, q = field(net, layer, in_layer.FAN_OUT), field(net, other, in_layer.FAN_OUT)
    d, b = shift(pairs.low, room(pairs.rooms, layer, D)), shift(pairs.low, room(pairs.rooms, other, D))
    if is_diagonal(net, layer):
        for x in range(n * m):
            pairs.right[x] = d[x] * d[x]
    elif is_diagonal(net, other):
        for j in range(p):
            for k in range(n):
                _multiply(m, shift(d, (k * p + j) * m), shift(b, k * m), shift(pairs.right, (j * n + k) * m))
    else:
        row = 0
        for i in range(p):
            for j in range(i if layer == other else 0, q):
                total = shift(pairs.right, row * m)
                row += 1
                _multiply(m, shift(d, i * m), shift(b, j * m), total)
                for k in range(1, n):
                    _add_product(m, shift(d, (k * p + i) * m), shift(b, (k * q + j) * m), total)


@leaf
def _multiply(m, a, b, product):
    """product = a b."""
    for x in range(m):
        product[x] = a[x] * b[x]


@leaf
def _add_product(m, a, b, total):
    """total += a b."""
    for x in range(m):
        total[x] += a[x] * b[x]


# --- J^T J ------------------------------------------------------------------------------------------------------------


class _Block(NamedTuple):
    """A pair's sums and where they go: the element of rows r of A and c of D is at r * row + c * column."""

    sums: Any
    row: Any
    column: Any
    n: Any  # parameters in all
    p: Any  # of the first layer: inputs with the one, outputs, and its first parameter
    fan_out: Any
    first: Any
    q: Any  # of the other
    other_fan_out: Any
    other_first: Any


@leaf
def scatter(net, table, pair, sums, H):
    """The lower triangle of J^T J, H (n_params, n_params), over the parameters of a pair of layers."""
    layer, other = entry(table, pair, LAYER), entry(table, pair, OTHER)
    n_inputs, n_outputs = entry(table, pair, N_INPUTS), entry(table, pair, N_OUTPUTS)
    by_rows = n_inputs >= n_outputs or is_linear(net, layer)
    block = _Block(
        shift(sums, entry(table, pair, SUMS)),
        n_outputs if by_rows else 1,
        1 if by_rows else n_inputs,
        net.plan[in_plan.N_PARAMS],
        field(net, layer, in_layer.FAN_IN) + 1,
        field(net, layer, in_layer.FAN_OUT),
        field(net, layer, in_layer.WEIGHTS),
        field(net, other, in_layer.FAN_IN) + 1,
        field(net, other, in_layer.FAN_OUT),
        field(net, other, in_layer.WEIGHTS),
    )
    if is_linear(net, layer):
        _scatter_linear(block, H)
    elif layer != other:
        _scatter_rectangle(block, H)
    elif is_diagonal(net, layer):
        _scatter_diagonal(block, H)
    else:
        _scatter_symmetric(block, H)


@leaf
def _scatter_linear(block, H):
    """Each output's block is the same."""
    for i in range(block.p):
        for j in range(i + 1):
            value = np.float64(block.sums[i * block.p + j])
            for k in range(block.fan_out):
                row, column = block.first + i * block.fan_out + k, block.first + j * block.fan_out + k
                H[row * block.n + column] = value


@leaf
def _scatter_diagonal(block, H):
    """Each output has a block of its own."""
    r = 0
    for i in range(block.p):
        for j in range(i, block.p):
            for k in range(block.fan_out):
                row, column = block.first + j * block.fan_out + k, block.first + i * block.fan_out + k
                H[row * block.n + column] = np.float64(block.sums[r * block.row + k * block.column])
            r += 1


@leaf
def _scatter_symmetric(block, H):
    """Each element of the quarter stands for up to four, of which those in the lower triangle are written."""
    r, n, fan_out = 0, block.n, block.fan_out
    for i in range(block.p):
        for j in range(i, block.p):
            c = 0
            for k in range(fan_out):
                for other in range(k, fan_out):
                    value = np.float64(block.sums[r * block.row + c * block.column])
                    c += 1
                    x, y = block.first + i * fan_out + k, block.first + j * fan_out + other
                    H[max(x, y) * n + min(x, y)] = value
                    x, y = block.first + i * fan_out + other, block.first + j * fan_out + k
                    H[max(x, y) * n + min(x, y)] = value
            r += 1


@leaf
def _scatter_rectangle(block, H):
    """The other layer's parameters are rows, as they come later."""
    for i in range(block.p):
        for j in range(block.q):
            sums = shift(block.sums, (i * block.q + j) * block.row)
            for other in range(block.other_fan_out):
                row = block.other_first + j * block.other_fan_out + other
                target = shift(H, row * block.n + block.first + i * block.fan_out)
                for k in range(block.fan_out):
                    target[k] = np.float64(sums[(k * block.other_fan_out + other) * block.column])
