"""The roots' assembly for a processor that this machine need not be: a program for a process of its own.

    python -m tests.cross_compiled FILE DTYPE TRIPLE CPU [FEATURES]

Numba, and fastbp after it, ask LLVM for the kind of machine that the process runs on. Here LLVM answers with another
one, so that everything is compiled as it would be there, with the same choices; nothing of it is run. The machine code
is linked all the same, so a system whose objects have another format than this one's needs a triple that ends in -elf.
"""

import importlib
import os
import pkgutil
import sys
from pathlib import Path


def pretend(triple):
    """Let LLVM say that this process runs on another machine."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    binding.get_process_triple = lambda: triple


def compiled(root, dtype):
    """Compile a root for a dtype; its arguments are those that `warmup` has, by their names. Return its library."""
    import numba
    import numpy as np

    if not hasattr(root, "compile"):  # it knows its types
        function = root.of(np.dtype(dtype))
        return function.overloads[function.signatures[0]].library
    i, words, table = numba.int64, numba.int64[::1], numba.int64[:, ::1]
    doubles, number = numba.float64[::1], numba.from_dtype(np.dtype(dtype))
    real, pointer = number[::1], numba.types.CPointer
    kinds = dict.fromkeys(("task", "slot", "first_step"), i) | dict.fromkeys(("like", "params", "work", "moved"), real)
    kinds |= dict.fromkeys(("layers", "segments", "base_layers"), table) | {"base_work": real}
    kinds |= dict.fromkeys(("rates", "scalars", "base_costs", "changes"), doubles)
    code = root.py_func.__code__
    kinds |= {"net": pointer(i), "x": pointer(number), "y": i, "out": pointer(number), "n": i}
    names = code.co_varnames[: code.co_argcount]
    root.compile(tuple(kinds.get(name, words) for name in names))
    return root.overloads[root.signatures[0]].library


def assemblies_of(libraries):
    """Yield the assembly of each, without the parts that another one has had: there it would be the same."""
    known = set()
    for library in libraries:
        library._sources = [part for part in library._sources if part not in known]
        known.update(library._sources)
        yield library.get_asm_str()


def main(file, dtype, triple, cpu, features=""):
    """Write the assembly of all roots into a file."""
    os.environ |= {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    pretend(triple)
    from fastbp.kernels import roots

    names = [module.name for module in pkgutil.iter_modules(roots.__path__)]
    modules = [importlib.import_module(f"{roots.__name__}.{name}") for name in names]
    Path(file).write_text("\n".join(assemblies_of(compiled(module.run, dtype) for module in modules)))


if __name__ == "__main__":
    main(*sys.argv[1:])
