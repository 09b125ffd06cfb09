"""The compiler's options, in one place.

Six kinds of compiled function, named after the storeys of the package:

``root``
    Called from Python.  Releases the GIL, is cached on disk (see `disk_cache`), one compilation for each dtype.
``typed_root``
    A root that the user's own arrays are handed to: it takes arguments of the declared types only.  Keeps the GIL.
``leaf``
    Called by other kernels only; does one thing to arrays.  Never validates, allocates or raises.
``part``
    A leaf with machine code of its own, that of all leaves below it included: threads make it while Python writes what
    comes next.  A call costs as much as that of a leaf that is not inlined.
``inlined``
    A leaf that is part of another one, or of few: no call passes its many arguments on.
``formula``
    A scalar function that must be inlined into the loop that calls it, so that the loop can be vectorised.

With ``NUMBA_DISABLE_JIT=1`` all return the plain Python function.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from fastbp.kernels.compiler.disk_cache import KernelCache
from fastbp.kernels.compiler.forks import hold_locks_across_forks
from fastbp.kernels.compiler.numba_private import CACHE, LEAVES, LITERALS, ROOTS, stands_in

hold_locks_across_forks()

_LEAF_PIPELINE: dict[str, Any] = {}
if LEAVES.is_whole:
    try:
        from fastbp.kernels.compiler.leaf_compiler import LeafCompiler, mark_part

        _LEAF_PIPELINE["pipeline_class"] = LeafCompiler
    except Exception as error:  # a class that is none any more, an argument that is not taken
        LEAVES.fails(error)

# Everything that lets a loop be reordered and vectorised, without `nnan` and `ninf`: with those two the compiler may
# assume that no NaN exists and removes the checks for a diverged loss.
FAST_MATH = {"nsz", "arcp", "contract", "afn", "reassoc"}

# `error_model="numpy"`: x / 0 is inf as in NumPy.  Python's model puts a check into every loop with a division, and
# such a loop is not vectorised.
_COMMON: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_LEAF: dict[str, Any] = {
    "forceinline": False,  # where it is not said, a leaf takes it over from the caller for which it is compiled
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
    **_LEAF_PIPELINE,
    **_COMMON,
}

_ROOT: dict[str, Any] = dict(_COMMON)
if ROOTS.is_whole and LEAVES.is_whole:
    try:
        from fastbp.kernels.compiler.root_compiler import RootCompiler

        _ROOT["pipeline_class"] = RootCompiler
    except Exception as error:
        ROOTS.fails(error)


def root(function: Callable[..., Any], **options: Any) -> Any:
    """Compile a kernel that is called from Python, cached on disk."""
    dispatcher = numba.njit(fastmath=FAST_MATH, **_ROOT | options)(function)
    if numba.config.DISABLE_JIT:
        return dispatcher
    theirs = CACHE.on(dispatcher, "_cache")
    kind: Any = type(theirs)
    if theirs is not None and stands_in(KernelCache, kind):
        dispatcher._cache = KernelCache(function)
    return dispatcher


class TypedRoot:
    """A root of which each dtype has a function of its own, for arguments of its types only.

    So Numba is who looks at the dtype, dimension, layout and alignment of a user's arrays, in a twentieth of a
    microsecond each: of other arguments the call is a TypeError, and nothing is compiled for them.  What it does is
    over before another thread could have had the GIL.

    Parameters
    ----------
    function : callable
        What is compiled.
    types_of : callable
        Returns the types of the arguments for numbers of a type.
    """

    def __init__(self, function: Callable[..., Any], types_of: Callable[[Any], tuple[Any, ...]]) -> None:
        self._function, self._types_of = function, types_of
        self.made: dict[np.dtype, Any] = {}

    def of(self, dtype: np.dtype) -> Any:
        """Return the function of a dtype, compiled or loaded."""
        if dtype not in self.made:
            dispatcher = root(self._function, nogil=False)
            if not numba.config.DISABLE_JIT:
                dispatcher.compile(self._types_of(numba.from_dtype(dtype)))
                dispatcher.disable_compile()
            self.made[dtype] = dispatcher
        return self.made[dtype]


def typed_root(types_of: Callable[[Any], tuple[Any, ...]]) -> Callable[[Callable[..., Any]], TypedRoot]:
    """Compile a root for one kind of arguments, when it is asked for."""
    return lambda function: TypedRoot(function, types_of)


def c_function(dispatcher: Any, signature: Any) -> tuple[int, Any]:
    """Return the address of a root as a function of C, compiled for a signature, and what must live as long."""
    dispatcher.compile(signature.args)
    try:
        compiled = dispatcher.overloads[signature.args]
        address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
        return int(address), dispatcher
    except Exception:  # these attributes are Numba's inside; its public way compiles a function that calls the root
        c_caller = numba.cfunc(signature)(lambda *arguments: dispatcher(*arguments))
        return int(c_caller.address), c_caller


def leaf(function: Callable[..., Any]) -> Any:
    """Compile a kernel that is called by other kernels; the compiler decides whether to inline it."""
    return _without_literals(numba.njit(fastmath=FAST_MATH, **_LEAF)(function))


def part(function: Callable[..., Any]) -> Any:
    """Compile a leaf to machine code of its own, by a thread that begins while Python writes the other leaves."""
    if LEAVES.is_whole:
        mark_part(function)
    return leaf(function)


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a leaf that is always inlined."""
    return _without_literals(numba.njit(fastmath=FAST_MATH, **_LEAF | {"forceinline": True})(function))


