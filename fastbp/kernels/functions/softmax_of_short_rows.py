"""Softmax of short rows, several in one vector: for two classes eight rows of float32 are one vector of AVX-512.

The rows of a block lie 2^pitch lanes apart, the next power of two from n on; each is reduced by exchanging lanes within
it, in the same way wherever it lies.  So a row gets the same bits alone and in any batch.  Longer rows: see `softmax`.
"""

import numpy as np

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.functions.softmax import cross_entropy_rows, softmax_rows
from fastbp.kernels.machine.pointers import shift
from fastbp.kernels.vectors import elementary as vm
from fastbp.kernels.vectors.lane_sums import largest_of_rows, sum_of_rows
from fastbp.kernels.vectors.values import (
    HAS_VECTORS,
    below,
    choose,
    lane_numbers,
    lanes,
    load_where,
    low_bits,
    multiplied,
    permuted,
    shifted_left,
    shifted_right,
    splat,
    store_where,
    summed,
    zeros,
)


@leaf
def are_short(n, p):
    """Whether a vector holds two rows or more of n numbers of the dtype of the pointer."""
    return HAS_VECTORS and 2 * n <= lanes(p)


@leaf
def pitch_of(n):
    """The least pitch with 2^pitch >= n."""
    pitch = 0
    while 1 << pitch < n:
        pitch += 1
    return pitch


@leaf
def spread(n, pitch, lane):
    """For each lane of a block where its number lies in memory; beyond n columns anywhere."""
    return summed(multiplied(shifted_right(lane, pitch), n), low_bits(lane, (1 << pitch) - 1))


@leaf
def gathered(n, pitch, lane):
    """The way back: for each number in memory its lane in the block."""
    # e // n by a product: exact, since e has four bits
    row = shifted_right(multiplied(lane, (1 << 12) // n + 1), 12)
    return summed(shifted_left(row, pitch), summed(lane, multiplied(row, -n)))


@leaf
def softmax_of_block(z, inside, pitch, lane):
    """The rows' probabilities, 0 outside; in all lanes of a row its largest logit, and the sum of exp(z - largest)."""
    zero = splat(0.0, z)
    largest = largest_of_rows(choose(inside, z, splat(-np.inf, z)), pitch, lane)
    powers = choose(inside, vm.exp(z - largest), zero)
    total = sum_of_rows(powers, pitch, lane)
    return powers * (splat(1.0, z) / total), largest, total


@leaf
def softmax(m, n, z, a):
    """a[i, j] = exp(z[i, j] - max_k z[i, k]) / sum_k ... for m rows of n; a may be z."""
    if not are_short(n, z):
        softmax_rows(m, n, z, a)
        return
    lane, pitch = lane_numbers(z), pitch_of(n)
    rows = lanes(z) >> pitch
    there, back = spread(n, pitch, lane), gathered(n, pitch, lane)
    inside = below(low_bits(lane, (1 << pitch) - 1), n)
    for i in range(0, m, rows):
        in_memory = below(lane, min(rows, m - i) * n)
        logits = permuted(load_where(in_memory, shift(z, i * n)), there)
        outputs, _, _ = softmax_of_block(logits, inside, pitch, lane)
        store_where(in_memory, permuted(outputs, back), shift(a, i * n))


@leaf
def softmax_cross_entropy(m, n, z, y, scale, a, cost, total, target, delta):
    """a = softmax(z), delta = scale (a - y); the row's cost is cost + target log(total).

    cost = sum_j y_j (max z - z_j), target = sum_j y_j, total = sum_j exp(z_j - max z), for m rows of n.
    """
    if not are_short(n, z):
        cross_entropy_rows(m, n, z, y, scale, a, cost, total, target, delta)
        return
    lane, pitch, zero = lane_numbers(z), pitch_of(n), zeros(z)
    rows = lanes(z) >> pitch
    there, back = spread(n, pitch, lane), gathered(n, pitch, lane)
    row, first_of_row = shifted_right(lane, pitch), shifted_left(lane, pitch)
    inside = below(low_bits(lane, (1 << pitch) - 1), n)
    for i in range(0, m, rows):
        here = i * n
        in_memory, of_rows = below(lane, min(rows, m - i) * n), below(lane, min(rows, m - i))
        logits = permuted(load_where(in_memory, shift(z, here)), there)
        targets = choose(inside, permuted(load_where(in_memory, shift(y, here)), there), zero)
        factor = permuted(load_where(of_rows, shift(scale, i)), row)
        outputs, largest, sums = softmax_of_block(logits, inside, pitch, lane)
        store_where(in_memory, permuted(outputs, back), shift(a, here))
        store_where(in_memory, permuted(factor * (outputs - targets), back), shift(delta, here))
        # 0 times an infinite logit is 0: a class of probability 0 that is not the target costs nothing
        costs = choose(abs(targets) > zero, targets * (largest - logits), zero)
        store_where(of_rows, permuted(sum_of_rows(costs, pitch, lane), first_of_row), shift(cost, i))
        store_where(of_rows, permuted(sum_of_rows(targets, pitch, lane), first_of_row), shift(target, i))
        store_where(of_rows, permuted(sums, first_of_row), shift(total, i))
