"""`CompiledNetwork`: a network that compiled code may call, and any other code by its address.

What Numba knows of it stands in `fastbp.export.njit_typing`; here are the same methods for plain Python.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastbp.engine import evaluator as ev
from fastbp.export import njit_messages as say
from fastbp.export.c_callables import low_level_callable
from fastbp.functions.losses import facts_of_loss
from fastbp.functions.own import raising_for
from fastbp.model.definition import problem_of
from fastbp.model.model import Model
from fastbp.system.memory import require_own_shape, require_writable
from fastbp.validation.numbers import real_number


class CompiledNetwork:
    """A network that functions compiled by Numba may call; `Network.compiled` makes it.

    It is an argument of a user's compiled function, of one type for all networks of a dtype, or a part of a tuple that
    is one.  There and in Python its methods take C-contiguous arrays of the network's dtype: `x` is one row (n_inputs,)
    or rows (n, n_inputs), and what they compute goes to an array that is there already.  They allocate nothing, need no
    Python, and may be called by any number of threads, in `prange` as well.

    Attributes
    ----------
    dtype : dtype
        Type of the network and of all arrays; in Python only.
    n_inputs, n_outputs, n_params : int
        Sizes; in compiled code as well.
    pointer : int
        Address of what describes the network, which `network_at` takes, and the function at `address` as its second
        argument.  It is valid as long as this object lives.
    address : int
        Address of a function of C, see Notes; 0 with ``NUMBA_DISABLE_JIT=1``.
    n_steps : int
        Steps taken so far.
    learning_rate : float
        Of the steps to come.

    Raises
    ------
    TypeError, ValueError
        By the methods, for an argument of another type or shape.  In compiled code another type is a TypingError when
        the function is compiled, and another shape a ValueError.  Numbers are not looked at: NaN goes in and comes out.

    Notes
    -----
    The network's parameters are used where they lie: what `fit`, `step` or ``net.params[...] = `` write into them is
    seen by the next call.  This object keeps them alive, and its own copy of nothing else that can change.  A copy of
    the network, or one from a pickle, needs a compiled network of its own.

    Who calls the function at `address`, from C or by ctypes or cffi, checks the arguments::

        double f(int64_t task, const void *net, const T *x, const void *y, T *out, int64_t n);

    `task` is 0 for `predict`, 1 `loss_value`, 2 `value_and_grad`, 3 `input_gradient`, 4 `input_jacobian`, 5 `step`, and
    16 more where `y` points to int64 labels; `net` is `pointer`, T is float or double, n the number of rows.  The cost
    is returned, 0 where there is none, and NaN for a label that the network has not.

    Examples
    --------
    >>> import numba, numpy as np, fastbp as bp
    >>> net = bp.Network([2, 3, 1], "tanh", initializer="zeros")
    >>> @numba.njit
    ... def sum_of_outputs(net, X):
    ...     out, total = np.empty(net.n_outputs), 0.0
    ...     for x in X:
    ...         net.predict(x, out)
    ...         total += out[0]
    ...     return total
    >>> net.biases[1] = [2.0]
    >>> sum_of_outputs(net.compiled(), np.ones((3, 2)))
    6.0
    """

    _table: Any = None  # what compiled code takes of it
    _evaluator: ev.Evaluator

    def __init__(self) -> None:
        raise TypeError("A bp.CompiledNetwork must be made by `Network.compiled`.")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "A bp.CompiledNetwork cannot be pickled or copied, because it has addresses in this process. Pickle or "
            "copy the network, and call `compiled` again."
        )

    def __repr__(self) -> str:
        return f"<CompiledNetwork of {self.n_inputs} inputs and {self.n_outputs} outputs, {self.dtype.name}>"

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def dtype(self) -> np.dtype:
        """Type of the network and of all arrays."""
        return self._evaluator.dtype

    @property
    def n_inputs(self) -> int:
        """Numbers of a row of `x`."""
        return int(self._table[ev.N_INPUTS])

    @property
    def n_outputs(self) -> int:
        """Numbers of a row of outputs."""
        return int(self._table[ev.N_OUTPUTS])

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return int(self._table[ev.N_PARAMS])

    @property
    def pointer(self) -> int:
        """Address of what describes the network."""
        return self._evaluator.pointer

    @property
    def address(self) -> int:
        """Address of the function that evaluates it."""
        return self._evaluator.function

    @property
    def n_steps(self) -> int:
        """Steps taken so far."""
        return self._evaluator.step

    @property
    def learning_rate(self) -> float:
        """Learning rate of the steps to come."""
        return self._evaluator.rate

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of the steps to come, a number not below 0; in compiled code it is not checked."""
        self._evaluator.rate = real_number(rate, "rate", 0.0)

    # --- what it computes ---------------------------------------------------------------------------------------------

    def predict(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the outputs to `out`, (n_outputs,) or (n, n_outputs): the bits of `Network.predict`."""
        n, rows = self._rows(x)
        self._require(out, "out", (*rows, self.n_outputs), say.OUTPUTS_SHAPE, written=True)
        self._call(ev.OUTPUTS, x, None, out, n)

    def loss_value(self, x: NDArray[Any], y: Any) -> float:
        """Return the cost: the mean loss of the rows, plus the penalties; `y` as in `value_and_grad`."""
        n, y, more = self._targets(x, y)
        return self._call(ev.COST + more, x, y, None, n)

    def value_and_grad(self, x: NDArray[Any], y: Any, grad: NDArray[Any]) -> float:
        """Return the cost of one row, or of rows, and write its gradient to `grad` (n_params,).

        `y` are the targets (n_outputs,) or (n, n_outputs); of one row also a number, where there is one output, or a
        label, and int64 labels (n,) of rows, after softmax with cross-entropy or Poisson's loss.  Where the cost is not
        finite, the gradient is NaN.
        """
        n, y, more = self._targets(x, y)
        self._require(grad, "grad", (self.n_params,), say.GRAD_SHAPE, written=True)
        return self._call(ev.VALUE_AND_GRAD + more, x, y, grad, n)

    def input_gradient(self, x: NDArray[Any], y: Any, out: NDArray[Any]) -> None:
        """Write the gradient of each row's own cost, without penalties, by its inputs to `out`, as large as `x`."""
        n, y, more = self._targets(x, y)
        self._require(out, "out", x.shape, say.INPUTS_SHAPE, written=True)
        self._call(ev.INPUT_GRADIENT + more, x, y, out, n)

    def input_jacobian(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the outputs' derivatives by the inputs to `out`, (n_outputs, n_inputs) or one such for each row."""
        n, rows = self._rows(x)
        shape = *rows, self.n_outputs, self.n_inputs
        self._require(out, "out", shape, say.JACOBIAN_SHAPE, written=True)
        self._call(ev.JACOBIAN, x, None, out, n)

    def step(self, x: NDArray[Any], y: Any) -> float:
        """Take one step of the optimizer on one row or rows, and return the cost before it; `y` as above.

        Where the cost is not finite, no step is taken.  Steps of several threads are taken one after the other; what
        another thread predicts meanwhile is of parameters some of which have changed.
        """
        n, y, more = self._targets(x, y)
        if not self._evaluator.takes_steps:
            raise ValueError(say.NO_OPTIMIZER)
        require_writable_params(self._evaluator.params)
        return self._call(ev.STEP + more, x, y, None, n)

    def low_level_callable(self) -> Any:
        """Return a `scipy.LowLevelCallable` for `scipy.integrate.quad` and `nquad`: the output as a function of inputs.

        For a float64 network with one output.  It keeps the network alive.

        Raises
        ------
        ValueError
            If the network is another, or with ``NUMBA_DISABLE_JIT=1``.

        Examples
        --------
        >>> import fastbp as bp, scipy.integrate
        >>> net = bp.Network([1, 1], initializer="zeros")
        >>> net.params[...] = [2.0, 1.0]
        >>> integral, error = scipy.integrate.quad(net.compiled().low_level_callable(), 0.0, 3.0)
        >>> round(integral, 12)
        12.0
        """
        if self.n_outputs != 1 or self.dtype != np.float64 or not self.address:
            raise ValueError(
                f"`low_level_callable` needs a float64 network with one output, and Numba's compiler; got {self!r}."
            )
        return low_level_callable(self._evaluator)

    # --- arguments ----------------------------------------------------------------------------------------------------

    def _require(self, array: Any, name: str, shape: tuple[int, ...], rule: str, *, written: bool = False) -> None:
        """Refuse what is no array of the network's dtype, or has another shape than this."""
        is_array = isinstance(array, np.ndarray) and array.dtype == self.dtype and array.flags.c_contiguous
        is_array = is_array and array.flags.aligned
        if not is_array or (written and not array.flags.writeable):
            raise TypeError(say.typing_message(name, self.dtype, (len(shape),), say.kind_of(array), written=written))
        if array.shape != shape:
            raise ValueError(f"{rule} It must be {shape}; got {array.shape}.")

    def _rows(self, x: Any) -> tuple[int, tuple[int, ...]]:
        """Return how many rows x has, and the shape of the rows."""
        rows = x.shape[:1] if isinstance(x, np.ndarray) and x.ndim == 2 else ()
        self._require(x, "x", (*rows, self.n_inputs), say.X_SHAPE)
        return (rows[0] if rows else 1), rows

    def _targets(self, x: Any, y: Any) -> tuple[int, NDArray[Any], int]:
        """Return how many rows x has, the targets as an array, and what is added to the task."""
        n, rows = self._rows(x)
        if n == 0:
            raise ValueError(say.NO_ROWS)
        if isinstance(y, int | np.integer) or (isinstance(y, np.ndarray) and y.dtype == np.int64):
            return n, self._labels(np.array(y, np.int64, order="C"), rows), ev.LABELS
        if isinstance(y, float | np.floating) and rows == () and self.n_outputs == 1:
            return n, np.array([y], self.dtype), 0
        self._require(y, "y", (*rows, self.n_outputs), say.Y_SHAPE)
        return n, y, 0

    def _labels(self, labels: NDArray[np.int64], rows: tuple[int, ...]) -> NDArray[np.int64]:
        """Return labels that are the network's."""
        if not self._table[ev.TAKES_LABELS]:
            raise ValueError(say.NO_LABELS)
        if labels.shape != rows:
            raise ValueError(f"{say.LABELS_SHAPE} It must be {rows}; got {labels.shape}.")
        if labels.min() < 0 or labels.max() >= self.n_outputs:
            raise ValueError(say.LABEL_RANGE)
        return labels

    def _call(self, task: int, x: NDArray[Any], y: NDArray[Any] | None, out: NDArray[Any] | None, n: int) -> float:
        """Call the evaluator; an exception of a function of the user's is an error of the call."""
        own = self._evaluator.own
        with raising_for(own) if own else nullcontext():
            return self._evaluator.call(task, x, y, out, n)


def handle_of(evaluator: ev.Evaluator) -> CompiledNetwork:
    """Return a handle of what an evaluator takes."""
    handle = CompiledNetwork.__new__(CompiledNetwork)
    handle._evaluator, handle._table = evaluator, evaluator.table
    return handle


def require_writable_params(params: NDArray[Any]) -> None:
    """Refuse to write to parameters that are read-only."""
    if not params.flags.writeable:
        raise ValueError("`net.params` must be writable for a step; it is read-only. A copy of the network is not.")


def compile_network(net: Model, optimizer: Any = None) -> CompiledNetwork:
    """Return a network for compiled code, see `fastbp.Network.compiled`."""
    require_own_shape(net)
    evaluator = ev.Evaluator(problem_of(net), net.params, net.has_softmax and facts_of_loss(net.loss).takes_labels)
    if optimizer is not None:
        _set_optimizer(net, evaluator, optimizer)
    return handle_of(evaluator)


def _set_optimizer(net: Model, evaluator: ev.Evaluator, optimizer: Any) -> None:
    """Have the evaluator take steps, or say why it cannot."""
    constants = getattr(optimizer, "kernel_constants", None)
    if constants is None or isinstance(optimizer, type):
        raise TypeError(
            f"`optimizer` must be a bp.SGD, bp.Adam, bp.AdamW or bp.RMSprop, whose steps compiled code can take; got "
            f"{optimizer!r}. Others work in `fit`."
        )
    rate = optimizer.learning_rate
    if not isinstance(rate, int | float):
        raise ValueError(
            f"`optimizer` must have a number as its learning rate, which all steps in compiled code have; got {rate!r}."
            " Call `set_learning_rate` of the compiled network between steps instead."
        )
    if any(net.dropout):
        raise ValueError(
            f"`optimizer` must be None for a network with dropout, which steps in compiled code have not; got dropout "
            f"{net.dropout}. Train it by `fit` or `step`."
        )
    require_writable(net)
    evaluator.set_optimizer(optimizer.code, constants(), optimizer.n_state_vectors, rate)
