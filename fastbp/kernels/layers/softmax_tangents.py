"""Softmax with derivatives by the inputs: what `tangents` does for activations of one z.

With p = softmax(z), the centred tangents c_i = dz_i - sum_k p_k dz_ik and s = lz + sum_i c_i^2, and J x = p (x - sum_k
p_k x_k), which multiplies by the Jacobian of softmax::

    t_i = p c_i         l = J s

since the second derivative of p in a direction is p (c^2 - sum_k p_k c_k^2).
"""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.pointers import real, shift


@leaf
def _mean(n, p, x):
    """sum_k p_k x_k."""
    total = real(0.0, p)
    for j in range(n):
        total += p[j] * x[j]
    return total


@leaf
def softmax_post_rows(m, n, r, p, dz, post):
    """t_i and l for m rows; directions lie m n apart, and the Laplacians behind the last one."""
    size = m * n
    for row in range(0, size, n):
        p_row, s = shift(p, row), shift(post, r * size + row)
        lz = shift(dz, r * size + row)
        for j in range(n):
            s[j] = lz[j]
        for i in range(r):
            dz_i, t_i = shift(dz, i * size + row), shift(post, i * size + row)
            mean = _mean(n, p_row, dz_i)
            for j in range(n):
                c = dz_i[j] - mean
                t_i[j] = p_row[j] * c
                s[j] += c * c
        mean = _mean(n, p_row, s)
        for j in range(n):
            s[j] = p_row[j] * (s[j] - mean)


@leaf
def softmax_error_rows(m, n, r, p, dz, e, s, e_p):
    """The errors of z, dz_i and lz from those of p, t_i and l, in place; overwrites `s` and `e_p`, n numbers each."""
    size, two = m * n, real(2.0, e)
    for row in range(0, size, n):
        p_row, lz, e_z, e_l = shift(p, row), shift(dz, r * size + row), shift(e, row), shift(e, (r + 1) * size + row)
        for j in range(n):
            s[j] = lz[j]
        for i in range(r):
            dz_i = shift(dz, i * size + row)
            mean = _mean(n, p_row, dz_i)
            for j in range(n):
                s[j] += (dz_i[j] - mean) * (dz_i[j] - mean)
        mean_s, mean_l = _mean(n, p_row, s), _mean(n, p_row, e_l)
        for j in range(n):
            e_p[j] = e_z[j] + e_l[j] * (s[j] - mean_s) - s[j] * mean_l
            e_l[j] = p_row[j] * (e_l[j] - mean_l)  # the error of s
        for i in range(r):
            dz_i, e_i = shift(dz, i * size + row), shift(e, (1 + i) * size + row)
            mean, total = _mean(n, p_row, dz_i), real(0.0, e)
            for j in range(n):
                c = dz_i[j] - mean
                e_p[j] += c * e_i[j]
                e_i[j] = two * c * e_l[j] + p_row[j] * e_i[j]  # the error of c_i
                total += e_i[j]
            for j in range(n):
                # by way of the mean; to subtract c instead of dz from e_p changes all of a row by one number, which
                # J takes out again
                e_p[j] -= (dz_i[j] - mean) * total
                e_i[j] -= p_row[j] * total
        mean = _mean(n, p_row, e_p)
        for j in range(n):
            e_z[j] = p_row[j] * (e_p[j] - mean)


@leaf
def add_softmax_hessian(n, r, size, p, dz, k, c, hessian):
    """hessian (r, r) += p_k's second derivatives by z, in pairs of directions, for one row.

    They are p_k (c_ik c_vk - sum_j p_j c_ij c_vj).  Directions of dz lie `size` apart; overwrites `c`, r n numbers.
    """
    for i in range(r):
        dz_i, c_i = shift(dz, i * size), shift(c, i * n)
        mean = _mean(n, p, dz_i)
        for j in range(n):
            c_i[j] = dz_i[j] - mean
    for i in range(r):
        c_i, row = shift(c, i * n), shift(hessian, i * r)
        for v in range(r):
            c_v, total = shift(c, v * n), real(0.0, p)
            for j in range(n):
                total += p[j] * c_i[j] * c_v[j]
            row[v] += p[k] * (c_i[k] * c_v[k] - total)
