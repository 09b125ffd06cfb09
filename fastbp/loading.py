"""Networks and estimators from elsewhere: `load`, what `save` wrote, as what it was; and networks of ONNX and torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastbp import validation
from fastbp.export.onnx_reader import read_onnx
from fastbp.export.torch import torch_params
from fastbp.functions.names import LossName
from fastbp.functions.own import Activation, Loss
from fastbp.model.definition import ActivationSpec, OutputSpec
from fastbp.model.model import from_params
from fastbp.network import Network
from fastbp.storage.arrays import read_arrays
from fastbp.storage.atomic import PathLike
from fastbp.storage.content import FileContent
from fastbp.storage.networks import ESTIMATOR_VERSION, NETWORK_VERSION, PIPELINE_VERSION, OwnFunctions, restore
from fastbp.storage.own_classes import listed, subclasses
from fastbp.storage.streams import Source
from fastbp.validation.numbers import FloatDType

__all__ = ["from_onnx", "from_torch_state_dict", "load"]

_VERSIONS = {
    "network": NETWORK_VERSION,
    "classifier": ESTIMATOR_VERSION,
    "regressor": ESTIMATOR_VERSION,
    "pipeline": PIPELINE_VERSION,
}
_OwnClasses = dict[tuple[str, str], type]  # by kind of file and name


def load(
    path: Source,
    *,
    mmap: bool = False,
    custom_functions: Iterable[Activation | Loss] = (),
    custom_classes: Iterable[type] = (),
) -> Any:
    """Return the network or estimator that a file holds.

    Loading runs no code of the file, imports nothing that it names, and trusts nothing in it.

    Parameters
    ----------
    path : str, os.PathLike, binary file object or bytes
        A file that `save` or the command ``fastbp train`` wrote, with this release of fastbp or an earlier one; by its
        name, as an object to read from, such as an open file or a member of a zip file, or by its bytes.  A file object
        is read from where it stands to its end, which need not be known before, and stays open.
    mmap : bool
        Whether the parameters are mapped into memory and not read: processes that map one file share its memory, and
        what is written to the parameters stays with the process that writes.  The file may be replaced meanwhile, by
        `save` for instance; it must not be cut short or overwritten in place.  Only of files that are named.
    custom_functions : iterable of Activation and Loss
        The functions of your own that the network was made with; they are found by their names.
    custom_classes : iterable of classes
        Subclasses of your own of `Network`, `MLPClassifier` or `MLPRegressor`; they are found by their names.  What was
        saved of a subclass that is not among them is loaded as the class of fastbp's that it derives from, without the
        parameters that only the subclass has.

    Returns
    -------
    Network, MLPClassifier, MLPRegressor, one of `custom_classes` or sklearn.pipeline.Pipeline
        What was saved; of ``fastbp train`` a pipeline that takes data frames of pandas.  It has the same parameters,
        bit by bit, and is ready to be trained on with a fresh optimizer.

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument is wrong, or the file cannot be opened or read.
    FileError
        If the file is damaged, cut off, of another kind or written by a newer fastbp, or if it needs a function of
        yours that is not among `custom_functions`.  It is a ValueError that names the file and the reason.

    Notes
    -----
    Of a subclass the file has the name; of an estimator's also the parameters of its constructor, which is called with
    them.  The constructor of a `Network`'s subclass is not called, as it is not when a pickle is loaded.  Attributes
    that a subclass adds are not in the file.

    Examples
    --------
    >>> import os, tempfile, numba, fastbp as bp
    >>> cube = bp.Activation("cube", numba.njit(lambda z: z**3), numba.njit(lambda z: 3 * z**2))
    >>> class Mine(bp.Network):
    ...     def answer(self, X):
    ...         return self.predict(X).round()
    >>> net = Mine([2, 3, 1], activation=cube, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "net.safetensors")
    ...     net.save(path)
    ...     twin = bp.load(path, mmap=True, custom_functions=[cube], custom_classes=[Mine])
    >>> type(twin).__name__, twin.answer([[0.0, 0.0]])
    ('Mine', array([[0.]]))
    """
    mapped = validation.flag(mmap, "mmap")
    functions, classes = _functions_by_name(custom_functions), _classes_by_name(custom_classes)
    content = read_arrays(path, _VERSIONS, mmap=mapped)
    own = _own_class(content, classes)
    if content.kind == "network":
        return restore(content, own or Network, functions)
    if content.kind == "pipeline":
        from fastbp.neural_network.table_pipelines import restore as restore_pipeline

        return restore_pipeline(content, _estimators(), functions)
    from fastbp.neural_network.files import restore as restore_estimator

    base = _estimators()[content.kind]
    return restore_estimator(content, base, own or base, functions)


def from_torch_state_dict(
    state: Mapping[str, Any],
    activation: ActivationSpec = "relu",
    output: OutputSpec = "identity",
    loss: LossName | Loss = "quadratic",
) -> Network:
    """Return a network with the sizes, parameters and dtype of a torch model.

    Parameters
    ----------
    state : mapping of str to tensor or ndarray
        What ``model.state_dict()`` returns for a model whose only layers with parameters are `Linear`; of dtype float32
        or float64.
    activation, output, loss
        As for `Network`: a state dict does not tell them.

    Returns
    -------
    Network
        The network, whose parameters are copies.

    Raises
    ------
    TypeError, ValueError
        If `state` is not that of a dense network, or another argument is wrong.

    Notes
    -----
    The layers are taken in the order of `state`, but names that differ in one number only, such as ``0`` and ``10``, or
    ``fc2`` and ``fc10``, in the order of that number: files often have them sorted as words.  A state dict has the
    layers as the module defines them.  Where it applies them in another order, nothing in it says so, and where the
    widths allow that too, the network is another one: compare the outputs of one row.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> net = bp.from_torch_state_dict({"0.weight": np.array([[3.0, 4.0]]), "0.bias": np.array([5.0])})
    >>> net.predict([[1.0, 1.0]])
    array([[12.]])
    """
    params, sizes = torch_params(state)
    return from_params(
        Network,
        params,
        sizes,
        activation=activation,
        output=output,
        loss=loss,
        initializer="glorot_uniform",
        l2_penalty=0.0,
        l1_penalty=0.0,
        dropout=0.0,
        loss_parameter=None,
    )


def from_onnx(
    model: PathLike | bytes | Any,
    *,
    output: str | None = None,
    loss: LossName | Loss | None = None,
    dtype: FloatDType | None = None,
) -> Network:
    """Return the network that an ONNX model is; needs the `onnx` package, ``pip install "fastbp[onnx]"``.

    Read are multi-layer perceptrons, one chain of dense layers, as torch, Keras, scikit-learn (skl2onnx), MATLAB and
    fastbp itself write them, with or without a scaler in front and a classifier's end.  Activations are those of
    `Network`, also where a model spells them by other operators.  Nothing of the model is run, and nothing in it is
    trusted.

    Parameters
    ----------
    model : str, os.PathLike, bytes or onnx.ModelProto
        The model, by the name of its file, by its bytes or as `onnx` has loaded it; of less than 2 GiB.
    output : str, optional
        The name of the value that is the network's output, if not the only output of the model, or the only one of
        floating numbers, as the probabilities of a classifier are: also one inside, such as logits.
    loss : str or Loss, optional
        As for `Network`; a model does not tell it.  By default the one that belongs to the outputs: cross-entropy for
        softmax and sigmoid, poisson for exp, else quadratic.
    dtype : {"float32", "float64"}, optional
        Type of the parameters; by default that of the model.  float16 and bfloat16 become float32.

    Returns
    -------
    Network
        The network, whose parameters are copies, ready to predict, to be trained on and to be exported.

    Raises
    ------
    ImportError
        If the `onnx` package is missing.
    TypeError, OSError
        If an argument is wrong, or the file cannot be opened.
    ValueError
        If the model is damaged, or no network: its text names the first node that cannot be taken.  For a file it is a
        `FileError`.  Weights in files of their own are not opened: pass ``onnx.load(path)``, which reads them.

    See Also
    --------
    Network.to_onnx : The other direction; what it writes is read with the same bits.

    Notes
    -----
    A layer's weights and biases are those of the model, bit by bit, unless something affine stands beside it, such as
    a scaler in front, BatchNormalization or a factor behind an activation.  That is folded into the weights in float64
    and rounded once, so that outputs differ by rounding: a little more of it where inputs are far from 0 compared with
    how they vary, since a scaler subtracts before it multiplies.  What is affine behind the last activation becomes an
    output layer of its own; where exp overflows in front of it, the row's other outputs are NaN.  An activation is
    recognised by its values at some hundred points, which must agree to 2e-7.

    LogSoftmax is read as softmax: the network predicts probabilities, and their logarithms are what the model gives.
    Of a classifier the network gives the probabilities; for two classes with one sigmoid, that of the second class.

    References
    ----------
    The operators: https://onnx.ai/onnx/operators/

    Examples
    --------
    >>> import os, tempfile, fastbp as bp
    >>> net = bp.Network([2, 3, 1], "gelu", "sigmoid", "cross_entropy", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.to_onnx(os.path.join(folder, "net.onnx"))
    ...     twin = bp.from_onnx(os.path.join(folder, "net.onnx"))
    >>> twin.activations, twin.loss
    (((('gelu', 3),), (('sigmoid', 1),)), 'cross_entropy')
    >>> (twin.params == net.params).all()
    np.True_
    """
    if output is not None and not isinstance(output, str):
        raise TypeError(f"`output` must be the name of a value in the model; got {type(output).__name__}.")
    found = read_onnx(model, output, None if dtype is None else validation.network_dtype(dtype))
    *hidden, last = found.activations
    return from_params(
        Network,
        found.params,
        found.sizes,
        activation=hidden,
        output=last[0][0] if len(last) == 1 else last,
        loss=found.loss if loss is None else loss,
        initializer="glorot_uniform",
        l2_penalty=0.0,
        l1_penalty=0.0,
        dropout=0.0,
        loss_parameter=None,
    )


def _estimators() -> dict[str, type]:
    """Return the estimators by the kinds of their files; scikit-learn is imported for those who have such files."""
    from fastbp.neural_network import MLPClassifier, MLPRegressor

    return {"classifier": MLPClassifier, "regressor": MLPRegressor}


def _own_class(content: FileContent, classes: _OwnClasses) -> Any:
    """Return the user's class that was saved, or None if it was fastbp's or is not known."""
    name = content.optional.get("class", "")
    if not isinstance(name, str):
        content.fail(f"its `class` must be a name; it is {name!r}.")
    return classes.get((content.kind, name))


# --- the arguments ----------------------------------------------------------------------------------------------------


def _functions_by_name(functions: Iterable[Activation | Loss]) -> OwnFunctions:
    """Return a user's functions by type and name."""
    found: dict[tuple[type, str], Activation | Loss] = {}
    for function in listed(functions):
        if not isinstance(function, Activation | Loss):
            raise TypeError(
                f"`custom_functions` must be a list of bp.Activation and bp.Loss; got {type(function).__name__}."
            )
        if found.setdefault((type(function), function.name), function) != function:
            raise ValueError(f"`custom_functions` must have different names; two have the name {function.name!r}.")
    return found


def _classes_by_name(classes: Iterable[type]) -> _OwnClasses:
    """Return a user's classes by the kind of their files and their names."""
    found: _OwnClasses = {}
    for cls in subclasses(classes, _kind_of, "Network, MLPClassifier and MLPRegressor"):
        kind = _kind_of(cls)
        if found.setdefault((kind, cls.__name__), cls) is not cls:
            raise ValueError(f"`custom_classes` must have different names; two have the name {cls.__name__!r}.")
    return found


def _kind_of(cls: type) -> str:
    """Return the kind of a class's files, empty if it has none."""
    if issubclass(cls, Network):
        return "network"
    return next((kind for kind, base in _estimators().items() if issubclass(cls, base)), "")