def formula(function: Callable[..., Any]) -> Any:
    """Compile a scalar function that is always inlined.

    Only `contract` of the fast-math flags: reassociation would undo the compensated sums and the two-part constants
    that the formulas' accuracy rests on.  The flags stay with the instructions when they are inlined.
    """
    return _without_literals(numba.njit(fastmath={"contract"}, **_LEAF | {"forceinline": True})(function))


def _without_literals(dispatcher: Any) -> Any:
    """Keep Numba from compiling a function again for every constant that it is called with."""
    if numba.config.DISABLE_JIT:
        return dispatcher
    resolve = LITERALS.on(dispatcher, "get_call_template")
    if resolve is not None:

        def get_call_template(args: Any, *others: Any, **named: Any) -> Any:
            plain = tuple(map(numba.types.unliteral, args)) if LITERALS.is_whole else args
            return resolve(plain, *others, **named)

        dispatcher.get_call_template = get_call_template
    return dispatcher


# ---- A trial of what Numba does not promise --------------------------------------------------------------------------


def _compile_a_little() -> None:
    """Compile a root, a part and leaves as all kernels are compiled, and look at what they return.

    They are not run where Numba compiles for a processor that the user chose: it need not be the one at hand.
    """
    half, at = formula(lambda x: 0.5 * x), inlined(lambda a, i: a[i])

    def sums(a: Any, n: int, unused: Any) -> Any:
        total = 0.0
        for i in range(n):
            total += half(at(a, i)) if i < max(n, 1) else 0.0
        return total, n

    below = part(sums)
    above = leaf(lambda a: below(a, a.size, True))
    root = numba.njit(fastmath=FAST_MATH, **_ROOT)(lambda a: above(a))
    root.compile((numba.float64[::1],))
    if numba.config.CPU_NAME is not None or numba.config.CPU_FEATURES is not None:
        return
    returned = root(np.array([1.0, 2.0, 4.0]))
    if returned != (3.5, 3):
        raise ValueError(f"(3.5, 3) expected, {returned} returned")


def _try_leaves() -> None:
    """Compile a little; where that fails, find out whether it does with Numba's own way of calling functions."""
    try:
        _compile_a_little()
    except Exception as error:
        LEAVES.fails(error)
        try:
            _compile_a_little()
        except Exception as other:
            LITERALS.fails(other)


LEAVES.trial = _try_leaves
