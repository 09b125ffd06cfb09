"""Processors that the machine of these tests is not: what is compiled for them, and whether that is right.

The roots are compiled for each in a process of its own, and their assembly is looked at. Parts of the other tests run
once more for lesser processors of the same kind.
"""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import pytest
from llvmlite import binding
from numba.core.codegen import JITCPUCodegen

import fastbp as bp
from fastbp.engine.cutting import may_be_narrow
from fastbp.kernels.machine import processor, target
from fastbp.kernels.machine.denormals import FLUSH_DENORMALS, float_mode, set_float_mode
from fastbp.kernels.machine.processor import AVX2, AVX512, NEON, TILING
from fastbp.kernels.machine.target import TARGET, Target, instruction_sets, numbas_target, target_by_rule
from fastbp.kernels.matrix.tiles import TILES
from fastbp.kernels.vectors.values import HAS_VECTORS
from tests.fresh import ROOT, run_python

pytestmark = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="about compiled code")
on_x86 = pytest.mark.skipif(not TARGET.is_x86, reason="LLVM is asked about x86-64 where it runs")

# ---- Which processor it is -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {}, {"CPU_NAME": "haswell"}, {"CPU_FEATURES": "+sse2"}, {"CPU_NAME": "nehalem", "CPU_FEATURES": ""},
    {"ENABLE_AVX": 0}, {"ENABLE_AVX": 0, "CPU_NAME": "znver4"},
], ids=str)  # fmt: skip
def test_it_is_the_one_that_numba_compiles_for(settings, monkeypatch):
    for name in ("CPU_NAME", "CPU_FEATURES", "ENABLE_AVX"):
        default = 1 if name == "ENABLE_AVX" else None
        monkeypatch.setattr(numba.config, name, settings.get(name, default))
    assert target_by_rule() == JITCPUCodegen("probe").magic_tuple()
    of_kernels = numba.core.registry.cpu_target.target_context.codegen()
    assert numbas_target() == of_kernels.magic_tuple()  # made before, so that its features are those of before
    monkeypatch.setattr(target, "leaf", lambda function: function)  # NUMBA_DISABLE_JIT=1
    assert numbas_target() == target_by_rule()


X86 = "x86_64-unknown-linux-gnu"
EVERY_SET = {"avx512", "avx2", "fma"}


@on_x86
@pytest.mark.parametrize(("cpu", "features", "present", "tiling"), [
    ("x86-64", "", set(), None),
    ("nehalem", "", set(), None),
    ("sandybridge", "", set(), None),
    ("haswell", "", {"avx2", "fma"}, AVX2),
    ("haswell", "-avx2", {"fma"}, None),
    ("haswell", "-avx,-avx2,+fma", {"fma"}, None),  # the list of NUMBA_ENABLE_AVX=0: the last one brings AVX back
    ("x86-64", "+avx2,+fma", {"avx2", "fma"}, AVX2),
    ("skylake-avx512", "", EVERY_SET, AVX512),
    ("knl", "", {"avx2", "fma"}, AVX2),  # its AVX-512 lacks VL, DQ and BW
    ("znver4", "+sse2", EVERY_SET, AVX512),
    ("znver4", "-avx512vl", {"avx2", "fma"}, AVX2),
    ("znver4", "-avx512dq", {"avx2", "fma"}, AVX2),
    ("znver4", "-avx512bw", {"avx2", "fma"}, AVX2),
    ("znver4", "-avx512f", {"avx2", "fma"}, AVX2),
])  # fmt: skip
def test_instruction_sets_are_those_that_llvm_uses(cpu, features, present, tiling, monkeypatch):
    there = Target(X86, cpu, features)
    assert instruction_sets(there) == present
    monkeypatch.setattr(processor, "TARGET", there)
    assert processor.host_tiling() == tiling


@pytest.mark.parametrize(("triple", "is_x86", "is_arm"), [
    (X86, True, False), ("x86_64-apple-darwin22", True, False), ("x86_64-pc-windows-msvc", True, False),
    ("aarch64-unknown-linux-gnu", False, True), ("arm64-apple-darwin22.6.0", False, True),
    ("powerpc64le-unknown-linux-gnu", False, False), ("armv7l-unknown-linux-gnueabihf", False, False),
])  # fmt: skip
def test_kinds_of_machine(triple, is_x86, is_arm, monkeypatch):
    there = Target(triple, "generic", "")
    assert (there.is_x86, there.is_arm) == (is_x86, is_arm)
    if not is_x86:
        assert instruction_sets(there) == set()
        monkeypatch.setattr(processor, "TARGET", there)
        assert processor.host_tiling() == (NEON if is_arm else None)


