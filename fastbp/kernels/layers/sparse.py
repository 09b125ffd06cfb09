"""The first layer's products with sparse inputs, number by number of CSR: no zero is ever multiplied.

A row of X is ``values[begin:end]`` in the columns ``indices[begin:end]``, which rise.  A thread takes some rows of the
forward pass and some features of the gradient, whose numbers of each row lie side by side and are found by bisection.

Each z is one chain of additions in the order of the columns, each dW one in the order of the rows: how the work is cut
changes no bit.
"""

from fastbp.kernels.compiler.jit import inlined, leaf
from fastbp.kernels.machine.pointers import from_address, int32_from_address, real, shift
from fastbp.kernels.machine.processor import SPARSE_AHEAD, SPARSE_STEP_ELEMENTS
from fastbp.kernels.optimizers.updates import SGD, take_step
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.vectors.values import HAS_VECTORS, fetch, lanes, load, splat, store


@leaf
def multiplies_numbers(net):
    """Whether the first layer's products run over the numbers of sparse rows."""
    return net.data[in_data.FORM] == in_data.NUMBERS


@leaf
def numbers_of(net, sample):
    """Where the numbers of a sample's row of X begin and end."""
    row = from_address(net.data[in_data.ORDER], net.layers)[sample] if net.data[in_data.ORDER] != 0 else sample
    begins = from_address(net.data[in_data.INDPTR], net.layers)
    return begins[row], begins[row + 1]


