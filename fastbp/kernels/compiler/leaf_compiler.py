"""How leaves are compiled: to text in LLVM's language, which waits to be part of some machine code.

Numba optimises every function together with all that it calls, and turns each into machine code that could be called
from Python.  In a tower of leaves that work is done again on every floor: the root took 150 s to compile.  A leaf is
never called from Python, so it needs neither; the root and each of its parts are optimised once, with their leaves.

What is left goes to Python as much as to LLVM: Numba takes each of some 210 leaves from bytecode to LLVM's language.
So what a leaf has no use for is left out (see `leaf_lowering`), what was found out once is not looked for again, and
LLVM works beside Python (see `machine_code`).

This is built on `pipeline_class`, Numba's own door for such things.  Where Numba lacks a part of it, this file is not
imported (see `numba_private`).
"""

import copy
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, ClassVar

import llvmlite.binding as llvm

from fastbp.kernels.compiler.leaf_builtins import signature_of
from fastbp.kernels.compiler.leaf_lowering import LeafContext, LeafLower, call_of
from fastbp.kernels.compiler.leaf_text import joined, text_of
from fastbp.kernels.compiler.machine_code import Part
from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA

_Library: Any = NUMBA.JITCodeLibrary
_Compiler: Any = NUMBA.CompilerBase


_parts = set[Any]()  # functions that get machine code of their own


def mark_part(function: Callable[..., Any]) -> None:
    """Have a leaf get machine code of its own."""
    _parts.add(function)


class Below:
    """What a function needs: leaves for its own machine code, parts that it calls, and functions that are no leaves.

    Parameters
    ----------
    libraries : iterable
        Those of the functions that it calls.
    """

    def __init__(self, libraries: Iterable[Any]) -> None:
        self.leaves, self.parts, self.others = dict[Any, None](), dict[Part, None](), dict[Any, None]()
        for library in libraries:
            if not isinstance(library, LeafLibrary):
                self.others[library] = None
                continue
            self.parts |= library.below.parts
            if library.part is None:
                self.leaves |= library.below.leaves
                self.others |= library.below.others
            else:
                self.parts[library.part] = None

    def text(self, codegen: Any) -> str:
        """Return what the leaves say."""
        return joined(codegen, [leaf.text for leaf in self.leaves])

    def bitcodes(self) -> list[bytes]:
        """Return the code of functions that are no leaves."""
        return [library._get_module_for_linking().as_bitcode() for library in self.others]


class LeafLibrary(_Library):
    """The text of one leaf in LLVM's language; LLVM sees it when all that it calls is known."""

    def __init__(self, codegen: Any, name: str) -> None:
        super(NUMBA.CPUCodeLibrary, self).__init__(codegen, name)  # without a module
        self._linking_libraries: list[Any] = []
        self._shared_module: Any = None
        self.part: Part | None = None

    def add_ir_module(self, ir_module: Any) -> None:
        """Take in the leaf."""
        self._module = ir_module

    def add_linking_library(self, library: Any) -> None:
        """Note what is called; leaves need nothing of Numba's own functions for memory."""
        if library is not NUMBA.rtsys.library:
            super().add_linking_library(library)

    def finalize(self) -> None:
        """Link in nothing: whoever gets machine code links each leaf below it once."""
        self._raise_if_finalized()
        self.below = Below(self._linking_libraries)
        self.below.leaves[self] = None
        self._finalized = True

    def become_text(self, fndesc: Any, is_part: bool) -> None:
        """Give the leaf its name, and begin to make machine code if it is a part."""
        self.finalize()
        name, codegen = fndesc.mangled_name, self._codegen
        self.text, fndesc.mangled_name, by_hand = text_of(codegen, self._module, name, self.name, is_part)
        del self._module
        self.below.parts |= by_hand
        if is_part:
            self.part = Part(fndesc.mangled_name, codegen, self.below.text(codegen), self.below.bitcodes())
            self.part.begin()

    def _add_every_leaf(self, leaves: dict[Any, None]) -> None:
        """Add all leaves below and itself, those of parts as well, each once: there are very many ways down."""
        for library in self._linking_libraries:
            if isinstance(library, LeafLibrary) and library not in leaves:
                library._add_every_leaf(leaves)
        leaves[self] = None

    def _get_module_for_linking(self) -> Any:
        """Return a module with all below it, for a function that is no root."""
        if self._shared_module is None:
            leaves = dict[Any, None]()
            self._add_every_leaf(leaves)
            module = llvm.parse_assembly(joined(self._codegen, [leaf.text for leaf in leaves]))
            for part in dict.fromkeys(part for leaf in leaves for part in leaf.below.parts if part.is_by_hand):
                module.link_in(llvm.parse_assembly(part.text))
            for library in dict.fromkeys(library for leaf in leaves for library in leaf.below.others):
                module.link_in(library._get_module_for_linking(), preserve=True)
            for value in (*module.functions, *module.global_variables):
                if not value.is_declaration and value.linkage == llvm.Linkage.external:
                    value.linkage = llvm.Linkage.linkonce_odr
            self._shared_module = module
        return self._shared_module


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
        library.become_text(fndesc, state.func_id.func in _parts)
        handle = NUMBA.make_function(fndesc.lookup_module(), fndesc.qualname, "", 1, lower.env, (library,))
        write_call = call_of(fndesc, (library,))
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
        """Return the one pipeline of a leaf; Numba's, for a leaf that is debugged and so may raise, or in need."""
        state = self.state
        if not NUMBA.works or state.flags.debuginfo or state.targetctx.enable_boundscheck:
            return [NUMBA.DefaultPassBuilder.define_nopython_pipeline(state)]
        state.flags.no_compile = True
        state.library = LeafLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.typingctx = _with_memory(state.typingctx, state.flags)
        state.targetctx = LeafContext.like(state.targetctx)
        return [_Passes]
