"""fastbp: train and differentiate feed-forward neural networks on the CPU, fast.

>>> import fastbp as bp
>>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
>>> cost, grad = net.value_and_grad([[0.5, -1.0]], [[1.0]])
>>> grad.shape
(13,)
"""

from fastbp.functions import Activation, Loss
from fastbp.history import EarlyStopping, History
from fastbp.learning_rate_finder import LearningRateRange, find_learning_rate
from fastbp.network import LayerTrace, Network, Trace
from fastbp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.schedules import Constant, Cosine, InverseScaling, OneCycle, Schedule, Step
from fastbp.trainer import TrainingDivergedError
from fastbp.version import __version__

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "History",
    "InverseScaling",
    "LayerTrace",
    "LearningRateRange",
    "Loss",
    "Network",
    "OneCycle",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "Step",
    "Trace",
    "TrainingDivergedError",
    "__version__",
    "find_learning_rate",
]