NEWER_THAN_HERE = """
from llvmlite import binding
features = binding.get_host_cpu_features()
for name in features:
    if name.startswith("avx512"):
        features[name] = False
binding.get_host_cpu_features = lambda: features
binding.get_host_cpu_name = lambda: "haswell"
import fastbp as bp
net = bp.Network([2, 2], seed=0)
try:
    net.predict([[1.0, 2.0]])
except RuntimeError as error:
    print(error)
"""


@on_x86
def test_more_instructions_than_the_processor_has_are_refused():
    assert run_python(NEWER_THAN_HERE, NUMBA_CPU_NAME="znver4", NUMBA_CPU_FEATURES="+sse2") == (
        "The kernels must be compiled for what this processor has, and it lacks avx512; Numba compiles for 'znver4' "
        "with the features '+sse2'. NUMBA_CPU_NAME and NUMBA_CPU_FEATURES belong together: each alone leaves the other "
        "as it is, so set both, or neither.\n"
    )


# ---- What is compiled for it -----------------------------------------------------------------------------------------


class Processor(NamedTuple):
    """A processor for which the roots are compiled, with what must be in their assembly and what must not."""

    triple: str
    cpu: str
    dtype: str
    wanted: tuple[str, ...]
    foreign: tuple[str, ...]


