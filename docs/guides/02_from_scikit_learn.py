"""
From scikit-learn
=================

For those who have a program with ``MLPClassifier`` or ``MLPRegressor``.  Afterwards you know which line changes, which
numbers stay the same, what is different on purpose, and what you can do beyond scikit-learn.
"""

# %%
# One import changes
# ------------------
# .. code-block:: python
#
#     # from sklearn.neural_network import MLPClassifier
#     from fastbp.neural_network import MLPClassifier
#
# Everything else stays as it is.  This page imports both, to lay them beside each other.

import pickle
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import sklearn
import sklearn.neural_network
import threadpoolctl
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp as bp
from fastbp.neural_network import (
    FitDivergedError,
    MLPClassifier,
    MLPGridSearchCV,
    MLPRegressor,
)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, stratify=y, random_state=0
)
settings = {
    "hidden_layer_sizes": (64,),
    "max_iter": 30,
    "batch_size": 50,
    "random_state": 0,
}

# %%
# A warning to filter
# -------------------
# Where the epochs are few, both libraries warn that the fit has not converged, with the same category and the same
# words.  Filters that you have go on to work: by category, by message, and by ``module="sklearn"``, although the
# warning of :class:`fastbp.neural_network.MLPClassifier` points at the line of your program that called ``fit``.

few = settings | {"max_iter": 2}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    MLPClassifier(**few).fit(X_train[:200], y_train[:200])
    sklearn.neural_network.MLPClassifier(**few).fit(
        X_train[:200], y_train[:200]
    )

messages = [str(warning.message) for warning in caught]
print(caught[0].category.__name__)
print(textwrap.fill(messages[0], 80))
assert [warning.category for warning in caught] == 2 * [ConvergenceWarning]
print("points at", Path(caught[0].filename).name)
assert messages[0] == messages[1]
assert "neural_network" not in caught[0].filename
assert "neural_network" in caught[1].filename

# %%
# The few epochs are meant, so the warning is filtered from here on, in a ``with`` block around each fit.  There BLAS,
# which scikit-learn multiplies matrices with, has one thread: for products as small as these more of them only wait
# for each other.  fastbp has threads of its own.


def quietly(model, *data, **more):
    """Fit a model of either library without the warning that the epochs are few."""
    with warnings.catch_warnings(), threadpoolctl.threadpool_limits(1, "blas"):
        warnings.filterwarnings(
            "ignore", category=ConvergenceWarning, module="sklearn"
        )
        return model.fit(*data, **more)


# %%
# The same numbers
# ----------------
# With the same ``random_state`` both draw the same initial weights and the same orders of the rows.  What differs are
# the last bits of sums, which are added in another order.

began = time.perf_counter()
theirs = quietly(
    make_pipeline(
        StandardScaler(), sklearn.neural_network.MLPClassifier(**settings)
    ),
    X_train,
    y_train,
)
their_seconds = time.perf_counter() - began

began = time.perf_counter()
ours = quietly(
    make_pipeline(StandardScaler(), MLPClassifier(**settings)), X_train, y_train
)
our_seconds = time.perf_counter() - began

distance = np.abs(
    np.subtract(ours[-1].loss_curve_, theirs[-1].loss_curve_)
).max()
apart = max(
    np.abs(a - b).max()
    for a, b in zip(ours[-1].coefs_, theirs[-1].coefs_, strict=True)
)
print(f"loss curves differ by {distance:.0e} at most, weights by {apart:.0e}")
assert distance < 1e-8
assert apart < 1e-6
assert np.array_equal(ours.predict(X_test), theirs.predict(X_test))

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
epochs = np.arange(1, ours[-1].n_iter_ + 1)
ax.plot(
    epochs,
    theirs[-1].loss_curve_,
    color="0.7",
    linewidth=6,
    label="scikit-learn",
)
ax.plot(epochs, ours[-1].loss_curve_, "k--", label="fastbp")
ax.set(xlabel="epoch", ylabel="loss (mean cost per sample)", yscale="log")
legend = ax.legend(frameon=False)

# %%
# The same ``random_state`` gives the same bits again in fastbp, on any number of threads.

again = quietly(
    make_pipeline(StandardScaler(), MLPClassifier(n_threads=1, **settings)),
    X_train,
    y_train,
)
assert all(
    np.array_equal(a, b)
    for a, b in zip(again[-1].coefs_, ours[-1].coefs_, strict=True)
)

# %%
# Faster
# ------
# This is what both fits have taken on the computer that made this page, once each.  :doc:`/scikit-learn` says what is
# to be expected elsewhere, and what else makes a fit shorter.

print(f"scikit-learn {their_seconds:.2f} s, fastbp {our_seconds:.2f} s")
print(f"{their_seconds / our_seconds:.1f} times faster")

# %%
# Different on purpose
# --------------------
# A fit that diverges raises an error in both.  In scikit-learn the model is lost.  Here
# :class:`fastbp.neural_network.FitDivergedError` is a ``ValueError`` too, and the model keeps its last finite
# weights.

model_settings = {
    "activation": "identity",
    "solver": "sgd",
    "learning_rate_init": 10,
    "max_iter": 3,
    "random_state": 0,
}
model = MLPRegressor(**model_settings)
try:
    model.fit(X_train, y_train)
except ValueError as error:
    print(textwrap.fill(f"{type(error).__name__}: {error}", 80))
    assert type(error) is FitDivergedError
else:
    raise AssertionError("the fit did not diverge")
assert all(np.isfinite(W).all() for W in model.coefs_)

