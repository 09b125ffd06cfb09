"""Training on Dask."""

from typing import Any, assert_type

import dask.array as da
from distributed import Client
from numpy.typing import NDArray

import fastbp as bp
import fastbp.dask as on_dask
from fastbp.dask import DaskMLPClassifier, DaskMLPRegressor
from fastbp.neural_network import MLPClassifier, MLPRegressor


def train(client: Client) -> bp.History:
    """Train on a cluster."""
    return on_dask.fit(net, X, y, 3, client=client, average_every=10, persist=False, validation_data=(X, y))


X = on_dask.from_memmap("rows.npy", chunk_rows=100)
y = X[:, 0]
net = bp.Network([2, 4, 1])
assert_type(on_dask.fit(net, X, y, optimizer=bp.LBFGS()), bp.History)
outputs: da.Array = on_dask.predict(net, X)

clf = DaskMLPClassifier((10,), "relu", alpha=0.1, solver="lbfgs", class_weight="balanced", client=None, persist=False)
assert_type(clf.fit(X, y), DaskMLPClassifier)
lazy: da.Array = clf.predict(X)
lazy = clf.predict_proba(X)
lazy = clf.predict_log_proba(X)
assert_type(clf.score(X, y), float)
assert_type(clf.to_local(), MLPClassifier)
labels: NDArray[Any] = clf.to_local().predict([[0.1, 0.2]])
print(clf.classes_, clf.loss_curve_, clf.n_iter_, clf.alpha, clf.average_every, clf.persist, clf.client, clf.client_)
clf.save("model.safetensors")
reg = DaskMLPRegressor("huber", (10,), average_every=5).fit(X, y, eval_set=(X, y))
assert_type(reg, DaskMLPRegressor)
assert_type(reg.to_local(), MLPRegressor)
lazy = reg.predict(X)
