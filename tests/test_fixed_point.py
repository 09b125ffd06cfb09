"""Networks of integers: their C files against the twin in NumPy in all bits, and both against real numbers."""

import ctypes
import functools
import re
import shutil

import numpy as np
import pytest

import fastbp as bp
from fastbp.export.fixed_functions import FORMATS, INTEGER_FUNCTIONS, LEAKY_DIVISOR, TABLE_OF, Z_REACH, table
from fastbp.export.fixed_point import FixedLayer
from fastbp.export.fixed_ranges import OF_UNIT
from tests import c_programs, reference_formulas, test_c_microcontrollers
from tests.c_compilers import compile_c, compilers, name_of, run
from tests.cases import ACTIVATION_NAMES

NAMES = (*ACTIVATION_NAMES, "softmax")
INTEGERS = {"q15": np.dtype(np.int16), "q31": np.dtype(np.int32)}
N_ROWS = 1000


def softmax(z):
    """Of rows, by the formula."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def exact(name, z):
    """An activation's values, by the reference's formulas of single numbers."""
    return softmax(z) if name == "softmax" else np.vectorize(reference_formulas.ACTIVATIONS[name].value)(z)


# ---- Activations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", INTEGER_FUNCTIONS)
def test_an_activation_is_as_near_as_is_said(name, form):
    rng = np.random.default_rng(0)
    z = np.concatenate([np.linspace(-24, 24, 4001), rng.normal(0, 1, 2000), rng.normal(0, 300, 500), [0, 1e-9, -1e-9]])
    z = z[: 10 * (len(z) // 10)].reshape(-1, 10) if name == "softmax" else z
    integers = np.floor(np.ldexp(z, form.bits) + 0.5).astype(np.int64)
    z = np.ldexp(integers.astype(float), -form.bits)
    for point in (form.places, 11) if name != "softmax" else (form.places,):
        with np.errstate(over="ignore"):
            expected = np.minimum(exact(name, z), np.ldexp(form.limit, -point))
        expected = np.maximum(expected, -np.ldexp(form.limit, -point))
        found = np.ldexp(INTEGER_FUNCTIONS[name](integers, point, form).astype(float), -point)
        unit = 2.0**-point if name not in OF_UNIT else max(2.0**-point, 2.0**-form.places)
        roundings = 5 if name == "softmax" else 0  # one half for each of the exponentials that are added up
        assert np.abs(found - expected).max() <= (form.error + roundings) * unit


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("name", sorted(set(TABLE_OF.values())))
def test_the_steps_between_a_tables_values_cannot_overflow(name, form):
    """The largest of what `read` multiplies and adds, for any place between any four values."""
    values, step, n_intervals = table(name, form)
    assert len(values) == n_intervals + 3
    assert max(values) <= form.limit
    assert min(values) >= -form.limit
    before, left, right, after = (values[k : len(values) - 3 + k] for k in range(4))
    places, widest = form.bits - step, 1 << (2 * form.bits - 1)
    first, second = abs(right - left).max(), abs(after - right - left + before).max()
    third = abs(after - 3 * (right - left) - before).max()
    assert int(first + second + 1) << places < widest
    assert (int(third) * 5461 << places) < (widest if form.order == 3 else 1 << 63)
    assert 1 << (2 * places) < widest * 4
    assert n_intervals << places < 1 << (form.bits + Z_REACH)


# ---- C -------------------------------------------------------------------------------------------------------------


def networks():
    """Each activation, in each format, in another place; and what is special."""
    settings, half = {}, len(NAMES) // 2
    for k, name in enumerate(NAMES):
        hidden = name if name not in ("softmax", "exp") else "tanh"
        output = name if name in ("softmax", "exp") or k % 2 else NAMES[(k + half) % 10]
        settings[name] = {"sizes": [5, 9, 7, 3], "activation": hidden, "output": output}
    runs = [(name, 1 + k % 2) for k, name in enumerate(ACTIVATION_NAMES)]
    width = sum(count for _, count in runs)
    settings["mixed"] = {"sizes": [4, width, 2], "activation": [runs], "output": [("relu", 1), ("sine", 1)]}
    settings["long"] = {"sizes": [150, 40, 2], "activation": "relu", "output": "tanh", "dtype": "float32"}
    settings["alone"] = {"sizes": [2, 3], "output": "softmax"}  # whose file needs few of the parts
    settings["flat"] = {"sizes": [1, 1]}
    settings["nothing"] = {"sizes": [3, 2, 2], "initializer": "zeros"}
    settings["biased"] = {"sizes": [3, 4, 2], "activation": "relu"}
    settings["gentle"] = {"sizes": [1, len(runs)], "output": [(name, 1) for name, _ in runs]}
    settings["steep"] = {"sizes": [3, 4, 2], "activation": "sine"}
    return settings


def network(name):
    """A network of the table, with biases."""
    net, rng = bp.Network(**networks()[name], seed=5), np.random.default_rng(1)
    if name == "nothing":
        return net
    for b in net.biases:
        b[...] = rng.normal(0, 40 if name == "biased" else 0.3, b.shape)
    if name == "gentle":  # whose errors are those of the activations
        net.weights[0][...] = 0.05
    if name == "steep":
        net.weights[0][...] *= 1500
    return net


def rows(net, n=N_ROWS):
    """Typical rows; the first input only positive."""
    X = np.random.default_rng(2).normal(0, 1, (n, net.sizes[0])).astype(net.dtype)
    X[:, 0] = abs(X[:, 0])
    return X


def integer_rows(net, fixed):
    """Integers of typical rows, any integers, the largest and smallest, and those with the largest sums."""
    form, rng, n = fixed.form, np.random.default_rng(3), net.sizes[0]
    lowest, limit = -form.limit - 1, form.limit
    signs = np.sign(fixed.layers[0].weights.T)
    return np.concatenate(
        [
            fixed.integers(rows(net)),
            rng.integers(lowest, limit + 1, (200, n)),
            rng.choice([lowest, -limit, 0, limit], (100, n)),
            *(np.where(signs * sign > 0, limit, lowest) for sign in (-1, 1)),
            np.zeros((1, n), np.int64),
        ]
    )


@functools.cache
def report_of(folder, name, form):
    """Write a network's files and return the report."""
    net = network(name)
    return net.to_c(folder / f"{name}_{form}.c", f"n_{name}_{form}", format=form, calibration=rows(net))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of all networks."""
    folder = tmp_path_factory.mktemp("c")
    for name in networks():
        for form in FORMATS:
            report_of(folder, name, form)
    return folder


@pytest.fixture(scope="module", params=compilers() or [None], ids=lambda one: name_of(one) if one else "none")
def compiled(folder, request):
    """All files as one library."""
    if request.param is None:
        pytest.skip("there is no C compiler")
    lines = [f"#define N_FLAT_{form.upper()}_FLOAT" for form in FORMATS]
    lines += [f'#include "{name}_{form}.c"' for name in networks() for form in FORMATS]
    lines += [  # what is `static inline` in a header, for ctypes
        "int16_t in_q15(float x); float out_q15(int16_t y); int32_t in_q31(double x); double out_q31(int32_t y);",
        "int16_t in_q15(float x) { return n_flat_q15_from_float(x); }",
        "float out_q15(int16_t y) { return n_flat_q15_to_float(y); }",
        "int32_t in_q31(double x) { return n_flat_q31_from_float(x); }",
        "double out_q31(int32_t y) { return n_flat_q31_to_float(y); }",
        "",
    ]
    return c_programs.library(folder, "\n".join(lines), request.param, "-O1")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", networks())
def test_c_has_the_bits_of_the_twin(folder, compiled, name, form):
    fixed, net = report_of(folder, name, form).network, network(name)
    X = integer_rows(net, fixed)
    function = getattr(compiled, f"n_{name}_{form}_predict_q")
    found = c_programs.outputs(function, X.astype(INTEGERS[form]), (len(X), net.sizes[-1]))
    assert np.array_equal(found, fixed.outputs(X)[0])


@pytest.mark.parametrize("form", FORMATS)
def test_numbers_become_inputs_as_in_the_twin(folder, compiled, form):
    fixed, real = report_of(folder, "flat", form).network, np.float32 if form == "q15" else np.float64
    kind = ctypes.c_float if form == "q15" else ctypes.c_double
    into, back = getattr(compiled, f"in_{form}"), getattr(compiled, f"out_{form}")
    into.argtypes, into.restype = [kind], c_programs.OF_NUMPY[INTEGERS[form]]
    back.argtypes, back.restype = [c_programs.OF_NUMPY[INTEGERS[form]]], kind
    unit = 2.0 ** -fixed.points[0]
    halves = (np.arange(-9, 10) / 2) * unit
    just_below = np.nextafter(halves, -np.inf)
    values = np.concatenate(
        [halves, just_below, np.random.default_rng(0).normal(0, 2, 500), [1e30, -1e30, np.inf, -np.inf]]
    )
    values = values.astype(real)
    assert [into(float(x)) for x in values] == fixed.integers(values).tolist()
    assert into(float("nan")) == -fixed.form.limit
    assert back(5) == 5 * 2.0 ** -fixed.points[-1]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", networks())
def test_the_error_is_small_and_within_its_bound(folder, name, form):
    report, net = report_of(folder, name, form), network(name)
    X = rows(net)
    errors = abs(report.predict(X) - net.predict(X))
    assert report.n_rows == N_ROWS
    assert report.n_cut == (0,) * len(net.sizes)
    assert np.array_equal(report.max_error, errors.max(axis=0))
    assert np.array_equal(report.mean_error, errors.mean(axis=0))
    assert (report.max_error <= report.error_bound).all()
    largest = max(1.0, abs(net.predict(X)).max())
    share = {"q15": 1e-3, "q31": 1e-7 if net.dtype == np.float64 else 1e-5}[form] * (1000 if name == "steep" else 1)
    assert report.max_error.max() <= share * largest


@pytest.mark.parametrize("form", FORMATS)
def test_there_is_no_floating_point_number(folder, form):
    """But for what the header has for those who ask for it, and the comments."""
    for name in networks():
        text = re.sub(r"/\*.*?\*/", "", (folder / f"{name}_{form}.c").read_text(), flags=re.DOTALL)
        assert re.search(r"\bfloat\b|\bdouble\b|\d\.\d|0x1p|math\.h", text) is None
        header = (folder / f"{name}_{form}.h").read_text()
        header = re.sub(r"/\*.*?\*/|#ifdef \w+_FLOAT.*?#endif", "", header, flags=re.DOTALL)
        assert re.search(r"\bfloat\b|\bdouble\b|\d\.\d|0x1p", header) is None


CORES = {  # without floating point: their compilers, and what a library's functions for floats are called
    "avr": (("avr-gcc", "-mmcu=atmega2560"), r"__\w*sf\d?\b"),
    "cortex-m0": (("arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"), r"__aeabi_([fd]|\w*2[fd])"),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("core", CORES)
def test_a_core_without_floats_needs_no_library_for_them(folder, core, form):
    compiler, of_floats = CORES[core]
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no {compiler[0]}")
    text = "\n".join(f'#include "{name}_{form}.c"' for name in ("mixed", "softmax", "biased"))
    (folder / f"{core}.c").write_text(text)
    compile_c(compiler, folder, "-Os", "-c", "-o", f"{core}.o", f"{core}.c")
    symbols = run((compiler[0].replace("gcc", "nm"), "-u", f"{core}.o"), folder)
    assert "div" in symbols  # of integers, by softmax
    assert re.search(of_floats, symbols) is None


# What the compiler's library does for a product of 16 bits with 32.  There it ends with a skipped instruction before a
# return, at which qemu 7.2 stands still.
AVR_PRODUCT = """
.global __wrap___mulhisi3
__wrap___mulhisi3:
    call __umulhisi3
    tst r19
    brpl 1f
    sub r24, r26
    sbc r25, r27
