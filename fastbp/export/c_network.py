"""Networks as C: one C99 file and a header, with the outputs of `Network.predict` in every bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbp import validation
from fastbp.export.c_formulas import Formulas
from fastbp.export.c_source import CFile, CReport, checked_name, paths_of
from fastbp.functions.own import Activation
from fastbp.model.definition import require_network
from fastbp.model.model import Model
from fastbp.storage.atomic import PathLike
from fastbp.validation.sparse_rows import as_dense
from fastbp.version import __version__

__all__ = ["require_writable_in_c", "to_c"]


def to_c(
    net: Model,
    path: PathLike,
    name: str | None = None,
    *,
    test_vectors: int | ArrayLike = 0,
    exact: bool = True,
    add: Callable[[CFile, str, int | None], None] | None = None,
) -> CReport:
    """Write a network as a C file and its header.

    `Network.to_c` says what is in them.

    Parameters
    ----------
    net : Network
        A network with built-in activations.
    path : str or os.PathLike
        The C file.
    name : str, optional
        What all names in it begin with.
    test_vectors : int or array_like, shape (n, n_features)
        Rows for the test in the file, or how many random ones.
    exact : bool
        Whether to have fused multiply-adds, and with them the same bits.
    add : callable, optional
        ``add(file, c_type, None)`` adds what an estimator has beside its network.

    Returns
    -------
    CReport
        What was written.

    Raises
    ------
    TypeError, ValueError, OSError
        As `Network.to_c`.

    Examples
    --------
    >>> import os, tempfile, fastbp as bp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_c(bp.Network([2, 3, 1], seed=0), os.path.join(folder, "net.c")).constant_bytes
    104
    """
    require_network(net)
    source, header = paths_of(path)
    name = checked_name(name, source)
    exact = validation.flag(exact, "exact")
    require_writable_in_c(net)
    file = CFile(name)
    formulas = Formulas(file, net.dtype)
    X = test_rows(net, test_vectors)
    buffers = _network(file, formulas, net, exact)
    if len(X):
        Y = np.concatenate([net.predict(row[np.newaxis]) for row in X])
        add_test(file, formulas.type, X, Y)
    if add is not None:
        add(file, formulas.type, None)
    file.write(source, header)
    return CReport(source, header, file.constant_bytes, buffers)


def require_writable_in_c(net: Model) -> None:
    """Raise unless C can have a network's activations and parameters."""
    if not validation.all_finite(net.params):
        raise ValueError("`net.params` must be finite for a C file, because NaN and infinity would predict nothing.")
    for runs in net.activations:
        for activation, _ in runs:
            if isinstance(activation, Activation):
                raise ValueError(f"`net` must have built-in activations only to become C; it has {activation.name!r}.")


def _network(file: CFile, formulas: Formulas, net: Model, exact: bool) -> int:
    """Write everything but the test; return the bytes of the buffers."""
    sizes, t, p = net.sizes, formulas.type, file.name
    file.comment.append(f"{p}: written by fastbp {__version__}")
    file.includes += ["<float.h>", "<math.h>", "<stdint.h>"]
    file.header_includes += ["<stddef.h>"]
    file.declarations += [
        f"#define {file.macro}_N_INPUTS {sizes[0]}",
        f"#define {file.macro}_N_OUTPUTS {sizes[-1]}",
        f"void {p}_predict(const {t} *x, {t} *y);",
    ]
    product = f"fma{formulas.suffix}(a, b, c)" if exact else "a * b + c"
    file.add(f"static {t} {p}_fma({t} a, {t} b, {t} c)\n{{\n    return {product};\n}}")
    for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True), 1):
        file.array(
            t,
            f"W{layer}",
            W,
            f"Layer {layer}: {W.shape[0]} inputs, {W.shape[1]} neurons; row by row, one for each input.",
        )
        file.array(t, f"b{layer}", b, f"Layer {layer}: biases.")
    file.add(_DENSE.format(P=p, T=t, READ=file.reader(t)))
    widths = [max(sizes[1:-1][first::2], default=0) for first in (0, 1)]
    body = []
    previous = "x"
    for layer, runs in enumerate(net.activations, 1):
        here = "y" if layer == len(sizes) - 1 else "vu"[layer % 2]
        body.append(f"{p}_dense({sizes[layer - 1]}, {sizes[layer]}, {previous}, {p}_W{layer}, {p}_b{layer}, {here});")
        begin = 0
        for activation, count in runs:
            body += formulas.activation(activation, here, begin, count)
            begin += count
        previous = here
    buffers = [f"{t} {letter}[{width}];" for letter, width in zip("uv", widths, strict=True) if width]
    loops = ["size_t j;"] if any(line.startswith("for") for line in body) else []
    lines = "\n".join(f"    {line}" for line in [*buffers, *loops, *body])
    file.add(f"void {p}_predict(const {t} *x, {t} *y)\n{{\n{lines}\n}}")
    return sum(widths) * net.dtype.itemsize


_DENSE = """\
/* z = a W + b; each z is one chain in the order of the inputs. */
static void {P}_dense(size_t m, size_t n, const {T} *a, const {T} *W, const {T} *b, {T} *z)
{{
    size_t j, k;
    for (j = 0; j < n; j++) z[j] = {READ}(b + j);
    for (k = 0; k < m; k++, W += n) {{
        const {T} s = a[k];
        for (j = 0; j < n; j++) z[j] = {P}_fma(s, {READ}(W + j), z[j]);
    }}
}}"""


def test_rows(net: Model, test_vectors: Any) -> NDArray[Any]:
    """Return the rows of a test: those that came, or so many random ones."""
    if isinstance(test_vectors, int | np.integer):
        n = validation.positive_integer(test_vectors, "test_vectors", 0)
        return np.random.default_rng(0).standard_normal((n, net.sizes[0])).astype(net.dtype)
    return as_dense(validation.inputs(test_vectors, net.sizes[0], net.dtype, "test_vectors"))


def add_test(file: CFile, c_type: str, X: NDArray[Any], Y: NDArray[Any]) -> None:
    """Add a function that counts the rows whose outputs have other bits than Python's, and a `main` that calls it."""
    m, p = file.macro, file.name
    file.test_includes += ["<stdio.h>", "<string.h>"]
    file.array(c_type, "test_x", X, f"{len(X)} rows of inputs.", is_test=True)
    file.array(c_type, "test_y", Y, "What Python predicted for them.", is_test=True)
    file.test.append(_TEST.format(P=p, M=m, T=c_type, READ=file.reader(c_type), N=len(X)))
    file.test.append(_MAIN.format(P=p, M=m, N=len(X)))


_TEST = """\
/* How many of the rows have other outputs. */
int {P}_test(void)
{{
    {T} x[{M}_N_INPUTS], y[{M}_N_OUTPUTS], expected;
    int i, wrong = 0;
    size_t j;
    for (i = 0; i < {N}; i++) {{
        int different = 0;
        for (j = 0; j < {M}_N_INPUTS; j++) x[j] = {READ}({P}_test_x + (size_t)i * {M}_N_INPUTS + j);
        {P}_predict(x, y);
        for (j = 0; j < {M}_N_OUTPUTS; j++) {{
            expected = {READ}({P}_test_y + (size_t)i * {M}_N_OUTPUTS + j);
            different |= memcmp(&y[j], &expected, sizeof expected) != 0 && (y[j] == y[j] || expected == expected);
        }}
        wrong += different;
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
