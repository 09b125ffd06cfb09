"""Networks as C: one C99 file and a header, with the outputs of `Network.predict` in every bit."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable

import numpy as np

from fastbp import validation
from fastbp.export.c_bound import error_bounds
from fastbp.export.c_formulas import HAS_SAME_BITS, Formulas, softmax_lanes
from fastbp.export.c_source import CFile, CReport, checked_name, paths_of, quoted
from fastbp.export.c_test import add_test, rows_of_test
from fastbp.functions.own import Activation
from fastbp.model.definition import require_network
from fastbp.model.model import Model
from fastbp.storage.atomic import PathLike
from fastbp.validation.matrix_like import MatrixLike
from fastbp.version import __version__

__all__ = ["require_writable_in_c", "to_c"]


def to_c(
    net: Model,
    path: PathLike,
    name: str | None = None,
    *,
    test_vectors: int | MatrixLike = 0,
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
    require_writable_in_c(net)
    X = rows_of_test(net, test_vectors)
    file = CFile(name)
    formulas = Formulas(file, net.dtype, exact=exact)
    buffer_bytes = _network(file, formulas, net)
    if len(X):
        Y = np.concatenate([net.predict(row[np.newaxis]) for row in X])
        add_test(file, X, Y, formulas.type, "predict", None if exact and HAS_SAME_BITS else error_bounds(net, X))
    _describe(file, net, formulas.type, os.path.basename(source), buffer_bytes, exact=exact)
    if add is not None:
        add(file, formulas.type, None)
    file.write(source, header)
    return CReport(source, header, file.constant_bytes, buffer_bytes)


def require_writable_in_c(net: Model) -> None:
    """Raise unless C can have a network's activations and parameters."""
    if not validation.all_finite(net.params):
        raise ValueError("`net.params` must be finite for a C file, because NaN and infinity would predict nothing.")
    for runs in net.activations:
        for activation, _ in runs:
            if isinstance(activation, Activation):
                raise ValueError(f"`net` must have built-in activations only to become C; it has {activation.name!r}.")


def _network(file: CFile, formulas: Formulas, net: Model) -> int:
    """Write everything but the test and the head; return the bytes of the buffers."""
    sizes, t, p = net.sizes, formulas.type, file.name
    file.includes += ["<float.h>", "<math.h>", "<stddef.h>", "<stdint.h>"]
    file.conditions.append(formulas.conditions())
    file.declarations += [
        f"#define {file.macro}_N_INPUTS {sizes[0]}",
        f"#define {file.macro}_N_OUTPUTS {sizes[-1]}",
        "",
        "/* Outputs y of inputs x, which must not overlap. */",
        f"void {p}_predict(const {t} *x, {t} *y);",
    ]
    for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True), 1):
        file.array(t, f"W{layer}", W, f"Layer {layer}: weights, those of input 1 to all {len(b)} neurons first")
        file.array(t, f"b{layer}", b, f"Layer {layer}: biases")
    file.add(_DENSE.format(P=p, T=t, READ=file.reader(t)))
    # Layers write alternately into two buffers, the last one into y.
    widths = [max(sizes[1:-1][first::2], default=0) for first in (0, 1)]
    buffers = [f"{t} {letter}[{width}];" for letter, width in zip("uv", widths, strict=True) if width]
    body, loops = _statements(file, formulas, net)
    lines = "\n".join(f"    {line}" for line in [*buffers, *loops, *body])
    file.add(f"void {p}_predict(const {t} *x, {t} *y)\n{{\n{lines}\n}}")
    return sum(widths) * net.dtype.itemsize + formulas.scratch_bytes


def _statements(file: CFile, formulas: Formulas, net: Model) -> tuple[list[str], list[str]]:
    """Return the statements for all layers, and what they declare."""
    body, p, previous = [], file.name, "x"
    for layer, runs in enumerate(net.activations, 1):
        fan_in, fan_out = net.sizes[layer - 1 : layer + 1]
        here = "y" if layer == len(net.activations) else "vu"[layer % 2]
        body.append(f"{p}_dense({fan_in}, {fan_out}, {previous}, {p}_W{layer}, {p}_b{layer}, {here});")
        begin = 0
        for activation, count in runs:
            body += formulas.activation(activation, here, begin, count)
            begin += count
        previous = here
    return body, ["size_t j;"] * any(line.startswith("for") for line in body)


def _describe(file: CFile, net: Model, t: str, file_name: str, buffer_bytes: int, *, exact: bool) -> None:
    """Write the head: what this is, what it takes, what it promises, how to compile it."""
    m, c = file.macro, shlex.quote(file_name)
    layers = [" ".join(f"{count} {name}" for name, count in runs) for runs in net.activations]
    file.comment += [
        f"{file.name}: a feed-forward network of {net.n_params} parameters in {t}, written by fastbp {__version__}.",
        f"{net.sizes[0]} inputs; {'; '.join(layers)}.",
        *(f"x[{k}] is {quoted(str(name))}" for k, name in enumerate(net.feature_names or ())),
        "",
        "It allocates nothing and keeps nothing: any number of threads may call it at once.",
        f"Memory: {file.constant_bytes} bytes of constants, in flash where there is one; arrays of {buffer_bytes}",
        "bytes on the stack while it runs, beside what a compiler takes for registers.",
        "",
        *(_SAME_BITS if exact else _OTHER_BITS),
        *(_softmax_note(net) if net.has_softmax and exact else []),
        "",
        f"Any compiler of C99 takes it, also as C++17: cc -std=c99 -O2 -c {c}, and -lm to link; for a PC -march=native",
        "or -mfma makes it several times quicker. Not with -ffast-math.",
        *([f"Its test: cc -std=c99 -O2 -D{m}_TEST {c} -lm && ./a.out"] if file.test else []),
        "",
        "The formulas are fastbp's: BSD-3-Clause, copyright 2026, the fastbp developers.",
    ]


_SAME_BITS = [
    "The outputs have the bits of fastbp's predict: every sum is a chain of fused multiply-adds in the order of the",
    "inputs, every activation is fastbp's own formula. A processor without that instruction computes it, slowly.",
]
_OTHER_BITS = [
    "Products and sums are rounded apart, as a processor without fused multiply-adds does quickest: the last bits of",
    "the outputs are not those of fastbp's predict.",
]


def _softmax_note(net: Model) -> list[str]:
    lanes = softmax_lanes(net.sizes[-1], net.dtype.itemsize)
    order = f"{lanes} sums side by side" if lanes else "pairs"
    return [
        f"Softmax sums by {order}, as fastbp does on the processor that wrote this; on others the last bit may differ."
    ]


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
