"""C compilers that are installed, and what the tests of C files do with them."""

import ctypes
import shutil
import subprocess

import numpy as np

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror")
# Undefined behaviour ends the process: the traps need no library at run time.
TRAPS = {
    "gcc": ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
    "clang": ("-fsanitize=undefined", "-fsanitize-trap=undefined"),
}
COMPILERS = tuple(name for name in TRAPS if shutil.which(name))
OF_NUMPY = {np.dtype(np.int16): ctypes.c_int16, np.dtype(np.int32): ctypes.c_int32}


def run(*command):
    """Run a program and return what it wrote; fail with its errors."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def library(folder, text, compiler, *options):
    """Compile a C text, which may include files of its folder, into a shared library and load it."""
    source, target = folder / f"all_{compiler}.c", folder / f"all_{compiler}.so"
    source.write_text(text)
    run(compiler, *STRICT, *options, "-shared", "-fPIC", "-o", target, source, "-lm")
    return ctypes.CDLL(str(target))


def outputs(function, X, shape, dtype=None):
    """Call ``function(x, y)`` for each row of X; return all y."""
    X, Y = np.ascontiguousarray(X), np.zeros(shape, dtype or X.dtype)
    for x, y in zip(X, Y, strict=True):
        function(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    return Y
