"""The test that a C file carries: rows, what Python predicted for them, and a `main` that compares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.export.c_source import CFile
from fastbp.model.checks import checked_inputs
from fastbp.model.model import Model

__all__ = ["add_test", "rows_of_test"]

_MOST_ROWS = 100_000  # of a test in a file: some 20 MB of text for ten inputs


def rows_of_test(net: Model, test_vectors: Any, rows: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return the rows of a test: those that came, or so many of `rows`, or so many random ones."""
    if not isinstance(test_vectors, int | np.integer):
        return checked_inputs(net, test_vectors, "test_vectors")
    n = validation.positive_integer(test_vectors, "test_vectors", 0)
    if n > _MOST_ROWS:
        raise ValueError(f"`test_vectors` must be at most {_MOST_ROWS}, or rows of your own; got {n}.")
    if rows is not None:
        return rows[np.arange(n) % len(rows)]
    return np.random.default_rng(0).standard_normal((n, net.sizes[0])).astype(net.dtype)


def add_test(
    file: CFile, X: NDArray[Any], Y: NDArray[Any], c_type: str, predict: str, bounds: NDArray[Any] | None = None
) -> None:
    """Add a function that counts the rows with other outputs, and a `main` that calls it.

    Parameters
    ----------
    file : CFile
        The file.
    X, Y : ndarray
        Rows, and their outputs.
    c_type : str
        Their type in C.
    predict : str
        The function that computes outputs, without the beginning of all names.
    bounds : ndarray, optional
        How far each output may be from Y; without, all bits must be the same.
    """
    places = {"P": file.name, "M": file.macro, "N": len(X), "PREDICT": predict}
    file.declarations += ["", f"#ifdef {file.macro}_TEST", f"int {file.name}_test(void);", "#endif"]
    file.test_includes.append("<stdio.h>")
    file.array(c_type, "test_x", X, f"{len(X)} rows of inputs", is_test=True)
    file.array(c_type, "test_y", Y, "What Python predicted for them", is_test=True)
    further = ""
    if c_type.startswith("int"):
        file.test.append(_EQUAL.format(T=c_type, **places))
    elif bounds is None:
        file.test_includes.append("<string.h>")
        file.test.append(_SAME.format(T=c_type, **places))
    else:
        # the next number above
        rounded = np.nextafter(bounds.astype(X.dtype), X.dtype.type(np.inf))
        finite = np.minimum(np.nan_to_num(rounded, nan=np.inf), np.finfo(X.dtype).max)
        file.array(c_type, "test_bound", finite, "How far from that an output may be", is_test=True)
        file.test.append(_NEAR.format(T=c_type, **places))
        further = f", {file.reader(c_type)}({file.name}_test_bound + i * {file.macro}_N_OUTPUTS + j)"
    file.test.append(_TEST.format(T=c_type, READ=file.reader(c_type), FURTHER=further, **places))
    file.test.append(_MAIN.format(**places))


_EQUAL = """\
static int {P}_is_right({T} value, {T} expected)
{{
    return value == expected;
}}"""

_SAME = """\
static int {P}_is_right({T} value, {T} expected)
{{
    return memcmp(&value, &expected, sizeof value) == 0 || (value != value && expected != expected);
}}"""

_NEAR = """\
static int {P}_is_right({T} value, {T} expected, {T} bound)
{{
    const {T} distance = value < expected ? expected - value : value - expected;
    return distance <= bound || value == expected || (value != value && expected != expected);
}}"""

_TEST = """\
/* How many of the {N} rows have other outputs than in Python. */
int {P}_test(void)
{{
    {T} x[{M}_N_INPUTS], y[{M}_N_OUTPUTS];
    size_t i, j;
    int wrong = 0;
    for (i = 0; i < {N}; i++) {{
        int right = 1;
        for (j = 0; j < {M}_N_INPUTS; j++) x[j] = {READ}({P}_test_x + i * {M}_N_INPUTS + j);
        {P}_{PREDICT}(x, y);
        for (j = 0; j < {M}_N_OUTPUTS; j++)
            right &= {P}_is_right(y[j], {READ}({P}_test_y + i * {M}_N_OUTPUTS + j){FURTHER});
        wrong += !right;
    }}
    return wrong;
}}"""

_MAIN = """\
#ifndef {M}_TEST_WITHOUT_MAIN
int main(void)
{{
    const int wrong = {P}_test();
    printf("{P}: %d of {N} rows as in Python\\n", {N} - wrong);
    return wrong != 0;
}}
#endif"""
