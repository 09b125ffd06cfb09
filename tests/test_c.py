"""Networks as C files: outputs in every bit, by every compiler at hand."""

import functools
import re

import mpmath
import numpy as np
import pytest

import fastbp as bp
from bench import network_in_c
from fastbp.export import c_formulas
from fastbp.export.c_bound import error_bounds
from fastbp.export.c_formulas import HAS_SAME_BITS
from fastbp.kernels.machine.processor import VECTOR_BYTES
from fastbp.kernels.vectors.trigonometric import SIN_LIMIT_32, SIN_LIMIT_64
from tests import c_compilers, cases
from tests.c_compilers import NATIVE, compile_c, compilers, library, name_of, program_of, run

pytestmark = pytest.mark.skipif(not compilers(), reason="there is no C compiler")
every_compiler = pytest.mark.parametrize("compiler", compilers(), ids=name_of)
every_level = pytest.mark.parametrize("flags", [("-O0",), ("-O2", "-ffp-contract=off"), NATIVE], ids=" ".join)
needs_same_bits = pytest.mark.skipif(not HAS_SAME_BITS, reason="the kernels have no fused multiply-adds here")

SHAPES = {
    "small": ([2, 4, 4, 2], "tanh", "sigmoid"),
    "middle": ([4, 32, 16, 4], ["gelu", [("relu", 7), ("elu", 9)]], "softmax"),
    "wide": ([10, 100, 3], "silu", "identity"),
    "long": ([300, 17, 5], "leaky_relu", "softplus"),
    "one": ([3, 1], "tanh", "exp"),
}
SOFTMAX_SIZES = (2, 3, 5, 8, 9, 16, 17, 33)


def bits_differ(first, second):
    """Where two arrays have other bits; two NaNs are the same."""
    integer = np.uint32 if first.itemsize == 4 else np.uint64
    assert first.dtype == second.dtype
    return (first.view(integer) != second.view(integer)) & ~(np.isnan(first) & np.isnan(second))


# ---- Networks --------------------------------------------------------------------------------------------------------


