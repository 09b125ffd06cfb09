"""The compiled kernels: packed instructions, one compilation for each dtype."""

import itertools
import re

import numba
import numpy as np
import pytest
from numba import types
from numba.core import event

import fastbp as bp
from fastbp.kernels.compiler import jit
from fastbp.kernels.functions import activations, dropout, losses
from fastbp.kernels.machine import processor
from fastbp.kernels.machine.target import TARGET, instruction_sets
from fastbp.kernels.optimizers import updates
from fastbp.kernels.roots import entry
from fastbp.kernels.tables import codes
from tests import cases, problems
from tests.twins import network

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is nothing compiled to look at")
on_x86 = pytest.mark.skipif(not TARGET.is_x86, reason="knows the instructions of x86-64")

# ---- Packed instructions -------------------------------------------------------------------------------------------

# A packed instruction of floats, such as vfmadd231ps or sqrtpd: what it does, and single or double precision.
PACKED = re.compile(r"\bv?(mul|fn?m(?:add|sub)\d*|add|sub|div|sqrt|max|min|cmp\w*?)p([sd])\b")
# Functions of the C library, each called for one number at a time.
LIBRARY_CALL = re.compile(r"\b(exp|expm1|log|log1p|tanh|sinh|cosh|erfc?|sin|cos|pow)f?\b")


def instructions(leaf, *arguments, dtype):
    """Assembly of a kernel that calls one leaf and nothing else, with the root's options.

    Arguments are constants, or strings: "n" for a number that the compiler does not know, "constants" for a pointer
    to float64, "table" for one to int64, and names of pointers to floats of the dtype. Constants make the compiler drop
    other branches.
    A named tuple holds such arguments.
    """
    scope, names = {}, set()

    def written(argument):
        if isinstance(argument, tuple):
            scope[type(argument).__name__] = type(argument)
            return f"{type(argument).__name__}({', '.join(map(written, argument))})"
        if isinstance(argument, str):
            names.add(argument)
            return argument
        name = f"c{len(scope)}"
        scope[name] = argument
        return name

    passed = ", ".join(map(written, arguments))
    inlined = numba.njit(fastmath=jit.FAST_MATH, **jit._LEAF | {"forceinline": True})(leaf.py_func)
    scope["leaf"] = inlined
    exec(f"def probe({', '.join(sorted(names))}): return leaf({passed})", scope)
    real = types.CPointer(numba.from_dtype(np.dtype(dtype)))
    others = {"n": types.int64, "constants": types.CPointer(types.float64), "table": types.CPointer(types.int64)}
    signature = tuple(others.get(name, real) for name in sorted(names))
    probe = numba.njit(fastmath=jit.FAST_MATH, **jit._COMMON)(scope["probe"])
    probe.compile(signature)
    return probe.inspect_asm(signature)


def packed(assembly, dtype):
    """What is done by packed instructions in the precision of a dtype; "mul" also stands for multiply and add."""
    letter = {"float32": "s", "float64": "d"}[dtype]
    stems = {stem for stem, precision in PACKED.findall(assembly) if precision == letter}
    return {re.sub(r"^fn?m.*", "mul", re.sub(r"^cmp.*", "cmp", stem)) for stem in stems}


def library_calls(assembly):
    """Which functions of the C library it refers to."""
    addresses = re.findall(r"^\s*(?:movabsq?|callq?|jmpq?|movq)\s+\$?\*?(\w+)", assembly, re.MULTILINE)
    return {name for name in addresses if LIBRARY_CALL.fullmatch(name)}


