"""Estimators in pipelines and other models as ONNX models, through skl2onnx."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.utils.validation import check_is_fitted

from fastbp.export.onnx import MOST_ONNX_BYTES, Graph, require_exportable
from fastbp.network import Network
from fastbp.neural_network.classifier import MLPClassifier
from fastbp.neural_network.ensembles import MLPEnsembleClassifier, MLPEnsembleRegressor
from fastbp.neural_network.onnx_models import (
    classifier_model,
    ensemble_classifier_model,
    ensemble_regressor_model,
    regressor_model,
)
from fastbp.neural_network.regressor import MLPRegressor
from fastbp.neural_network.search import MLPGridSearchCV
from fastbp.storage.own_classes import subclasses

__all__ = ["register_onnx_converters"]

_BASES = (MLPClassifier, MLPRegressor, MLPEnsembleClassifier, MLPEnsembleRegressor, MLPGridSearchCV)
# What skl2onnx does with a `GridSearchCV`: its shapes, its conversion, and by the class how it is read.
_OF_SEARCHES = (
    "skl2onnx.shape_calculators.grid_search_cv:convert_sklearn_grid_search_cv",
    "skl2onnx.operator_converters.grid_search_cv:convert_sklearn_grid_search_cv",
    "skl2onnx._parse:sklearn_parsers_map",
)
_NAMES = "MLPClassifier, MLPRegressor, their ensembles and MLPGridSearchCV"


def register_onnx_converters(custom_classes: Iterable[type] = ()) -> None:
    """Have skl2onnx convert this module's estimators, and pipelines and other models with them inside.

    These are `MLPClassifier` and `MLPRegressor`, ensembles of them, and `MLPGridSearchCV`, of which the best estimator
    is converted.  To be called in each process, before ``skl2onnx.to_onnx``; calling it again does nothing new.  As in
    skl2onnx's models of scikit-learn's own classes, the network computes in the type of the pipeline's input: float64
    inputs give float64, others float32.  The options are those for scikit-learn's classes: ``zipmap``, ``nocl`` and
    ``output_class_labels``.  All built-in activations can be converted, one for each layer as well.

    Parameters
    ----------
    custom_classes : iterable of classes
        Subclasses of your own, and those of `fastbp.dask`, of which skl2onnx has to be told one by one.  Each is
        converted as its base class would be, whatever the subclass predicts.

    Raises
    ------
    TypeError
        If one of `custom_classes` is no subclass of one of them.
    ImportError
        If the `skl2onnx` package is missing.

    See Also
    --------
    fastbp.neural_network.MLPClassifier.to_onnx : A model by itself, without skl2onnx.

    Notes
    -----
    The conversion raises ValueError for a model with an activation of your own, with parameters that are not finite or
    take 2 GiB, or with classes that are neither words nor numbers of int64, since skl2onnx knows no others.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastbp.neural_network import MLPClassifier, register_onnx_converters
    >>> X, y = np.array([[0.0, 0.0], [1.0, 1.0]]), ["no", "yes"]
    >>> model = make_pipeline(StandardScaler(), MLPClassifier((5,), solver="lbfgs", random_state=1)).fit(X, y)
    >>> register_onnx_converters()  # doctest: +SKIP
    >>> skl2onnx.to_onnx(model, X[:1], target_opset=17)  # doctest: +SKIP
    """
    own = subclasses(custom_classes, lambda cls: issubclass(cls, _BASES), _NAMES)
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError("A pipeline as an ONNX model needs the `skl2onnx` package: pip install skl2onnx.") from error
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True]}
    for cls in (*_BASES, *own):
        if issubclass(cls, MLPGridSearchCV):
            _register_search(cls)
            continue
        is_one = issubclass(cls, MLPClassifier | MLPRegressor)
        if issubclass(cls, MLPClassifier | MLPEnsembleClassifier):
            kind, ends, settings = "Classifier", _classifier_ends, {"options": options}
            convert = _convert_classifier if is_one else _convert_classifiers
        else:
            kind, ends, settings = "Regressor", _regressor_ends, {}
            convert = _convert_regressor if is_one else _convert_regressors
        alias = f"FastbpMLP{kind}" if is_one else f"FastbpMLPEnsemble{kind}"
        update_registered_converter(cls, alias, ends, convert, **settings)


def _register_search(cls: type) -> None:
    """Have skl2onnx take a search as it takes scikit-learn's own, which it knows by its very class.

    Where a later skl2onnx has these functions elsewhere, it says that it does not know the search.
    """
    from skl2onnx import get_model_alias, update_registered_converter

    try:
        find_ends, convert, parsers = map(pkgutil.resolve_name, _OF_SEARCHES)
        parse = parsers[GridSearchCV]
    except (ImportError, AttributeError, KeyError):
        return
    alias = get_model_alias(GridSearchCV)
    update_registered_converter(cls, alias, find_ends, convert, parser=parse, options="passthrough")


def _classifier_ends(operator: Any) -> None:
    """Declare types and shapes of a classifier's outputs to skl2onnx."""
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    estimator, n = operator.raw_operator, operator.inputs[0].get_first_dimension()
    check_is_fitted(estimator)
    classes = _classes(operator.scope_inst, estimator)
    label_type = StringTensorType if classes.dtype.kind == "O" else Int64TensorType
    label_shape, width = [n], len(classes)
    if _kind_of_labels(estimator) == "multilabel-indicator":
        label_shape = [n, width]
    elif isinstance(estimator, MLPClassifier):  # whose probabilities are those of two classes where there is one
        width = max(2, width)
    operator.outputs[0].set_type(label_type(label_shape))
    operator.outputs[1].set_type(_float_type(operator)([n, width]))


