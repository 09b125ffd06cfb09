"""The methods of a compiled network that a user's compiled code may call, and such a network by its address."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic, overload, overload_attribute, overload_method

from fastbp.engine import evaluator as ev
from fastbp.export.njit import CompiledNetwork, handle_of
from fastbp.export.njit_messages import (
    GRAD_SHAPE,
    INPUTS_SHAPE,
    JACOBIAN_SHAPE,
    LABEL_RANGE,
    LABELS_SHAPE,
    NO_LABELS,
    NO_NETWORK,
    NO_OPTIMIZER,
    NO_ROWS,
    OTHER_NETWORK,
    OUTPUTS_SHAPE,
    X_SHAPE,
    Y_SHAPE,
    typing_message,
)
from fastbp.export.njit_typing import (
    INPUT_FITS,
    JACOBIAN_FITS,
    LABELS_FIT,
    OUTPUT_FITS,
    PARAMS_FIT,
    TABLE,
    CompiledNetworkType,
    address_of_table,
    evaluate,
    number,
    rows_of,
)  # fmt: skip
from fastbp.kernels.machine.pointers import float64_from_address, int64_from_address
from fastbp.validation.numbers import network_dtype

# --- types of arguments -----------------------------------------------------------------------------------------------


def require_array(net: Any, value: Any, name: str, n_dims: tuple[int, ...], *, written: bool = False) -> None:
    """Refuse an argument that is not a contiguous array of the network's dtype."""
    good = isinstance(value, types.Array) and value.dtype == net.dtype and value.layout == "C" and value.aligned
    if not good or value.ndim not in n_dims or (written and not value.mutable):
        is_strided = isinstance(value, types.Array) and value.layout != "C"
        message = typing_message(name, net.dtype, n_dims, value, written=written, is_strided=is_strided)
        raise numba.TypingError(message)


def _target_kind(net: Any, x: Any, y: Any) -> str:
    """Return what y is: an "array" of targets, a "number", a "label" or "labels"."""
    if isinstance(y, types.Integer) and x.ndim == 1:
        return "label"
    is_of_labels = isinstance(y, types.Array) and y.dtype == types.int64 and y.layout == "C" and y.aligned
    if is_of_labels and y.ndim == 1 and x.ndim == 2:
        return "labels"
    if isinstance(y, types.Float) and x.ndim == 1:
        return "number"
    require_array(net, y, "y", (x.ndim,))
    return "array"


# --- methods ----------------------------------------------------------------------------------------------------------


def _check_targets(kind: str, ndim: int) -> Any:
    """Make a compiled function that raises unless y fits; it is compiled into the caller."""
    if kind == "array":
        fits = OUTPUT_FITS[ndim]

        def check(net, x, y):  # type: ignore[no-untyped-def]
            if not fits(net, x, y):
                raise ValueError(Y_SHAPE)

    elif kind == "number":

        def check(net, x, y):  # type: ignore[no-untyped-def]
            if number(net, ev.N_OUTPUTS) != 1:
                raise ValueError(Y_SHAPE)

    elif kind == "label":

        def check(net, x, y):  # type: ignore[no-untyped-def]
            if number(net, ev.TAKES_LABELS) == 0:
                raise ValueError(NO_LABELS)
            if y < 0 or y >= number(net, ev.N_OUTPUTS):
                raise ValueError(LABEL_RANGE)

    else:
        fit = LABELS_FIT

        def check(net, x, y):  # type: ignore[no-untyped-def]
            if number(net, ev.TAKES_LABELS) == 0:
                raise ValueError(NO_LABELS)
            if not fit(net, x, y):
                raise ValueError(LABELS_SHAPE)
            for i in range(y.size):
                if y[i] < 0 or y[i] >= number(net, ev.N_OUTPUTS):
                    raise ValueError(LABEL_RANGE)

    return numba.njit(check)


def _readable(name: str, place: int) -> None:
    """Let compiled code read a number of the table by its name."""

    @overload_attribute(CompiledNetworkType, name)
    def attribute(net):  # type: ignore[no-untyped-def]
        return lambda net: number(net, place)


_readable("n_inputs", ev.N_INPUTS)
_readable("n_outputs", ev.N_OUTPUTS)
_readable("n_params", ev.N_PARAMS)


@overload_attribute(CompiledNetworkType, "learning_rate")
def _learning_rate(net):  # type: ignore[no-untyped-def]
    return lambda net: _scalars(net)[ev.LEARNING_RATE]


