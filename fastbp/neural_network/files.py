"""Estimators in files: what `save` writes and `fastbp.load` reads."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from fastbp.engine.threads import thread_count
from fastbp.functions.own import Activation, Loss
from fastbp.network import Network
from fastbp.neural_network.c_files import CWriter
from fastbp.neural_network.onnx_models import onnx_model
from fastbp.neural_network.sklearn_private import parameter_names
from fastbp.storage.arrays import write_arrays
from fastbp.storage.atomic import PathLike, checked_path, write_atomically
from fastbp.storage.content import FileContent
from fastbp.storage.networks import ESTIMATOR_VERSION, OwnFunctions, describe, finite_params, rebuild
from fastbp.storage.streams import Destination
from fastbp.training.checkpoint import describe_optimizer
from fastbp.training.schedules import SCHEDULES

# What a fit leaves behind, apart from the network, the classes, and what is needed only to train further.
_RECORD = (
    "n_iter_",
    "t_",
    "loss_",
    "best_loss_",
    "loss_curve_",
    "validation_scores_",
    "best_validation_score_",
    "validation_loss_curve_",
    "_no_improvement_count",
)
_NOT_FINITE = ("inf", "-inf", "nan")  # how numbers are written that JSON does not have
_DTYPE = re.compile(r"bool|u?int\d{1,2}|float\d{1,2}|object|[<>=|]?[biufUO]\d{0,6}")  # as str(dtype) has it
_KINDS = "biufUO"  # of arrays
_LABEL_TYPES = ("binary", "multiclass", "multilabel-indicator")


class Portable(CWriter):
    """The methods of an estimator that write it to files."""

    def save(self, path: Destination) -> None:
        """Write the fitted estimator to a file, whole or not at all, or to a file object; `fastbp.load` reads it.

        A file holds no code: of a subclass it has the name and the parameters, its own ones included.
        ``bp.load(path, custom_classes=[Mine])`` calls its constructor with them; without the class `fastbp.load`
        returns an `MLPClassifier` or `MLPRegressor`.  Attributes that a subclass adds in `fit` are not in the file.

        Parameters
        ----------
        path : str, os.PathLike or binary file object
            The file; by convention its name ends in ``.safetensors``.  One that exists is replaced.  To a file object,
            such as an `io.BytesIO` or a member of a zip file, the same bytes are written from where it stands on.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError, OSError
            If a parameter is no plain value, such as a ``RandomState``; and as `fastbp.storage.networks.save`.

        Examples
        --------
        >>> import os, tempfile, fastbp as bp
        >>> from fastbp.neural_network import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=(5,), solver="lbfgs", random_state=1)
        >>> model = model.fit([[0.0, 0.0], [1.0, 1.0]], ["no", "yes"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     bp.load(os.path.join(folder, "model.safetensors")).predict([[2.0, 2.0], [-1.0, -2.0]])
        array(['yes', 'no'], dtype='<U3')
        """
        save(self, path)

    def to_onnx(self, path: PathLike) -> None:
        """Write the fitted estimator as an ONNX model, whose inputs and outputs are named as skl2onnx names them.

        The input is ``X``; a classifier's outputs are ``label`` and ``probabilities``, a regressor's is ``variable``.
        Needs the `onnx` package, ``pip install "fastbp[onnx]"``.  Of a subclass it is the model of its base class.  For
        pipelines see `register_onnx_converters`.

        Parameters
        ----------
        path : str or os.PathLike
            The file; by convention its name ends in ``.onnx``.  One that exists is replaced, whole or not at all.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ImportError, TypeError, ValueError, OSError
            As `fastbp.export.onnx.to_onnx`.

        Examples
        --------
        >>> import os, tempfile
        >>> from fastbp.neural_network import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=(5,), solver="lbfgs", random_state=1)
        >>> model = model.fit([[0.0], [1.0]], [1.0, 3.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.to_onnx(os.path.join(folder, "model.onnx"))
        """
        checked_path(path)
        check_is_fitted(self)
        content = onnx_model(self).SerializeToString()
        write_atomically(path, lambda file: file.write(content))


# --- files ------------------------------------------------------------------------------------------------------------


def save(estimator: Any, path: Destination) -> None:
    """Write a fitted estimator; see `Portable.save`."""
    base, (description, arrays) = base_of(estimator), describe_estimator(estimator)
    optional = {} if type(estimator) is base else _describe_subclass(estimator, parameter_names(base))
    write_arrays(path, base._kind_of_file, ESTIMATOR_VERSION, description, arrays, optional=optional)


def describe_estimator(estimator: Any) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the description of a fitted estimator and the arrays that belong to it."""
    check_is_fitted(estimator)
    net, base = estimator.network_, base_of(estimator)
    _require_own_parameters(estimator, net)
    names = parameter_names(base)
    record = {name: vars(estimator)[name] for name in _RECORD if name in vars(estimator)}
    description = {
        "network": describe(net),
        "parameters": _plain_values({name: getattr(estimator, name) for name in names}),
        "record": _plain_values(record),
        "feature_names": _plain("feature_names_in_", getattr(estimator, "feature_names_in_", None)),
    }
    if is_classifier(estimator):
        binarizer = estimator._label_binarizer
        description["classes"] = _plain("classes_", estimator.classes_)
        description["label_type"], description["sparse"] = binarizer.y_type_, bool(binarizer.sparse_input_)
    return description, {"params": finite_params(net)}


def _require_own_parameters(estimator: Any, net: Network) -> None:
    """Refuse parameters that `set_params` made others since the fit, so that no file would be read again."""
    estimator._validate_params()
    thread_count(estimator.n_threads)  # which scikit-learn's check lets be True
    made, own = describe(estimator._make_network(list(net.sizes), net.dtype)), describe(net)
    others = [name for name in own.keys() | made.keys() if made.get(name) != own.get(name)]
    if others:
        raise ValueError(
            "The parameters of an estimator must be those that its network was made of for it to be saved; since then "
            f"they have changed, and the {min(others)} with them. Undo that with set_params(), or fit it again."
        )


def base_of(estimator: Any) -> Any:
    """Return the class of fastbp's that an estimator is of, or derives from."""
    return next(cls for cls in type(estimator).__mro__ if "_kind_of_file" in vars(cls))


def _describe_subclass(estimator: Any, known: list[str]) -> dict[str, Any]:
    """Return the name and further parameters of a user's class, which a reader without that class does not need."""
    others = estimator.get_params(deep=False)
    return {
        "class": type(estimator).__name__,
        "parameters": _plain_values({name: value for name, value in others.items() if name not in known}),
    }


def _plain_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return named values in a form that JSON can hold."""
    return {name: _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    """Return a value in a form that JSON can hold: what JSON lacks is an object whose only field names its type."""
    if isinstance(value, np.generic):
        value = value.item()
    if name == "dtype" and value is not None:  # a NumPy type or dtype
        value = np.dtype(value).name
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_plain(name, item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_plain(name, key), _plain(name, item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in _KINDS:
        return {"array": [str(value.dtype), [_plain(name, item) for item in value.tolist()]]}
    if isinstance(value, Activation | Loss):
        return {type(value).__name__: value.name}
    if SCHEDULES.get(type(value).__name__) is type(value):
        return {"Schedule": _plain(name, describe_optimizer(value, horizon=1))}  # the horizon is for users' own only
    cure = "Fit it with other labels" if name == "classes_" else "Set another one with set_params()"
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(
        f"`{name}` must be a plain value for the estimator to be saved, since a file holds no code; got {kind}. {cure}."
    )


def restore(content: FileContent, base: Any, kind: Any, functions: OwnFunctions) -> Any:
    """Return the estimator that a file holds, or raise the error of that file.

    Parameters
    ----------
    content : FileContent
        The file.
    base : type
        `MLPClassifier` or `MLPRegressor`, as the file says.
    kind : type
        The same, or the subclass of the user's that is to be made.
    functions : mapping
        A user's functions by type and name.
    """
    fields = ["network", "parameters", "record", "feature_names"]
    content.require_names(["params"], [*fields, *_class_fields(content.kind)])
    try:
        return _Reader(content, functions).estimator(base, kind)
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError, KeyError) as error:
        if type(error).__name__ == "FileError":
            raise
        content.fail(f"its {content.kind} is impossible: {error}", error)


def _class_fields(kind: str) -> list[str]:
    """Return the fields that only classifiers have."""
    return ["classes", "label_type", "sparse"] if kind == "classifier" else []


class _Reader:
    """One file's estimator, part by part."""

    def __init__(self, content: FileContent, functions: OwnFunctions) -> None:
        self._content, self._functions = content, functions

    def estimator(self, base: Any, kind: Any) -> Any:
        """Return the estimator, of a class that is `base` or derives from it."""
        content = self._content
        estimator = base().set_params(**self._fields("parameters"))
        estimator._validate_params()
        thread_count(estimator.n_threads)  # which scikit-learn's check lets be True
        if kind is not base:
            estimator = self._as_subclass(estimator.get_params(deep=False), kind)
        net = rebuild(content, Network, self._object("network"), "params", self._functions)
        for name, value in self._fields("record").items():
            if name not in _RECORD:
                content.fail(f"its record must not have {name!r}.")
            setattr(estimator, name, value)
        if content.kind == "classifier":
            self._set_classes(estimator, net)
        estimator.n_layers_, estimator.n_outputs_, estimator.n_features_in_ = (
            len(net.sizes),
            net.sizes[-1],
            net.sizes[0],
        )
        estimator.out_activation_ = estimator._output_settings()["out_activation"]
        names = self._value(content.description["feature_names"])
        if names is not None:
            if not isinstance(names, np.ndarray) or len(names) != net.sizes[0]:
                content.fail(f"its feature names must be {net.sizes[0]}.")
            estimator.feature_names_in_ = names
        if describe(estimator._make_network(list(net.sizes), net.dtype)) != describe(net):
            content.fail("its network is another one than its parameters make.")
        estimator._link(net)
        return estimator

    def _as_subclass(self, parameters: dict[str, Any], kind: Any) -> Any:
        """Return an estimator of a subclass, made by its constructor."""
        further = self._content.optional.get("parameters")
        if not isinstance(further, dict):
            self._content.fail("its `parameters` of a subclass must be a JSON object.")
        names = parameter_names(kind)
        lost = [name for name in further if name not in names]
        if lost:
            self._content.fail(
                f"its {kind.__name__} has the parameter {lost[0]!r}, which the class of that name in `custom_classes` "
                "lacks. Pass the class that was saved, or none of that name."
            )
        own = parameters | {name: self._value(value) for name, value in further.items()}
        estimator = kind(**{name: value for name, value in own.items() if name in names})
        estimator._validate_params()
        for name in parameters.keys() - set(names):  # which its constructor chose, and a user may have changed
            setattr(estimator, name, parameters[name])
        return estimator

    def _set_classes(self, estimator: Any, net: Network) -> None:
        """Set the classes, and how labels become targets."""
        description = self._content.description
        classes, kind, sparse = self._value(description["classes"]), description["label_type"], description["sparse"]
        if not isinstance(classes, np.ndarray) or not len(classes) or len(np.unique(classes)) != len(classes):
            self._content.fail("its classes must be different from each other.")
        is_several = kind == "multilabel-indicator"  # and then the classes are the labels' numbers
        if is_several and classes.tolist() != list(range(len(classes))):
            self._content.fail("its labels must be numbered.")
        if kind not in _LABEL_TYPES or not isinstance(sparse, bool) or (sparse and not is_several):
            self._content.fail(f"its labels must be one of {', '.join(_LABEL_TYPES)}.")
        if net.sizes[-1] != (1 if kind == "binary" else len(classes)) or (kind == "binary" and len(classes) > 2):
            self._content.fail(f"its {len(classes)} classes do not fit its {net.sizes[-1]} outputs.")
        binarizer = LabelBinarizer()
        binarizer.classes_, binarizer.y_type_, binarizer.sparse_input_ = classes, kind, sparse
        estimator._label_binarizer, estimator.classes_ = binarizer, classes

    def _object(self, field: str) -> dict[str, Any]:
        """Return a field that must be a JSON object."""
        value = self._content.description[field]
        if not isinstance(value, dict):
            self._content.fail(f"its `{field}` must be a JSON object.")
        return value

    def _fields(self, field: str) -> dict[str, Any]:
        """Return the values of a JSON object."""
        return {name: self._value(value) for name, value in self._object(field).items()}

    def _value(self, value: Any) -> Any:
        """Return what `_plain` was given."""
        if not isinstance(value, dict):
            if isinstance(value, list):
                self._content.fail("a list stands where none can be.")
            return value
        ((kind, inner),) = value.items()  # raises ValueError unless there is exactly one field
        if kind == "float" and inner in _NOT_FINITE:
            return float(inner)
        if kind in ("Activation", "Loss"):
            own = self._functions.get((Activation if kind == "Activation" else Loss, inner))
            if own is None:
                self._content.fail(
                    f"it needs the bp.{kind} {inner!r}, and a file holds no code. Pass it: load(path, "
                    "custom_functions=[...])."
                )
            return own
        if kind == "Schedule":
            values = self._value(inner)
            return SCHEDULES[values.pop("class")](**values)
        if kind not in ("list", "tuple", "dict", "array") or not isinstance(inner, list):
            self._content.fail(f"a value of an unknown kind: {kind!r}.")
        if kind == "array":
            return self._array(*inner)
        if kind == "dict":
            return {self._value(key): self._value(item) for key, item in inner}
        items = [self._value(item) for item in inner]
        return items if kind == "list" else tuple(items)

    def _array(self, dtype: Any, items: Any) -> NDArray[Any]:
        """Return an array of numbers or words."""
        found = np.dtype(dtype) if isinstance(dtype, str) and _DTYPE.fullmatch(dtype) else None
        if found is None or found.kind not in _KINDS or found.itemsize > 1 << 16:
            self._content.fail(f"an array of the dtype {dtype!r}.")
        values = [self._value(item) for item in items]
        longest = max((len(value) for value in values if isinstance(value, str)), default=0)
        if found.kind == "U" and found.itemsize > 4 * max(1, longest):
            self._content.fail(f"an array of the dtype {dtype!r} whose longest word has {longest} letters.")
        if found.kind in "UO" and not all(isinstance(value, str) for value in values) and found.kind == "U":
            self._content.fail(f"an array of the dtype {dtype!r} with other values than words.")
        return np.array(values, found)
