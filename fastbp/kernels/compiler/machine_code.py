"""From LLVM's language to machine code, in threads beside Python.

Half of the time in which a root is compiled is LLVM's, which needs neither Python's lock nor, for code in a context of
its own, llvmlite's.  So the part of a root that is whole is handed to a thread, and Python goes on with the next leaf.
"""

import contextlib
import copy
import ctypes
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
from llvmlite import ir

from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA

_MOST_THREADS = 3  # as many as find something to do while Python writes the other parts


class Text(NamedTuple):
    """What a leaf says in LLVM's language."""

    definitions: dict[str, str]  # by name
    others: dict[str, str]  # what it declares, by name
    metadata: tuple[str, ...]

    def renamed(self, names: dict[str, str]) -> "Text":
        """Return the same with other names for some functions."""
        if not names:
            return self
        pattern = re.compile("|".join(f'@"{re.escape(name)}"' for name in names))

        def rename(texts: dict[str, str]) -> dict[str, str]:
            return {
                names.get(name, name): pattern.sub(lambda found: f'@"{names[found[0][2:-1]]}"', text)
                for name, text in texts.items()
            }

        return Text(rename(self.definitions), rename(self.others), self.metadata)


def text_and_parts(codegen: Any, module: Any) -> tuple[Text, list["Part"]]:
    """Return what a module of `llvmlite.ir` says, and the parts that hold the functions written for it by hand.

    These are never inlined (see `vector_writer.new_function`), so it makes no difference that they are apart.
    """
    by_hand = {name: value for name, value in module.globals.items() if _is_by_hand(value)}
    definitions, others = dict[str, str](), dict[str, str]()
    for name, value in module.globals.items():
        if name not in by_hand:
            (definitions if getattr(value, "blocks", None) else others)[name] = str(value)
    text = Text(definitions, others, tuple(map(str, module.metadata)))
    if not by_hand:
        return text, []
    texts = {name: str(value) for name, value in by_hand.items()}
    names, parts = dict[str, str](), list[Part]()
    if not all(_HOMES.get(name, ("",))[0] == written for name, written in texts.items()):
        # What they declare beside each other, such as intrinsics, comes along.
        whole = Text(texts, {name: other for name, other in others.items() if not _is_leaf(name)}, text.metadata)
        digest = hashlib.sha256(repr(texts).encode()).hexdigest()[:32]
        new = {name: f"{name}.{digest}" for name in texts}
        part = Part(f"fastbp.{digest}", codegen, [whole.renamed(new)], [], list(new.values()))
        part.begin()
        _HOMES.update({name: (written, f"{name}.{digest}", part) for name, written in texts.items()})
    for name in texts:
        _, names[name], home = _HOMES[name]
        parts.append(home)
    others |= {name: _declaration(value) for name, value in by_hand.items()}
    return text.renamed(names), list(dict.fromkeys(parts))


_HOMES = dict[str, tuple[str, str, "Part"]]()  # text, name and part of functions written by hand


def _is_by_hand(value: Any) -> bool:
    """Whether something is a function that is never inlined, or a table of such functions."""
    if value.linkage != "linkonce_odr":
        return False
    return "noinline" in value.attributes if isinstance(value, ir.Function) else value.initializer is not None


def _declaration(value: Any) -> str:
    """Declare what is defined in a part."""
    if isinstance(value, ir.Function):
        arguments = ", ".join(str(argument) for argument in value.function_type.args)
        return f'declare {value.function_type.return_type} @"{value.name}"({arguments})'
    return f'@"{value.name}" = external constant {value.value_type}'


def _is_leaf(name: str) -> bool:
    """Whether a name is that of a leaf."""
    return name.startswith("_Z") or ".fastbp_part." in name


class Code(NamedTuple):
    """Machine code, and the optimised code that it was made from, for those who want to read it."""

    machine_code: bytes
    bitcode: bytes


def joined(codegen: Any, texts: Iterable[Text]) -> str:
    """Return the text of one module with all that the texts define."""
    definitions, others, nodes = dict[str, str](), dict[str, str](), list[str]()
    for text in texts:
        others |= text.others
        for name, definition in text.definitions.items():
            if name not in definitions:
                definitions[name] = _renumbered(definition, len(nodes))
        first = len(nodes)
        nodes += [_renumbered(node, first) for node in text.metadata]
    declarations = [declaration for name, declaration in others.items() if name not in definitions]
    head = [f'target triple = "{llvm.get_process_triple()}"', f'target datalayout = "{codegen._data_layout}"']
    lines = "\n".join([*head, *declarations, *definitions.values(), *nodes])
    return lines.encode().decode("latin1")  # as Numba has it, for names beyond ASCII