@overload_attribute(CompiledNetworkType, "n_steps")
def _n_steps(net):  # type: ignore[no-untyped-def]
    return lambda net: numba.int64(_scalars(net)[ev.STEPS])


@overload_attribute(CompiledNetworkType, "pointer")
def _pointer(net):  # type: ignore[no-untyped-def]
    return lambda net: address_of_table(net)


@numba.njit
def _scalars(net):  # type: ignore[no-untyped-def]
    """Return where steps and learning rates lie."""
    return numba.carray(float64_from_address(number(net, ev.SCALARS)), (max(ev.LEARNING_RATE, ev.STEPS) + 1,))


@overload_method(CompiledNetworkType, "set_learning_rate")
def _set_learning_rate(net, rate):  # type: ignore[no-untyped-def]
    if not isinstance(rate, types.Number):
        raise numba.TypingError(f"`rate` of a compiled network must be a number; got {rate}.")

    def set_learning_rate(net, rate):  # type: ignore[no-untyped-def]
        if number(net, ev.HAS_OPTIMIZER) == 0:
            raise ValueError(NO_OPTIMIZER)
        _scalars(net)[ev.LEARNING_RATE] = rate

    return set_learning_rate


@overload_method(CompiledNetworkType, "predict")
def _predict(net, x, out):  # type: ignore[no-untyped-def]
    require_array(net, x, "x", (1, 2))
    require_array(net, out, "out", (x.ndim,), written=True)
    fits_x, fits_out = INPUT_FITS[x.ndim], OUTPUT_FITS[x.ndim]

    def predict(net, x, out):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        if not fits_out(net, x, out):
            raise ValueError(OUTPUTS_SHAPE)
        evaluate(ev.OUTPUTS, net, x, None, out, rows_of(x))

    return predict


def _targets(net: Any, x: Any, y: Any) -> tuple[Any, Any, int]:
    """Return what checks the shapes of x and y, and what is added to a task."""
    require_array(net, x, "x", (1, 2))
    kind = _target_kind(net, x, y)
    return INPUT_FITS[x.ndim], _check_targets(kind, x.ndim), ev.LABELS if kind.startswith("label") else 0


@overload_method(CompiledNetworkType, "loss_value")
def _loss_value(net, x, y):  # type: ignore[no-untyped-def]
    fits_x, check_y, more = _targets(net, x, y)
    task = ev.COST + more

    def loss_value(net, x, y):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        check_y(net, x, y)
        if rows_of(x) == 0:
            raise ValueError(NO_ROWS)
        return evaluate(task, net, x, y, None, rows_of(x))

    return loss_value


@overload_method(CompiledNetworkType, "value_and_grad")
def _value_and_grad(net, x, y, grad):  # type: ignore[no-untyped-def]
    fits_x, check_y, more = _targets(net, x, y)
    require_array(net, grad, "grad", (1,), written=True)
    fits_grad, task = PARAMS_FIT, ev.VALUE_AND_GRAD + more

    def value_and_grad(net, x, y, grad):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        check_y(net, x, y)
        if not fits_grad(net, x, grad):
            raise ValueError(GRAD_SHAPE)
        if rows_of(x) == 0:
            raise ValueError(NO_ROWS)
        return evaluate(task, net, x, y, grad, rows_of(x))

    return value_and_grad


@overload_method(CompiledNetworkType, "input_gradient")
def _input_gradient(net, x, y, out):  # type: ignore[no-untyped-def]
    fits_x, check_y, more = _targets(net, x, y)
    require_array(net, out, "out", (x.ndim,), written=True)
    task = ev.INPUT_GRADIENT + more

    def input_gradient(net, x, y, out):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        check_y(net, x, y)
        if not fits_x(net, x, out):
            raise ValueError(INPUTS_SHAPE)
        evaluate(task, net, x, y, out, rows_of(x))

    return input_gradient


@overload_method(CompiledNetworkType, "input_jacobian")
def _input_jacobian(net, x, out):  # type: ignore[no-untyped-def]
    require_array(net, x, "x", (1, 2))
    require_array(net, out, "out", (x.ndim + 1,), written=True)
    fits_x, fits_out = INPUT_FITS[x.ndim], JACOBIAN_FITS[x.ndim + 1]

    def input_jacobian(net, x, out):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        if not fits_out(net, x, out):
            raise ValueError(JACOBIAN_SHAPE)
        evaluate(ev.JACOBIAN, net, x, None, out, rows_of(x))

    return input_jacobian


