"""C compilers that are here, and what they make: libraries to call, programs to run, also for microcontrollers."""

import ctypes
import functools
import importlib.util
import os
import shutil
import subprocess
import sys

import numpy as np

TIME_LIMIT = 200  # seconds of a compiler or a program: far more than either takes
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
# The processor's own multiply-adds, and a compiler that makes more of them wherever it may.
NATIVE = ("-O3", "-march=native", "-ffp-contract=fast")


@functools.cache
def compilers():
    """Commands of C compilers for this machine: gcc and clang, or else the one in Python's package ziglang."""
    if os.name == "nt":
        return ()
    found = tuple((name,) for name in ("gcc", "clang") if shutil.which(name))
    if not found and importlib.util.find_spec("ziglang"):
        found = ((sys.executable, "-m", "ziglang", "cc"),)
    return found


def name_of(compiler):
    """A compiler's name, for pytest."""
    return compiler[-2] if len(compiler) > 1 else compiler[0]


def run(command, folder, fails=False):
    """Run a command in a folder; return what it printed and said."""
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    said = result.stdout + result.stderr
    assert (result.returncode != 0) == fails, said
    return said


def compile_c(compiler, folder, *arguments, strict=STRICT, fails=False):
    """Compile in a folder, with warnings as errors."""
    return run([*compiler, *strict, *arguments], folder, fails=fails)


class Rows:
    """The function ``NAME_rows(n, x, y)`` of a library, for arrays."""

    def __init__(self, library, name, n_outputs):
        self._function, self._n_outputs = getattr(library, f"{name}_rows"), n_outputs
        self._function.argtypes = [ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]
        self._function.restype = None

    def __call__(self, X):
        """Return the outputs of some rows."""
        X = np.ascontiguousarray(X)
        Y = np.full((len(X), self._n_outputs), 777, X.dtype)
        self._function(len(X), X.ctypes.data, Y.ctypes.data)
        return Y


def program_of(nets, folder, file="all.c", **keywords):
    """Write networks by their names as C files, and one that includes them all with a function ``NAME_rows`` each."""
    lines = []
    for name, net in nets.items():
        net.to_c(folder / f"{name}.c", **keywords)
        c_type, m = "float" if net.dtype == np.float32 else "double", name.upper()
        lines += [
            f'#include "{name}.c"',
            f"void {name}_rows(size_t n, const {c_type} *x, {c_type} *y);",
            f"void {name}_rows(size_t n, const {c_type} *x, {c_type} *y)",
            "{",
            f"    for (; n > 0; n--, x += {m}_N_INPUTS, y += {m}_N_OUTPUTS) {name}_predict(x, y);",
            "}",
        ]
    (folder / file).write_text("\n".join(lines) + "\n")


def library(compiler, flags, nets, folder, file="all.c"):
    """Compile what `program_of` wrote, once; return its functions by the networks' names."""
    path = folder / f"{file}-{name_of(compiler)}{''.join(flags)}.so".replace("=", "")
    if not path.exists():
        compile_c(compiler, folder, *flags, "-shared", "-fPIC", file, "-lm", "-o", path)
    loaded = ctypes.CDLL(str(path))
    return {name: Rows(loaded, name, net.sizes[-1]) for name, net in nets.items()}
