"""From LLVM's language to machine code, in threads beside Python.

Half of the time in which a root is compiled is LLVM's, which needs neither Python's lock nor, for code in a context of
its own, llvmlite's.  So the parts of a root are handed to threads as soon as they are whole, and Python goes on with
the next leaf.  A thread that wants Python's lock back waits for milliseconds, so all that can be is done before.

An exception of a signal's handler, as of Ctrl-C, may come between any two of Python's instructions, and the tools of
`threading` and `concurrent.futures` then keep locks for ever.  So what the threads share are lists, a queue and bare
locks, with one operation of Python's at a time.
"""

import _thread
import contextlib
import copy
import ctypes
import queue
import time
from collections.abc import Iterable, Iterator
from typing import Any

import llvmlite.binding as llvm
import numba

from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA
from fastbp.system.processors import count_processors
from fastbp.system.threads import start_thread

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
        self._task: _Task | None = None
        self._machine_code: bytes | None = None

    def begin(self) -> None:
        """Have a thread make the machine code, if there is one."""
        if _crews and self._machine_code is None and self._task is None:
            self._task = _Task(Translation(*self._source))
            _crews[-1].tasks.put(self._task)

    def take_back(self) -> None:
        """Make the machine code here, unless a thread has begun it."""
        if self._task is None or self._task.is_taken():
            self._task = None
            self.machine_code()

    def machine_code(self) -> bytes:
        """Return the machine code; what went wrong in a thread is tried again here, and raised if it is wrong again."""
        task, self._task = self._task, None
        if self._machine_code is None and task is not None and not task.is_taken():
            self._machine_code = task.result()
        if self._machine_code is None:
            self._machine_code = _translate(Translation(*self._source))
        return self._machine_code


class _Task:
    """A translation that the first one who comes makes."""

    def __init__(self, translation: Translation) -> None:
        self._unclaimed, self._machine_code = [translation], list[bytes]()
        self._over = _thread.allocate_lock()
        self._over.acquire()

    def is_taken(self) -> bool:
        """Take it, so that nobody else makes it; return False if somebody has it."""
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def work(self) -> None:
        """Make it, if nobody else has it; what goes wrong is nothing but no result."""
        _working.append(self)  # before it is taken: a fork in between would leave a task that nobody ever ends
        with contextlib.suppress(BaseException):
            translation = self._unclaimed.pop()
            self._machine_code.append(_translate(translation))
            del translation
        with contextlib.suppress(ValueError):
            _working.remove(self)
        self.give_up()

    def give_up(self) -> None:
        """Have nobody wait any longer."""
        with contextlib.suppress(RuntimeError):  # nobody does
            self._over.release()

    def result(self) -> bytes | None:
        """Wait for what another thread makes of it; None if it could not."""
        with self._over:
            return self._machine_code[0] if self._machine_code else None


class _Crew:
    """Threads that work on tasks until none comes any more."""

    def __init__(self, n_threads: int) -> None:
        self.tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._n_threads, self._ends = n_threads, list[_thread.LockType]()

    def start(self) -> None:
        """Start the threads, as many as the system grants."""
        for _ in range(self._n_threads):
            end = _thread.allocate_lock()
            end.acquire()
            if not start_thread(self._work, end):
                return  # the parts are made without
            self._ends.append(end)

    def _work(self, end: _thread.LockType) -> None:
        try:
            while (task := self.tasks.get()) is not None:
                task.work()
        finally:
            end.release()

    def end(self) -> None:
        """Have the threads end after what they are at, and wait for that."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.tasks.get_nowait()
        for _ in range(self._n_threads):
            self.tasks.put(None)
        for end in self._ends:
            with end:
                pass

    def give_up(self) -> None:
        """Have nobody wait for the threads any longer."""
        for end in self._ends:
            with contextlib.suppress(RuntimeError):
                end.release()


_crews = list[_Crew]()
_working = list[_Task]()  # what is being translated


@contextlib.contextmanager
def threads() -> Iterator[None]:
    """Have threads for parts; none of them is left afterwards, whatever happens."""
    processors = count_processors()
    if processors == 1:
        yield
        return
    crew = _Crew(min(processors, _MOST_THREADS))
    _crews.append(crew)
    try:
        crew.start()
        yield
    finally:
        with contextlib.suppress(ValueError):
            _crews.remove(crew)
        crew.end()


def wait_until_nothing_is_translated(seconds: float) -> None:
    """Wait until no thread is in LLVM, where a fork may find it with a lock of LLVM's; at most so long."""
    end = time.monotonic() + seconds
    while _working and time.monotonic() < end:
        time.sleep(0.001)


def leave_threads_behind() -> None:
    """Have a forked child wait for none of its parent's threads."""
    for task in _working:
        task.give_up()
    for crew in _crews:
        crew.give_up()
    _working.clear()
    _crews.clear()