@overload_method(CompiledNetworkType, "step")
def _step(net, x, y):  # type: ignore[no-untyped-def]
    fits_x, check_y, more = _targets(net, x, y)
    task = ev.STEP + more

    def step(net, x, y):  # type: ignore[no-untyped-def]
        if not fits_x(net, x, x):
            raise ValueError(X_SHAPE)
        check_y(net, x, y)
        if rows_of(x) == 0:
            raise ValueError(NO_ROWS)
        if number(net, ev.HAS_OPTIMIZER) == 0:
            raise ValueError(NO_OPTIMIZER)
        return evaluate(task, net, x, y, None, rows_of(x))

    return step


# --- by an address ----------------------------------------------------------------------------------------------------


def network_at(pointer: int, dtype: Any) -> CompiledNetwork:
    """Return the compiled network whose `pointer` it is, in compiled code as well: for C callbacks, which get pointers.

    Parameters
    ----------
    pointer : int or pointer
        `CompiledNetwork.pointer`, as a number, a ``void *`` or another pointer.  The compiled network must live: in
        compiled code that is not checked, and what comes is valid as long as that.
    dtype : dtype
        ``np.float32`` or ``np.float64``: the network's.

    Returns
    -------
    CompiledNetwork
        The same network.

    Raises
    ------
    TypeError, ValueError
        If the network has another dtype, or is of another version of fastbp, and if `pointer` is 0; in Python also if
        there is no such network.

    Examples
    --------
    >>> import numba, numpy as np, fastbp as bp
    >>> net = bp.Network([2, 2], initializer="zeros").compiled()
    >>> @numba.njit
    ... def first_output(pointer, x):
    ...     net = bp.network_at(pointer, np.float64)
    ...     out = np.empty(net.n_outputs)
    ...     net.predict(x, out)
    ...     return out[0]
    >>> first_output(net.pointer, np.ones(2))
    0.0
    """
    wanted = network_dtype(dtype)
    is_number = isinstance(pointer, int | np.integer)
    evaluator = ev.evaluator_at(int(pointer)) if is_number else None
    if evaluator is None:
        raise (ValueError if is_number else TypeError)(f"{NO_NETWORK[:-1]}; got {pointer!r}.")
    if evaluator.dtype != wanted:
        raise ValueError(OTHER_NETWORK)
    return handle_of(evaluator)


@intrinsic
def _is_null(typingctx, pointer):  # type: ignore[no-untyped-def]
    """Whether it is 0."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.icmp_unsigned("==", args[0], args[0].type(None if args[0].type.is_pointer else 0))

    return types.boolean(pointer), codegen


@intrinsic
def _borrowed(typingctx, table, dtype):  # type: ignore[no-untyped-def]
    """Make a handle of a table that belongs to another one."""
    result = CompiledNetworkType(_number_type(dtype))

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        handle = context.make_helper(builder, result)
        handle.table = args[0]
        context.nrt.incref(builder, TABLE, args[0])
        return handle._getvalue()

    return result(table, dtype), codegen


def _number_type(dtype: Any) -> Any:
    """Return the type of numbers that a type of the user's compiled code names; None where it is another."""
    found = getattr(dtype, "instance_type", getattr(dtype, "dtype", None))
    return found if found in (types.float32, types.float64) else None


@overload(network_at)
def _network_at(pointer, dtype):  # type: ignore[no-untyped-def]
    number_type = _number_type(dtype)
    is_pointer = pointer in (types.int64, types.uint64, types.voidptr) or isinstance(pointer, types.CPointer)
    if number_type is None or not is_pointer:
        raise numba.TypingError(
            "`network_at` takes the pointer of a compiled network, a 64-bit integer or a pointer, and np.float32 or "
            f"np.float64; got {pointer} and {dtype}."
        )
    itemsize = number_type.bitwidth // 8

    def found(pointer, dtype):  # type: ignore[no-untyped-def]
        if _is_null(pointer):
            raise ValueError(NO_NETWORK)
        table = numba.carray(int64_from_address(pointer), (ev.LENGTH,))
        if table[ev.VERSION] != ev.ABI or table[ev.ITEMSIZE] != itemsize:
            raise ValueError(OTHER_NETWORK)
        return _borrowed(table, dtype)

    return found
