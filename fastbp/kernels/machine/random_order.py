"""The random order of an epoch's rows, drawn as NumPy's `Generator.permutation` draws it."""

from fastbp.kernels.compiler.jit import leaf
from fastbp.kernels.machine.calls import next_uint32
from fastbp.kernels.machine.pointers import from_address
from fastbp.kernels.tables import data as in_data


@leaf
def shuffle_rows(net):
    """Overwrite the order of rows with a random one, by the random generator that the data table points to.

    The rows are 0, 1, ..., or those that the table names as ROWS.

    Each entry, from the last one down, is exchanged with one of those up to it (Knuth, TAOCP 2, algorithm 3.4.2 P).  A
    place up to i is drawn as NumPy does: as many random bits as the number i has, again until they make at most i.
    That is one branch which no processor can predict; so here a place that is too large exchanges i with itself and
    leaves i as it is.
    """
    data = net.data
    order = from_address(data[in_data.ORDER], net.layers)
    function, state, n_rows = data[in_data.NEXT_UINT32], data[in_data.RANDOM_STATE], data[in_data.N_ROWS]
    if data[in_data.ROWS] == 0:
        for i in range(n_rows):
            order[i] = i
    else:
        rows = from_address(data[in_data.ROWS], net.layers)
        for i in range(n_rows):
            order[i] = rows[i]
    i, mask = n_rows - 1, 1
    while mask < i:
        mask = 2 * mask + 1
    while i > 0:
        while i > mask >> 1:  # all i with as many bits
            drawn = next_uint32(function, state) & mask
            fits = drawn <= i
            j = drawn if fits else i
            order[i], order[j] = order[j], order[i]
            i -= 1 if fits else 0
        mask >>= 1
