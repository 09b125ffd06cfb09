"""Networks of integers as C: ``NAME_predict_q``, which neither has nor needs a floating-point number."""

from __future__ import annotations

from collections.abc import Callable
from string import Template

from numpy.typing import ArrayLike

from fastbp import validation
from fastbp.export.c_integers import IntegerC
from fastbp.export.c_network import require_writable_in_c, to_c
from fastbp.export.c_source import CFile, CReport, checked_name, literal, paths_of
from fastbp.export.c_test import add_test, rows_of_test
from fastbp.export.fixed_functions import FORMATS, TABLE_OF
from fastbp.export.fixed_point import FixedLayer, FixedNetwork
from fastbp.export.fixed_report import FixedPointReport, chosen_network, fixed_point_report
from fastbp.model.definition import require_network
from fastbp.model.model import Model
from fastbp.storage.atomic import PathLike
from fastbp.validation.matrix_like import MatrixLike
from fastbp.version import __version__

__all__ = ["write_c"]

_TOLERANCE = 0.01  # of an error, in the distance between the largest and the smallest output


def write_c(
    net: Model,
    path: PathLike,
    name: str | None,
    format: str | None = None,
    calibration: MatrixLike | None = None,
    input_range: tuple[ArrayLike, ArrayLike] | None = None,
    tolerance: float | None = None,
    test_vectors: int | MatrixLike = 0,
    exact: bool = True,
    add: Callable[[CFile, str, int | None], None] | None = None,
) -> CReport | FixedPointReport:
    """Write a network as a C file and its header, of floats or of integers.

    Parameters
    ----------
    net : Network
    path, name, format, calibration, input_range, tolerance, test_vectors, exact
        As for `Network.to_c`.
    add : callable, optional
        ``add(file, c_type, point)`` adds what an estimator has beside its network, given the type of the outputs and
        their binary point, None for floats.

    Returns
    -------
    CReport or FixedPointReport
        What was written.

    Raises
    ------
    TypeError, ValueError, OSError
        As `Network.to_c`.
    """
    exact = validation.flag(exact, "exact")
    if format is not None and (not isinstance(format, str) or format not in (*FORMATS, "auto")):
        raise ValueError(f"`format` must be None for floats, or 'q15', 'q31' or 'auto' for integers; got {format!r}.")
    if tolerance is not None and format != "auto":
        raise ValueError("`tolerance` must be None where the format is given. Leave it out, or pass format='auto'.")
    if format is None:
        for argument, value in (("calibration", calibration), ("input_range", input_range)):
            if value is not None:
                raise ValueError(
                    f"`{argument}` must be None for a file of floats, which needs no ranges. Leave it out, or pass "
                    "format='q15', 'q31' or 'auto'."
                )
        return to_c(net, path, name, test_vectors=test_vectors, exact=exact, add=add)
    if not exact:
        raise ValueError("`exact` must be True for a file of integers, which are the same everywhere. Leave it out.")
    require_network(net)
    source, header = paths_of(path)
    file = CFile(checked_name(name, source))
    require_writable_in_c(net)
    tolerance = validation.real_number(_TOLERANCE if tolerance is None else tolerance, "tolerance", 0.0, open_low=True)
    fixed, errors, rows = chosen_network(net, format, calibration, input_range, tolerance)
    buffers = _network(file, fixed)
    X = fixed.integers(rows_of_test(net, test_vectors, rows))
    if len(X):
        add_test(file, X, fixed.outputs(X)[0], f"int{fixed.form.bits}_t", "predict_q")
    if add is not None:
        add(file, f"int{fixed.form.bits}_t", fixed.points[-1])
    written = {"constant_bytes": file.constant_bytes, "buffer_bytes": buffers}
    report = fixed_point_report(net, fixed, errors, source=source, header=header, **written)
    heading = f"{file.name}: written by fastbp {__version__}. Integers only."
    file.comment[:0] = [heading, "", *_said(repr(report)), *([""] if file.comment else [])]
    file.write(source, header)
    return report


def _said(text: str) -> list[str]:
    """Return the lines of a report but the first, which has the file's name, as ASCII without an end of a comment."""
    lines = text.removesuffix(">").splitlines()
    return [line.replace("*/", "* /") for line in lines[1:]]


