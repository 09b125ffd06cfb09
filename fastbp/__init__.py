"""fastbp: train and differentiate feed-forward neural networks on the CPU, fast.

>>> import fastbp as bp
>>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
>>> cost, grad = net.value_and_grad([[0.5, -1.0]], [[1.0]])
>>> grad.shape
(13,)
"""

from fastbp.system.versions import explained as _explained
from fastbp.version import __version__

with _explained(__version__):  # the first import of all other libraries
    from fastbp.network import Network

from fastbp.derivatives.input_derivatives import InputDerivatives
from fastbp.derivatives.linearized_inputs import InputLinearization
from fastbp.derivatives.perturbation import (
    FiniteDifferenceResult,
    RandomSearchResult,
    finite_difference_gradient,
    node_perturbation,
    random_weight_search,
)
from fastbp.engine.threads import get_num_threads, num_threads, set_num_threads
from fastbp.environment import show_versions
from fastbp.export.c_source import CReport
from fastbp.export.fixed_report import FixedPointReport
from fastbp.export.njit import CompiledNetwork
from fastbp.export.njit_methods import network_at
from fastbp.export.predict_many import predict_many
from fastbp.functions.names import ActivationName, DTypeName, InitializerName, LossName, OutputName
from fastbp.functions.own import Activation, Loss
from fastbp.inspection.diagnostics import DiagnosticReport, DiagnosticWatch, LayerDiagnosis, diagnose
from fastbp.inspection.gradient_check import GradientReport, LayerCheck, check_gradient
from fastbp.inspection.weight_history import WeightHistory
from fastbp.loading import from_onnx, from_torch_state_dict, load
from fastbp.model.definition import ActivationSpec, OutputSpec
from fastbp.model.trace import LayerTrace, Trace
from fastbp.old_names import register as _register_old_names
from fastbp.storage.atomic import FileError, PathLike
from fastbp.training.bayesian_regularization import BayesianRegularization
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.history import Callback, History
from fastbp.training.lbfgs import LBFGS
from fastbp.training.learning_rate_finder import LearningRateRange, find_learning_rate
from fastbp.training.levenberg_marquardt import LevenbergMarquardt
from fastbp.training.many import fit_many
from fastbp.training.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from fastbp.training.schedules import Constant, Cosine, InverseScaling, OneCycle, Schedule, Step
from fastbp.training.state import TrainingDivergedError
from fastbp.training.whole_batch import WholeBatchOptimizer
from fastbp.validation.matrix_like import MatrixLike
from fastbp.warmup import warmup

_register_old_names()

__all__ = [
    "LBFGS",
    "SGD",
    "Activation",
    "ActivationName",
    "ActivationSpec",
    "Adam",
    "AdamW",
    "BayesianRegularization",
    "CReport",
    "Callback",
    "CompiledNetwork",
    "Constant",
    "Cosine",
    "DTypeName",
    "DiagnosticReport",
    "DiagnosticWatch",
    "EarlyStopping",
    "FileError",
    "FiniteDifferenceResult",
    "FixedPointReport",
    "GradientReport",
    "History",
    "InitializerName",
    "InputDerivatives",
    "InputLinearization",
    "InverseScaling",
    "LayerCheck",
    "LayerDiagnosis",
    "LayerTrace",
    "LearningRateRange",
    "LevenbergMarquardt",
    "Loss",
    "LossName",
    "MatrixLike",
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
    "WholeBatchOptimizer",
    "__version__",
    "check_gradient",
    "diagnose",
    "find_learning_rate",
    "finite_difference_gradient",
    "fit_many",
    "from_onnx",
    "from_torch_state_dict",
    "get_num_threads",
    "load",
    "network_at",
    "node_perturbation",
    "num_threads",
    "predict_many",
    "random_weight_search",
    "set_num_threads",
    "show_versions",
    "warmup",
]