def _regressor_ends(operator: Any) -> None:
    """Declare type and shape of a regressor's output to skl2onnx."""
    estimator = operator.raw_operator
    check_is_fitted(estimator)
    one = estimator if isinstance(estimator, MLPRegressor) else estimator.estimators_[0]
    shape = [operator.inputs[0].get_first_dimension(), one.n_outputs_]
    operator.outputs[0].set_type(_float_type(operator)(shape))


def _convert_classifier(scope: Any, operator: Any, container: Any) -> None:
    """Add a classifier's graph to that of skl2onnx."""
    estimator = operator.raw_operator
    graph, (net,), X = _begin(operator, [estimator])
    model = classifier_model(graph, net, X, _kind_of_labels(estimator), _classes(scope, estimator))
    _end(scope, operator, container, model)


def _convert_regressor(scope: Any, operator: Any, container: Any) -> None:
    """Add a regressor's graph to that of skl2onnx."""
    graph, (net,), X = _begin(operator, [operator.raw_operator])
    _end(scope, operator, container, regressor_model(graph, net, X))


def _convert_classifiers(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of an ensemble of classifiers to that of skl2onnx."""
    ensemble = operator.raw_operator
    graph, nets, X = _begin(operator, ensemble.estimators_)
    columns = [np.searchsorted(ensemble.classes_, member.classes_) for member in ensemble.estimators_]
    members, kind = list(zip(nets, columns, strict=True)), _kind_of_labels(ensemble)
    model = ensemble_classifier_model(graph, members, X, kind, _classes(scope, ensemble))
    _end(scope, operator, container, model)


def _convert_regressors(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of an ensemble of regressors to that of skl2onnx."""
    _end(scope, operator, container, ensemble_regressor_model(*_begin(operator, operator.raw_operator.estimators_)))


def _kind_of_labels(estimator: Any) -> str:
    """Return what scikit-learn calls the type of a classifier's targets."""
    one = estimator if isinstance(estimator, MLPClassifier) else estimator._decoder
    return str(one._label_binarizer.y_type_)


def _classes(scope: Any, estimator: Any) -> NDArray[Any]:
    """Return the labels as skl2onnx has them, words as objects or int64; with its option `nocl` only their numbers."""
    classes: NDArray[Any] = estimator.classes_
    if scope.get_options(estimator, {"nocl": False})["nocl"]:
        return np.arange(len(classes))
    if classes.dtype.kind in "UO":
        return classes.astype(object)
    whole = classes.astype(np.int64)
    if not np.array_equal(whole, classes):
        raise ValueError(
            "`classes_` must be words or numbers that int64 has to be converted by skl2onnx, which knows no others; "
            f"got {classes.tolist()}. Write the model by itself with its method to_onnx, or fit it on other labels."
        )
    return whole


def _float_type(operator: Any) -> Any:
    """Return skl2onnx's type of the arithmetic: float64 for inputs of that, else float32."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    return DoubleTensorType if isinstance(operator.inputs[0].type, DoubleTensorType) else FloatTensorType


def _begin(operator: Any, estimators: list[Any]) -> tuple[Graph, list[Network], str]:
    """Return a graph that begins with the input in the arithmetic's type, networks in that type, and that input."""
    dtype = np.dtype(np.float64 if _float_type(operator).__name__ == "DoubleTensorType" else np.float32)
    nets = []
    for estimator in estimators:
        net = estimator.network_
        require_exportable(net)
        nets.append(estimator._make_network(list(net.sizes), dtype, net.params))
    n_bytes = sum(net.params.nbytes for net in nets)
    if n_bytes > MOST_ONNX_BYTES:
        raise ValueError(
            f"A model must have less than 2 GiB of parameters in {dtype} for ONNX; it has {n_bytes} bytes. Take fewer "
            "members, or smaller ones."
        )
    graph = Graph(dtype)
    return graph, nets, graph.add("Cast", "X", to=graph.code_of(dtype))


def _end(scope: Any, operator: Any, container: Any, model: Any) -> None:
    """Add a model to that of skl2onnx; its `add_onnx_graph` would give the parameters of two networks the same name."""
    graph = model.graph
    ends = [*zip(graph.input, operator.inputs, strict=True), *zip(graph.output, operator.outputs, strict=True)]
    names = {own.name: there.full_name for own, there in ends}
    for name in [
        *(tensor.name for tensor in graph.initializer),
        *(name for node in graph.node for name in node.output),
    ]:
        names.setdefault(name, scope.get_unique_variable_name(name))
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
        container.initializers.append(tensor)
    for node in graph.node:
        node.name = scope.get_unique_operator_name(node.op_type)
        node.input[:], node.output[:] = ([names[name] for name in part] for part in (node.input, node.output))
        container.nodes.append(node)
    container.node_domain_version_pair_sets.update((opset.domain, opset.version) for opset in model.opset_import)
