"""Numba's private names: no other file imports them.

Numba may move, drop or change them in any version.  They make no kernel possible, only faster, and forks safe: where
one is missing, the group of names that is used together with it is not used, and one warning, before the first kernel
is used, says so.  Names that are there and do something else than they did show in a trial, before the first kernel is
compiled.
"""

import functools
import inspect
import pkgutil
from collections.abc import Callable, Hashable
from typing import Any

import numba

from fastbp.system.caller import warn

_SHOWN = 200  # letters of an error: Numba's have whole sources in them


class Group:
    """Names that are used together or not at all; each that is there is an attribute.

    Parameters
    ----------
    loss : str
        What is slower or worse without them, as half a sentence.
    *names : str
        ``module:name``, each.
    """

    def __init__(self, loss: str, *names: str) -> None:
        self.loss, self.missing = loss, list[str]()
        self.trial: Callable[[], None] | None = None  # what raises an exception where they do not do what they did
        self.is_being_tried = False
        for name in names:
            try:
                setattr(self, name.rpartition(":")[2], pkgutil.resolve_name(name))
            except (ImportError, AttributeError):
                self.missing.append(name)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name} was not found in Numba")

    @property
    def is_whole(self) -> bool:
        """Whether every name was found."""
        return not self.missing

    @property
    def works(self) -> bool:
        """Whether every name was found, and their trial, which is made once and uses them itself, went well."""
        trial, self.trial = self.trial, None
        if trial is not None and self.is_whole:
            self.is_being_tried = True
            try:
                trial()
            except Exception as error:  # whatever it is: without the names there is another way
                self.fails(error)
            finally:
                self.is_being_tried = False
        return self.is_whole

    def fails(self, error: Exception) -> None:
        """Use the names no more, since they do not do what they did."""
        text = " ".join(str(error).replace(":", ",").split())
        self.missing.append(f"in a trial {type(error).__name__}, {text[:_SHOWN]}")

    def on(self, dispatcher: Any, attribute: str) -> Any:
        """Return an attribute of a dispatcher; where it is missing, None, and the group is not whole any more."""
        value = getattr(dispatcher, attribute, None)
        name = f"numba.core.dispatcher:Dispatcher.{attribute}"
        if value is None and name not in self.missing:
            self.missing.append(name)
        return value


LEAVES = Group(
    "compiling the kernels takes several times as long",
    "llvmlite.binding.ffi:OutputString",
    "llvmlite.binding.ffi:lib",
    "llvmlite.binding.ffi:lib.LLVMPY_RunNewModulePassManager._cfn",
    "llvmlite.binding.ffi:lib.LLVMPY_TargetMachineEmitToMemory._cfn",
    "numba._dynfunc:make_function",
    "numba.core.callconv:CPUCallConv",
    "numba.core.callconv:CPUCallConv._get_arg_packer",
    "numba.core.codegen:CPUCodeLibrary",
    "numba.core.codegen:JITCodeLibrary",
    "numba.core.codegen:JITCodeLibrary._finalize_final_module",
    "numba.core.codegen:JITCodeLibrary._set_compiled_object",
    "numba.core.codegen:JITCPUCodegen._customize_tm_options",
    "numba.core.codegen:JITCPUCodegen._module_pass_manager",
    "numba.core.compiler:CompilerBase",
    "numba.core.compiler:DefaultPassBuilder",
    "numba.core.cpu:CPUContext",
    "numba.core.funcdesc:PythonFunctionDescriptor",
    "numba.core.lowering:Lower",
    "numba.core.runtime:rtsys",
    "numba.core.typed_passes:NoPythonBackend",
    "numba.core.typed_passes:NopythonTypeInference",
    "numba.core.typed_passes:PreLowerStripPhis",
    "numba.core.types:BaseFunction",
    "numba.core.untyped_passes:DeadBranchPrune",
    "numba.core.untyped_passes:FixupArgs",
    "numba.core.untyped_passes:GenericRewrites",
    "numba.core.untyped_passes:ReconstructSSA",
    "numba.core.untyped_passes:TranslateByteCode",
)
ROOTS = Group("compiling the kernels takes a little longer", "numba.core.compiler:Compiler")
CACHE = Group(
    "compiled kernels are not kept on disk, so that each process compiles them again",
    "numba.core.caching:CompileResultCacheImpl",
    "numba.core.serialize:dumps",
)
LITERALS = Group("some kernels are compiled again for every constant that they are called with")
LOCKS = Group(
    "a process that is forked while another thread compiles may wait for ever",
    "llvmlite.binding.ffi:lib._lock",
    "llvmlite.binding.ffi:lib._lock._lock",
    "numba.core.compiler_lock:global_compiler_lock",
    "numba.core.compiler_lock:global_compiler_lock._lock",
)
GROUPS = (LEAVES, ROOTS, CACHE, LITERALS, LOCKS)


@functools.cache
def stands_in(ours: Hashable, theirs: Hashable) -> bool:
    """Whether a cache has all that Numba may ask of one of its own, with as many arguments."""
    n_missing = len(CACHE.missing)
    for name in [name for name in dir(theirs) if not name.startswith("_")]:
        method, other = getattr(theirs, name), getattr(ours, name, None)
        same = other is not None and callable(method) == callable(other)
        if same and callable(method) and callable(other):
            same = len(inspect.signature(method).parameters) == len(inspect.signature(other).parameters)
        if not same:
            CACHE.missing.append(f"numba.core.caching:NullCache.{name} as it was")
    return len(CACHE.missing) == n_missing


_said: set[str] = set()


def say_what_is_missing() -> None:
    """Warn, once in a process, of the names that were not found.

    To be called before a kernel is used, and in the user's own thread: in a helper's, the user's line is not to be
    found, and a warning that is an error would end the helper.
    """
    names = [name.replace(":", ".") for group in GROUPS for name in group.missing]
    if not names or _said or numba.config.DISABLE_JIT:
        return
    _said.update(names)
    losses = "; ".join(group.loss for group in GROUPS if group.missing)
    warn(
        f"Numba {numba.__version__} lacks what fastbp uses of it ({', '.join(names)}): {losses}. The "
        "results are right all the same. A newer fastbp, or another Numba, cures that."
    )
