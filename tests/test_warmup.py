"""Kernels compiled ahead of their first use, in fresh processes with a cache folder of their own."""

import importlib
import inspect
import pkgutil
import re
import sys

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.__main__ import main
from fastbp.kernels import roots
from fastbp.kernels.compiler.disk_cache import FIRST_USE, KernelCache
from fastbp.kernels.compiler.jit import TypedRoot
from tests.fresh import ROOT, run_python

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")

# Everything that a network does, and how often that compiled or read a root from the disk.
USE = """
from numba.core import event
import numpy as np
import importlib, pkgutil
from fastbp.kernels import roots
from fastbp.kernels.roots import lbfgs_steps
from fastbp.training.gradient_steps import GradientSteps
modules = [importlib.import_module(f"{roots.__name__}.{m.name}") for m in pkgutil.iter_modules(roots.__path__)]
def found():
    roots = [root for m in modules for root in getattr(m.run, "made", {"any": m.run}).values()]
    stats = [root.stats for root in roots]
    return sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats)
def use(dtype):
    net = bp.Network([3, 5, 2], "relu", "softmax", "cross_entropy", dtype=dtype, seed=0)
    X, labels = np.ones((8, 3), dtype), [0, 1] * 4
    net.fit(X, labels, epochs=2, batch_size=3)
    net.step(X, X[:, :2] / 2), net.predict_one(X[0])
    GradientSteps(net, net._training_state)
    lbfgs_steps.run.of(net.dtype)
    net.fit(X, labels, epochs=2, optimizer=bp.LBFGS())
    of_values = bp.Network([3, 5, 2], "tanh", dtype=dtype, seed=0)
    for rule in (bp.LevenbergMarquardt(), bp.BayesianRegularization()):
        of_values.fit(X, X[:, :2], epochs=2, optimizer=rule)
    net.jacobian(X), net.per_sample_gradients(X, labels), net.vjp(X, X[:, :2], "both")
    net.linearize(X, labels).hvp(net.params), net.fisher_vp(X, net.params)
    net.laplacian(X), net.input_hessian(X)
    net.predict(X), net.loss_value(X, labels), net.trace(X, labels)
    net.compiled(bp.Adam())
    bp.fit_many([net], X, labels, epochs=2), bp.predict_many([net], X)
    bp.finite_difference_gradient(net, X, labels)
    bp.check_gradient(net, X, labels)
    bp.node_perturbation(net, X, labels)
    bp.random_weight_search(net, X, labels, 10, seed=0)
before = found()
with event.install_recorder("numba:compile") as recorder:
    for dtype in dtypes:
        use(dtype)
after = found()
print(len(recorder.buffer), after[0] - before[0], after[1] - before[1])
"""
WARM = "import fastbp as bp\ndtypes = list(bp.warmup())\n"
COLD = "import fastbp as bp\ndtypes = ['float64']\n"


@compiled
def test_nothing_is_left_to_compile_or_to_read():
    bp.warmup()  # so that the fresh process finds everything on disk
    assert run_python(WARM + USE) == "0 0 0\n"


@compiled
def test_every_root_is_warm():
    bp.warmup()
    for module in pkgutil.iter_modules(roots.__path__):
        content = list(vars(importlib.import_module(f"{roots.__name__}.{module.name}")).values())
        content += [root for value in content if isinstance(value, TypedRoot) for root in value.made.values()]
        found = [value for value in content if isinstance(getattr(value, "_cache", None), KernelCache)]
        assert found, module.name
        dtypes = {
            argument.dtype
            for root in found
            for signature in root.signatures
            for argument in signature
            if hasattr(argument, "dtype")
        }
        assert {numba.float32, numba.float64} <= dtypes, module.name


@compiled
@pytest.mark.slow
def test_another_process_compiles_nothing(tmp_path):
    code = "from fastbp.__main__ import main; assert main(['warmup', '--dtype', 'float64']) == 0"
    assert run_python(code, time_limit=300, FASTBP_CACHE_DIR=str(tmp_path)).startswith("float64: ready after ")
    files = sorted(path.name for path in tmp_path.rglob("*.kernel"))
    n_roots = len(list(pkgutil.iter_modules(roots.__path__)))
    assert len(files) == n_roots
    assert run_python(COLD + USE, FASTBP_CACHE_DIR=str(tmp_path)) == f"0 {n_roots} 0\n"
    assert sorted(path.name for path in tmp_path.rglob("*.kernel")) == files


def test_each_dtype_has_its_seconds():
    bp.warmup()
    again = bp.warmup([np.float64, "float32"])
    assert list(again) == ["float64", "float32"]
    assert all(seconds > 0 for seconds in again.values())
    assert list(bp.warmup(np.dtype("float32"))) == ["float32"]


@pytest.mark.parametrize(
    ("dtypes", "shown"),
    [("int8", "'int8'"), ([], r"\[\]"), (["float32", "half"], r"\['float32', 'half'\]"), (3, "3"), (None, "None")],
)
def test_other_dtypes_are_refused(dtypes, shown, monkeypatch):
    monkeypatch.setattr(
        sys.modules["fastbp.warmup"], "_use_every_kernel", lambda name: pytest.fail("something was compiled")
    )
    with pytest.raises(ValueError, match=rf"^`dtypes` must be 'float32', 'float64' or a list of these; got {shown}\.$"):
        bp.warmup(dtypes)


# ---- The command ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "names"), [([], ["float32", "float64"]), (["--dtype", "float32"], ["float32"])])
def test_the_command_says_how_long_each_dtype_took(capsys, options, names):
    assert main(["warmup", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.fullmatch(r"(\w+): ready after [\d.]+ (?:s|ms|us)", line)[1] for line in lines] == names


def test_a_wrong_option_of_the_command_is_one_line_and_status_2(capsys):
    assert main(["warmup", "--dtype", "int8"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("fastbp: error: argument --dtype: invalid choice: 'int8'")
    assert errors.count("\n") == 1


def test_every_text_says_the_same_of_the_first_use():
    """A number of seconds beside the word: compile, compiles, compiling."""
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")}
    texts["warmup"] = inspect.getdoc(bp.warmup)
    for name, text in texts.items():
        sentences = re.split(r"(?<=[.:;])\s", " ".join(text.split()))
        found = [part for part in sentences if "compil" in part and re.search(r"\d+ s(ec|\b)", part)]
        assert len(found) == 1, name
        assert FIRST_USE in found[0], name
    assert re.fullmatch(r"about \d+ seconds", FIRST_USE)