def _renumbered(text: str, first: int) -> str:
    """Have the nodes of metadata, which each text counts from 0, begin at `first`."""
    return re.sub(r"!(\d+)", lambda found: f"!{first + int(found[1])}", text) if first else text


class Part:
    """A leaf with all below it that is no part itself, as machine code of its own."""

    def __init__(self, name: str, codegen: Any, texts: list[Text], bitcodes: list[bytes], exports: list[str]) -> None:
        self.name, self._source = name, (codegen, texts, bitcodes, exports)
        self._future: Future[Code] | None = None
        self._code: Code | None = None

    def begin(self) -> None:
        """Have a thread make the machine code, if there is one."""
        if _POOL and self._code is None:
            with contextlib.suppress(RuntimeError):  # no thread can be started, or Python ends
                self._future = _POOL[-1].submit(make, *self._source)

    def take_back(self) -> None:
        """Make the machine code here, unless a thread has begun it."""
        if self._future is None or self._future.cancel():
            self.code()

    def code(self) -> Code:
        """Return the machine code, or raise what went wrong."""
        future, self._future = self._future, None
        if self._code is None and future is not None:
            with contextlib.suppress(CancelledError):
                self._code = future.result()
        if self._code is None:
            self._code = make(*self._source)
        return self._code


_POOL: list[ThreadPoolExecutor] = []


@contextlib.contextmanager
def threads() -> Iterator[None]:
    """Have threads for parts; none of them is left afterwards, whatever happens."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if processors == 1:
        yield
        return
    pool = ThreadPoolExecutor(min(processors - 1, _MOST_THREADS), "fastbp-compiler")
    _POOL.append(pool)
    try:
        yield
    finally:
        _POOL.remove(pool)
        pool.shutdown(cancel_futures=True)


def make(codegen: Any, texts: list[Text], bitcodes: Iterable[bytes], exports: Iterable[str]) -> Code:
    """Optimise and translate, as Numba does it; of what the texts define only the exports can be seen from outside."""
    with contextlib.ExitStack() as stack:
        context = stack.enter_context(llvm.create_context())
        module = stack.enter_context(llvm.parse_assembly(joined(codegen, texts), context))
        for bitcode in bitcodes:
            module.link_in(llvm.parse_bitcode(bitcode, context))
        for name in exports:
            found = module.get_function(name) if _defines_function(module, name) else module.get_global_variable(name)
            found.linkage = llvm.Linkage.external
        own = copy.copy(codegen)
        own._tm = _target_machine(codegen)
        options = {"loop_vectorize": own._loopvect, "slp_vectorize": False, "opt": own._opt_level, "cost": "cheap"}
        for passes, builder in (own._module_pass_manager(**options), own._module_pass_manager()):
            _unlocked("LLVMPY_RunNewModulePassManager")(passes, module, builder)
        for function in module.functions:
            if function.linkage == llvm.Linkage.linkonce_odr and not function.is_declaration:
                function.linkage = llvm.Linkage.internal
        return Code(_object_of(own._tm, module), module.as_bitcode())


def _defines_function(module: Any, name: str) -> bool:
    """Whether a name is that of a function."""
    try:
        module.get_function(name)
    except NameError:
        return False
    return True


def _target_machine(codegen: Any) -> Any:
    """Return one like Numba's; it is for one thread."""
    options = {"opt": numba.config.OPT}
    codegen._customize_tm_options(options)
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(**options)


def _unlocked(name: str) -> Any:
    """Return a function of LLVM's that is called without llvmlite's lock: for code in a context of one's own."""
    return getattr(NUMBA.lib, name)._cfn


def _object_of(machine: Any, module: Any) -> bytes:
    """Return a module's machine code."""
    lib = NUMBA.lib
    with NUMBA.OutputString() as error:
        buffer = _unlocked("LLVMPY_TargetMachineEmitToMemory")(machine, module, 1, error)
        if not buffer:
            raise RuntimeError(str(error))
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), lib.LLVMPY_GetBufferSize(buffer))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)
