"""How roots are compiled: Python writes leaf after leaf, while threads make machine code of whole parts."""

import gc
import logging
import time
from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba import types

from fastbp.kernels.compiler.cache_folders import writable_folder
from fastbp.kernels.compiler.disk_cache import FIRST_USE, load_parts
from fastbp.kernels.compiler.leaf_compiler import Below
from fastbp.kernels.compiler.machine_code import Translation, threads
from fastbp.kernels.compiler.numba_private import LEAVES, ROOTS

_logger = logging.getLogger("fastbp.kernels.compiler")

_Compiler: Any = ROOTS.Compiler
_Library: Any = LEAVES.JITCodeLibrary

# New objects until Python looks for garbage again: a compilation makes millions that stay, and its own 700 cost 0.6 s.
# The process grows by 4 MB.
_OBJECTS = 10_000


class RootCompiler(_Compiler):
    """Numba's compiler with threads, while Python looks for garbage less often."""

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Compile a function and all leaves below it."""
        if not LEAVES.works or LEAVES.is_being_tried:
            return super().compile_extra(func)
        dtype, began = _dtype_of(self.state.args), time.perf_counter()
        if _logger.isEnabledFor(logging.INFO):
            folder = writable_folder()
            kept = f"kept in {folder}, so this happens once" if folder else "kept nowhere, so each process does this"
            _logger.info("Compiling kernels for %s, %s or less; they are %s.", dtype, FIRST_USE, kept)
        objects, *others = gc.get_threshold()
        gc.set_threshold(max(objects, _OBJECTS) if objects else 0, *others)  # 0: the user wants none collected
        try:
            with threads():
                result = super().compile_extra(func)
        finally:
            gc.set_threshold(objects, *others)
        _logger.info("Compiled kernels for %s in %.1f seconds.", dtype, time.perf_counter() - began)
        return result

    def define_pipelines(self) -> Any:
        """Return Numba's pipelines."""
        if not LEAVES.works:
            return super().define_pipelines()
        state = self.state
        state.library = RootLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()


def _dtype_of(arguments: Any) -> str:
    """Return the dtype of the networks that a root with these arguments is for."""
    dtypes = {argument.dtype for argument in arguments if isinstance(argument, types.Array | types.CPointer)}
    return "float32" if types.float32 in dtypes else "float64"


class RootLibrary(_Library):
    """The machine code of a root, and of its parts."""

    parts: tuple[tuple[str, bytes], ...] = ()
    _final_module: Any

    def finalize(self) -> None:
        """Make the machine code of all that is no part, while parts are made, and load it all."""
        self._raise_if_finalized()
        below, codegen = Below(self._linking_libraries), self._codegen
        translation = Translation(codegen, below.text(codegen), [self._final_module.as_bitcode(), *below.bitcodes()])
        with translation.optimised() as module:
            self._machine_code, bitcode = translation.machine_code(module), module.as_bitcode()
        for part in reversed(below.parts):
            part.take_back()
        self.parts = tuple((part.name, part.machine_code()) for part in below.parts)
        self._sources = [part.text for part in below.parts]
        load_parts(codegen, self.parts)
        self._set_compiled_object(self._machine_code)
        self._final_module = llvm.parse_bitcode(bitcode)
        self._finalize_final_module()

    def serialize_using_object_code(self) -> Any:
        """Return what the cache keeps of the root without its parts."""
        self._set_compiled_object(self._machine_code)  # Numba has let go of it
        return super().serialize_using_object_code()

    def get_llvm_str(self) -> str:
        """Return the optimised code of the root and its parts."""
        return self._read(str)

    def get_asm_str(self) -> str:
        """Return the assembly of the root and its parts."""
        return self._read(self._codegen._tm.emit_assembly)

    def _read(self, reader: Callable[[Any], str]) -> str:
        texts = [reader(self._final_module)]
        for source in self._sources:
            with Translation(self._codegen, source).optimised() as module:
                texts.append(reader(module))
        return "\n".join(texts)
