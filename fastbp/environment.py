"""What fastbp runs on: versions, processor, threads and the folder of compiled kernels, for reports of errors."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba

from fastbp.engine.helpers import MOST_HELPERS
from fastbp.engine.threads import get_num_threads, thread_limits
from fastbp.kernels.compiler.cache_folders import FolderState, folder_states
from fastbp.kernels.machine.processor import AVX2, AVX512, NEON, TILING
from fastbp.kernels.machine.target import TARGET
from fastbp.version import __version__

__all__ = ["facts", "show_versions"]

_NEEDED = ("numpy", "scipy", "numba", "llvmlite", "scikit-learn", "tqdm", "threadpoolctl")
_OPTIONAL = (
    *("pandas", "pyarrow", "polars", "matplotlib", "onnx", "onnxruntime", "skl2onnx", "torch", "joblib"),
    *("dask", "distributed"),
)
_MISSING = "not installed"
_LIMITS = {  # what sets a number of threads
    "processors": "processors that this process may run on",
    "quota": "quota of the control groups, as a container has",
    "numba.set_num_threads": "set by numba.set_num_threads",
}


def show_versions() -> None:
    """Print the versions of fastbp and of all that it uses, the processor, the threads and the folder of kernels.

    Put the output into a report of an error.  The command ``fastbp info`` prints the same, with ``--json`` for
    programs.  Nothing is compiled, and no folder is made.

    Examples
    --------
    >>> import fastbp as bp
    >>> bp.show_versions()  # doctest: +ELLIPSIS
    fastbp         ...
    python         ...
    """
    found = facts()
    for group in ("versions", "optional"):
        for name, version in found[group].items():
            print(f"{name:15}{version}")
        print()
    for name in ("system", "processor", "instructions"):
        print(f"{name:15}{found[name]}")
    print(f"{'threads':15}{found['threads']}")
    for what, number in found["thread_limits"].items():
        print(f"{'':15}{number}: {what}")
    for folder in found["kernels"]:
        print(f"{'kernels':15}{_sentence(folder)}")


def facts() -> dict[str, Any]:
    """Return what `show_versions` prints, in values that JSON has.

    Returns
    -------
    dict
        ``versions``, ``optional``, ``system``, ``processor``, ``instructions``, ``threads``, ``thread_limits`` and
        ``kernels``, a list of folders of which the last one is written to.

    Examples
    --------
    >>> facts()["versions"]["fastbp"] == __version__
    True
    """
    limits = {_LIMITS.get(what, f"set by {what}"): number for what, number in thread_limits().items()}
    return {
        "versions": {
            "fastbp": __version__,
            "python": f"{platform.python_version()} ({platform.python_implementation()})",
            **{name: _version(name) for name in _NEEDED},
        },
        "optional": {name: _version(name) for name in _OPTIONAL},
        "system": platform.platform(),
        "processor": f"{_processor_name()} (LLVM's {TARGET.cpu})",
        "instructions": _instructions(),
        "threads": get_num_threads(),
        "thread_limits": {what: number for what, number in limits.items() if number <= MOST_HELPERS},
        "kernels": [folder._asdict() for folder in folder_states()],
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _MISSING


def _instructions() -> str:
    """Return which instructions the kernels use."""
    if numba.config.DISABLE_JIT:
        return "none: NUMBA_DISABLE_JIT is set, and the kernels run as plain Python"
    names = {AVX512: "AVX-512", AVX2: "AVX2 and FMA", NEON: "NEON"}
    if TILING is None:
        return "no vectors of 32 bytes or more; matrix products are left to BLAS"
    return f"{names[TILING]}, vectors of {TILING.vector_bytes} bytes"


def _processor_name() -> str:
    """Return the processor's name as its maker writes it, as far as the system tells."""
    with contextlib.suppress(OSError):  # Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    return platform.processor() or platform.machine() or "unknown"


def _sentence(folder: dict[str, Any]) -> str:
    """Return what is known of a folder of kernels as a text."""
    state = FolderState(**folder)
    path = state.path
    if state.reason:
        return f"{path}: passed over, since {state.reason}"
    if not state.exists:
        return f"{path}: not there yet{'' if state.is_writable else ', and it cannot be made'}"
    size = f"{state.n_kernels} kernel{'' if state.n_kernels == 1 else 's'}, {state.n_bytes / 1e6:.1f} MB"
    return f"{path}: {size}, {'writable' if state.is_writable else 'read-only'}"
