"""
Ten minutes
===========

For those who know NumPy and have not used fastbp yet.  Afterwards you can make a network, train it, look at what
happened, predict, save it, and hand its gradient to another library.

Install it with its pictures::

    python -m pip install "fastbp[plot]"

The first call compiles the kernels, about ten seconds for each dtype.  They are kept on disk, so later programs begin
at once.
"""

# %%
# Data
# ----
# X has a sample in each row and a feature in each column.  Here are two half moons, which no straight line separates.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split

import fastbp as bp
from fastbp.plotting import DecisionBoundaryDisplay

X, y = make_moons(400, noise=0.2, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
print(X_train.shape, y_train.shape, X_train.dtype)

# %%
# A network
# ---------
# :class:`fastbp.Network` takes the sizes of the layers, inputs first.  This one has 2 inputs, two hidden layers
# of 16 and 8 neurons, and one output between 0 and 1.  The seed decides the initial weights.

net = bp.Network(
    [2, 16, 8, 1],
    activation="tanh",
    output="sigmoid",
    loss="cross_entropy",
    seed=0,
)
net

# %%
# All its parameters are one flat vector, :attr:`fastbp.Network.params`.  The weights and biases of the layers are
# views into it: write to one, and the other has changed.

print(net.n_params, "parameters")
print([W.shape for W in net.weights], [b.shape for b in net.biases])
assert all(np.shares_memory(W, net.params) for W in net.weights)
assert net.n_params == net.params.size == 2 * 16 + 16 + 16 * 8 + 8 + 8 + 1

# %%
# Training
# --------
# :meth:`fastbp.Network.fit` shuffles the rows in each epoch and takes a step for each mini-batch.  The seed decides
# the order, so the program below gives the same bits whenever it runs, on any number of threads.

history = net.fit(
    X_train,
    y_train,
    epochs=200,
    batch_size=32,
    optimizer=bp.Adam(learning_rate=0.01),
    validation_data=(X_test, y_test),
    seed=0,
)
history

# %%
# The :class:`fastbp.History` holds arrays with a number for each epoch, and draws them.

print("loss:", history.loss[[0, 9, 99, 199]].round(4))
print("lowest validation loss in epoch", history.best_epoch + 1)
fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
history.plot(ax=ax)
assert len(history.loss) == len(history.val_loss) == 200
assert history.loss[-1] < 0.2 * history.loss[0]
assert history.best_epoch < 100

# %%
# The training loss goes on falling while the validation loss has long been as low as it gets: the network begins to
# learn the noise.  :class:`fastbp.EarlyStopping` ends a fit in time and brings the best parameters back.

stopped = bp.Network(
    [2, 16, 8, 1],
    activation="tanh",
    output="sigmoid",
    loss="cross_entropy",
    seed=0,
)
stopped_history = stopped.fit(
    X_train,
    y_train,
    epochs=200,
    batch_size=32,
    optimizer=bp.Adam(learning_rate=0.01),
    validation_data=(X_test, y_test),
    early_stopping=bp.EarlyStopping(patience=20),
    seed=0,
    n_threads=1,
)
print(len(stopped_history), "epochs, stopped by", stopped_history.stopped_by)
assert stopped_history.stopped_by == "early_stopping"
# the same bits up to there
assert np.array_equal(
    stopped_history.loss, history.loss[: len(stopped_history)]
)

# %%
# Prediction
# ----------
# :meth:`fastbp.Network.predict` returns an array with a row for each sample and a column for each output.

outputs = stopped.predict(X_test)
accuracy = ((outputs[:, 0] > 0.5) == y_test).mean()
print(outputs.shape, f"{accuracy:.0%} of the test samples are right")
assert accuracy > 0.9

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
display = DecisionBoundaryDisplay.from_network(stopped, X_test, y_test, ax=ax)

# %%
# Files
# -----
# :meth:`fastbp.Network.save` writes one file, :func:`fastbp.load` reads it.  Nothing in a file is run, so one from
# elsewhere can do no harm.

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "moons.fastbp"
    stopped.save(path)
    loaded = bp.load(path)

assert np.array_equal(loaded.predict(X_test), outputs)

# %%
# The gradient
# ------------
# :meth:`fastbp.Network.value_and_grad` returns the cost and its gradient by all parameters, in the order of
# ``params``.

cost, grad = stopped.value_and_grad(X_train, y_train)
print(
    f"cost {cost:.4f}, gradient {grad.shape} of norm {np.linalg.norm(grad):.4f}"
)

# %%
# That is all that an optimizer of SciPy asks for.  The third argument is a vector of parameters to use instead of the
# network's own.  A small penalty on the weights keeps them small.

net = bp.Network(
    [2, 16, 8, 1],
    activation="tanh",
    output="sigmoid",
    loss="cross_entropy",
    l2_penalty=1e-3,
    seed=0,
)
result = scipy.optimize.minimize(
    lambda params: net.value_and_grad(X_train, y_train, params),
    net.params,
    jac=True,
    method="L-BFGS-B",
    options={"maxiter": 60},
)
before = net.loss_value(X_train, y_train)
net.params = result.x
print(
    f"cost {before:.4f} before, {result.fun:.4f} after {result.nit} iterations"
)
assert result.fun < 0.5 * before
assert np.isclose(net.loss_value(X_train, y_train), result.fun, rtol=1e-12)

# %%
# Is it right?  :func:`fastbp.check_gradient` moves one parameter after the other and looks what the cost does.  It
# says so for each layer, and it checks a gradient of your own as well.

report = bp.check_gradient(stopped, X_train, y_train)
print(report)
assert report.ok

# %%
# Where to go on
# --------------
# * You have a program with scikit-learn's networks: :ref:`sphx_glr_auto_guides_02_from_scikit_learn.py`.
# * You come from a library with tensors: :ref:`sphx_glr_auto_guides_03_from_pytorch_or_keras.py`.
# * You fit curves or solve equations: :ref:`sphx_glr_auto_guides_04_scipy_and_physics.py`.
# * You want to see every number of backpropagation: :ref:`sphx_glr_auto_guides_05_textbook.py`.
# * Many networks in one call: :doc:`/many`.  Every derivative there is: :doc:`/derivatives`.