FORWARD = {
    "sigmoid": {"mul", "div"}, "tanh": {"mul", "div"}, "leaky_relu": {"mul"}, "elu": {"mul"}, "softplus": {"mul"},
    "gelu": {"mul"}, "silu": {"mul", "div"}, "sine": {"mul"}, "exp": {"mul"},
}  # fmt: skip
BACKWARD = {name: {"mul"} for name in (*FORWARD, "relu")}
LOSSES = (
    "quadratic", "absolute", "huber", "log_cosh", "poisson", "quantile", "poisson_deviance",
    "softmax_cross_entropy", "sigmoid_cross_entropy", "clipped_softmax_cross_entropy", "clipped_sigmoid_cross_entropy",
)  # fmt: skip
UPDATES = {
    "sgd": (updates.SGD, {"mul"}),
    "adam": (updates.ADAM, {"mul", "sqrt", "div"}),
    "adamw": (updates.ADAMW, {"mul", "sqrt", "div"}),
    "rmsprop": (updates.RMSPROP, {"mul", "sqrt", "div"}),
}
POISSON = ("n", "z", "a", "y", np.float32(0.5), "delta")
OTHERS = {
    "dropout": (dropout.multiply_by_mask, (np.uint32(7), 0.5, 0, "n", "a"), {"mul"}),
    "multiply": (dropout.multiply, (2.0, "n", "a"), set()),
    "penalty": (updates.add_penalty, ("n", np.float32(0.5), np.float32(0.25), "w", "g"), {"mul", "cmp"}),
    "saturated sigmoid": (activations._saturated_sigmoid_backward, ("n", "z", "a", "delta"), {"mul", "div"}),
    "saturated tanh": (activations._saturated_tanh_backward, ("n", "z", "a", "delta"), {"mul", "div"}),
    "saturated elu": (activations._saturated_elu_backward, ("n", "z", "a", "delta"), {"mul", "cmp"}),
    "poisson after exp": (losses._poisson_after_exp, POISSON, {"mul", "sub"}),
    "poisson after softplus": (losses._poisson_after_softplus, POISSON, {"mul", "div"}),
    "poisson after sigmoid": (losses._poisson_after_sigmoid, POISSON, {"mul", "div"}),
    "clipping": (updates.multiply_gradient, (0.3, "n", "g"), {"mul"}),
}


@on_x86
@pytest.mark.parametrize("name", FORWARD)
def test_activation_forward_is_packed(name):
    code = getattr(codes, name.upper())
    assembly = instructions(activations.activation_forward, code, 0, "n", "a", dtype="float32")
    assert packed(assembly, "float32") >= FORWARD[name]
    assert not library_calls(assembly) - ({"sinf"} if name == "sine" else set())  # for arguments above `sin_limit`


@on_x86
@pytest.mark.parametrize("has_z", [0, 1])
@pytest.mark.parametrize("name", BACKWARD)
def test_activation_backward_is_packed(name, has_z):
    code = getattr(codes, name.upper())
    assembly = instructions(activations.activation_backward, code, 0, "n", has_z, "z", "a", "delta", dtype="float32")
    assert packed(assembly, "float32") >= BACKWARD[name] - ({"mul"} if name == "relu" else set())
    assert packed(assembly, "float32")
    assert not library_calls(assembly) - ({"cosf"} if name == "sine" else set())


@on_x86
def test_relu_is_packed():
    assembly = instructions(activations.activation_forward, codes.RELU, 0, "n", "a", dtype="float32")
    assert packed(assembly, "float32") & {"max", "cmp"}


@on_x86
@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_packed(name):
    code = getattr(codes, name.upper())
    loss = losses.Loss(code, 0, 0, np.float32(1.0), "table", 1)
    arguments = (loss, "n", 200, "z", "a", "y", "scale", "sums", "costs", "delta")
    assembly = instructions(losses.loss_rows, *arguments, dtype="float32")
    assert packed(assembly, "float32") & {"mul", "add"}
    assert not library_calls(assembly)


@on_x86
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("name", UPDATES)
def test_update_is_packed(name, dtype):
    code, expected = UPDATES[name]
    if "avx2" not in instruction_sets(TARGET):  # LLVM reckons that four roots take as long one by one: so it was once
        expected = expected - {"sqrt"}
    rule, runs = updates.Rule(code, "constants", 0.01, 0.1, 0.001), updates.Runs(1, "n", "n", "n")
    arguments = (rule, runs, "g", "w", "s1", "s2")
    assembly = instructions(updates.update, *arguments, dtype=dtype)
    found = packed(assembly, dtype)
    if name in ("adam", "adamw") and dtype == "float32" and processor.TILING is processor.AVX512:  # with estimates
        assert "vrsqrt14ps" in assembly
        assert "vrcp14ps" in assembly
        assert "vdivps" not in assembly
        expected = {"mul"}
    assert found >= expected


