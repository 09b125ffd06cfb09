"""scikit-learn's interface: every parameter, every attribute, what methods return."""
# pyright: strict

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastbp as bp
from fastbp.neural_network import (
    FitDivergedError,
    MLPClassifier,
    MLPEnsembleClassifier,
    MLPEnsembleRegressor,
    MLPGridSearchCV,
    MLPRegressor,
    register_onnx_converters,
)

X, y = np.zeros((8, 2)), np.array(["a", "b"] * 4)

# --- the classifier ---------------------------------------------------------------------------------------------------

clf = MLPClassifier(
    (10, 20),
    ["relu", "logistic"],
    solver="sgd",
    alpha=0.1,
    batch_size="auto",
    learning_rate="adaptive",
    learning_rate_init=0.1,
    power_t=0.5,
    max_iter=10,
    shuffle=False,
    random_state=np.random.RandomState(0),
    tol=0,
    verbose=1,
    warm_start=True,
    momentum=0.5,
    nesterovs_momentum=False,
    early_stopping=True,
    validation_fraction=0.2,
    beta_1=0.9,
    beta_2=0.99,
    epsilon=1e-7,
    n_iter_no_change=np.inf,
    max_fun=10,
    class_weight={"a": 1, "b": 2.5},
    dtype=np.float32,
    initializer="he_normal",
    dropout=[0.1, 0.2],
    l1_penalty=0.1,
    clip_norm=1,
    scoring="accuracy",
    warm_start_optimizer=True,
    weight_normalization="batch",
    n_threads=2,
    progress=True,
)
MLPClassifier(20, learning_rate=bp.Cosine(0.1), class_weight="balanced", scoring=lambda model, X, y: 0.5)
MLPClassifier([10], class_weight={0: 1, 1: 5}, dtype="float64")
assert_type(clf.fit(X, y), MLPClassifier)
assert_type(clf.fit(X.tolist(), y.tolist(), [1.0] * 8, X_val=X, y_val=y).score(X, y), float)
clf.fit(X, ["a", "b"] * 4, eval_set=[(X, y)]).fit(X, y, eval_set=(X, y, np.ones(8)))
assert_type(clf.partial_fit(X, y, classes=["a", "b"]), MLPClassifier)
assert_type(MLPClassifier().fit(X, y).set_params(alpha=0.1), MLPClassifier)
assert_type(clf.get_params(), dict[str, Any])
arrays: list[NDArray[Any]] = [
    clf.predict(X),
    clf.predict_proba(X),
    clf.predict_log_proba(X),
    clf.input_gradient(X),
    clf.classes_,
    *clf.coefs_,
    *clf.intercepts_,
    clf.feature_names_in_,
]
assert_type(clf.loss_, float)
assert_type(clf.loss_curve_, list[float])
assert_type(clf.best_loss_, float | None)
assert_type(clf.validation_scores_, list[float] | None)
assert_type(clf.best_validation_score_, float | None)
assert_type(clf.validation_loss_curve_, list[float] | None)
assert_type(clf.n_iter_, int)
assert_type(clf.t_, int)
assert_type(clf.n_layers_, int)
assert_type(clf.n_outputs_, int)
assert_type(clf.n_features_in_, int)
assert_type(clf.out_activation_, str)
assert_type(clf.network_, bp.Network)
assert_type(clf.alpha, float)
assert_type(clf.learning_rate_init, float)
assert_type(clf.max_iter, int)
assert_type(clf.early_stopping, bool)
clf.alpha, clf.solver, clf.hidden_layer_sizes = 0.2, "lbfgs", (3,)
print(clf.hidden_layer_sizes, clf.activation, clf.batch_size, clf.learning_rate, clf.power_t, clf.shuffle, clf.tol)
print(clf.random_state, clf.verbose, clf.warm_start, clf.momentum, clf.nesterovs_momentum, clf.validation_fraction)
print(clf.beta_1, clf.beta_2, clf.epsilon, clf.n_iter_no_change, clf.max_fun, clf.class_weight, clf.dtype)
print(clf.initializer, clf.dropout, clf.l1_penalty, clf.clip_norm, clf.scoring, clf.warm_start_optimizer)
print(clf.weight_normalization, clf.n_threads, clf.progress)
loss, coef_gradients, intercept_gradients = clf.loss_gradient(X, y)
assert_type(loss, float)
coef_gradients[0] += intercept_gradients[0]


class Mine(MLPClassifier):
    """A class of one's own."""

    def margin(self, X: bp.MatrixLike) -> NDArray[Any]:
        """Return how far the most probable class is ahead."""
        ordered = np.sort(self.predict_proba(X), axis=1)
        return np.asarray(ordered[:, -1] - ordered[:, -2])


assert_type(Mine().fit(X, y), Mine)
clf.save("model.safetensors")
clf.to_onnx("model.onnx")
assert_type(clf.to_c("model.c"), bp.CReport)
assert_type(clf.to_c("model.c", format="q15", calibration=X), bp.FixedPointReport)
again: Mine = bp.load("model.safetensors", custom_classes=[Mine])
register_onnx_converters()

# --- the regressor ----------------------------------------------------------------------------------------------------

reg = MLPRegressor("huber", (10,), "tanh", solver="lm", output_activation="softplus", quantile=0.9, huber_slope=2)
try:
    assert_type(reg.fit(X, X[:, 0]), MLPRegressor)
except FitDivergedError:
    pass
assert_type(reg.partial_fit(X, X), MLPRegressor)
assert_type(reg.score(X, X), float)
predicted: NDArray[Any] = reg.predict(X)
print(reg.loss, reg.output_activation, reg.quantile, reg.huber_slope, reg.n_iter_, reg.loss_curve_, reg.coefs_)

# --- ensembles and searches -------------------------------------------------------------------------------------------

ensemble = MLPEnsembleRegressor(reg, n_estimators=5, bootstrap=True, random_state=0, n_threads=2)
assert_type(ensemble.fit(X, X[:, 0]), MLPEnsembleRegressor)
mean, std = ensemble.predict(X, return_std=True)
predicted = ensemble.predict(X) + mean - std


def perhaps(wanted: bool) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
    """Return what a flag asks for that is known when the program runs."""
    return ensemble.predict(X, return_std=wanted)


low, high = ensemble.predict_quantiles(X, [0.1, 0.9])
assert_type(ensemble.estimators_, list[MLPRegressor])
assert_type(ensemble.estimators_[0].predict(X).ndim, int)
print(ensemble.n_features_in_, ensemble.estimators_samples_[0].sum(), ensemble.n_estimators, ensemble.estimator)
assert_type(ensemble.score(X, y), float)
jury = MLPEnsembleClassifier(clf).fit(X, y)
assert_type(jury, MLPEnsembleClassifier)
mean, std = jury.predict_proba(X, return_std=True)
predicted = jury.predict_proba(X)
predicted = jury.predict(X)
print(jury.classes_[0], jury.score(X, y), jury.estimators_[0].classes_)

search = MLPGridSearchCV(clf, {"alpha": [0.1, 1.0], "solver": ["adam"]}, cv=3, scoring="accuracy", n_jobs=-1)
assert_type(search.fit(X, y), MLPGridSearchCV)
search.fit(X, y, sample_weight=np.ones(8))
assert_type(search.best_params_, dict[str, Any])
assert_type(search.best_score_, float)
assert_type(search.best_index_, int)
assert_type(search.cv_results_, dict[str, Any])
best: MLPClassifier = search.best_estimator_
predicted = search.predict(X)
print(search.score(X, y), search.n_splits_, search.refit_time_, search.param_grid, search.classes_, search.scorer_)
