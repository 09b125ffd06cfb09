"""Pictures; the only part that imports matplotlib, and it does so when a picture is asked for.

Every display follows scikit-learn's convention: ``SomethingDisplay.from_network(...)`` (or ``from_estimator``,
``from_history``) draws and returns the display, which has the axes as `ax_` and the figure as `figure_`;
``display.plot(ax=...)`` draws it again.  Nothing is shown and nothing is saved: call ``plt.show()`` or
``display.figure_.savefig(...)``.

>>> import fastbp as bp
>>> from fastbp.plotting import ActivationDisplay
>>> ActivationDisplay.from_names(["tanh"]).ax_.get_xlabel()
'weighted input z (no unit)'
"""

from fastbp.plotting.activations import ActivationDisplay
from fastbp.plotting.boundary import DecisionBoundaryDisplay
from fastbp.plotting.confusion import ConfusionDisplay
from fastbp.plotting.curves import HistoryDisplay
from fastbp.plotting.diagram import NetworkDisplay
from fastbp.plotting.first_layer import FirstLayerDisplay
from fastbp.plotting.mistakes import MistakesDisplay
from fastbp.plotting.rates import LearningRateDisplay, ScheduleDisplay
from fastbp.plotting.surface import ErrorSurfaceDisplay
from fastbp.plotting.times import GradientTimesDisplay
from fastbp.plotting.weights import WeightHistoryDisplay

__all__ = [
    "ActivationDisplay",
    "ConfusionDisplay",
    "DecisionBoundaryDisplay",
    "ErrorSurfaceDisplay",
    "FirstLayerDisplay",
    "GradientTimesDisplay",
    "HistoryDisplay",
    "LearningRateDisplay",
    "MistakesDisplay",
    "NetworkDisplay",
    "ScheduleDisplay",
    "WeightHistoryDisplay",
]