@on_x86
@pytest.mark.parametrize("name", OTHERS)
def test_other_leaves_are_packed(name):
    leaf, arguments, expected = OTHERS[name]
    found = packed(instructions(leaf, *arguments, dtype="float32"), "float32")
    assert found
    assert found >= expected


def test_the_norm_of_a_huge_gradient_is_finite():
    """Its squares are beyond float32; the clipped step has the length that it should have."""
    net = bp.Network([1, 1], loss="absolute", initializer="zeros", dtype="float32")
    X = np.array([[1e25]], "float32")
    net.fit(X, X, epochs=1, optimizer=bp.SGD(1.0), clip_norm=0.5)
    assert net.params == pytest.approx([0.5, 0.0], abs=1e-20)


@on_x86
@pytest.mark.parametrize("name", ["penalty", "sum_of_squares"])
def test_sums_are_packed_in_double_precision(name):
    factors = (0.5, 0.25) if name == "penalty" else ()
    assembly = instructions(getattr(updates, name), "n", *factors, "g", dtype="float32")
    assert packed(assembly, "float64") >= {"mul", "add"}


@on_x86
@pytest.mark.parametrize("name", ["sigmoid", "tanh", "gelu", "softplus"])
def test_double_precision_is_packed_too(name):
    code = getattr(codes, name.upper())
    assembly = instructions(activations.activation_forward, code, 0, "n", "a", dtype="float64")
    assert packed(assembly, "float64") >= FORWARD[name]
    assert not library_calls(assembly)


# ---- One compilation for each dtype --------------------------------------------------------------------------------


def use_everything(case, dtype, optimizer):
    """Every task of the root."""
    rng = np.random.default_rng(121)
    params = problems.random_params(case, rng).astype(dtype)
    X, Y = (array.astype(dtype) for array in problems.random_data(case, rng, 6))
    w = np.arange(6)
    net = network(case, params, dtype)
    net.predict(X)
    net.loss_value(X, Y)
    net.value_and_grad(X, Y, sample_weight=w)
    net.value_and_grad(np.asfortranarray(X), Y[::-1].copy()[::-1], params=params)
    net.trace(X, Y)
    dropping = network(case, params, dtype, dropout=0.5)
    rule = getattr(bp, optimizer.kind)(**optimizer.hyper_parameters | {"learning_rate": 1e-5})
    dropping.fit(X, Y, epochs=1, batch_size=4, optimizer=rule, clip_norm=optimizer.clip_norm, sample_weight=w)
    dropping.fit(X, Y, epochs=1, batch_size=None, tol=1.0, n_threads=2)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_one_compilation_serves_all_networks(dtype):
    optimizers = itertools.cycle(cases.OPTIMIZER_CASES)
    use_everything(cases.NETWORK_CASES[0], dtype, next(optimizers))
    signatures = list(entry.run.signatures)
    with event.install_recorder("numba:compile") as recorder:
        for case in cases.ALL_CASES:
            use_everything(case, dtype, next(optimizers))
        wide = bp.Network([20, 500, 400, 3], dtype=dtype)
        wide.fit(np.ones((64, 20), dtype), np.ones((64, 3), dtype), epochs=1, batch_size=64, n_threads=2)
    assert not recorder.buffer
    assert list(entry.run.signatures) == signatures


def test_one_compilation_for_each_dtype():
    for dtype in cases.DTYPES:
        use_everything(cases.NETWORK_CASES[0], dtype, cases.OPTIMIZER_CASES[0])
    arrays = [[kind for kind in signature if isinstance(kind, types.Array)] for signature in entry.run.signatures]
    of_writable = [signature for signature in arrays if all(array.mutable for array in signature)]
    assert len(of_writable) == 2


def test_read_only_parameters_need_no_compilation():
    net = bp.Network([2, 3, 1], seed=0)
    net.value_and_grad([[1.0, 2.0]], [[1.0]])
    params = net.params.copy()
    params.flags.writeable = False
    before = list(entry.run.signatures)
    net.value_and_grad([[1.0, 2.0]], [[1.0]], params)
    assert list(entry.run.signatures) == before