def _network(file: CFile, fixed: FixedNetwork) -> int:
    """Add a network's arrays and functions to a C file; return the bytes of its buffers."""
    code = IntegerC(file, fixed.form)
    name, layers = file.name, fixed.layers
    sizes = [len(layers[0].weights), *(len(layer.biases) for layer in layers)]
    file.includes += ["<stddef.h>", "<stdint.h>"]
    file.header_includes += ["<stdint.h>"]
    file.declarations += _declarations(file, fixed, code.type)
    for number, layer in enumerate(layers, 1):
        comment = f"Layer {number}: a neuron's weights side by side, times 2**{layer.weight_point}."
        file.array(code.type, f"w{number}", layer.weights.T, comment)
        point = layer.in_point + layer.weight_point - layer.bias_shift
        file.array(
            "int32_t", f"b{number}", layer.biases >> layer.bias_shift, f"Layer {number}: biases, times 2**{point}."
        )
    widths = [max(sizes[1:-1][first::2], default=0) for first in (0, 1)]
    body, previous = [], "x"
    for number, layer in enumerate(layers, 1):
        here = "y" if number == len(layers) else "vu"[number % 2]
        body += _layer_lines(code, layer, number, previous, here)
        previous = here
    n_logits = sizes[-1] if layers[-1].runs[0][0] == "softmax" else 0
    buffers = [(code.type, letter, width) for letter, width in zip("uv", widths, strict=True)]
    buffers.append((code.wide, "z", n_logits))
    lines = [f"{c_type} {letter}[{width}];" for c_type, letter, width in buffers if width]
    lines += [f"const {code.type} *w;", "size_t j;", *body]
    text = "\n".join(f"    {line}" for line in lines)
    file.add(f"void {name}_predict_q(const {code.type} *x, {code.type} *y)\n{{\n{text}\n}}")
    return (sum(widths) + 2 * n_logits) * fixed.form.bits // 8


def _layer_lines(code: IntegerC, layer: FixedLayer, number: int, source: str, target: str) -> list[str]:
    """Return the lines that compute one layer."""
    name, (fan_in, _) = code.file.name, layer.weights.shape
    lines, begin = [f"/* Layer {number} */", f"w = {name}_w{number};"], 0
    bias = code.read("int32_t", f"{name}_b{number} + j")
    if layer.bias_shift:
        bias = f"(int64_t){bias} * ((int64_t)1 << {layer.bias_shift})"
    total = f"{code.sum(layer.sum_bits, layer.part, fan_in, source)} + {bias}"
    for activation, count in layer.runs:
        function = code.activation(activation)
        z = code.scaled(layer.sum_bits, layer.shift(activation, code.form), total)
        if activation == "softmax":
            step, after = f"z[j] = {z};", [f"{function}(z, {target}, {count});"]
        else:
            point = f", {layer.out_point}" if activation in TABLE_OF else ""
            step, after = f"{target}[j] = {function}({z}{point});", []
        lines.append(f"for (j = {begin}; j < {begin + count}; j++, w += {fan_in}) {step}")
        lines += after
        begin += count
    return lines


_CONVERSIONS = Template("""\
#ifdef ${M}_FLOAT
/* A number as an input: rounded to the nearest, halves up, and cut off. */
static inline $T ${P}_from_float($F x)
{
    const $F scaled = x * $to;
    $W whole;
    if (!(scaled > -$limit)) return -$limit;
    if (scaled >= $limit) return $limit;
    whole = ($W)scaled;
    if (($F)whole > scaled) whole--;
    return ($T)(scaled - ($F)whole >= ($F)0.5 ? whole + 1 : whole);
}
/* An output as a number. */
static inline $F ${P}_to_float($T y)
{
    return ($F)y * $back;
}
#endif""")


def _declarations(file: CFile, fixed: FixedNetwork, c_type: str) -> list[str]:
    """Return what the header says."""
    inputs, *_, outputs = fixed.points
    real = "float" if fixed.form.bits == 16 else "double"
    conversions = _CONVERSIONS.substitute(
        M=file.macro,
        P=file.name,
        T=c_type,
        W=f"int{2 * fixed.form.bits}_t",
        F=real,
        limit=fixed.form.limit,
        to=literal(2.0**inputs, real),
        back=literal(2.0**-outputs, real),
    )
    return [
        f"#define {file.macro}_N_INPUTS {len(fixed.layers[0].weights)}",
        f"#define {file.macro}_N_OUTPUTS {len(fixed.layers[-1].biases)}",
        "/* Binary points: an input x is the integer x * 2**X_POINT, an output y the integer y * 2**Y_POINT. */",
        f"#define {file.macro}_X_POINT ({inputs})",
        f"#define {file.macro}_Y_POINT ({outputs})",
        f"void {file.name}_predict_q(const {c_type} *x, {c_type} *y);",
        conversions,
    ]