X86_ONLY = (r"%[a-z]+\d", r"^\s+(?:pause|(?:ld|st)mxcsr|prefetch\w+)\b", r"llvm\.")
ARM_WANTED = (
    r"msr\s+FPCR", r"mrs\s+\w+, FPCR", r"\bisb\b", r"\bprfm\b",
    r"\bfmla\s+v\d+\.\d[sd], v\d+\.\d[sd], v\d+\.[sd]\[0\]",  # a tile's
)  # fmt: skip
# Instructions that came with SSE3 to SSE4.2, and with the first sets of bits.
AFTER_SSE2 = (
    r"movs[lh]dup|movddup|lddqu|h(?:add|sub)p[sd]|addsubp[sd]|p(?:shufb|abs\w|align|hadd|hsub|sign)\w*|p?blend\w+|"
    r"round[ps][sd]|dpp[sd]|insertps|extractps|p(?:extr|insr)[bdq]|pmulld|pmuldq|ptest|pm(?:ax|in)(?:s[bd]|u[wd])|"
    r"pmov[sz]x\w+|packusdw|pcmp(?:eqq|gtq)|popcnt\w*|lzcnt\w*|andn[lq]|bls\w+|bextr\w*|s(?:h[lr]|ar)x[lq]|mulx\w*"
)
PROCESSORS = {
    entry.cpu: entry
    for entry in (
        Processor(
            X86, "x86-64", "float32",
            (r"\bmulps\s+.*%xmm", r"\bldmxcsr\b", r"\bpause\b"),
            (r"%[yz]mm", r"^\s+v[a-z]\w+\s", rf"^\s+(?:{AFTER_SSE2})\s", r"llvm\."),
        ),
        Processor(
            X86, "haswell", "float64",
            (r"\bvfmadd\d+pd\s+.*%ymm", r"\bvldmxcsr\b", r"\bpause\b"),
            (r"%zmm", r"%k[0-7]", r"%[xy]mm(?:1[6-9]|[23]\d)", r"\bv\w+14p[sd]\b", r"llvm\."),
        ),
        Processor(X86, "skylake-avx512", "float32", (r"\bvfmadd\d+ps\s+.*%zmm", r"\bvrsqrt14ps\b"), (r"llvm\.",)),
        Processor(X86, "znver4", "float64", (r"\bvfmadd\d+pd\s+.*%zmm", r"\bvldmxcsr\b"), (r"llvm\.",)),
        Processor("aarch64-unknown-linux-gnu", "generic", "float32", ARM_WANTED, X86_ONLY),
        Processor("arm64-apple-darwin-elf", "apple-m1", "float64", ARM_WANTED, X86_ONLY),
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def children():
    """Two processes at a time, whose results later tests wait for."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
        pool.shutdown(cancel_futures=True)


def run_child(arguments, time_limit, **environment):
    """Run a Python program; return its exit status and what it wrote. It ends with all its children."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env=os.environ | environment, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=time_limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output = f"{process.communicate()[0]}\nstopped after {time_limit} seconds"
    return process.returncode, output


@pytest.fixture(scope="module")
def assemblies(children, tmp_path_factory):
    """The assembly for every processor whose kind LLVM was built with, on its way."""
    folder = tmp_path_factory.mktemp("assemblies")
    binding.initialize_all_targets()

    def assembly(there):
        try:
            binding.Target.from_triple(there.triple)
        except RuntimeError:
            return None
        file = folder / f"{there.cpu}.s"
        arguments = ["-m", "tests.cross_compiled", str(file), there.dtype, there.triple, there.cpu]
        status, output = run_child(arguments, 400, FASTBP_CACHE_DIR=str(folder / "cache"))
        assert status == 0, output
        return file.read_text()

    return {cpu: children.submit(assembly, there) for cpu, there in PROCESSORS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("cpu", PROCESSORS)
def test_no_foreign_instructions(cpu, assemblies):
    assembly, there = assemblies[cpu].result(), PROCESSORS[cpu]
    if assembly is None:
        pytest.skip(f"this LLVM was built without {there.triple}")
    for pattern in there.wanted:
        assert re.search(pattern, assembly, re.MULTILINE), pattern
    for pattern in there.foreign:
        assert re.findall(pattern, assembly, re.MULTILINE)[:5] == [], pattern


# ---- Whether it is right ---------------------------------------------------------------------------------------------


LESSER = {"x86-64": None, "haswell": AVX2}  # the processors, and their tiling


def test_tiles_and_narrow_networks_follow_the_processor():
    """Runs below once more, for every lesser processor."""
    if numba.config.CPU_FEATURES == "":
        assert LESSER.get(numba.config.CPU_NAME, TILING) == TILING
    assert (TILING is not None,) * 2 == (TILES, HAS_VECTORS)
    assert may_be_narrow([2, 4, 2], np.dtype("float32"), 1) == HAS_VECTORS


@pytest.mark.skipif(not FLUSH_DENORMALS, reason="denormals are left as they are on this kind of processor")
def test_denormal_numbers_are_flushed_while_a_kernel_trains():
    read, write = numba.njit(lambda: float_mode()), numba.njit(lambda mode: set_float_mode(mode))
    half, double = numba.njit(lambda x: 0.5 * x), numba.njit(lambda x: 2.0 * x)
    before, smallest = read(), np.finfo(np.float64).smallest_normal
    denormal = half(smallest)
    assert double(denormal) == smallest
    write(before | FLUSH_DENORMALS)
    flushed = half(smallest), double(denormal)
    write(before)
    assert flushed == (0, 0)
    assert half(smallest) == denormal
    net = bp.Network([2, 2], seed=0)
    net.fit([[1.0, 2.0]], [[1.0, 2.0]], epochs=1)
    assert read() == before


HERE = "tests/test_other_processors.py::test_tiles_and_narrow_networks_follow_the_processor"
THREADS = [f"tests/test_threads.py::test_{name}" for name in (
    "same_gradient", "same_outputs_and_cost", "same_training_for_every_optimizer", "same_training_with_dropout",
    "a_forward_pass_of_one_block_is_shared",
)]  # fmt: skip
COMPLEX_STEP = [
    f"tests/test_gradient.py::test_{name}" for name in ("complex_step", "random_networks_against_complex_step")
]
# Of BLAS and plain loops: gradients, threads, training, sparse rows; of other vectors also what reads assembly.
SELECTED = {
    "x86-64": [HERE, "tests/test_gradient.py", *THREADS, "tests/test_training.py", "tests/test_sparse.py"],
    "haswell": [
        HERE, *COMPLEX_STEP, *THREADS, "tests/test_training.py", "tests/test_narrow.py", "tests/test_kernels.py",
        "tests/test_inner_loops.py", "tests/test_products.py",
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def reports(children):
    """What pytest says of the selected tests on every lesser processor, on its way."""

    def report(cpu):
        arguments = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", *SELECTED[cpu]]
        return run_child(arguments, 400, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES="", PYTEST_ADDOPTS="")

    return {cpu: children.submit(report, cpu) for cpu, tiling in LESSER.items() if TARGET.is_x86 and tiling != TILING}


@pytest.mark.slow
@pytest.mark.parametrize("cpu", SELECTED)
def test_selected_tests_pass_on_a_lesser_processor(cpu, reports):
    if cpu not in reports:
        pytest.skip("these tests run on no other kind of processor here")
    status, output = reports[cpu].result()
    assert status == 0, output
    assert re.search(r"\b[1-9]\d\d+ passed", output)
