"""The scalar functions of `fastbp.kernels.vectors.elementary` in compiled code and in plain Python."""

import itertools
import os
import re
import subprocess
import sys
import textwrap

import numba
import numpy as np
import pytest

from fastbp.kernels.machine.target import TARGET
from fastbp.kernels.vectors import elementary as vm
from tests.vector_cases import NAMES, compiled_only, each_case, each_dtype, each_name, loop, values


@compiled_only
@each_dtype
@each_name
def test_same_bits_wherever_in_the_array(name, dtype):
    z = np.random.default_rng(1).uniform(0.1, 5, 67).astype(dtype)
    whole = values(name, z)
    for start, stop in itertools.product(range(0, 67, 5), range(1, 68, 3)):
        np.testing.assert_array_equal(values(name, z[start:stop].copy()), whole[start:stop])


@compiled_only
@each_dtype
@each_name
def test_loop_has_packed_instructions_and_no_calls(name, dtype):
    function = loop(name)
    array = numba.from_dtype(np.dtype(dtype))[::1]
    function.compile((array, array))
    signature = next(s for s in function.signatures if s[0] == array)
    (returned,) = {function.overloads[signature].signature.return_type}
    assert returned == numba.none
    if not TARGET.is_x86:
        pytest.skip("knows x86's instructions only")
    kernel = re.split(r"\.globl\s+_ZN7cpython", function.inspect_asm(signature))[0]
    packed, other = ("ps", "pd") if dtype == np.float32 else ("pd", "ps")
    arithmetic = rf"\bv?(?:mul|add|sub|f[n]?m(?:add|sub)\d+){packed}\s"
    assert len(re.findall(arithmetic, kernel)) >= 5
    assert not re.search(r"\bcallq?\s", kernel)
    assert not re.search(rf"\bv?(?:mul|add|sub){other}\s|cvt(?:ss2sd|ps2pd|sd2ss|pd2ps)", kernel)


@compiled_only
@each_name
def test_result_has_the_type_of_the_argument(name):
    function = getattr(vm, name)
    compiled = numba.njit(lambda z: function(z))
    for kind in (numba.float32, numba.float64):
        compiled.compile((kind,))
        assert compiled.overloads[(kind,)].signature.return_type == kind
    with pytest.raises(numba.TypingError):
        compiled.compile((numba.int64,))


@each_dtype
@each_case
def test_plain_python_has_the_same_functions(case, dtype):
    z = np.array([0.25, 0.5, 1.5, 3.0], dtype)
    for x in z:
        got = getattr(vm, case.name)(x)
        assert np.asarray(got).dtype == dtype
        np.testing.assert_allclose(got, case.exact(np.float64(x)), rtol=8 * np.finfo(dtype).eps)


def run_python(program, **environment):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_runs_without_the_compiler():
    program = """
        import numba, numpy as np
        from fastbp.kernels.vectors import elementary as vm
        apply = numba.njit(lambda name, z: getattr(vm, name)(z))
        for name in vm.__all__:
            if name.islower():
                for z in (0.5, 200.0, 2000.0):
                    for dtype in (np.float32, np.float64):
                        assert type(apply(name, dtype(z))) is dtype or np.asarray(apply(name, dtype(z))).dtype == dtype
        print(vm.exp(0.0))
    """
    assert run_python(program, NUMBA_DISABLE_JIT="1").strip() == "1.0"


@compiled_only
def test_import_compiles_nothing():
    program = """
        from numba.core.event import install_recorder
        with install_recorder("numba:compile") as recorder:
            from fastbp.kernels.vectors import elementary as vector_math
        print(len(recorder.buffer))
    """
    assert run_python(program).strip() == "0"


@compiled_only
def test_kernel_that_calls_them_is_cached_on_disk(tmp_path):
    calls = " + ".join(f"vm.{name}(z)" for name in NAMES)
    (tmp_path / "cached_kernel.py").write_text(
        "import numba\n"
        "from fastbp.kernels.vectors import elementary as vm\n\n"
        f"@numba.njit(cache=True)\ndef total(z):\n    return {calls}\n"
    )
    program = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from cached_kernel import total
        print(total(0.75), sum(total.stats.cache_hits.values()))
    """
    first, hits_before = run_python(program, NUMBA_CACHE_DIR=str(tmp_path)).split()
    second, hits_after = run_python(program, NUMBA_CACHE_DIR=str(tmp_path)).split()
    assert (hits_before, hits_after) == ("0", "1")
    assert first == second


def test_numba_is_told_of_no_type_but_ours():
    program = """
        from types import FunctionType
        from numba.extending import typeof_impl
        before = typeof_impl.dispatch(FunctionType)
        import fastbp
        print(typeof_impl.dispatch(FunctionType) is before)
    """
    assert run_python(program).strip() == "True"
