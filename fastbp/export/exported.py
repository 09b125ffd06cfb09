"""`ExportedModel`: a model that leaves this library: for other libraries, for other languages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, overload

from numpy.typing import ArrayLike, NDArray

from fastbp.engine.evaluator import Evaluator
from fastbp.export.c_fixed_point import write_c
from fastbp.export.c_source import CReport
from fastbp.export.fixed_report import FixedPointReport
from fastbp.export.njit import CompiledNetwork
from fastbp.export.njit_making import SteppingRule, compile_network
from fastbp.export.one_row import Call, one_row_of
from fastbp.export.onnx import to_onnx
from fastbp.export.torch import load_torch_state_dict, torch_state_dict
from fastbp.model.model import Model
from fastbp.storage.atomic import PathLike
from fastbp.validation.matrix_like import MatrixLike


class ExportedModel(Model):
    """The part of a `fastbp.Network` that other programs take."""

    _made_by_views: ClassVar[tuple[str, ...]] = ("_one_row",)

    def _make_views(self) -> None:
        """Make what depends on where the parameters lie in memory."""
        super()._make_views()
        self._one_row: Call | None = None

    def predict_one(self, x: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the outputs of one row, with the bits of `predict`, in a fraction of its time.

        Where rows come one by one, as in a control loop; a loop that Numba compiles is quicker still, see `compiled`.

        Parameters
        ----------
        x : ndarray, shape (n_features,)
            The row: contiguous and of the network's dtype; nothing is converted.  Its values are not looked at: where
            one is NaN or infinite, so are outputs, or they saturate, where `predict` raises an error.
        out : ndarray, shape (n_outputs,), optional
            Where the outputs go, of the same dtype, contiguous and writeable; it may be `x`.  By default a new array.

        Returns
        -------
        ndarray, shape (n_outputs,)
            `out`, or the new array.

        Raises
        ------
        TypeError
            If `x` or `out` is no such array; then nothing is written.
        ValueError
            If its length is another one; then nothing is written.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> net = bp.Network([2, 3], initializer="zeros", output="sigmoid")
        >>> x, out = np.array([0.5, -1.0]), np.empty(3)
        >>> for _ in range(10):
        ...     action = net.predict_one(x, out)
        >>> out
        array([0.5, 0.5, 0.5])
        """
        predict_one = self._one_row
        if predict_one is None:
            predict_one = self._one_row = one_row_of(self)
        return predict_one(x, out)

    def compiled(self, optimizer: SteppingRule | None = None) -> CompiledNetwork:
        """Return the network for code that Numba compiles, an argument of the user's own functions under ``@njit``.

        Parameters
        ----------
        optimizer : Optimizer, optional
            `SGD`, `Adam`, `AdamW` or `RMSprop` with a number as its learning rate, so that compiled code may take
            steps; its state begins afresh and is the compiled network's own.

        Returns
        -------
        CompiledNetwork
            It has `predict`, `loss_value`, `value_and_grad`, `input_gradient`, `input_jacobian` and `step`, which
            allocate nothing and need no Python.  It uses the parameters where they lie.

        Raises
        ------
        TypeError, ValueError
            If the optimizer is another one or has a schedule, or if the network has dropout and an optimizer is given,
            or parameters that cannot be written to.

        Examples
        --------
        >>> import numba, numpy as np, fastbp as bp
        >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
        >>> @numba.njit
        ... def learn(net, X, y, n_steps):
        ...     for i in range(n_steps):
        ...         cost = net.step(X[i % len(X)], y[i % len(X)])
        ...     return cost
        >>> cost = learn(net.compiled(bp.Adam(0.01)), np.eye(2), np.array([0.3, -0.3]), 2000)
        >>> net.predict(np.eye(2)).round(2).ravel()
        array([ 0.3, -0.3])
        """
        return compile_network(self, optimizer)

    def to_onnx(self, path: PathLike) -> None:
        """Write the network as an ONNX model; needs the `onnx` package, ``pip install "fastbp[onnx]"``.

        Parameters
        ----------
        path : str or os.PathLike
            The file; by convention its name ends in ``.onnx``.  One that exists is replaced, whole or not at all.

        Raises
        ------
        ImportError
            If the `onnx` package is missing.
        TypeError, ValueError, OSError
            As `fastbp.export.onnx.to_onnx`, which says more.

        Examples
        --------
        >>> import os, tempfile, fastbp as bp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bp.Network([2, 3, 1], seed=0).to_onnx(os.path.join(folder, "net.onnx"))
        """
        to_onnx(self, path)

    @overload
    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: None = None,
        test_vectors: int | MatrixLike = 0,
        exact: bool = True,
    ) -> CReport: ...

    @overload
    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: Literal["q15", "q31", "auto"],
        calibration: MatrixLike | None = None,
        input_range: tuple[ArrayLike, ArrayLike] | None = None,
        tolerance: float | None = None,
        test_vectors: int | MatrixLike = 0,
    ) -> FixedPointReport: ...

    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: Literal["q15", "q31", "auto"] | None = None,
        calibration: MatrixLike | None = None,
        input_range: tuple[ArrayLike, ArrayLike] | None = None,
        tolerance: float | None = None,
        test_vectors: int | MatrixLike = 0,
        exact: bool = True,
    ) -> CReport | FixedPointReport:
        """Write the network as a C99 file and its header, which compute the same bits as `predict`, or as integers.

        The file declares ``void NAME_predict(const T *x, T *y)`` for one row, with T float or double as the network,
        and the macros NAME_N_INPUTS and NAME_N_OUTPUTS.  It needs <math.h> only, allocates nothing, keeps no state and
        has the parameters as constants, in flash on a microcontroller.  docs/c.md says more.  With a `format` the
        function is ``NAME_predict_q`` and all numbers are integers; docs/fixed-point.md says how.

        Parameters
        ----------
        path : str or os.PathLike
            The C file, whose name ends in ``.c``; the header with ``.h`` instead lies beside it.  Those that exist are
            replaced, each whole or not at all; a C file does not compile with the header of another one.
        name : str, optional
            What all names in C begin with; by default the file's name without its folder and ``.c``.
        format : {'q15', 'q31', 'auto'}, optional
            None is the network's own float32 or float64.  The others are fixed point, for processors without floats:
            all numbers are integers of 16 or 32 bits, and the function is ``NAME_predict_q``; ``'auto'`` is the
            narrower of the two whose errors are within `tolerance`.
        calibration : array_like, shape (n, n_features), optional
            Typical rows, of the training data for instance, from which fixed point finds the ranges of inputs and
            layers: what they reach and a quarter more.  What is beyond is cut off to it.
        input_range : (low, high), optional
            Bounds of the inputs, numbers or arrays (n_features,), known without data.  Without `calibration` the
            ranges of all layers are proven from them, which are wider than those that occur.
        tolerance : float, optional
            Largest error of ``'auto'``, as a share of the distance between the largest and the smallest output; by
            default 0.01.
        test_vectors : int or array_like, shape (n, n_features)
            Rows of a test in the file, or how many random ones: compiled with ``-DNAME_TEST`` it is a program that
            compares its outputs with those that `predict` gave for them, in fixed point with the twin's in NumPy.
        exact : bool
            Whether sums are made of fused multiply-adds, as here: then the outputs have the same bits on every
            processor, but one without that instruction takes long (and AVR has none at all).  False leaves it to the
            compiler; then the last bits differ, and the test allows each output a bound worked out from the parameters.
            Integers are exact always.

        Returns
        -------
        CReport or FixedPointReport
            ``source`` and ``header``, the files; ``constant_bytes`` and ``buffer_bytes``, what they take.  In fixed
            point also the binary points, and the errors.

        Raises
        ------
        TypeError, ValueError
            If an argument is wrong, if a parameter is NaN or infinite, or if the network has an activation of your own;
            in fixed point also if the ranges are not known or leave too few bits to a number.
        OSError
            If a file cannot be written; those that were there before are whole.

        Notes
        -----
        The same bits need a processor here that has fused multiply-adds and vectors (AVX2 or NEON).  Softmax sums in
        the order of the processor that writes the file; predictions on another kind of processor may differ from it in
        the last place.  The sine of more than 2**13 radians in float32 or 2**20 in float64 is that of the C library.

        Examples
        --------
        >>> import os, tempfile, fastbp as bp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     bp.Network([2, 3, 1], seed=0).to_c(os.path.join(folder, "net.c")).constant_bytes
        104
        """
        return write_c(self, path, name, format, calibration, input_range, tolerance, test_vectors, exact)

    def torch_state_dict(self) -> dict[str, NDArray[Any]]:
        """Return the parameters as a ``torch.nn.Sequential(Linear, activation, Linear, ...)`` names them.

        Returns
        -------
        dict of str to ndarray
            ``"0.weight"`` (fan_out, fan_in), ``"0.bias"`` (fan_out,), ``"2.weight"`` and so on: copies, in the
            network's dtype.

        Examples
        --------
        In torch, which is not needed here: ``model.load_state_dict({name: torch.from_numpy(a) for name, a in
        net.torch_state_dict().items()})``.

        >>> import fastbp as bp
        >>> {name: array.shape for name, array in bp.Network([2, 3, 1]).torch_state_dict().items()}
        {'0.weight': (3, 2), '0.bias': (3,), '2.weight': (1, 3), '2.bias': (1,)}
        """
        return torch_state_dict(self)

    def load_torch_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Take the parameters of a torch model that has the same layers.

        Parameters
        ----------
        state : mapping of str to tensor or ndarray
            What ``model.state_dict()`` returns for a model whose only layers with parameters are `Linear`; of the
            network's dtype.  For the order of the layers see `fastbp.from_torch_state_dict`.

        Returns
        -------
        Network
            The network itself.

        Raises
        ------
        TypeError, ValueError
            If a layer is missing, of another size or dtype, or not finite; the network is as it was.

        Examples
        --------
        >>> import fastbp as bp
        >>> twin = bp.Network([2, 3, 1]).load_torch_state_dict(bp.Network([2, 3, 1], seed=0).torch_state_dict())
        >>> (twin.params == bp.Network([2, 3, 1], seed=0).params).all()
        np.True_
        """
        load_torch_state_dict(self, state)
        return self


def evaluator_of(net: ExportedModel) -> Evaluator | None:
    """Return what makes the outputs of a row of a network; None for wide ones, and for functions of the user's own."""
    if net._one_row is None:
        net._one_row = one_row_of(net)
    return getattr(net._one_row, "evaluator", None)