lost = sklearn.neural_network.MLPRegressor(**model_settings)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of overflow
    try:
        quietly(lost, X_train, y_train)
    except ValueError:
        assert not any(np.isfinite(W).all() for W in lost.coefs_)

# %%
# A name that other libraries have for an activation is refused with a hint.

try:
    MLPClassifier(activation="swish").fit(X_train, y_train)
except ValueError as error:
    print(str(error).rpartition(". ")[2])
    assert "Did you mean 'silu'?" in str(error)
else:
    raise AssertionError("the name was not refused")

# %%
# :doc:`/scikit-learn` lists every difference that is meant, and why.  All others are faults.
#
# Early stopping with your own validation data
# --------------------------------------------
# scikit-learn sets rows aside.  Here ``fit`` also takes ``X_val`` and ``y_val``, and the network ends with the
# weights of the best epoch.

X_fit, X_val, y_fit, y_val = train_test_split(
    X_train, y_train, stratify=y_train, random_state=0
)
scaler = StandardScaler().fit(X_fit)
early = MLPClassifier(
    early_stopping=True, n_iter_no_change=5, max_iter=200, random_state=0
)
scaled_val = scaler.transform(X_val)
early.fit(scaler.transform(X_fit), y_fit, X_val=scaled_val, y_val=y_val)
print(f"{early.n_iter_} epochs, best score {early.best_validation_score_:.3f}")
assert early.n_iter_ < 200
assert early.best_validation_score_ == early.score(scaled_val, y_val)

# %%
# In a ``Pipeline`` the validation data go through the scaler as well, with ``transform_input``.

with sklearn.config_context(enable_metadata_routing=True):
    last = MLPClassifier(
        early_stopping=True, n_iter_no_change=5, max_iter=200, random_state=0
    )
    last.set_fit_request(X_val=True, y_val=True)
    pipeline = make_pipeline(StandardScaler(), last, transform_input=["X_val"])
    pipeline.fit(X_fit, y_fit, X_val=X_val, y_val=y_val)
assert pipeline[-1].validation_scores_ == early.validation_scores_

# %%
# More arguments
# --------------
# ``class_weight``, ``dtype``, ``dropout``, further activations and losses, schedules and more: their defaults change
# nothing.  Here is a regression of the upper tenth, by the quantile loss, with another activation in each layer.

rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, (1000, 1))
spread = 0.3 + 0.2 * x[:, 0]  # grows from left to right
noisy = np.sin(3 * x[:, 0]) + spread * rng.standard_normal(1000)
upper = MLPRegressor(
    loss="quantile",
    quantile=0.9,
    hidden_layer_sizes=(30, 30),
    activation=["tanh", "silu"],
    learning_rate_init=0.003,
    n_iter_no_change=200,
    random_state=0,
)
quietly(upper, x, noisy)
below = (noisy < upper.predict(x)).mean()
print(f"{below:.0%} of the points are below the curve")
assert 0.85 < below < 0.95

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
grid = np.linspace(-1, 1, 200)[:, None]
true_quantile = np.sin(3 * grid[:, 0]) + 1.2816 * (0.3 + 0.2 * grid[:, 0])
ax.plot(x[:, 0], noisy, ".", color="0.7", markersize=3, label="points")
ax.plot(grid, upper.predict(grid), "k", label="quantile 0.9 by MLPRegressor")
ax.plot(grid, true_quantile, "k:", label="true quantile")
ax.set(xlabel="x (no unit)", ylabel="y (no unit)")
legend = ax.legend(frameon=False)
assert np.abs(upper.predict(grid) - true_quantile).mean() < 0.1

# %%
# The network inside is ``network_``, a :class:`fastbp.Network` with all its methods: gradients, Jacobians, exports.

print(ours[-1].network_)
cost, grad = ours[-1].network_.value_and_grad(ours[0].transform(X_test), y_test)
assert grad.shape == (ours[-1].network_.n_params,)

# %%
# Searches
# --------
# scikit-learn's ``GridSearchCV`` takes our estimators.  :class:`fastbp.neural_network.MLPGridSearchCV` finds the same
# scores and trains all points and folds side by side.

search = {
    "hidden_layer_sizes": [(8,), (32,)],
    "learning_rate_init": [0.001, 0.01],
}
base = MLPClassifier(max_iter=15, random_state=0)
X_scaled = StandardScaler().fit_transform(X_train)
slow = quietly(GridSearchCV(base, search, cv=3), X_scaled, y_train)
fast = quietly(MLPGridSearchCV(base, search, cv=3), X_scaled, y_train)
print(fast.best_params_, f"{fast.best_score_:.3f}")
assert np.array_equal(
    slow.cv_results_["mean_test_score"], fast.cv_results_["mean_test_score"]
)
assert fast.best_params_ == slow.best_params_

# %%
# Files
# -----
# ``joblib`` and ``pickle`` work as always.  :meth:`fastbp.neural_network.MLPClassifier.save` and :func:`fastbp.load`
# write and read one file that runs no code and that later versions read too.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "digits.fastbp"
    early.save(path)
    loaded = bp.load(path)
unpickled = pickle.loads(pickle.dumps(early))
scaled_test = scaler.transform(X_test)
for copied in (loaded, unpickled):
    assert type(copied) is MLPClassifier
    assert np.array_equal(
        copied.predict(scaled_test), early.predict(scaled_test)
    )

# %%
# For ONNX there is ``model.to_onnx(path)``; a whole pipeline is converted by skl2onnx after
# :func:`fastbp.neural_network.register_onnx_converters`.  :doc:`/onnx` says more, and :doc:`/c` how a model becomes
# C.
