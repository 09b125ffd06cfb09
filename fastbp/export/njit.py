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
from fastbp.functions.own import raising_for
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
        argument.  It is valid as long as this object lives; in compiled code as well.
    address : int
        Address of a function of C, see Notes; 0 with ``NUMBA_DISABLE_JIT=1``.
    n_steps : int
        Steps taken so far; in compiled code as well.
    learning_rate : float
        Of the steps to come; in compiled code as well.

    Raises
    ------
    TypeError, ValueError
        By the methods, for an argument of another type or shape.  In compiled code another type is a TypingError when
        the function is compiled, and another shape a ValueError.  Numbers are not looked at: NaN goes in and comes out.

    Notes
    -----
    The network's parameters are used where they lie: what `fit`, `step` or ``net.params[...] =`` write into them is
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
    ...     for i in range(len(X)):
    ...         net.predict(X[i], out)
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
        return self._evaluator.sizes[0]

    @property
    def n_outputs(self) -> int:
        """Numbers of a row of outputs."""
        return self._evaluator.sizes[1]

    @property
    def n_params(self) -> int:
        """Number of weights and biases."""
        return self._evaluator.params.size

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
        """Set the learning rate of the steps to come.

        Parameters
        ----------
        rate : float
            The learning rate per step, 0 or above; in compiled code it is not checked.

        Raises
        ------
        ValueError
            If `rate` is negative or no finite number, or the network was compiled without an optimizer.

        Examples
        --------
        >>> import fastbp as bp
        >>> compiled = bp.Network([2, 1]).compiled(bp.SGD(0.1))
        >>> compiled.set_learning_rate(0.05)
        >>> compiled.learning_rate
        0.05
        """
        rate = real_number(rate, "rate", 0.0)
        if not self._evaluator.takes_steps:
            raise ValueError(say.NO_OPTIMIZER)
        self._evaluator.rate = rate

    # --- what it computes ---------------------------------------------------------------------------------------------

    def predict(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the outputs to an array; they have the bits of `Network.predict`.

        Parameters
        ----------
        x : ndarray, shape (n_inputs,) or (n, n_inputs)
            One row, or rows.
        out : ndarray, shape (n_outputs,) or (n, n_outputs)
            Overwritten.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> out = np.empty(1)
        >>> bp.Network([2, 1], output="sigmoid", initializer="zeros").compiled().predict(np.ones(2), out)
        >>> out
        array([0.5])
        """
        n, rows = self._rows(x)
        self._require(out, "out", (*rows, self.n_outputs), say.OUTPUTS_SHAPE, written=True)
        self._call(ev.OUTPUTS, x, None, out, n)

    def loss_value(self, x: NDArray[Any], y: Any) -> float:
        """Return the cost: the mean loss of the rows, plus the penalties.

        Parameters
        ----------
        x, y
            As for `value_and_grad`.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> bp.Network([2, 1], initializer="zeros").compiled().loss_value(np.ones(2), 4.0)
        8.0
        """
        n, y, more = self._targets(x, y)
        return self._call(ev.COST + more, x, y, None, n)

    def value_and_grad(self, x: NDArray[Any], y: Any, grad: NDArray[Any]) -> float:
        """Return the cost, and write its gradient to an array.

        Parameters
        ----------
        x : ndarray, shape (n_inputs,) or (n, n_inputs)
            One row, or rows.
        y : ndarray, float or int, shape (n_outputs,) or (n, n_outputs)
            Targets; of one row also a number, where there is one output.  For softmax with cross-entropy also the label
            of one row, or int64 labels (n,) of rows.
        grad : ndarray, shape (n_params,)
            Overwritten; where the cost is not finite, with NaN.  Of one row it has the bits of
            `Network.value_and_grad`, unless the first layer has so many weights that its inputs are summed in parts
            there; of several rows the last digits may differ, as they are added one by one.

        Returns
        -------
        float
            The mean loss of the rows, plus the penalties.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> grad = np.empty(3)
        >>> bp.Network([2, 1], initializer="zeros").compiled().value_and_grad(np.array([1.0, 3.0]), 4.0, grad), grad
        (8.0, array([ -4., -12.,  -4.]))
        """
        n, y, more = self._targets(x, y)
        self._require(grad, "grad", (self.n_params,), say.GRAD_SHAPE, written=True)
        return self._call(ev.VALUE_AND_GRAD + more, x, y, grad, n)

    def input_gradient(self, x: NDArray[Any], y: Any, out: NDArray[Any]) -> None:
        """Write the gradient of each row's own cost, without penalties, by its inputs to an array.

        Parameters
        ----------
        x, y
            As for `value_and_grad`.
        out : ndarray of the shape of x
            Overwritten.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> net, out = bp.Network([2, 1], initializer="zeros"), np.empty(2)
        >>> net.params[...] = [1.0, 2.0, 0.0]
        >>> net.compiled().input_gradient(np.ones(2), 1.0, out)
        >>> out
        array([2., 4.])
        """
        n, y, more = self._targets(x, y, mean=False)
        self._require(out, "out", x.shape, say.INPUTS_SHAPE, written=True)
        self._call(ev.INPUT_GRADIENT + more, x, y, out, n)

    def input_jacobian(self, x: NDArray[Any], out: NDArray[Any]) -> None:
        """Write the derivatives of the outputs by the inputs to an array.

        Parameters
        ----------
        x : ndarray, shape (n_inputs,) or (n, n_inputs)
            One row, or rows.
        out : ndarray, shape (n_outputs, n_inputs) or (n, n_outputs, n_inputs)
            Overwritten.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> net, out = bp.Network([2, 1], initializer="zeros"), np.empty((1, 2))
        >>> net.params[...] = [1.0, 2.0, 0.0]
        >>> net.compiled().input_jacobian(np.ones(2), out)
        >>> out
        array([[1., 2.]])
        """
        n, rows = self._rows(x)
        shape = *rows, self.n_outputs, self.n_inputs
        self._require(out, "out", shape, say.JACOBIAN_SHAPE, written=True)
        self._call(ev.JACOBIAN, x, None, out, n)

    def step(self, x: NDArray[Any], y: Any) -> float:
        """Return the cost, and take one step of the optimizer from there, unless the cost is not finite.

        Steps of several threads are taken one after the other; what another thread predicts meanwhile is of parameters
        some of which have changed.

        Parameters
        ----------
        x, y
            As for `value_and_grad`.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> net = bp.Network([2, 1], initializer="zeros")
        >>> net.compiled(bp.SGD(0.5)).step(np.array([1.0, 0.0]), 2.0)
        2.0
        >>> net.params
        array([1., 0., 1.])
        """
        n, y, more = self._targets(x, y)
        if not self._evaluator.takes_steps:
            raise ValueError(say.NO_OPTIMIZER)
        if not self._evaluator.params.flags.writeable:
            raise ValueError(say.READ_ONLY)
        return self._call(ev.STEP + more, x, y, None, n)

    def low_level_callable(self) -> Any:
        """Return a `scipy.LowLevelCallable` for `scipy.integrate.quad` and `nquad`: the output as a function of inputs.

        Returns
        -------
        scipy.LowLevelCallable
            A ``double (int n, double *x, void *)``, which returns NaN unless n is `n_inputs`.  It keeps the parameters
            alive.

        Raises
        ------
        ValueError
            Unless the network is of float64 and has one output, and with ``NUMBA_DISABLE_JIT=1``.

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
        is_array = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
        is_array = is_array and array.dtype == self.dtype and array.flags.c_contiguous and array.flags.aligned
        if not is_array or (written and not array.flags.writeable):
            raise TypeError(say.typing_message(name, self.dtype, (len(shape),), say.kind_of(array), written=written))
        if array.shape != shape:
            raise ValueError(f"{rule} It must be {shape}; got {array.shape}.")

    def _rows(self, x: Any) -> tuple[int, tuple[int, ...]]:
        """Return how many rows x has, and the shape of the rows."""
        rows = x.shape[:1] if isinstance(x, np.ndarray) and x.ndim == 2 else ()
        self._require(x, "x", (*rows, self.n_inputs), say.X_SHAPE)
        return (rows[0] if rows else 1), rows

    def _targets(self, x: Any, y: Any, *, mean: bool = True) -> tuple[int, NDArray[Any], int]:
        """Return how many rows x has, of which there is a `mean`, the targets as an array, and what the task adds."""
        n, rows = self._rows(x)
        if mean and n == 0:
            raise ValueError(say.NO_ROWS)
        is_array = isinstance(y, np.ndarray) and not isinstance(y, np.ma.MaskedArray)
        if (isinstance(y, int | np.integer) and not isinstance(y, bool)) or (is_array and y.dtype == np.int64):
            return n, self._labels(y, rows), ev.LABELS
        if isinstance(y, float | np.floating) and rows == ():
            if self.n_outputs != 1:
                raise ValueError(f"{say.Y_SHAPE} It must be ({self.n_outputs},); got a number.")
            return n, np.array([y], self.dtype), 0
        self._require(y, "y", (*rows, self.n_outputs), say.Y_SHAPE)
        return n, y, 0

    def _labels(self, y: Any, rows: tuple[int, ...]) -> NDArray[np.int64]:
        """Return labels that are the network's, in an array of our own."""
        if not self._table[ev.TAKES_LABELS]:
            raise ValueError(say.NO_LABELS)
        if np.shape(y) != rows:
            raise ValueError(f"{say.LABELS_SHAPE} It must be {rows}; got {np.shape(y)}.")
        if isinstance(y, int) and not 0 <= y < self.n_outputs:  # it may be too large for int64
            raise ValueError(say.LABEL_RANGE)
        labels = np.array(y, np.int64, order="C")
        if not ((labels >= 0) & (labels < self.n_outputs)).all():
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
