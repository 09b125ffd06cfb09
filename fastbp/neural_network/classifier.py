"""`MLPClassifier`: the multi-layer perceptron for classes, with scikit-learn's interface."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastbp.engine.objective import Objective
from fastbp.engine.rows import Data
from fastbp.functions.losses import reported_code
from fastbp.neural_network import types
from fastbp.neural_network.base import BaseMLP
from fastbp.neural_network.class_weights import weights_by_class
from fastbp.neural_network.errors import warn_of_column
from fastbp.neural_network.held_out import given
from fastbp.neural_network.labels import check_labels
from fastbp.neural_network.methods import fit_method, partial_fit_method
from fastbp.neural_network.parameters import CLASSIFIER_CONSTRAINTS, documented
from fastbp.neural_network.sklearn_private import check_partial_fit_first_call
from fastbp.validation.data import Targets
from fastbp.validation.matrix_like import MatrixLike


@documented
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron classifier: scikit-learn's, and faster.

    Parameters, attributes, methods, messages and, with the same `random_state`, all numbers are those of
    ``sklearn.neural_network.MLPClassifier``.  What scikit-learn does not have are the parameters from `class_weight`
    on, validation data in `fit`, `loss_gradient`, `input_gradient` and `network_`; their defaults change nothing.

    Parameters
    ----------
    {scikit-learn's}
    class_weight : dict or 'balanced', default=None
        Weight of each class, by which the sample weights are multiplied; 'balanced' is inversely proportional to the
        number of its samples.  A class without a key has the weight 1; a key that is no class is an error, unless
        every class has a weight of its own.  See `weight_normalization`.
    {fastbp's}

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    {attributes}

    Notes
    -----
    The loss is reported as scikit-learn does, from probabilities that are clipped to the resolution of their dtype; the
    gradient is that of the loss without clipping.  A mini-batch that is divided by
    its own sample weights, which are all 0, is passed over, where scikit-learn raises ZeroDivisionError.

    Examples
    --------
    >>> from fastbp.neural_network import MLPClassifier
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=100, random_state=1)
    >>> clf = MLPClassifier(random_state=1, max_iter=300).fit(X, y)
    >>> clf.predict_proba(X[:1]).shape
    (1, 2)
    """

    _parameter_constraints = CLASSIFIER_CONSTRAINTS
    _kind_of_file = "classifier"

    solver: types.ClassifierSolver
    class_weight: types.ClassWeight
    classes_: NDArray[Any]

    def __init__(
        self,
        hidden_layer_sizes: types.Sizes = (100,),
        activation: types.Hidden = "relu",
        *,
        solver: types.ClassifierSolver = "adam",
        alpha: float = 0.0001,
        batch_size: types.BatchSize = "auto",
        learning_rate: types.LearningRate = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: types.RandomState = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        class_weight: types.ClassWeight = None,
        dtype: types.DType = None,
        initializer: types.EstimatorInitializer = "auto",
        dropout: types.Dropout = 0.0,
        l1_penalty: float = 0.0,
        clip_norm: float | None = None,
        scoring: types.Scoring = None,
        warm_start_optimizer: bool = False,
        weight_normalization: types.WeightNormalization = "auto",
        n_threads: int | None = None,
        progress: bool = False,
    ) -> None:
        self.hidden_layer_sizes, self.activation = hidden_layer_sizes, activation
        self.solver, self.alpha, self.batch_size = solver, alpha, batch_size
        self.learning_rate, self.learning_rate_init, self.power_t = learning_rate, learning_rate_init, power_t
        self.max_iter, self.shuffle, self.random_state = max_iter, shuffle, random_state
        self.tol, self.verbose, self.warm_start = tol, verbose, warm_start
        self.momentum, self.nesterovs_momentum = momentum, nesterovs_momentum
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.n_iter_no_change, self.max_fun = n_iter_no_change, max_fun
        self.class_weight = class_weight
        self.dtype, self.initializer, self.dropout = dtype, initializer, dropout
        self.l1_penalty, self.clip_norm, self.scoring = l1_penalty, clip_norm, scoring
        self.warm_start_optimizer, self.weight_normalization = warm_start_optimizer, weight_normalization
        self.n_threads, self.progress = n_threads, progress

    # --- fit ----------------------------------------------------------------------------------------------------------

    @fit_method
    def fit(
        self,
        X: MatrixLike,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: MatrixLike | None = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
        eval_set: types.EvalSet = None,
    ) -> Self:
        """Fit the model to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or 0 and 1 for each of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; see `weight_normalization`.
        X_val, y_val : array-like, default=None
            Validation data, of the shapes of X and y, whose loss after each epoch is `validation_loss_curve_`.  Early
            stopping watches them instead of setting rows aside.  A ``Pipeline(..., transform_input=["X_val"])``
            transforms `X_val` as X, with scikit-learn's metadata routing switched on.
        sample_weight_val : array-like of shape (n_val,), default=None
            Sample weights of the validation data.
        eval_set : tuple or list of one tuple, default=None
            The same as one argument, ``(X_val, y_val)`` or ``(X_val, y_val, sample_weight_val)``.  No pipeline
            transforms it: pass inputs that are transformed already.

        Returns
        -------
        self : MLPClassifier
            The fitted model.

        Raises
        ------
        FitDivergedError
            If the loss becomes NaN or infinite; the model keeps finite weights.
        RuntimeError
            If another `fit` or `partial_fit` of the same model is running; the model is unchanged.
        """
        validation = given(eval_set, X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, incremental=False, given=validation)

    @partial_fit_method
    def partial_fit(
        self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> Self:
        """Train one epoch on some data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights; see `weight_normalization`.
        classes : array of shape (n_classes,), default=None
            All class labels that will ever come; required in the first call.

        Returns
        -------
        self : MLPClassifier
            The model.
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "`class_weight='balanced'` is not supported by partial_fit, which does not see all samples. Pass a "
                "dict with the weight of each class, such as that of sklearn.utils.class_weight.compute_class_weight."
            )
        if check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[Any, NDArray[Any]]:
        X, y = super()._checked(X, y, reset)
        if y.dtype.kind in "mM" and np.isnat(y).any():  # it cannot be sorted among the classes
            raise ValueError("`y` must hold class labels, which NaT is not. Leave such rows out.")
        if y.ndim == 2 and y.shape[1] > 1:
            check_labels(y)
        return X, y

    def _learn_targets(self, y: NDArray[Any], incremental: bool) -> None:
        if y.ndim == 2 and y.shape[1] == 1:
            warn_of_column(y)
            y = column_or_1d(y)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y)
            self.classes_ = self._label_binarizer.classes_
            return
        classes = unique_labels(y)
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {classes}"
                )
            return
        self._check_known(y)

    def _check_known(self, y: NDArray[Any]) -> None:
        classes = unique_labels(y)
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )

    def _encoded(self, y: NDArray[Any], dtype: np.dtype) -> Targets:
        y = y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y
        if self._label_binarizer.y_type_ == "multilabel-indicator" or y.ndim > 1:
            # anything but 0 is a label, as in scikit-learn: the 255 of an image's mask becomes 1
            return Targets(np.ascontiguousarray(self._label_binarizer.transform(y) != 0, dtype), None)
        labels = np.searchsorted(self.classes_, y)
        if labels.max(initial=0) >= len(self.classes_):  # y has been changed since it was checked
            raise ValueError(f"`y` has classes not in `self.classes_`, {self.classes_}.")
        if self._is_multiclass:
            return Targets(None, np.ascontiguousarray(labels, np.int64))
        return Targets(labels.astype(dtype).reshape(-1, 1), None)

    def _count_outputs(self, targets: Targets) -> int:
        return len(self.classes_) if targets.array is None else targets.array.shape[1]

    @property
    def _is_multiclass(self) -> bool:
        return bool(self._label_binarizer.y_type_ == "multiclass")

    def _weights_of_rows(self, y: NDArray[Any], sample_weight: Any, X: Any, incremental: bool) -> NDArray[Any] | None:
        weights = super()._weights_of_rows(y, sample_weight, X, incremental)
        if self.class_weight is None:
            return weights
        factors = weights_by_class(self.class_weight, y, self.classes_, X.dtype)
        return factors if weights is None else weights * factors

    @property
    def _weighs_by_all_rows(self) -> bool:
        by_class = self.weight_normalization == "auto" and self.class_weight is not None
        return by_class or super()._weighs_by_all_rows

    def _labels_to_stratify_by(self, data: Data) -> NDArray[Any] | None:
        # scikit-learn stratifies if there is one output: not for three or more classes, nor for several labels
        if self.n_outputs_ != 1 or data.targets.array is None:
            return None
        return np.array(["False", "True"])[data.targets.array[:, 0].astype(np.int64)]  # the names in its messages

    def _output_settings(self) -> dict[str, Any]:
        name = "softmax" if self._is_multiclass else "logistic"
        return {
            "out_activation": name,
            "output": "softmax" if self._is_multiclass else "sigmoid",
            "loss": "cross_entropy",
        }

    def _objective(self, with_penalties: bool = True) -> Objective:
        code = reported_code(self._network.loss, self._network.activations[-1][0][0])
        resolution = float(np.finfo(self._network.dtype).eps)
        penalties = (self.alpha, self.l1_penalty) if with_penalties else (0.0, 0.0)
        return Objective(code, resolution, 1.0, *penalties)

    # --- predictions --------------------------------------------------------------------------------------------------

    def predict(self, X: MatrixLike) -> NDArray[Any]:
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            The labels, or 0 and 1 for each of several labels.
        """
        return self._decoded(self._outputs(X))

    def predict_proba(self, X: MatrixLike) -> NDArray[Any]:
        """Estimate probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The probability of each class, in the order of `classes_`.
        """
        out = self._outputs(X)
        if self.n_outputs_ > 1:
            return out
        return np.hstack([1 - out, out])

    def predict_log_proba(self, X: MatrixLike) -> NDArray[Any]:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of the probability of each class, in the order of `classes_`.
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):  # a probability of 0 has the logarithm -inf
            np.log(probabilities, out=probabilities)
        return probabilities

    def score(self, X: MatrixLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy of the predicted labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            The right labels; of several labels all must be right.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.

        Returns
        -------
        float
            The share of right predictions.
        """
        if sample_weight is None and type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biu":
            predicted = self.predict(X)
            if predicted.shape == y.shape and predicted.dtype == y.dtype:  # what scikit-learn finds, without its checks
                return float(np.mean(predicted == y))
        return float(super().score(X, y, sample_weight))

    def _decoded(self, out: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of outputs: what `LabelBinarizer.inverse_transform` does, without its checks."""
        classes: NDArray[Any] = self.classes_
        if self._label_binarizer.sparse_input_:
            labels: NDArray[Any] = self._label_binarizer.inverse_transform(out)
            return labels
        if self._is_multiclass:
            return np.asarray(classes.take(out.argmax(axis=1)))
        above = (out > 0.5).astype(np.int64)
        if self._label_binarizer.y_type_ == "multilabel-indicator":
            return above
        return np.asarray(classes.take(above[:, 0])) if len(classes) > 1 else np.repeat(classes, len(out))

    def _decoded_targets(self, data: Data) -> NDArray[Any]:
        """Return labels of encoded targets."""
        array, labels = data.targets
        return self._decoded(array) if array is not None else np.asarray(self.classes_[labels])

    def _score_of_outputs(self, out: NDArray[Any], data: Data) -> float:
        """Return the accuracy of outputs."""
        array, labels = data.targets
        right = out.argmax(axis=1) == labels if array is None else ((out > 0.5) == (array > 0.5)).all(axis=1)
        return float(np.average(right, weights=data.sample_weight))

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's tools must know."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags
