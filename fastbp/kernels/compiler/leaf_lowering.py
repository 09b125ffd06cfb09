"""From a leaf's typed code to LLVM's language, without what only functions that raise and allocate need.

Numba's functions return a status, write their result through a pointer, and after each call look whether it raised.
Leaves never raise: a leaf returns its result, and is called like a function of C.  Numba also sets every variable to
zero at first and once more after its last use, so that references are counted right; leaves count none.
"""

import functools
from typing import Any

from llvmlite import ir
from numba import types

from fastbp.kernels.compiler.leaf_builtins import writer_of
from fastbp.kernels.compiler.numba_private import LEAVES as NUMBA

_Lower: Any = NUMBA.Lower
_CallConvention: Any = NUMBA.CPUCallConv
_Context: Any = NUMBA.CPUContext


class Convention(_CallConvention):
    """How a leaf is called, and how it calls functions of Numba's, which do not raise either."""

    def get_function_type(self, restype: Any, argtypes: Any) -> Any:
        """Return the LLVM type of a leaf."""
        arguments = self._get_arg_packer(argtypes).argument_types
        return ir.FunctionType(self.get_return_type(restype).pointee, list(arguments))

    def get_arguments(self, func: Any) -> Any:
        """Return all arguments."""
        return func.args

    def return_value(self, builder: Any, retval: Any) -> None:
        """End the leaf."""
        builder.ret(retval)

    def return_user_exc(self, builder: Any, *_: Any, **__: Any) -> None:
        """Refuse: the caller would not learn of it."""
        raise NotImplementedError("a leaf cannot raise")


class _Caller(_CallConvention):
    """How a leaf calls functions that Numba compiled in its own way: whether they raised is not asked."""

    def return_status_propagate(self, builder: Any, status: Any) -> None:
        """Go on."""

    def return_user_exc(self, builder: Any, *_: Any, **__: Any) -> None:
        """Return zero where Numba's code would raise: in a `range` whose step is 0."""
        builder.ret(ir.Constant(builder.function.return_value.type, None))


# What writes a call of a function with some types, for all leaves; None where there is nothing.
_WRITERS: dict[Any, Any] = {}


def _write(writer: Any, context: Any, sig: Any, builder: Any, args: Any, loc: Any = None) -> Any:
    """Write a call of one of Python's own functions."""
    return writer(context, builder, sig, args)


class LeafContext(_Context):
    """Numba's knowledge of how to write what a leaf contains."""

    @classmethod
    def like(cls, context: Any) -> "LeafContext":
        """Return a copy of a context of Numba's."""
        leaf = cls.__new__(cls)
        leaf.__dict__.update(vars(context))
        leaf.enable_nrt = False  # a leaf allocates nothing: there are no references to count
        return leaf

    @property
    def call_conv(self) -> Any:
        """How functions are called that Numba compiled in its own way."""
        return _Caller(self)

    def get_function(self, fn: Any, sig: Any, _firstcall: bool = True) -> Any:
        """Return what writes a call of a function with some types, looked for once."""
        writer = writer_of(fn, sig)
        if writer is not None:
            return functools.partial(_write, writer, self, sig)
        if not _firstcall:  # a question of Numba's own, within the one below
            return super().get_function(fn, sig, _firstcall)
        # Numba has one way to write a call for each set of compiler options, as for a formula's and a leaf's
        key = fn, sig, fn.get_impl_key(sig) if isinstance(fn, NUMBA.BaseFunction) else None
        try:
            found = _WRITERS[key]
        except KeyError:
            try:
                found = super().get_function(fn, sig)
            except NotImplementedError:
                found = None
            _WRITERS[key] = found
        if found is None:
            raise NotImplementedError
        bound = object.__new__(type(found))
        bound.__dict__.update(vars(found), _context=self)
        return bound

    def get_constant_generic(self, builder: Any, ty: Any, val: Any) -> Any:
        """Write a constant; a function has no value, as it is called by its name."""
        if isinstance(ty, types.Dispatcher):
            return self.get_dummy_value()
        return super().get_constant_generic(builder, ty, val)


def _declared(context: Any, module: Any, fndesc: Any) -> Any:
    """Return the leaf in a module, where it is declared once."""
    function = module.globals.get(fndesc.mangled_name)
    if function is None:
        convention = Convention(context)
        function = ir.Function(
            module, convention.get_function_type(fndesc.restype, fndesc.argtypes), fndesc.mangled_name
        )
        if fndesc.inline:
            function.attributes.add("alwaysinline")
    return function


def call_of(fndesc: Any, libraries: Any) -> Any:
    """Return what writes a call of a leaf, in the form in which Numba keeps such things."""

    def write_call(context: Any, builder: Any, sig: Any, args: Any, loc: Any = None) -> Any:
        function = _declared(context, builder.module, fndesc)
        values = context.get_arg_packer(fndesc.argtypes).as_arguments(builder, args)
        return context.get_returned_value(builder, fndesc.restype, builder.call(function, list(values)))

    write_call.signature = fndesc.argtypes  # type: ignore[attr-defined]
    write_call.libs = libraries  # type: ignore[attr-defined]
    return write_call


class LeafLower(_Lower):
    """Numba's writer of LLVM's language for functions that count no references and do not raise."""

    def init(self) -> None:
        """Find variables that need no room."""
        super().init()
        self._convention = Convention(self.context)

    @property
    def call_conv(self) -> Any:
        """How the leaf is called."""
        return self._convention

    def emit_environment_object(self) -> None:
        """Leave the place for Python's objects out."""

    def setup_function(self, fndesc: Any) -> None:
        """Begin the leaf."""
        self.function = _declared(self.context, self.module, fndesc)
        self.function.linkage = "linkonce_odr"  # as Numba has it in what it links
        names = ["arg." + name for name in fndesc.args]
        self.context.get_arg_packer(fndesc.argtypes).assign_names(self.function.args, names)
        self.entry_block = self.function.append_basic_block("entry")
        self.builder = ir.IRBuilder(self.entry_block)
        self.call_helper = None

    def lower_block(self, block: Any) -> None:
        """Write the instructions of a block."""
        self._cur_ir_block = block
        for inst in block.body:
            self.loc = inst.loc
            self.lower_inst(inst)

    def storevar(self, value: Any, name: str, argidx: Any = None) -> None:
        """Give a variable a value."""
        if name in self._singly_assigned_vars:
            self._blk_local_varmap[name] = value
        else:
            self.builder.store(value, self.getvar(name))

    def delvar(self, name: str) -> None:
        """Leave a variable as it is after its last use."""

    def alloca_lltype(self, name: str, lltype: Any, datamodel: Any = None) -> Any:
        """Make room for a variable."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(lltype, name=name)
