"""C texts as libraries in which undefined behaviour is an end, called row by row."""

import ctypes

import numpy as np

from tests.c_compilers import compile_c, name_of

# Undefined behaviour ends the process: the traps need no library at run time.
TRAPS = {"gcc": ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")}
OF_CLANG = ("-fsanitize=undefined", "-fsanitize-trap=undefined")
OF_NUMPY = {np.dtype(np.int16): ctypes.c_int16, np.dtype(np.int32): ctypes.c_int32}


def library(folder, text, compiler, *options):
    """Compile a C text, which may include files of its folder, into a shared library and load it."""
    name = name_of(compiler)
    (folder / f"all_{name}.c").write_text(text)
    traps = TRAPS.get(name, OF_CLANG)
    compile_c(compiler, folder, *options, *traps, "-shared", "-fPIC", "-o", f"all_{name}.so", f"all_{name}.c", "-lm")
    return ctypes.CDLL(str(folder / f"all_{name}.so"))


def outputs(function, X, shape, dtype=None):
    """Call ``function(x, y)`` for each row of X; return all y."""
    X, Y = np.ascontiguousarray(X), np.zeros(shape, dtype or X.dtype)
    for x, y in zip(X, Y, strict=True):
        function(ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(y.ctypes.data))
    return Y
