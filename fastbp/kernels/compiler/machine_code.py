"""From LLVM's language to machine code, in threads beside Python.

Half of the time in which a root is compiled is LLVM's, which needs neither Python's lock nor, for code in a context of
its own, llvmlite's.  So the parts of a root are handed to threads as soon as they are whole, and Python goes on with
the next leaf.  A thread that wants Python's lock back waits for milliseconds, so all that can be is done before.
"""

import contextlib
import copy
import ctypes
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import llvmlite.binding as llvm
import numba

from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA
from fastbp.system.processors import count_processors

# As many find something to do while Python writes the other parts.  On two processors the second one is worth 0.2 s:
# it works while the first one waits for Python's lock.
_MOST_THREADS = 3


class Translation:
    """Some code in a context of its own, to be optimised and translated as Numba does it.

    Parameters
    ----------
    codegen : numba.core.codegen.JITCPUCodegen
        What knows the processor.
    text : str
        The code in LLVM's language.
    bitcodes : iterable of bytes
        More code, to be linked to it.
    """

    def __init__(self, codegen: Any, text: str, bitcodes: Iterable[bytes] = ()) -> None:
        self._text, self._bitcodes = text, list(bitcodes)
        own = copy.copy(codegen)
        options = {"opt": numba.config.OPT}
        codegen._customize_tm_options(options)
        triple = llvm.get_process_triple()
        self._machine = own._tm = llvm.Target.from_triple(triple).create_target_machine(**options)
        cheap = {"loop_vectorize": own._loopvect, "slp_vectorize": False, "opt": own._opt_level, "cost": "cheap"}
        self._passes = own._module_pass_manager(**cheap), own._module_pass_manager()

    @contextlib.contextmanager
    def optimised(self) -> Iterator[Any]:
        """Lend the optimised module, which must be gone before its context: Python's garbage has no order."""
        with llvm.create_context() as context, llvm.parse_assembly(self._text, context) as module:
            for bitcode in self._bitcodes:
                module.link_in(llvm.parse_bitcode(bitcode, context))
            for passes, builder in self._passes:
                _unlocked("LLVMPY_RunNewModulePassManager")(passes, module, builder)
            yield module

    def machine_code(self, module: Any) -> bytes:
        """Return an optimised module's machine code."""
        with NUMBA.OutputString() as error:
            buffer = _unlocked("LLVMPY_TargetMachineEmitToMemory")(self._machine, module, 1, error)
            if not buffer:
                raise RuntimeError(str(error))
        try:
            return ctypes.string_at(NUMBA.lib.LLVMPY_GetBufferStart(buffer), NUMBA.lib.LLVMPY_GetBufferSize(buffer))
        finally:
            NUMBA.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _unlocked(name: str) -> Any:
    """Return a function of LLVM's that is called without llvmlite's lock: for code in a context of one's own."""
    return getattr(NUMBA.lib, name)._cfn


def _translate(translation: Translation) -> bytes:
    with translation.optimised() as module:
        return translation.machine_code(module)


class Part:
    """Code that gets machine code of its own.

    Parameters
    ----------
    name : str
        A name that no other code has.
    codegen : numba.core.codegen.JITCPUCodegen
        What knows the processor.
    text : str
        The code in LLVM's language, with other parts' functions declared.
    bitcodes : list of bytes, optional
        More code, to be linked to it; None where the code is written by hand.
    """

    def __init__(self, name: str, codegen: Any, text: str, bitcodes: list[bytes] | None = None) -> None:
        self.name, self.text, self.is_by_hand = name, text, bitcodes is None
        self._source = codegen, text, bitcodes or []
        self._future: Future[bytes] | None = None
        self._machine_code: bytes | None = None

    def begin(self) -> None:
        """Have a thread make the machine code, if there is one."""
        if _pools and self._machine_code is None and self._future is None:
            translation = Translation(*self._source)
            with contextlib.suppress(RuntimeError):  # no thread can be started, or Python ends
                self._future = _pools[-1].submit(_translate, translation)

    def take_back(self) -> None:
        """Make the machine code here, unless a thread has begun it."""
        if self._future is None or self._future.cancel():
            self.machine_code()

    def machine_code(self) -> bytes:
        """Return the machine code; what went wrong in a thread is tried again here, and raised if it is wrong again."""
        future, self._future = self._future, None
        if self._machine_code is None and future is not None:
            with contextlib.suppress(Exception):  # also that it was taken back
                self._machine_code = future.result()
        if self._machine_code is None:
            self._machine_code = _translate(Translation(*self._source))
        return self._machine_code


_pools = list[ThreadPoolExecutor]()


@contextlib.contextmanager
def threads() -> Iterator[None]:
    """Have threads for parts; none of them is left afterwards, whatever happens."""
    processors = count_processors()
    if processors == 1:
        yield
        return
    pool = ThreadPoolExecutor(min(processors, _MOST_THREADS), "fastbp-compiler")
    _pools.append(pool)
    try:
        yield
    finally:
        _pools.remove(pool)
        pool.shutdown(cancel_futures=True)
