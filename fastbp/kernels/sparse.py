"""The first layer's products with sparse inputs, number by number of CSR: no zero is ever multiplied.

A row of X is ``values[begin:end]`` in the columns ``indices[begin:end]``, which rise.  A thread takes some rows of the
forward pass and some features of the gradient, whose numbers of each row lie side by side and are found by bisection.

Each z is one chain of additions in the order of the columns, each dW one in the order of the rows: how the work is cut
changes no bit.
"""

from fastbp.kernels import tables as t
from fastbp.kernels.jit import leaf
from fastbp.kernels.pointers import from_address, int32_from_address, real, shift
from fastbp.kernels.updates import SGD, take_step
from fastbp.kernels.vectors import VECTORS, lanes, load, splat, store

# Elements of W whose gradient is made before their step is taken: 64 or 128 KiB, which stay in the second-level cache.
_BLOCK_ELEMENTS = 1 << 14
_CACHED_ELEMENTS = 1 << 16  # of W that stay in the second-level cache while all samples pass: 256 or 512 KiB
_MOST_COUNTED = 1 << 24  # whole numbers that float32 has


@leaf
def multiplies_numbers(net):
    """Whether the first layer's products run over the numbers of sparse rows."""
    return net.data[t.FORM] == t.NUMBERS


@leaf
def numbers_of(net, sample):
    """Where the numbers of a sample's row of X begin and end."""
    row = from_address(net.data[t.ORDER], net.layers)[sample] if net.data[t.ORDER] != 0 else sample
    begins = from_address(net.data[t.INDPTR], net.layers)
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
    """z[j] = b[j] + sum_e values[e] W[indices[e], j] for j < n and e < count; overwrites z, which may be b."""
    width = lanes(W)
    if not VECTORS or n < width:
        for j in range(n):
            z[j] = b[j]
        for e in range(count):
            x, W_row = values[e], shift(W, indices[e] * W_stride)
            for j in range(n):
                z[j] += x * W_row[j]
        return
    # the last vector may overlap the one before it: it is made of the old numbers, and has the same new ones there
    end = n - width
    last = _sum_of_vector(count, indices, values, shift(W, end), W_stride, shift(b, end))
    j = 0
    while j + 8 * width <= n:
        _eight_vectors(count, indices, values, shift(W, j), W_stride, shift(b, j), shift(z, j))
        j += 8 * width
    while j + 3 * width <= n:
        _three_vectors(count, indices, values, shift(W, j), W_stride, shift(b, j), shift(z, j))
        j += 3 * width
    while j < end:
        store(_sum_of_vector(count, indices, values, shift(W, j), W_stride, shift(b, j)), shift(z, j))
        j += width
    store(last, shift(z, end))


@leaf
def _eight_vectors(count, indices, values, W, W_stride, b, z):
    """The same for the first eight vectors of columns, which stay in registers."""
    k = lanes(W)
    s0, s1, s2, s3 = load(b), load(shift(b, k)), load(shift(b, 2 * k)), load(shift(b, 3 * k))
    s4, s5, s6, s7 = load(shift(b, 4 * k)), load(shift(b, 5 * k)), load(shift(b, 6 * k)), load(shift(b, 7 * k))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        s0 = s0 + x * load(w)
        s1 = s1 + x * load(shift(w, k))
        s2 = s2 + x * load(shift(w, 2 * k))
        s3 = s3 + x * load(shift(w, 3 * k))
        s4 = s4 + x * load(shift(w, 4 * k))
        s5 = s5 + x * load(shift(w, 5 * k))
        s6 = s6 + x * load(shift(w, 6 * k))
        s7 = s7 + x * load(shift(w, 7 * k))
    store(s0, z)
    store(s1, shift(z, k))
    store(s2, shift(z, 2 * k))
    store(s3, shift(z, 3 * k))
    store(s4, shift(z, 4 * k))
    store(s5, shift(z, 5 * k))
    store(s6, shift(z, 6 * k))
    store(s7, shift(z, 7 * k))