@functools.cache
def networks():
    """All networks that are compared, by the names of their C files."""
    nets = {}
    for dtype in cases.DTYPES:
        every = [(name, 1) for name in cases.ACTIVATION_NAMES]
        n = len(every)
        plain = bp.Network([1, n], output=every, dtype=dtype)
        # -0.0 as bias, so that a z of -0.0 remains one
        plain.params = np.array([1.0] * n + [-0.0] * n, dtype)
        far = bp.Network([1, 2, n], "identity", every, dtype=dtype)
        # for |x| > 1 infinite z, and NaN at every other neuron, from infinity minus infinity
        largest = np.finfo(dtype).max
        second = [[1.0] * n, [1.0, -1.0] * (n // 2) + [1.0]]
        far.params = np.concatenate([[largest, -largest, 0, 0], *second, np.zeros(n)]).astype(dtype)
        nets |= {f"plain_{dtype}": plain, f"far_{dtype}": far}
        for n in SOFTMAX_SIZES:
            nets[f"softmax{n}_{dtype}"] = _scaled(bp.Network([3, n], output="softmax", dtype=dtype, seed=n), 3)
        for name, (sizes, activation, output) in SHAPES.items():
            nets[f"{name}_{dtype}"] = _scaled(bp.Network(sizes, activation, output, dtype=dtype, seed=5), 1)
    return nets


def _scaled(net, scale):
    """The network with random biases too, and with larger parameters."""
    rng = np.random.default_rng(net.n_params)
    net.params = (net.params + 0.3 * rng.standard_normal(net.n_params).astype(net.dtype)) * net.dtype.type(scale)
    return net


@functools.cache
def rows_of(name):
    """1,000 rows for a network: for activations alone z of every size and the special ones."""
    net, rng = networks()[name], np.random.default_rng(7)
    if name.startswith(("plain", "far")):
        f = np.finfo(net.dtype)
        edges = [0.0, f.tiny, f.smallest_subnormal, f.tiny / 3, f.eps, 1.0, 1.5, f.max, f.max / 3]
        edges += [9.0, 10.0, 14.5, 20.0, 22.0, 39.0, 40.0, 87.5, 88.5, 89.0, 104.0, 106.0, 709.5, 745.5, 747.0]
        sizes = np.concatenate([edges, np.exp(rng.uniform(-12, 7, 500 - len(edges)))])
        return np.concatenate([sizes, -sizes]).astype(net.dtype)[:, np.newaxis]
    scales = rng.choice([0.1, 1.0, 1.0, 30.0], (1000, 1))
    return (rng.standard_normal((1000, net.sizes[0])) * scales).astype(net.dtype)


@functools.cache
def predicted(name):
    """What Python predicts for them, row by row: among the rows of a batch a far sine takes all to the C library."""
    net, X = networks()[name], rows_of(name)
    if name.startswith(("plain", "far")):
        return np.concatenate([net.predict(row[np.newaxis]) for row in X])
    return net.predict(X)


def is_compared(name):
    """Which outputs are: beyond the formula's limit a sine is the C library's, whichever that is."""
    compared = np.ones(predicted(name).shape, bool)
    if name.startswith(("plain", "far")):
        sine = cases.ACTIVATION_NAMES.index("sine")
        limit = SIN_LIMIT_32 if "32" in name else SIN_LIMIT_64
        near = np.abs(rows_of(name)[:, 0]) <= limit
        compared[:, sine] = near if name.startswith("plain") else np.isnan(predicted(name)[:, sine])
    return compared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all networks as C, exact and not."""
    folder = tmp_path_factory.mktemp("c")
    program_of(networks(), folder)
    (folder / "apart").mkdir()
    program_of(networks(), folder / "apart", exact=False)
    return folder


# ---- Bits ------------------------------------------------------------------------------------------------------------


@needs_same_bits
@every_level
@every_compiler
def test_outputs_have_the_same_bits(compiler, flags, folder):
    functions = library(compiler, flags, networks(), folder)
    wrong = {}
    for name, function in functions.items():
        differ = bits_differ(function(rows_of(name)), predicted(name)) & is_compared(name)
        if differ.any():
            wrong[name] = np.flatnonzero(differ.any(axis=0)), rows_of(name)[differ.any(axis=1)][:3]
    assert not wrong


@needs_same_bits
def test_rows_are_predicted_alike_alone_and_in_a_batch():
    """Of a layer of one activation, whose kernel runs over all rows at once: what C does is the same."""
    for name in cases.ACTIVATION_NAMES:
        for dtype in cases.DTYPES:
            net = bp.Network([1, 1], output=name, dtype=dtype)
            net.params = np.array([1.0, -0.0], dtype)
            X = rows_of(f"plain_{dtype}")
            X = X[np.abs(X[:, 0]) <= SIN_LIMIT_32] if name == "sine" else X
            column = predicted(f"plain_{dtype}")[:, [cases.ACTIVATION_NAMES.index(name)]]
            column = column[np.abs(rows_of(f"plain_{dtype}")[:, 0]) <= SIN_LIMIT_32] if name == "sine" else column
            assert not bits_differ(net.predict(X), column).any(), name


def test_special_values_are_among_the_rows():
    for dtype in cases.DTYPES:
        far, plain = predicted(f"far_{dtype}"), rows_of(f"plain_{dtype}")
        assert np.isnan(far[:, 0]).any()
        assert np.isinf(far[:, cases.ACTIVATION_NAMES.index("relu")]).any()
        assert ((plain == 0) & np.signbit(plain)).any()
        assert ((np.abs(plain) < np.finfo(dtype).tiny) & (plain != 0)).sum() >= 4
        outputs = predicted(f"plain_{dtype}")
        assert ((np.abs(outputs) < np.finfo(dtype).tiny) & (outputs != 0)).sum() >= 10


@needs_same_bits
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_softmax_in_the_order_of_another_processor_is_near(vector_bytes, tmp_path, monkeypatch):
    nets = {name: net for name, net in networks().items() if name.startswith("softmax")}
    monkeypatch.setattr(c_formulas, "lanes_of", lambda itemsize: vector_bytes // itemsize)
    program_of(nets, tmp_path)
    functions = library(compilers()[0], ("-O0",), nets, tmp_path)
    farthest = 0.0
    for name, function in functions.items():
        expected = predicted(name)
        distance = np.abs(function(rows_of(name)).astype(np.float64) - expected) / np.spacing(expected)
        farthest = max(farthest, float(distance.max()))
    assert farthest <= 8.0
    assert (farthest == 0) == (vector_bytes == VECTOR_BYTES)


def test_without_fused_multiply_adds_outputs_are_within_the_bounds(folder):
    functions = library(compilers()[0], ("-O0", "-ffp-contract=off"), networks(), folder / "apart")
    of_their_size = 0
    for name, net in networks().items():
        near = np.abs(rows_of(name)).max(axis=1) < 50
        if name.startswith("far"):
            continue
        X, expected = rows_of(name)[near], predicted(name)[near]
        distance = np.abs(functions[name](X).astype(np.float64) - expected)
        bounds = error_bounds(net, X)
        assert (distance <= bounds).all(), (name, np.argwhere(distance > bounds)[:5])
        of_their_size += int((distance > bounds / 1000).sum())
        if name.startswith("softmax"):
            assert bounds.max() < 1e4 * np.finfo(net.dtype).eps
    assert of_their_size > 100  # the bounds are not far too wide


def test_far_sines_are_those_of_the_c_library(folder):
    functions = library(compilers()[0], ("-O0",), networks(), folder)
    for dtype, limit in (("float32", SIN_LIMIT_32), ("float64", SIN_LIMIT_64)):
        X = np.concatenate([limit * np.array([1.0, 1.001, 1.9, 7, 1e3, 1e6]), [np.pi]]).astype(dtype)[:, np.newaxis]
        found = functions[f"plain_{dtype}"](X)[:, cases.ACTIVATION_NAMES.index("sine")]
        exact = np.array([float(mpmath.sin(mpmath.mpf(float(x)))) for x in X[:, 0]])
        np.testing.assert_allclose(found, exact, rtol=4 * np.finfo(dtype).eps)


def test_short_softmaxes_have_one_order_on_x86(tmp_path, monkeypatch):
    for dtype, n, is_same in (("float32", 4, True), ("float32", 5, False), ("float64", 2, True), ("float64", 3, False)):
        texts = set()
        for vector_bytes in (32, 64):
            monkeypatch.setattr(c_formulas, "lanes_of", lambda itemsize, n=vector_bytes: n // itemsize)
            bp.Network([3, n], output="softmax", dtype=dtype, seed=0).to_c(tmp_path / "net.c")
            texts.add((tmp_path / "net.c").read_text())
        assert (len(texts) == 1) == is_same, (dtype, n)


def test_the_benchmark_runs(capsys, monkeypatch):
    monkeypatch.setattr(network_in_c, "SHAPES", network_in_c.SHAPES[:1])
    monkeypatch.setattr(network_in_c, "SECONDS", 0.0)
    if len(compilers()[0]) > 1:
        pytest.skip("it takes the name of a compiler")
    network_in_c.main(compilers()[0][0], "-O1 -march=native", turns=1)
    printed = capsys.readouterr().out
    assert re.search(r"^4-32-16-4 tanh, softmax: .*fastbp \d+ \[\S+\]; fastbp, exact=False", printed, re.M)
    errors = re.findall(r"^q(?:15|31): at most (\S+), on average .*; same class (\S+) %", printed, re.M)
    assert [float(of) < most for (of, _), most in zip(errors, (1e-3, 1e-6), strict=True)] == [True, True]
    assert [float(same) > 99 for _, same in errors] == [True, True]


# ---- The test in the file --------------------------------------------------------------------------------------------


def program(compiler, folder, name, *flags, **keywords):
    """Compile a file's own test; return the command."""
    compile_c(compiler, folder, f"-D{name.upper()}_TEST", "-O1", *flags, f"{name}.c", "-lm", "-o", f"{name}_test")
    return [folder / f"{name}_test"]


@pytest.mark.parametrize("exact", [True, False])
def test_the_files_own_test_tells_right_from_wrong(exact, tmp_path):
    compiler, net = compilers()[0], networks()["middle_float32"]
    net.to_c(tmp_path / "net.c", test_vectors=20, exact=exact)
    assert run(program(compiler, tmp_path, "net"), tmp_path) == "net: 20 of 20 rows as in Python\n"
    text = (tmp_path / "net.c").read_text()
    inputs, outputs = text.index("net_test_x["), text.index("net_test_y[")
    # one more or less in the last place of an output, or a weight that is a little different
    start = text.index("0x1.", outputs)
    end = text.index("p", start)
    last = f"{(int(text[end - 1], 16) + (4 if exact else 0)) % 16:x}"
    changed = text[: end - 1] + last + text[end:] if exact else text[: start + 4] + "f" * 4 + text[start + 8 :]
    (tmp_path / "net.c").write_text(changed)
    assert run(program(compiler, tmp_path, "net"), tmp_path, fails=True) == "net: 19 of 20 rows as in Python\n"
    assert inputs < outputs


def test_rows_of_ones_own_are_tested(tmp_path):
    net = networks()["small_float64"]
    net.to_c(tmp_path / "net.c", test_vectors=[[1.0, -2.0], [0.25, 1e10]])
    text = (tmp_path / "net.c").read_text()
    assert "net_test_x[4] NET_FLASH = {1.0, -2.0, 0x1p-2, 0x1.2a05f2p+33}" in text
    assert run(program(compilers()[0], tmp_path, "net"), tmp_path) == "net: 2 of 2 rows as in Python\n"


@needs_same_bits
def test_outputs_beyond_all_numbers_are_tested(tmp_path):
    net = bp.Network([1, 3], output=[("exp", 1), ("identity", 2)], dtype="float32")
    net.params = np.array([3e38, 3e38, 1, 0, 0, 0], np.float32)
    X = np.array([[10.0], [-10.0], [0.0]], np.float32)
    for exact in (True, False):
        net.to_c(tmp_path / "net.c", test_vectors=X, exact=exact)
        text = (tmp_path / "net.c").read_text()
        assert "= {INFINITY, INFINITY, 10.0f, 0.0f, -INFINITY, -10.0f, 1.0f" in text
        assert run(program(compilers()[0], tmp_path, "net"), tmp_path) == "net: 3 of 3 rows as in Python\n"


# ---- What a compiler must be -----------------------------------------------------------------------------------------


@every_compiler
def test_files_compile_as_cpp(compiler, tmp_path):
    networks()["middle_float32"].to_c(tmp_path / "net.c", test_vectors=3)
    compile_c(
        compiler, tmp_path, "-x", "c++", "-DNET_TEST", "-c", "net.c", strict=("-std=c++17", *c_compilers.STRICT[1:])
    )
    (tmp_path / "user.cpp").write_text(
        '#include "net.h"\nvoid use(float *y);\n'
        "void use(float *y) { float x[NET_N_INPUTS] = {0}; net_predict(x, y + 0 * NET_N_OUTPUTS); }\n"
    )
    compile_c(compiler, tmp_path, "-x", "c++", "-c", "user.cpp", strict=("-std=c++11", *c_compilers.STRICT[1:]))


def test_a_word_of_c_may_begin_all_names(tmp_path):
    compiler, net = compilers()[0], networks()["small_float32"]
    for name in ("int", "log"):
        net.to_c(tmp_path / f"{name}.c", test_vectors=2)
        assert run(program(compiler, tmp_path, name), tmp_path) == f"{name}: 2 of 2 rows as in Python\n"
    net.to_c(tmp_path / "new.c", test_vectors=2)
    compile_c(compiler, tmp_path, "-x", "c++", "-DNEW_TEST", "-c", "new.c", strict=("-std=c++17", "-Werror"))


@every_compiler
def test_what_would_break_the_formulas_stops_the_compiler(compiler, tmp_path):
    networks()["small_float32"].to_c(tmp_path / "net.c")
    of_all = () if name_of(compiler) == "ziglang" else ("-Ofast",)  # which that one takes for -O3
    for flag in ("-ffast-math", "-ffinite-math-only", *of_all):
        said = compile_c(compiler, tmp_path, flag, "-c", "net.c", strict=("-std=c99",), fails=True)
        assert "compile this file without -ffast-math and -Ofast, under which its formulas are wrong" in said
    if (
        np.dtype(np.longdouble).itemsize == 16
        and name_of(compiler) == "gcc"
        and "__SSE2__" in macros(compiler, tmp_path)
    ):
        said = compile_c(compiler, tmp_path, "-mfpmath=387", "-c", "net.c", strict=("-std=c99",), fails=True)
        assert "on a PC with -msse2 -mfpmath=sse" in said


def macros(compiler, folder):
    """All that a compiler defines."""
    (folder / "empty.c").write_text("")
    return run([*compiler, "-dM", "-E", "empty.c"], folder)


def test_a_file_knows_its_header(tmp_path):
    net, compiler = networks()["small_float32"], compilers()[0]
    net.to_c(tmp_path / "net.c")
    header = (tmp_path / "net.h").read_text()
    other = bp.Network(net.sizes, "tanh", "sigmoid", dtype="float32", seed=9)
    other.to_c(tmp_path / "net.c")
    compile_c(compiler, tmp_path, "-c", "net.c")
    (tmp_path / "net.h").write_text(header)
    assert "net.h belongs to another C file: write both again" in compile_c(
        compiler, tmp_path, "-c", "net.c", strict=("-std=c99",), fails=True
    )


@needs_same_bits
@every_compiler
def test_the_software_multiply_add_is_right(compiler, tmp_path):
    """The one for processors and libraries that have none, for which this one's macros are taken away."""
    net = networks()["middle_float32"]
    X = rows_of("middle_float32")[:200]
    net.to_c(tmp_path / "net.c", test_vectors=X)
    text = (tmp_path / "net.c").read_text()
    known = ("__FP_FAST_FMAF", "FP_FAST_FMAF", "__FMA__", "__aarch64__", "__GLIBC__", "__APPLE__", "__ARM_FEATURE_FMA")
    for macro in known:
        assert f"defined({macro})" in text
        text = text.replace(f"defined({macro})", "0")
    text = text.replace("return fmaf(", "return no_such_function(")  # which must not be compiled
    (tmp_path / "net.c").write_text(text)
    assert run(program(compiler, tmp_path, "net"), tmp_path) == "net: 200 of 200 rows as in Python\n"
    (tmp_path / "fma.c").write_text(text + _EVERY_KIND_OF_SUM)
    compile_c(compiler, tmp_path, "-O2", "fma.c", "-lm", "-o", "fma")
    assert run([tmp_path / "fma"], tmp_path) == "0 wrong\n"


_EVERY_KIND_OF_SUM = r"""
#include <stdio.h>
#include <string.h>
/* Sums of random floats; that are halfway between two floats but for a little; with denormal results; that cancel. */
int main(void)
{
    uint32_t state = 1, part[3];
    int wrong = 0, i, k;
    for (i = 0; i < 400000; i++) {
        float a, b, c, right, ours;
        for (k = 0; k < 3; k++) {
            state = state * 1664525u + 1013904223u;
            part[k] = state >> 8;
        }
        a = net_from_bits((part[0] & 0x7fffffu) | ((i % 4 == 2 ? 57u : 127u) << 23));
        b = net_from_bits((part[1] & 0x7fffffu) | ((i % 4 == 2 ? 57u - part[0] % 30u : 127u) << 23));
        c = net_from_bits((part[2] & 0x7fffffu) | ((i % 4 == 2 ? part[1] % 3u : 90u + part[0] % 60u) << 23));
        if (i % 4 == 1) { /* a b has 25 bits, of which the last is set */
            a = 1.0f + (float)(part[0] % 1024u * 2u + 1u) / 4096.0f;
            b = 1.0f + (float)(part[1] % 512u * 2u + 1u) / 4096.0f;
            c = net_from_bits((part[2] & 0x7fffffu) | ((40u + part[2] % 40u) << 23));
        }
        c = part[1] & 1024u ? -c : c;
        a = part[2] & 1024u ? -a : a;
        if (i % 4 == 3) c = -(a * b);
        right = fmaf(a, b, c);
        ours = net_fma(a, b, c);
        wrong += memcmp(&right, &ours, sizeof ours) != 0;
    }
    printf("%d wrong\n", wrong);
    return 0;
}
"""
