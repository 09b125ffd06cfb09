"""fastbp: train and differentiate feed-forward neural networks on the CPU, fast.

>>> import fastbp as bp
>>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
>>> cost, grad = net.value_and_grad([[0.5, -1.0]], [[1.0]])
>>> grad.shape
(13,)
"""

from fastbp.definition import ActivationSpec, OutputSpec
from fastbp.diagnostics import DiagnosticReport, DiagnosticWatch, LayerDiagnosis, diagnose
from fastbp.files import FileError, PathLike
from fastbp.functions import Activation, Loss
from fastbp.history import Callback, EarlyStopping, History
from fastbp.learning_rate_finder import LearningRateRange, find_learning_rate
from fastbp.loading import load
from fastbp.names import ActivationName, InitializerName, LossName, OutputName
from fastbp.network import LayerTrace, Network, Trace
from fastbp.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.perturbation import (
    FiniteDifferenceResult,
    GradientReport,
    LayerCheck,
    RandomSearchResult,
    check_gradient,
    finite_difference_gradient,
    node_perturbation,
    random_weight_search,
)
from fastbp.schedules import Constant, Cosine, InverseScaling, OneCycle, Schedule, Step
from fastbp.threads import get_num_threads, num_threads, set_num_threads
from fastbp.torch_parameters import from_torch_state_dict
from fastbp.trainer import TrainingDivergedError
from fastbp.version import __version__
from fastbp.warmup import warmup
from fastbp.weight_history import WeightHistory

__all__ = [
    "SGD",
    "Activation",
    "ActivationName",
    "ActivationSpec",
    "Adam",
    "AdamW",
    "Callback",
    "Constant",
    "Cosine",
    "DiagnosticReport",
    "DiagnosticWatch",
    "EarlyStopping",
    "FileError",
    "FiniteDifferenceResult",
    "GradientReport",
    "History",
    "InitializerName",
    "InverseScaling",
    "LayerCheck",
    "LayerDiagnosis",
    "LayerTrace",
    "LearningRateRange",
    "Loss",
    "LossName",
    "Network",
    "OneCycle",
    "Optimizer",
    "OutputName",
    "OutputSpec",
    "PathLike",
    "RMSprop",
    "RandomSearchResult",
    "Schedule",
    "Step",
    "Trace",
    "TrainingDivergedError",
    "WeightHistory",
    "__version__",
    "check_gradient",
    "diagnose",
    "find_learning_rate",
    "finite_difference_gradient",
    "from_torch_state_dict",
    "get_num_threads",
    "load",
    "node_perturbation",
    "num_threads",
    "random_weight_search",
    "set_num_threads",
    "warmup",
]
