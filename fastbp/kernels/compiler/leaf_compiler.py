"""How leaves are compiled: to unoptimised code that only waits to be linked into a root.

Numba optimises every function together with all that it calls, and turns each into machine code that could be called
from Python.  In a tower of leaves that work is done again on every floor: the root took 150 s to compile.  A leaf is
never called from Python, so it needs neither; the root is optimised once, with all its leaves in it.

What is left of the time goes to Python more than to LLVM: Numba takes each of some 180 leaves from bytecode to LLVM's
language.  So what a leaf has no use for is left out, and what was found out once is not looked for again.  The machine
code is the same, to the byte.

This is built on `pipeline_class`, Numba's own door for such things.  Where Numba lacks a part of it, this file is not
imported (see `numba_private`).
"""

import copy
import functools
from typing import Any

from llvmlite.binding import Linkage

from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA

_Library: Any = NUMBA.JITCodeLibrary
_Pass: Any = NUMBA.LoweringPass
_Compiler: Any = NUMBA.CompilerBase


class LeafLibrary(_Library):
    """The LLVM module of one leaf, not optimised and without machine code."""

    def add_llvm_module(self, ll_module: Any) -> None:
        """Take in the leaf's own code as it is, ready to be linked; without wrappers a leaf has one module only."""
        ll_module.data_layout = self._codegen._data_layout
        for function in ll_module.functions:
            if not function.is_declaration and function.linkage == Linkage.external:
                function.linkage = Linkage.linkonce_odr  # as Numba has it in what it links, but in a copy
        self._final_module = ll_module

    def finalize(self) -> None:
        """Link in nothing: the root gets a list of all leaves below it, and links each of them once."""
        self._raise_if_finalized()
        self._finalized = True

    def with_callees(self) -> list[Any]:
        """Itself and all that it calls, directly or not."""
        return [self, *dict.fromkeys(self._linking_libraries)]


@NUMBA.register_pass(mutates_CFG=True, analysis_only=False)
class RegisterLeaf(_Pass):
    """Make the leaf known to functions that are compiled later."""

    _name = "fastbp_register_leaf"

    def __init__(self) -> None:
        _Pass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        """Give the leaf a handle; the handle is a key and is never called."""
        fndesc, result = state.cr.fndesc, state.cr
        handle = NUMBA.make_function(fndesc.lookup_module(), fndesc.qualname, "", 1, result.env, (state.library,))
        state.targetctx.insert_user_function(handle, fndesc, state.library.with_callees())
        state["cr"] = result._replace(cfunc=handle)
        return True


# Numba's nopython pipeline without what leaves do not contain: closures, comprehensions, expressions of whole arrays,
# `with`, functions inlined as source, loops over tuples of several types.
_PASSES = (
    NUMBA.TranslateByteCode,
    NUMBA.FixupArgs,
    NUMBA.DeadBranchPrune,
    NUMBA.GenericRewrites,
    NUMBA.ReconstructSSA,
    NUMBA.NopythonTypeInference,
    NUMBA.PreLowerStripPhis,
    NUMBA.IRLegalization,
    NUMBA.NativeLowering,
    RegisterLeaf,
    NUMBA.NoPythonBackend,
)


# For each set of compiler options, since Numba compiles functions of its own, such as `min`, for each of them.
_SIGNATURES: dict[str, dict[Any, Any]] = {}


def _with_memory(context: Any, flags: Any) -> Any:
    """Copy of a typing context that resolves a call of a function with the same types once, for all leaves.

    Numba resolves each call about twice, and the leaves have some 3500 calls of 600 kinds.
    """
    signatures = _SIGNATURES.setdefault(flags.get_mangle_string(), {})

    def resolve_function_type(function: Any, args: Any, kws: Any) -> Any:
        if kws or isinstance(function, str):  # a string: among the arguments may be a constant instead of a type
            return context.resolve_function_type(function, args, kws)
        key = function, tuple(args)
        signature, implementation = signatures.get(key, (None, None))
        if signature is None:
            signature = context.resolve_function_type(function, args, kws)
            if isinstance(function, NUMBA.BaseFunction) and signature is not None:
                implementation = function.get_impl_key(signature)
            signatures[key] = signature, implementation
        elif implementation is not None:  # Numba calls the one that was resolved last, maybe for other options
            function._impl_keys[signature.args] = implementation
        return signature

    remembering = copy.copy(context)
    remembering.resolve_function_type = resolve_function_type
    return remembering


class LeafCompiler(_Compiler):
    """Numba's nopython pipeline, ending without machine code."""

    def define_pipelines(self) -> list[Any]:
        """Return the one pipeline of a leaf."""
        state = self.state
        state.flags.no_compile = True
        state.library = LeafLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.typingctx = _with_memory(state.typingctx, state.flags)
        # The target context is this leaf's own copy.
        state.targetctx.enable_nrt = False  # a leaf allocates nothing: there are no references to count
        state.targetctx.get_abi_sizeof = functools.cache(state.targetctx.get_abi_sizeof)  # LLVM parses a module for it
        pipeline = NUMBA.PassManager("fastbp_leaf")
        for leaf_pass in _PASSES:
            pipeline.add_pass(leaf_pass, leaf_pass._name)
        pipeline.finalize()
        return [pipeline]