1:  tst r27
    brpl 2f
    sub r24, r18
    sbc r25, r19
2:  ret
"""


@test_c_microcontrollers.needs_avr
@pytest.mark.parametrize("form", FORMATS)
def test_avr_has_the_same_bits(tmp_path, form):
    net = network("mixed")
    net.to_c(tmp_path / "net.c", format=form, calibration=rows(net), test_vectors=40)
    (tmp_path / "product.s").write_text(AVR_PRODUCT)
    said = test_c_microcontrollers.on_avr(tmp_path, "-Wl,--wrap=__mulhisi3", "product.s")
    assert said == test_c_microcontrollers.AS_IN_PYTHON


@pytest.mark.skipif(not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-arm")), reason="no compiler, or qemu")
@pytest.mark.parametrize("form", FORMATS)
def test_arm_has_the_same_bits(tmp_path, form):
    net, compiler = network("mixed"), ("arm-none-eabi-gcc", "-mcpu=cortex-a7", "-marm", "--specs=rdimon.specs")
    net.to_c(tmp_path / "arm.c", format=form, calibration=rows(net), test_vectors=40)
    compile_c(compiler, tmp_path, "-O2", "-DARM_TEST", "-o", "arm", "arm.c")
    assert run(("qemu-arm", "arm"), tmp_path) == "arm: 40 of 40 rows as in Python\n"


@pytest.mark.skipif(not compilers(), reason="there is no C compiler")
def test_the_test_in_the_file_can_fail(tmp_path):
    net, path = network("mixed"), tmp_path / "net.c"
    net.to_c(path, format="q15", calibration=rows(net), test_vectors=rows(net, 7))
    text = path.read_text()
    changed = re.sub(r"(net_test_y\[14\] NET_FLASH = \{\s*)(-?\d+)", lambda m: f"{m[1]}{int(m[2]) + 1}", text)
    assert changed != text
    for written, right in ((text, 7), (changed, 6)):
        path.write_text(written)
        compile_c(compilers()[0], tmp_path, "-DNET_TEST", "-o", "net", "net.c")
        said = run((tmp_path / "net",), tmp_path, fails=right < 7)
        assert said == f"net: {right} of 7 rows as in Python\n"


# ---- The twin ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_a_layer_is_what_integers_of_any_length_give(folder, form):
    """The first layer of 150 inputs, whose products are added up as floats where these are exact."""
    fixed, net = report_of(folder, "long", form).network, network("long")
    layer, X = fixed.layers[0], integer_rows(net, fixed)[-80:]
    found = layer.outputs(X, fixed.form)[0]
    sums = X.astype(object) @ layer.weights.astype(object) + layer.biases.astype(object)
    places, limit = layer.in_point + layer.weight_point - layer.out_point, fixed.form.limit
    expected = [[min(max((s + (1 << places >> 1)) >> places, 0), limit) for s in row] for row in sums]  # relu
    assert found.tolist() == expected


def test_a_range_that_cannot_be_proven_is_seen_in_data(tmp_path):
    """Infinity times a weight of zero proves nothing, and is no number either."""
    net = bp.Network([1, 1, 2, 1], "exp", output="tanh", seed=0)
    net.params = np.array([800.0, -400.0, 1.0, 0.0, 0.0, 0.1, 0.5, -0.5, 0.0])
    X = np.linspace(0, 0.5, 50)[:, np.newaxis]
    report = net.to_c(tmp_path / "net.c", format="q31", calibration=X, input_range=(0, 2))
    assert report.max_error.max() < 1e-6


def test_a_bias_far_below_all_outputs_keeps_its_sign(tmp_path):
    """Where the products' places would take its sum beyond 64 bits, a neuron that is 0 came out as anything."""
    net = bp.Network([1, 2], output="relu")
    net.params = np.array([1e-3, 1e-3, -5.0, 1e-2])
    X = np.linspace(-1, 1, 50)[:, np.newaxis]
    report = net.to_c(tmp_path / "net.c", format="q31", calibration=X)
    assert (report.predict(X)[:, 0] == 0).all()
    assert (report.max_error <= report.error_bound).all()
    assert report.error_bound.max() < 1e-8