@leaf
def first_from(begin, end, column, indices):
    """The first number in [begin, end) whose column is not below `column`; `end` if there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < column:
            begin = middle + 1
        else:
            end = middle
    return begin


# --- forward ----------------------------------------------------------------------------------------------------------


@leaf
def add_product(count, indices, values, n, W, W_stride, b, z):
    """z[j] = b[j] + sum_e values[e] W[indices[e], j] for j < n and e < count; overwrites z.

    A row of W comes from far away: as much of it as there are registers for is used at once.
    """
    width = lanes(W)
    if not HAS_VECTORS or n < width:
        for j in range(n):
            z[j] = b[j]
        for e in range(count):
            x, W_row = values[e], shift(W, indices[e] * W_stride)
            for j in range(n):
                z[j] += x * W_row[j]
        return
    j = 0
    while j < n:
        vectors = (n - j + width - 1) // width
        if vectors > 6:
            _eight_vectors(count, indices, values, j, n - width, W, W_stride, b, z)
            j += 8 * width
        elif vectors > 4:
            _six_vectors(count, indices, values, j, n - width, W, W_stride, b, z)
            return
        elif vectors > 2:
            _four_vectors(count, indices, values, j, n - width, W, W_stride, b, z)
            return
        else:
            _two_vectors(count, indices, values, j, n - width, W, W_stride, b, z)
            return


@inlined
def _fetch_ahead(e, count, indices, j, vectors, W, W_stride):
    """Ask for some vectors from column j on of a row of W that is used soon."""
    there = shift(W, indices[min(e + SPARSE_AHEAD, count - 1)] * W_stride + j)
    for vector in range(vectors):
        fetch(shift(there, vector * lanes(W)))


@leaf
def _two_vectors(count, indices, values, j, last, W, W_stride, b, z):
    """The same for two vectors of columns from j on.

    No vector begins after column `last`: it overlaps the one before it instead, and holds the same numbers there.
    """
    j0, j1 = min(j, last), min(j + lanes(W), last)
    s0, s1 = load(shift(b, j0)), load(shift(b, j1))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        s0 = s0 + x * load(shift(w, j0))
        s1 = s1 + x * load(shift(w, j1))
    store(s0, shift(z, j0))
    store(s1, shift(z, j1))


@leaf
def _four_vectors(count, indices, values, j, last, W, W_stride, b, z):
    """The same for four."""
    k = lanes(W)
    j0, j1, j2, j3 = min(j, last), min(j + k, last), min(j + 2 * k, last), min(j + 3 * k, last)
    s0, s1, s2, s3 = load(shift(b, j0)), load(shift(b, j1)), load(shift(b, j2)), load(shift(b, j3))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        _fetch_ahead(e, count, indices, j, 4, W, W_stride)
        s0 = s0 + x * load(shift(w, j0))
        s1 = s1 + x * load(shift(w, j1))
        s2 = s2 + x * load(shift(w, j2))
        s3 = s3 + x * load(shift(w, j3))
    store(s0, shift(z, j0))
    store(s1, shift(z, j1))
    store(s2, shift(z, j2))
    store(s3, shift(z, j3))


@leaf
def _six_vectors(count, indices, values, j, last, W, W_stride, b, z):
    """The same for six."""
    k = lanes(W)
    j4, j5 = min(j + 4 * k, last), min(j + 5 * k, last)
    s0, s1, s2, s3 = load(shift(b, j)), load(shift(b, j + k)), load(shift(b, j + 2 * k)), load(shift(b, j + 3 * k))
    s4, s5 = load(shift(b, j4)), load(shift(b, j5))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        _fetch_ahead(e, count, indices, j, 6, W, W_stride)
        here = shift(w, j)
        s0 = s0 + x * load(here)
        s1 = s1 + x * load(shift(here, k))
        s2 = s2 + x * load(shift(here, 2 * k))
        s3 = s3 + x * load(shift(here, 3 * k))
        s4 = s4 + x * load(shift(w, j4))
        s5 = s5 + x * load(shift(w, j5))
    store(s0, shift(z, j))
    store(s1, shift(z, j + k))
    store(s2, shift(z, j + 2 * k))
    store(s3, shift(z, j + 3 * k))
    store(s4, shift(z, j4))
    store(s5, shift(z, j5))


@leaf
def _eight_vectors(count, indices, values, j, last, W, W_stride, b, z):
    """The same for eight."""
    k = lanes(W)
    j6, j7 = min(j + 6 * k, last), min(j + 7 * k, last)
    s0, s1, s2, s3 = load(shift(b, j)), load(shift(b, j + k)), load(shift(b, j + 2 * k)), load(shift(b, j + 3 * k))
    s4, s5, s6, s7 = load(shift(b, j + 4 * k)), load(shift(b, j + 5 * k)), load(shift(b, j6)), load(shift(b, j7))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        _fetch_ahead(e, count, indices, j, 8, W, W_stride)
        here = shift(w, j)
        s0 = s0 + x * load(here)
        s1 = s1 + x * load(shift(here, k))
        s2 = s2 + x * load(shift(here, 2 * k))
        s3 = s3 + x * load(shift(here, 3 * k))
        s4 = s4 + x * load(shift(here, 4 * k))
        s5 = s5 + x * load(shift(here, 5 * k))
        s6 = s6 + x * load(shift(w, j6))
        s7 = s7 + x * load(shift(w, j7))
    store(s0, shift(z, j))
    store(s1, shift(z, j + k))
    store(s2, shift(z, j + 2 * k))
    store(s3, shift(z, j + 3 * k))
    store(s4, shift(z, j + 4 * k))
    store(s5, shift(z, j + 5 * k))
    store(s6, shift(z, j6))
    store(s7, shift(z, j7))


@leaf
def sparse_forward(net, first, m, n, W, W_stride, b, z, z_stride):
    """z = X @ W + b for samples [first, first + m) and n neurons; overwrites z."""
    indices = int32_from_address(net.data[in_data.INDICES])
    values = from_address(net.data[in_data.X], net.params)
    for i in range(m):
        begin, end = numbers_of(net, first + i)
        add_product(end - begin, shift(indices, begin), shift(values, begin), n, W, W_stride, b, shift(z, i * z_stride))


# --- backward ---------------------------------------------------------------------------------------------------------


@leaf
def add_multiple(n, x, delta, w):
    """w[j] += x delta[j] for j < n."""
    width = lanes(w)
    if not HAS_VECTORS or n < width:
        for j in range(n):
            w[j] += x * delta[j]
        return
    end = n - width
    # the last vector may overlap the one before it: it is made of the old numbers, and has the same new ones there
    last = load(shift(w, end)) + splat(x, load(w)) * load(shift(delta, end))
    for j in range(0, end, width):
        here = load(shift(w, j))
        store(here + splat(x, here) * load(shift(delta, j)), shift(w, j))
    store(last, shift(w, end))


@leaf
def add_outer_products(net, first, m, k0, k1, n, factor, delta, stride, target):
    """target[k - k0, :] += factor x_ik delta[i, :] for samples [first, first + m) and features k in [k0, k1)."""
    indices = int32_from_address(net.data[in_data.INDICES])
    values = from_address(net.data[in_data.X], net.params)
    for i in range(m):
        begin, end = numbers_of(net, first + i)
        if k0 > 0:
            begin = first_from(begin, end, k0, indices)
        delta_row = shift(delta, i * stride)
        while begin < end and indices[begin] < k1:
            add_multiple(n, factor * values[begin], delta_row, shift(target, (indices[begin] - k0) * n))
            begin += 1


@leaf
def is_plain_descent(step):
    """Whether a step moves no weight whose gradient is 0: gradient descent without momentum and penalties."""
    return step.rule.optimizer == SGD and step.rule.constants[0] == 0.0 and step.l2 == 0.0 and step.l1 == 0.0


@leaf
def sparse_backward_weights(net, first, m, k0, k1, n, delta, stride, add, dW, step):
    """dW = X.T @ delta for features [k0, k1) and all n neurons; adds to dW if `add` is 1, else overwrites it.

    Then their `step`, where it is wanted, block by block while the gradient is in the cache.  A step of gradient
    descent without momentum and penalties goes to the rows of W that are touched, and leaves dW alone.
    """
    if step.wanted and add == 0 and is_plain_descent(step):
        add_outer_products(net, first, m, k0, k1, n, real(-step.rule.rate, dW), delta, stride, step.w)
        return
    features = max(1, SPARSE_STEP_ELEMENTS // n)
    for k in range(k0, k1, features):
        end = min(k + features, k1)
        here = shift(dW, (k - k0) * n)
        if add == 0:
            for j in range((end - k) * n):
                here[j] = real(0.0, dW)
        add_outer_products(net, first, m, k, end, n, real(1.0, dW), delta, stride, here)
        if step.wanted:
            take_step(step, (k - k0) * n, end - k, n, n, here, n)


# --- dense rows -------------------------------------------------------------------------------------------------------


@leaf
def scatter_rows(net, first, m, k0, k1, target, target_stride):
    """target[i, k - k0] = x_ik, zeros too, for samples [first, first + m) and features [k0, k1)."""
    indices = int32_from_address(net.data[in_data.INDICES])
    values = from_address(net.data[in_data.X], net.params)
    for i in range(m):
        begin, end = numbers_of(net, first + i)
        if k0 > 0:
            begin = first_from(begin, end, k0, indices)
        here = shift(target, i * target_stride)
        for k in range(k1 - k0):
            here[k] = real(0.0, target)
        while begin < end and indices[begin] < k1:
            here[indices[begin] - k0] += values[begin]  # a column may stand in a row more than once
            begin += 1
