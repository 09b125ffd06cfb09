"""Displays, and what they have as attributes."""

from typing import assert_type

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import fastbp as bp
from fastbp.neural_network import MLPClassifier
from fastbp.plotting import (
    ActivationDisplay,
    ConfusionDisplay,
    DecisionBoundaryDisplay,
    ErrorSurfaceDisplay,
    FirstLayerDisplay,
    GradientTimesDisplay,
    HistoryDisplay,
    MistakesDisplay,
    NetworkDisplay,
    WeightHistoryDisplay,
)

X, y = np.zeros((8, 2)), np.zeros(8, np.int64)
net, clf = bp.Network([2, 4, 1]), MLPClassifier().fit(X, y)
weights = bp.WeightHistory(net, sample=3, seed=0)
history = net.fit(X, y, callbacks=[weights])

figure, ax = plt.subplots()
axes: Axes = history.plot(ax)
history.plot()
display = HistoryDisplay.from_history(history, ax=ax)
assert_type(display, HistoryDisplay)
assert_type(display.plot(), HistoryDisplay)
display.ax_.set_title("loss")
display.figure_.savefig("loss.png")
print(display.lines_[0].get_color(), history.plot().get_title())
HistoryDisplay([1.0, 0.5], quantity="loss (no unit)").plot(ax=ax)
HistoryDisplay.from_estimator(clf)
ActivationDisplay.from_names(["relu", "tanh"], limits=(-1, 1)).plot()
ActivationDisplay.from_network(net)
assert_type(DecisionBoundaryDisplay.from_network(net, X, y, ax=ax), DecisionBoundaryDisplay)
DecisionBoundaryDisplay.from_estimator(clf, X, class_names=("a", "b"), grid_resolution=10)
ConfusionDisplay.from_predictions(y, clf.predict(X), classes=clf.classes_.tolist())
ConfusionDisplay.from_estimator(clf, X, y)
ErrorSurfaceDisplay.from_network(net, X, y, parameters=(0, 3), path=weights, limits=((-1, 1), (0, 2)))
FirstLayerDisplay.from_network(net, shape=(1, 2))
GradientTimesDisplay.from_networks([net], n_rows=10)
MistakesDisplay.from_network(net, X, y, n_images=3, shape=(1, 2))
NetworkDisplay.from_network(net, X[:1], y[:1], arrows="steps")
WeightHistoryDisplay.from_history(weights, sample=2)
plt.show()