@leaf
def _three_vectors(count, indices, values, W, W_stride, b, z):
    """The same for the first three vectors of columns."""
    k = lanes(W)
    s0, s1, s2 = load(b), load(shift(b, k)), load(shift(b, 2 * k))
    for e in range(count):
        x, w = splat(values[e], s0), shift(W, indices[e] * W_stride)
        s0 = s0 + x * load(w)
        s1 = s1 + x * load(shift(w, k))
        s2 = s2 + x * load(shift(w, 2 * k))
    store(s0, z)
    store(s1, shift(z, k))
    store(s2, shift(z, 2 * k))


@leaf
def _sum_of_vector(count, indices, values, W, W_stride, b):
    """The same for the first vector of columns, which is returned."""
    s = load(b)
    for e in range(count):
        s = s + splat(values[e], s) * load(shift(W, indices[e] * W_stride))
    return s


@leaf
def rows_are_reused(net, first, m, fan_in, n):
    """Whether the samples name each row of W twice or more on average, and W does not stay in the cache by itself."""
    total = 0
    for i in range(m):
        begin, end = numbers_of(net, first + i)
        total += end - begin
    return total >= 2 * fan_in and fan_in * n > _CACHED_ELEMENTS and fan_in < _MOST_COUNTED


@leaf
def sparse_forward(net, first, m, fan_in, n, W, W_stride, b, z, z_stride, done):
    """z = X @ W + b for samples [first, first + m) and n neurons; overwrites z, and m numbers in `done`.

    Where rows of W are used again, a block of them is fetched for all samples at a time; `done` then counts each
    sample's numbers that have been used, in the numbers' own dtype, which counts so far.
    """
    indices = int32_from_address(net.data[t.INDICES])
    values = from_address(net.data[t.X], net.params)
    if not rows_are_reused(net, first, m, fan_in, n):
        for i in range(m):
            begin, end = numbers_of(net, first + i)
            here, row = shift(values, begin), shift(z, i * z_stride)
            add_product(end - begin, shift(indices, begin), here, n, W, W_stride, b, row)
        return
    features = max(1, _CACHED_ELEMENTS // n)
    for i in range(m):
        done[i] = real(0.0, done)
        row = shift(z, i * z_stride)
        for j in range(n):
            row[j] = b[j]
    for k in range(0, fan_in, features):
        for i in range(m):
            begin, end = numbers_of(net, first + i)
            begin += int(done[i])
            stop = begin
            while stop < end and indices[stop] < k + features:
                stop += 1
            done[i] += real(stop - begin, done)
            row = shift(z, i * z_stride)
            add_product(stop - begin, shift(indices, begin), shift(values, begin), n, W, W_stride, row, row)


# --- backward ---------------------------------------------------------------------------------------------------------


@leaf
def add_multiple(n, x, delta, w):
    """w[j] += x delta[j] for j < n."""
    width = lanes(w)
    if not VECTORS or n < width:
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
    indices = int32_from_address(net.data[t.INDICES])
    values = from_address(net.data[t.X], net.params)
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
    return step.optimizer == SGD and step.constants[0] == 0.0 and step.l2 == 0.0 and step.l1 == 0.0


@leaf
def sparse_backward_weights(net, first, m, k0, k1, n, delta, stride, add, dW, step):
    """dW = X.T @ delta for features [k0, k1) and all n neurons; adds to dW if `add` is 1, else overwrites it.

    Then their `step`, where it is wanted, block by block while the gradient is in the cache.  A step of gradient
    descent without momentum and penalties goes to the rows of W that are touched, and leaves dW alone.
    """
    if step.wanted and add == 0 and is_plain_descent(step):
        add_outer_products(net, first, m, k0, k1, n, real(-step.rate, dW), delta, stride, step.w)
        return
    features = max(1, _BLOCK_ELEMENTS // n)
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
    indices = int32_from_address(net.data[t.INDICES])
    values = from_address(net.data[t.X], net.params)
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