def test_leaky_relu_divides_exactly():
    one = np.array([[1]])
    layer = FixedLayer(one, np.array([0]), 0, 0, 0, 0, (("leaky_relu", 1),), 32, 1)
    z = np.arange(-1000, 10)[:, np.newaxis]
    expected = [k if k >= 0 else (k + LEAKY_DIVISOR // 2) // LEAKY_DIVISOR for k in range(-1000, 10)]
    assert layer.outputs(z, FORMATS["q15"])[0].ravel().tolist() == expected
    assert expected[1000 - 149] == -1
    assert expected[1000 - 150] == -1  # -1.5 is rounded up


@pytest.mark.parametrize("name", ["elu", "gelu", "silu", "leaky_relu", "softplus", "mixed", "softmax"])
def test_ranges_are_proven_from_bounds_of_the_inputs(tmp_path, name):
    """No number is cut off whatever the inputs within their bounds, also in the corners."""
    net, rng = network(name), np.random.default_rng(0)
    low, high = -rng.uniform(0, 2, net.sizes[0]), rng.uniform(0, 2, net.sizes[0])
    report = net.to_c(tmp_path / "net.c", format="q31", input_range=(low, high))
    assert report.n_rows == 1000
    corners = np.where(rng.random((500, net.sizes[0])) < 0.5, low, high)
    fixed = report.network
    _, cut = fixed.outputs(fixed.integers(corners))
    assert cut == report.n_cut[1:] == (0,) * (len(net.sizes) - 1)
    assert (abs(report.predict(corners) - net.predict(corners)) <= report.error_bound).all()


@pytest.mark.parametrize("name", ["gelu", "silu"])
def test_the_minimum_of_an_activation_is_within_its_range(tmp_path, name):
    """It lies between the ends of z, where the values are nearer to 0."""
    net = bp.Network([1, 1], output=name, initializer="zeros")
    net.params = [1.0, 0.0]
    report = net.to_c(tmp_path / "net.c", format="q15", input_range=(-6, -0.01))
    assert report.n_cut == (0, 0)
    assert report.points[1] == {"gelu": 15, "silu": 15}[name]
    assert report.network.ranges.outputs[0] >= -net.predict(np.linspace(-2, 0, 999)[:, np.newaxis]).min()


def test_what_is_out_of_range_is_cut_off_and_counted(tmp_path):
    net = network("relu")
    X = rows(net)
    X[7] *= 1000
    X[8, 0] = 4.001
    report = net.to_c(tmp_path / "net.c", format="q15", calibration=X, input_range=(-4, 4))
    assert report.n_cut[0] == (abs(X) > 4).sum()
    assert report.points[0] == 13


def test_far_weighted_inputs_are_cut_off_and_counted(tmp_path):
    """Beyond 2**14, where tanh is as flat as before; a sine and the shares of a softmax are other numbers."""
    for name, is_counted in (("sine", True), ("softmax", True), ("tanh", False)):
        net = bp.Network([1, 2], output=name)
        net.params = np.array([8000.0, 7000.0, 0.0, 0.0])
        report = net.to_c(tmp_path / "net.c", format="q31", calibration=[[0.5], [-1.0]], input_range=(-4, 4))
        assert report.n_cut == (0, 0)
        far = np.array([[2.4], [1.0]])  # z of the first row: 19,200 and 16,800
        _, cut = report.network.outputs(report.network.integers(far))
        assert cut == (2 * is_counted,)
        wrong = abs(report.predict(far) - net.predict(far)) > report.error_bound
        assert wrong.any(axis=1).tolist() == [is_counted, False]


def test_inputs_of_0_to_1_keep_all_places(tmp_path):
    net = bp.Network([2, 1], seed=0)
    X = [[0.0, 1.0], [1.0, 0.5]]
    report = net.to_c(tmp_path / "net.c", format="q15", input_range=(0, 1), calibration=X)
    assert report.points[0] == 15
    assert report.network.integers(np.array([[0.0, 1.0]])).tolist() == [[0, 32767]]
    assert report.n_cut[0] == 0


# ---- Which format --------------------------------------------------------------------------------------------------


def test_auto_is_the_narrowest_that_is_near_enough(tmp_path):
    net = network("tanh")
    X = rows(net)
    for tolerance, form in ((0.01, "q15"), (1e-6, "q31")):
        report = net.to_c(tmp_path / "net.c", format="auto", calibration=X, tolerance=tolerance)
        assert report.format == form
        assert report.max_error.max() <= tolerance * np.ptp(net.predict(X), axis=0).max()
    with pytest.raises(
        ValueError, match=r"finds no format with errors within `tolerance=1e-12` .*: q15 is off by .*; q31 is"
    ):
        net.to_c(tmp_path / "net.c", format="auto", calibration=X, tolerance=1e-12)


def test_tolerance_is_a_share_of_the_outputs_spread(tmp_path):
    net = network("tanh")
    net.weights[-1][...] *= 1000
    report = net.to_c(tmp_path / "net.c", format="auto", calibration=rows(net))
    assert report.format == "q15"
    assert report.max_error.max() > 0.01


def test_auto_passes_over_a_format_with_too_few_bits(tmp_path):
    net = bp.Network([2, 4, 1], "tanh", seed=0)
    X = rows(net) * [1.0, 1e-4]
    assert net.to_c(tmp_path / "net.c", format="auto", calibration=X).format == "q31"


def test_classes_are_compared(tmp_path):
    net = network("softmax")
    X = rows(net)
    net.biases[-1][...] = 0
    for scale, least in ((1, 0.99), (1e-5, 0.2)):  # of logits, by which probabilities become equal to all places
        net.weights[-1][...] *= scale
        report = net.to_c(tmp_path / "net.c", format="q15", calibration=X)
        same = report.predict(X).argmax(axis=1) == net.predict(X).argmax(axis=1)
        assert report.agreement == same.mean() >= least
    assert report.agreement < 0.9
    assert network("relu").to_c(tmp_path / "net.c", format="q15", calibration=X).agreement is None


def test_a_report_reads_well(tmp_path):
    net = bp.Network([2, 3, 1], "tanh", output="sigmoid", initializer="zeros")
    report = net.to_c(tmp_path / "net.c", format="q15", calibration=[[0.5, 1.0], [0.0, -2.0]])
    assert report != net.to_c(tmp_path / "net.c", format="q15", calibration=[[0.5, 1.0], [0.0, -2.0]])
    lines = repr(report).replace(str(tmp_path), "").splitlines()
    assert lines == [
        "<q15 in '/net.c', 2 rows compared with floats",
        f"  error of an output: at most 0, on average 0; cannot exceed {report.error_bound.max():.2g}",
        "  same class: 100.00 % of the rows",
        "  inputs: point 13, 0 cut off",
        "  layer 1: point 15, 0 cut off",
        "  layer 2: point 15, 0 cut off",
        f"  {report.constant_bytes} bytes of constants, 6 of buffers>",
    ]
    # 9 weights and a table of tanh of 16 bits, 4 biases of 32
    assert report.constant_bytes == 2 * (9 + len(table("tanh", FORMATS["q15"]).values)) + 4 * 4
    text = (tmp_path / "net.c").read_text()
    assert all(line.strip(" >") in text for line in lines[1:])


# ---- Wrong input ---------------------------------------------------------------------------------------------------

WRONG = {
    "format": ({"format": "q7"}, "`format` must be None for floats, or 'q15', 'q31' or 'auto' for integers; got 'q7'."),
    "no ranges": (
        {"format": "q15", "calibration": None},
        "`calibration` must be rows of typical inputs, from which the binary points of fixed-point numbers are chosen, "
        "or `input_range` the (low, high) of the inputs; got neither. Pass calibration=X_train.",
    ),
    "floats": (
        {"format": None},
        "`calibration` must be None for a file of floats, which needs no ranges. Leave it out, or pass format='q15', "
        "'q31' or 'auto'.",
    ),
    "nan": (
        {"calibration": [[0.0, np.nan]]},
        "`calibration` must be finite; found nan at (0, 1). Impute or drop such rows.",
    ),
    "shape": (
        {"calibration": [[0.0]]},
        "`calibration` must have shape (n_samples, 2) to fit the first layer; got (1, 1).",
    ),
    "range": (
        {"input_range": (1, 0)},
        "`input_range` must be (low, high), numbers or arrays of shape (2,), with low not above high, all finite; got "
        "(1, 0).",
    ),
    "ranges": (
        {"input_range": ([0, 0, 0], 1)},
        "`input_range` must be (low, high), numbers or arrays of shape (2,), with low not above high; got ([0, 0, 0], "
        "1).",
    ),
    "text": (
        {"input_range": ("0", "1")},
        "`input_range` must be (low, high), numbers or arrays of shape (2,), with low not above high; got ('0', '1').",
    ),
    "huge integer": (
        {"input_range": (-(10**400), 0)},
        "`input_range` must be (low, high), numbers or arrays of shape (2,), with low not above high; got "
        f"(-1{'0' * 400}, 0).",
    ),
    "huge range": (
        {"input_range": (-1.5e308, 1.5e308), "calibration": None},
        "`format='q15'` has too few bits for the inputs, which reach 1.5e+308. Scale the data to about -1 to 1, with "
        "scikit-learn's StandardScaler for instance, and train again.",
    ),
    "huge rows": (
        {"calibration": [[1.7e308, -1.7e308]]},
        "`format='q15'` has too few bits for the inputs, which reach 1.798e+308. Scale the data to about -1 to 1, with "
        "scikit-learn's StandardScaler for instance, and train again.",
    ),
    "tolerance": ({"format": "auto", "tolerance": 0}, "`tolerance` must be above 0; got 0."),
    "tolerance of a format": (
        {"tolerance": 0.1},
        "`tolerance` must be None where the format is given. Leave it out, or pass format='auto'.",
    ),
    "tolerance of floats": (
        {"format": None, "calibration": None, "tolerance": 0.1},
        "`tolerance` must be None where the format is given. Leave it out, or pass format='auto'.",
    ),
    "inexact integers": (
        {"exact": False},
        "`exact` must be True for a file of integers, which are the same everywhere. Leave it out.",
    ),
    "small input": (
        {"calibration": [[1.0, 0.001], [-1.0, 0.0]]},
        "`format='q15'` leaves fewer than 6 bits to the input 'x[1]': it reaches 0.00125 where others reach 1.25, and "
        "all have one point. Scale the inputs to like sizes and train again, drop it if it is constant, or use "
        "format='q31'.",
    ),
    "large input": (
        {"calibration": [[1e9, 1e9]]},
        "`format='q15'` has too few bits for the inputs, which reach 1.25e+09. Scale the data to about -1 to 1, with "
        "scikit-learn's StandardScaler for instance, and train again.",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_argument_gets_a_message_and_no_file(tmp_path, kind):
    arguments, message = WRONG[kind]
    net = bp.Network([2, 3, 1], seed=0)
    with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
        net.to_c(tmp_path / "net.c", **{"format": "q15", "calibration": [[0.5, 1.0]], **arguments})
    assert list(tmp_path.iterdir()) == []


def test_a_flag_of_floats_is_looked_at_too(tmp_path):
    with pytest.raises(TypeError, match=r"^`exact` must be True or False; got str.$"):
        bp.Network([2, 1]).to_c(tmp_path / "net.c", format="q15", input_range=(0, 1), exact="no")


def test_weights_with_too_few_bits_are_refused(tmp_path):
    net = bp.Network([2, 3, 1], seed=0)
    net.biases[1][...] = 1e6
    message = (
        r"`format='q15'` leaves fewer than 6 bits to the weights of layer 2: they reach .* beside much larger biases"
    )
    with pytest.raises(ValueError, match=message):
        net.to_c(tmp_path / "net.c", format="q15", calibration=[[0.5, 1.0]])
    net = bp.Network([2, 3, 1], "softplus", seed=0)
    net.weights[0][...] = 1e6
    with pytest.raises(ValueError, match=r"weighted inputs up to 16384 .* those of layer 1 reach"):
        net.to_c(tmp_path / "net.c", format="q31", calibration=[[0.5, 1.0]])
