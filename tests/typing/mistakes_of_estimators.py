"""Mistakes in programs with estimators; `E` marks lines as in ``mistakes.py``.

mypy has no types of scikit-learn, so that its base classes may have any attribute: it finds no misspelt one.
"""

import numpy as np

import fastbp as bp
from fastbp.dask import DaskMLPClassifier
from fastbp.neural_network import MLPClassifier, MLPEnsembleRegressor, MLPGridSearchCV, MLPRegressor

X, y = np.zeros((8, 2)), np.zeros(8)
clf = MLPClassifier().fit(X, y)
MLPClassifier(activation="sigmoid")  # E
MLPClassifier((5, 5), ["relu", "rulu"])  # E
MLPClassifier(hidden_layer_sizes="100")  # E
MLPClassifier(hidden_layers=(100,))  # E
MLPClassifier(solver="lm")  # E
MLPClassifier(solver="rmsprop")  # E
MLPClassifier(learning_rate=0.1)  # E
MLPClassifier(learning_rate="invscale")  # E
MLPClassifier(alpha="0.1")  # E
MLPClassifier(batch_size=None)  # E
MLPClassifier(class_weight="auto")  # E
MLPClassifier(dtype="float16")  # E
MLPClassifier(initializer="xavier")  # E
MLPClassifier(weight_normalization="rows")  # E
MLPClassifier(n_threads="all")  # E
MLPClassifier(random_state=np.random.default_rng(0))  # E
MLPClassifier((5,), "relu", "adam")  # E
MLPClassifier(scoring=lambda y, y_pred: 0.5)  # E
MLPRegressor("mse")  # E
MLPRegressor((100,))  # E
MLPRegressor(output_activation="softmax")  # E
MLPRegressor(loss=bp.Activation)  # E
clf.solver = "lbgfs"  # E
clf.alpha = "0.1"  # E
clf.class_weight = "auto"  # E
clf.fit(X)  # E
clf.fit("rows.csv", y)  # E
clf.fit(X, y, X_test=X)  # E
clf.fit(X, y, eval_set=(X,))  # E
clf.predict()  # E
clf.predict("rows.csv")  # E
clf.predict(X, return_std=True)  # E
clf.score(X)  # E
clf.loss_curve_.mean()  # E
clf.best_loss_ + 1  # E
clf.n_iter_[0]  # E
clf.losses_  # E: pyright
clf.los_curve_  # E: pyright
MLPRegressor().predict_proba(X)  # E: pyright
clf.network_.predict_proba(X)  # E
clf.save(3)  # E
ensemble = MLPEnsembleRegressor(MLPClassifier())  # E: pyright
MLPEnsembleRegressor(n_estimators="10")  # E
mean, std = ensemble.fit(X, y).predict(X)[0, :, "x"]  # E
ensemble.predict(X, return_std=True).mean()  # E
ensemble.estimators_.predict(X)  # E
MLPGridSearchCV(clf)  # E
MLPGridSearchCV(clf, {"alpha": 0.1})  # E
MLPGridSearchCV(clf, {"alpha": [0.1]}, folds=3)  # E
MLPGridSearchCV(clf, {"alpha": [0.1]}).fit(X, y).best_params_.alpha  # E
DaskMLPClassifier(activation="rulu")  # E
DaskMLPClassifier(solvr="adam")  # E
DaskMLPClassifier(client="tcp://scheduler:8786")  # E
