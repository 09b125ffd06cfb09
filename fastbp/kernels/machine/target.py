"""The processor that Numba compiles for, and what it can do.

That is not always the processor at hand, nor what a name says.  ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` choose
another one, each alone or both; ``NUMBA_ENABLE_AVX=0`` hides what begins with "avx"; and LLVM adds to a list of
features all that these imply, and takes away what stands on one that is missing.  So LLVM itself is asked: it compiles
a few lines for the processor, and the instructions that it chooses say what there is.

Everything in `fastbp.kernels` that depends on the processor is decided here, or in `processor`, from `TARGET`.
"""

import contextlib
import functools
import re
from typing import NamedTuple

import numba
from llvmlite import binding

from fastbp.kernels.compiler.jit import leaf


class Target(NamedTuple):
    """What LLVM is told of a processor: kind of machine and system, name of the processor, features."""

    triple: str
    cpu: str
    features: str

    @property
    def is_x86(self) -> bool:
        """Whether it has the instructions of x86-64."""
        return self.triple.partition("-")[0] in ("x86_64", "x86_64h", "amd64")

    @property
    def is_arm(self) -> bool:
        """Whether it has those of 64-bit Arm."""
        return self.triple.partition("-")[0] in ("aarch64", "arm64", "arm64e")


def _nothing() -> None:
    """Do nothing: a leaf that is there for its compiler's sake."""


def numbas_target() -> Target:
    """Return the processor that Numba compiles for, as its code generator says, which looks at the options only once.

    Where it cannot be asked, as with ``NUMBA_DISABLE_JIT=1``, its rule is taken.
    """
    with contextlib.suppress(AttributeError, TypeError):  # no promise of Numba's
        return Target(*leaf(_nothing).targetctx.codegen().magic_tuple())
    return target_by_rule()


def target_by_rule() -> Target:
    """Return the processor that Numba would compile for by the options as they are: its own rule, in the same order."""
    chosen = numba.config.CPU_FEATURES
    features = _host_features(hides_avx=not numba.config.ENABLE_AVX) if chosen is None else chosen
    return Target(binding.get_process_triple(), numba.config.CPU_NAME or binding.get_host_cpu_name(), features)


def _host_features(hides_avx: bool) -> str:
    """Return all features of the processor at hand; as Numba does, hide those whose names begin with "avx"."""
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know how to ask this system
        return ""
    if hides_avx:
        features.update((name, False) for name in features if name.startswith("avx"))
    return features.flatten()


# A function for each question: what a tile or an estimate needs is an instruction that LLVM has for it, or has not.
_QUESTIONS = """
define <8 x i64> @dq(<8 x i64> %x) {
  %y = mul <8 x i64> %x, %x
  ret <8 x i64> %y
}
define <64 x i8> @bw(<64 x i8> %x) {
  %y = add <64 x i8> %x, %x
  ret <64 x i8> %y
}
define <8 x float> @vl(<8 x float> %x, <8 x float> %y, <8 x float> %z) {
  %less = fcmp olt <8 x float> %x, %y
  %w = select <8 x i1> %less, <8 x float> %z, <8 x float> %y
  ret <8 x float> %w
}
define <8 x i32> @avx2(<8 x i32> %x) {
  %y = add <8 x i32> %x, %x
  ret <8 x i32> %y
}
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)
define <4 x float> @fma(<4 x float> %x) {
  %y = call <4 x float> @llvm.fma.v4f32(<4 x float> %x, <4 x float> %x, <4 x float> %x)
  ret <4 x float> %y
}
"""
_ANSWERS = {
    "avx512": (r"vpmullq\s+%zmm", r"vpaddb\s+%zmm", r"vcmpltps\s+%ymm\d+, %ymm\d+, %k"),  # F, DQ, BW and VL
    "avx2": (r"vpaddd\s+%ymm",),
    "fma": (r"vfmadd\d+ps",),
}


@functools.cache
def instruction_sets(target: Target) -> frozenset[str]:
    """Return which of "avx512" (F, VL, DQ and BW), "avx2" and "fma" LLVM uses for an x86-64 processor; else nothing."""
    if not target.is_x86:
        return frozenset()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple(target.triple).create_target_machine(target.cpu, target.features, opt=0)
    assembly = machine.emit_assembly(binding.parse_assembly(_QUESTIONS))
    return frozenset(
        name for name, patterns in _ANSWERS.items() if all(re.search(pattern, assembly) for pattern in patterns)
    )


TARGET = numbas_target()


@functools.cache
def require_instructions() -> None:
    """Raise RuntimeError where Numba was told to compile for AVX-512, AVX2 or FMA that the processor lacks.

    To be called before a kernel is used: an instruction that the processor lacks ends the process, without a word.
    """
    if numba.config.CPU_NAME is None and numba.config.CPU_FEATURES is None:
        return
    host = Target(TARGET.triple, binding.get_host_cpu_name(), _host_features(hides_avx=False))
    missing = sorted(instruction_sets(TARGET) - instruction_sets(host))
    if missing:
        raise RuntimeError(
            f"The kernels must be compiled for what this processor has, and it lacks {', '.join(missing)}; Numba "
            f"compiles for {TARGET.cpu!r} with the features {TARGET.features!r}. NUMBA_CPU_NAME and NUMBA_CPU_FEATURES "
            "belong together: each alone leaves the other as it is, so set both, or neither."
        )
