"""The samples of a block: their rows of X and Y and the scales of their costs, gathered into the workspace.

X is used where it lies if a pass can read it there.
"""

import numpy as np

from fastbp.kernels.compiler.jit import formula, leaf
from fastbp.kernels.layers.net import field
from fastbp.kernels.layers.sparse import multiplies_numbers, scatter_rows
from fastbp.kernels.machine.pointers import from_address, real, shift
from fastbp.kernels.matrix.rows import fetch_rows, gather_rows
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan


@formula
def row_of(net, i, order):
    """The row of X that the i-th sample is."""
    return order[i] if net.data[in_data.ORDER] != 0 else i


@leaf
def inputs_in_place(net, m):
    """Whether a block of X can be used where it lies: contiguous rows, in their own order, apart (or only one row)."""
    if net.data[in_data.X_COLUMN] != 1 or net.data[in_data.FORM] != in_data.DENSE:
        return False
    return m == 1 or (net.data[in_data.ORDER] == 0 and net.data[in_data.X_ROW] >= field(net, 0, in_layer.FAN_IN))


@leaf
def input_pointer(net, first, m, work):
    """Pointer to layer 0's a for samples [first, first + m), and its row stride."""
    if inputs_in_place(net, m):
        row = row_of(net, first, from_address(net.data[in_data.ORDER], net.layers))
        stride = max(net.data[in_data.X_ROW], field(net, 0, in_layer.FAN_IN))  # the stride of a lone row is not used
        return shift(from_address(net.data[in_data.X], net.params), row * net.data[in_data.X_ROW]), stride
    return shift(work, net.plan[in_plan.INPUT]), field(net, 0, in_layer.FAN_IN)


@leaf
def load_inputs(net, first, i0, i1, k0, k1, m, work):
    """Gather rows [i0, i1), features [k0, k1) of the block [first, first + m) of X, where that is needed."""
    if inputs_in_place(net, m) or multiplies_numbers(net):
        return
    n, column = field(net, 0, in_layer.FAN_IN), net.data[in_data.X_COLUMN]
    X = shift(from_address(net.data[in_data.X], net.params), k0 * column)
    order = from_address(net.data[in_data.ORDER], net.layers)
    target = shift(work, net.plan[in_plan.INPUT] + k0)
    if net.data[in_data.FORM] == in_data.SCATTERED:
        scatter_rows(net, first + i0, i1 - i0, k0, k1, shift(target, i0 * n), n)
        return
    if column == 1 and net.data[in_data.ORDER] != 0:
        gather_rows(i1 - i0, k1 - k0, X, net.data[in_data.X_ROW], shift(order, first + i0), shift(target, i0 * n), n)
        return
    for i in range(i0, i1):
        source = shift(X, row_of(net, first + i, order) * net.data[in_data.X_ROW])
        row = shift(target, i * n)
        for j in range(k1 - k0):
            row[j] = source[j * column]


@leaf
def fetch_inputs(net, first, i0, i1, k0, k1):
    """Ask for rows [i0, i1), features [k0, k1) of the block of X that begins with sample `first`, if it is gathered."""
    if net.data[in_data.X_COLUMN] == 1 and net.data[in_data.ORDER] != 0 and net.data[in_data.FORM] == in_data.DENSE:
        order = from_address(net.data[in_data.ORDER], net.layers)
        X = shift(from_address(net.data[in_data.X], net.params), k0)
        fetch_rows(i1 - i0, k1 - k0, X, net.data[in_data.X_ROW], shift(order, first + i0))


@leaf
def load_targets(net, first, i0, i1, weight_factor, work):
    """Gather rows [i0, i1) of Y (labels become one-hot rows) and the rows' scales w_x * weight_factor."""
    n, m = field(net, net.plan[in_plan.N_LAYERS] - 1, in_layer.FAN_OUT), i1 - i0
    order = from_address(net.data[in_data.ORDER], net.layers)
    target = shift(work, net.plan[in_plan.TARGET] + i0 * n)
    if net.data[in_data.LABELS] != 0:
        _load_one_hot(net, first + i0, m, n, order, target)
    else:
        _load_rows_of_targets(net, first + i0, m, n, order, target)
    scale = shift(work, net.plan[in_plan.SCALE] + i0)
    factor = real(weight_factor, work)
    for i in range(m):
        scale[i] = factor
    if net.data[in_data.SAMPLE_WEIGHT] != 0:
        weights = from_address(net.data[in_data.SAMPLE_WEIGHT], net.params)
        for i in range(m):
            scale[i] = real(np.float64(weights[row_of(net, first + i0 + i, order)]) * weight_factor, work)


@leaf
def _load_one_hot(net, first, m, n, order, target):
    """target[i, label] = 1 and 0 elsewhere for m samples from `first` on."""
    labels = from_address(net.data[in_data.LABELS], net.layers)
    zero, one = real(0.0, target), real(1.0, target)
    for i in range(m * n):
        target[i] = zero
    if net.data[in_data.ORDER] != 0:  # asked once: the compiler must assume that `target` overlaps the table of data
        rows = shift(order, first)
        for i in range(m):
            target[i * n + labels[rows[i]]] = one
    else:
        for i in range(m):
            target[i * n + labels[first + i]] = one


@leaf
def _load_rows_of_targets(net, first, m, n, order, target):
    """target[i, :] = Y[i, :] for m samples from `first` on; by the quickest of three ways."""
    Y = from_address(net.data[in_data.Y], net.params)
    row, column = net.data[in_data.Y_ROW], net.data[in_data.Y_COLUMN]
    if column == 1 and net.data[in_data.ORDER] != 0:
        gather_rows(m, n, Y, row, shift(order, first), target, n)
    elif column == 1 and row == n:
        source = shift(Y, first * row)
        for i in range(m * n):
            target[i] = source[i]
    else:
        for i in range(m):
            source = shift(Y, row_of(net, first + i, order) * row)
            for j in range(n):
                target[i * n + j] = source[j * column]
