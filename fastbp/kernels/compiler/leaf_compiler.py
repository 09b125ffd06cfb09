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
from types import SimpleNamespace
from typing import Any, ClassVar

from llvmlite.binding import Linkage

from fastbp.kernels.compiler.leaf_builtins import signature_of
from fastbp.kernels.compiler.leaf_lowering import LeafContext, LeafLower, call_of
from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA

_Library: Any = NUMBA.JITCodeLibrary
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


class LowerLeaf:
    """The last steps: LLVM's language, and a handle by which functions that are compiled later find the leaf."""

    def run_pass(self, state: Any) -> None:
        """Write the leaf; the handle is a key and is never called."""
        context, flags, library = state.targetctx, state.flags, state.library
        fndesc = NUMBA.PythonFunctionDescriptor.from_specialized_function(
            state.func_ir,
            state.typemap,
            state.return_type,
            state.calltypes,
            mangler=context.mangler,
            inline=flags.forceinline,
            noalias=flags.noalias,
            abi_tags=[flags.get_mangle_string()],
        )
        with context.push_code_library(library):
            lower = LeafLower(context, library, fndesc, state.func_ir, metadata=state.metadata)
            lower.lower()
        handle = NUMBA.make_function(fndesc.lookup_module(), fndesc.qualname, "", 1, lower.env, (library,))
        write_call = call_of(fndesc, tuple(library.with_callees()))
        context.insert_func_defn([(write_call, handle, write_call.signature)])
        state["cr"] = SimpleNamespace(fndesc=fndesc, call_helper=None, cfunc=handle, env=lower.env)


_PRUNE = NUMBA.DeadBranchPrune()
_PRUNE.analysis = {NUMBA.DeadBranchPrune: None}  # it asks for one, to show how that is done


# Numba's nopython pipeline without what leaves do not contain: closures, comprehensions, expressions of whole arrays,
# `with`, functions inlined as source, loops over tuples of several types.
_PASSES = (
    NUMBA.TranslateByteCode(),
    NUMBA.FixupArgs(),
    _PRUNE,
    NUMBA.GenericRewrites(),
    NUMBA.ReconstructSSA(),
    NUMBA.NopythonTypeInference(),
    NUMBA.PreLowerStripPhis(),
    LowerLeaf(),
    NUMBA.NoPythonBackend(),
)


class _Passes:
    """The passes, one after the other, without Numba's looks at what each of them has left."""

    pipeline_name = "fastbp_leaf"
    exec_times: ClassVar[dict[str, Any]] = {}

    @staticmethod
    def run(state: Any) -> None:
        """Compile a leaf."""
        for leaf_pass in _PASSES:
            leaf_pass.run_pass(state)


# For each set of compiler options, since Numba compiles functions of its own, such as `min`, for each of them.
_SIGNATURES: dict[str, dict[Any, Any]] = {}


def _with_memory(context: Any, flags: Any) -> Any:
    """Copy of a typing context that resolves a call of a function with the same types once, for all leaves.

    Numba resolves each call about twice, and the leaves have some 3500 calls of 600 kinds.
    """
    signatures = _SIGNATURES.setdefault(flags.get_mangle_string(), {})

    def resolve_function_type(function: Any, args: Any, kws: Any) -> Any:
        own = None if kws else signature_of(function, args)
        if own is not None:
            return own
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
        state.targetctx = LeafContext.like(state.targetctx)
        return [_Passes]
