"""Instruction sets: how each library is held to one, and how its process shows which one it uses.

``environment(AVX2)`` are the variables of a process whose libraries must not use more than AVX2.  What they then do is
shown twice: by each library's own words, and by the kernel of the operating system, which notes when a thread had
numbers in the registers that only AVX-512 has.  A process that shows another set than the one asked for, or cannot
show any, is refused.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from bench import ynnpack

NATIVE, AVX2, AVX512 = "native", "avx2", "avx512"
CHOICES = (NATIVE, AVX2, AVX512)
TITLES = {AVX2: "AVX2", AVX512: "AVX-512"}
_AFTER_AVX2 = ("avx512", "avx10", "evex512", "amx")  # how LLVM's names of features begin
_SWITCH = 0.02  # seconds; a thread that sleeps for so long is switched, which is when the kernel notes


class WrongInstructionSetError(AssertionError):
    """A process uses another instruction set than the one asked for, or cannot show which one."""


class Words(NamedTuple):
    """What a library says of itself."""

    used: str | None  # AVX2, AVX512, or None where it cannot be told
    text: str


@dataclass(frozen=True)
class Component:
    """Software that chooses its instructions when it finds a processor."""

    hold: Callable[[], dict[str, str]]  # variables that hold it to AVX2
    says: Callable[[], Words]
    more: Callable[[], dict[str, str]] = dict  # variables without which it would not use AVX-512 everywhere
    can_be_held: bool = True


# --- the processor ----------------------------------------------------------------------------------------------------


def _features() -> dict[str, bool]:
    from llvmlite import binding

    return dict(binding.get_host_cpu_features())


def of_processor() -> str:
    """The widest set of this processor; where it has none of ours, the architecture's name."""
    found = {name for name, present in _features().items() if present}
    if {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= found:
        return AVX512
    return AVX2 if {"avx2", "fma"} <= found else platform.machine()


def title(name: str) -> str:
    """As it is written in reports."""
    return TITLES.get(name, name)


def why_not_here(wanted: str) -> str | None:
    """Return None, or the reason why nothing can be measured with a set on this machine."""
    present = of_processor()
    if wanted in (NATIVE, present) or (wanted, present) == (AVX2, AVX512):
        return None
    return f"this processor has no {title(wanted)}: its instruction set is {title(present)}"


def is_held(wanted: str) -> bool:
    """Whether the processor could do more than what is asked for."""
    return wanted not in (NATIVE, of_processor())


# --- libraries --------------------------------------------------------------------------------------------------------


def _hold_numba() -> dict[str, str]:
    features = (
        ("-" if name.startswith(_AFTER_AVX2) or not present else "+") + name for name, present in _features().items()
    )
    return {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ",".join(features)}


def _numba_says() -> Words:
    from fastbp.kernels.machine.processor import VECTOR_BYTES

    return Words({32: AVX2, 64: AVX512}.get(VECTOR_BYTES), f"fastbp: vectors of {8 * VECTOR_BYTES} bits")


def _numpy_features() -> tuple[dict[str, bool], list[str]]:
    try:
        inside = import_module("numpy._core._multiarray_umath")
    except ImportError:  # NumPy 1
        inside = import_module("numpy.core._multiarray_umath")
    return inside.__cpu_features__, [name for name in inside.__cpu_dispatch__ if name.startswith(("AVX512", "X86_V4"))]


def _hold_numpy() -> dict[str, str]:
    name = "NPY_DISABLE_CPU_FEATURES"
    present, dispatched = _numpy_features()
    off = os.environ.get(name, "").replace(",", " ").split()  # this process knows nothing of those
    return {name: " ".join(feature for feature in dispatched if present[feature] or feature in off)}


def _numpy_says() -> Words:
    present, dispatched = _numpy_features()
    used = [name for name in dispatched if present[name]]
    if used:
        return Words(AVX512, f"NumPy: {' '.join(used)}")
    return Words(AVX2 if present["AVX2"] else None, "NumPy: no feature of AVX-512")


def _openblas_says() -> Words:
    import scipy.linalg.blas  # noqa: F401 -- so that its library is loaded
    from threadpoolctl import threadpool_info

    found = [library for library in threadpool_info() if library["user_api"] == "blas"]
    names = sorted({str(library.get("architecture", library["internal_api"])) for library in found})
    sets = {"Haswell": AVX2, "Zen": AVX2, "SkylakeX": AVX512, "Cooperlake": AVX512, "Sapphirerapids": AVX512}
    used = {sets.get(name) for name in names}
    return Words(used.pop() if len(used) == 1 else None, f"BLAS: {', '.join(names)}")


def _aten_says() -> Words:
    import torch

    found = str(torch.backends.cpu.get_cpu_capability())
    return Words({"AVX2": AVX2, "AVX512": AVX512}.get(found), f"ATen: {found}")


def _ynnpack_says() -> Words:
    uses = ynnpack.uses_avx512()
    if uses is None:
        return Words(None, "XLA says nothing")
    return Words(AVX512 if uses else AVX2, f"YNNPACK: {'with' if uses else 'without'} AVX-512")


NUMBA = Component(_hold_numba, _numba_says)
NUMPY = Component(_hold_numpy, _numpy_says)
# It knows new processors late, and then takes them for old ones.
OPENBLAS = Component(
    lambda: {"OPENBLAS_CORETYPE": "Haswell"}, _openblas_says, lambda: {"OPENBLAS_CORETYPE": "SkylakeX"}
)
ATEN = Component(lambda: {"ATEN_CPU_CAPABILITY": "avx2"}, _aten_says)
# torch's products; oneDNN is also in jax
ONEDNN = Component(lambda: {"ONEDNN_MAX_CPU_ISA": "AVX2"}, lambda: Words(None, "oneDNN says nothing"))
MKL = Component(lambda: {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, lambda: Words(None, "MKL says nothing"))
XLA = Component(lambda: {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2"}, _ynnpack_says)
MLAS = Component(dict, lambda: Words(None, "MLAS takes what the processor has"), can_be_held=False)
PLAIN_C = Component(dict, lambda: Words(None, "plain C, compiled for any x86-64"))
# memcpy and its kin, which otherwise leave numbers in registers of AVX-512
_OFF = ",".join(f"-AVX512{part}" for part in ("F", "VL", "BW", "DQ", "CD"))
GLIBC = Component(lambda: {"GLIBC_TUNABLES": f"glibc.cpu.hwcaps={_OFF}"}, lambda: Words(None, "glibc says nothing"))

LIBRARIES: dict[str, tuple[Component, ...]] = {
    **dict.fromkeys(
        ("fastbp", "fastbp.nielsen", "fastbp.nielsen, float32", "products"), (NUMBA, OPENBLAS, NUMPY)
    ),
    **dict.fromkeys(("scikit-learn", "published code", "scipy"), (OPENBLAS, NUMPY)),
    **dict.fromkeys(("NumPy, LM", "SciPy, LM"), (OPENBLAS, NUMPY)),
    "numpy": (NUMPY,),
    **dict.fromkeys(("torch", "torch-levenberg-marquardt"), (ATEN, ONEDNN, MKL)),
    **dict.fromkeys(("jax", "optimistix", "jaxopt"), (XLA, ONEDNN)),
    "onnxruntime": (MLAS,),
    "fann": (PLAIN_C,),
}  # fmt: skip
_COMPONENTS = (NUMBA, NUMPY, OPENBLAS, ATEN, ONEDNN, MKL, XLA, GLIBC)
_LISTS = {"XLA_FLAGS": " ", "GLIBC_TUNABLES": ":"}  # variables that hold several settings, and what parts them


def why_not(library: str, wanted: str) -> str | None:
    """Return None, or the reason why a library cannot be measured with a set on this machine."""
    if is_held(wanted) and not all(component.can_be_held for component in LIBRARIES[library]):
        return f"{library} cannot be held to {title(wanted)} on a processor with {title(of_processor())}"
    return None


def environment(wanted: str, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a process that is to use a set: a copy of those that there are, without other restrictions.

    `NATIVE` leaves them as they are.
    """
    found = dict(os.environ if base is None else base)
    if wanted == NATIVE:
        return found
    restrictions = {name: value for component in _COMPONENTS for name, value in component.hold().items()}
    for name, value in restrictions.items():
        _drop(found, name, value)
    chosen = restrictions if is_held(wanted) else {}
    if wanted == AVX512:
        chosen = {name: value for component in _COMPONENTS for name, value in component.more().items()}
    for name, value in chosen.items():
        before = [found[name]] if name in _LISTS and found.get(name) else []
        found[name] = _LISTS.get(name, "").join([*before, value])
    return found


def _drop(variables: dict[str, str], name: str, value: str) -> None:
    """Take a variable away, or of a list of settings the one that this value would set."""
    if name not in _LISTS:
        variables.pop(name, None)
        return
    setting, between = value.split("=")[0], _LISTS[name]
    kept = [part for part in variables.pop(name, "").split(between) if part and part.split("=")[0] != setting]
    if kept:
        variables[name] = between.join(kept)


# --- the proof --------------------------------------------------------------------------------------------------------


def prepare_process(library: str, wanted: str) -> None:
    """Hold this process to a set where variables cannot."""
    if is_held(wanted) and XLA in LIBRARIES[library]:
        ynnpack.hold_to_avx2()


def threads_with_avx512(seconds: float, folder: Path = Path("/proc/self/task")) -> list[str] | None:
    """Threads of this process that used registers of AVX-512 in the last seconds, by the kernel's record.

    None where the kernel keeps none: Linux does on x86, in ``arch_status``.
    """
    time.sleep(_SWITCH)
    found = []
    try:
        for thread in sorted(folder.iterdir()):
            fields = dict(line.split(":") for line in (thread / "arch_status").read_text().splitlines())
            elapsed = int(fields["AVX512_elapsed_ms"])  # or -1 for never
            if 0 <= elapsed <= 1000 * seconds:
                found.append((thread / "comm").read_text().strip())
    except (OSError, KeyError):
        return None
    return found


def judged(library: str, wanted: str, present: str, said: list[Words], record: list[str] | None) -> str:
    """What a process has shown, as a text; raise if that is not what is wanted.

    `present` is the processor's set, `record` what `threads_with_avx512` gives.
    """
    text = "; ".join(words.text for words in said)
    if wanted == NATIVE:
        return text
    wrong = [words.text for words in said if words.used not in (None, wanted)]
    if not wrong and wanted != present:
        if record:
            wrong = [f"the kernel saw AVX-512 in its threads {', '.join(sorted(set(record)))}"]
        elif record is None and any(words.used is None for words in said):
            wrong = [f"it cannot show it: {text}, and the kernel keeps no record"]
    if wrong:
        raise WrongInstructionSetError(f"{library} is to be measured with {title(wanted)}, but {'; '.join(wrong)}.")
    return text if wanted == present or record is None else f"{text}; kernel: no AVX-512"


def shown(library: str, wanted: str, seconds: float) -> dict[str, Any]:
    """What this process shows of the set that it used in the last seconds; raise if it is not the one wanted."""
    said = [component.says() for component in LIBRARIES[library]]
    record = threads_with_avx512(seconds) if is_held(wanted) else None
    text = judged(library, wanted, of_processor(), said, record)
    return {"shows": text, "uses": sorted({words.used for words in said if words.used})}


def description(wanted: str) -> dict[str, Any]:
    """What a report says: the set asked for, the processor's own, and LLVM's name of the processor."""
    from llvmlite import binding

    return {"wanted": wanted, "processor": of_processor(), "llvm": binding.get_host_cpu_name()}
