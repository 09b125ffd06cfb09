"""Names of other libraries get the hint that is meant, and the types of names are the tables that the library uses."""

from typing import Literal, get_args, get_origin

import pytest

import fastbp as bp
from fastbp.functions import activations, losses, names
from fastbp.model import initializers
from fastbp.neural_network import parameters, types
from fastbp.validation import DTYPES

# As their users write them: scikit-learn, Keras, torch.nn and torch.nn.functional, jax.nn, MATLAB, FANN.
HINTS = {
    "output": {
        "linear": "'identity'",
        "none": "'identity'",
        "logistic": "'sigmoid'",
        "swish": "'silu'",
        "SiLU": "'silu'",
        "LeakyReLU": "'leaky_relu'",
        "log_softmax": "'softmax'",
        "exponential": "'exp'",
        "tansig": "'tanh'",
        "logsig": "'sigmoid'",
        "FANN_SIGMOID_SYMMETRIC": None,  # C's constants are too far from any name
        "sin": "'sine'",
        "maxout": None,
    },
    "loss": {
        "mse": "'quadratic'",
        "MSELoss": "'quadratic'",
        "mean_squared_error": "'quadratic'",
        "squared_error": "'quadratic'",
        "mae": "'absolute'",
        "L1Loss": "'absolute'",
        "absolute_error": "'absolute'",
        "log_loss": "'cross_entropy'",
        "logistic": "'cross_entropy'",
        "crossentropy": "'cross_entropy'",
        "binary_crossentropy": "'cross_entropy'",
        "sparse_categorical_crossentropy": "'cross_entropy'",
        "CrossEntropyLoss": "'cross_entropy'",
        "BCEWithLogitsLoss": "'cross_entropy'",
        "nll_loss": "'cross_entropy'",
        "SmoothL1Loss": "'huber'",
        "huber_loss": "'huber'",
        "logcosh": "'log_cosh'",
        "pinball": "'quantile'",
        "PoissonNLLLoss": "'poisson'",
        "hinge": None,
    },
    "initializer": {
        "xavier_uniform": "'glorot_uniform'",
        "xavier_normal": "'glorot_normal'",
        "xavier": "'glorot_uniform' or 'glorot_normal'",
        "glorot": "'glorot_uniform' or 'glorot_normal'",
        "GlorotUniform": "'glorot_uniform'",
        "he": "'he_uniform' or 'he_normal'",
        "kaiming": "'he_uniform' or 'he_normal'",
        "kaiming_normal_": "'he_normal'",
        "lecun_normal": "'scaled_normal'",
        "orthogonal": None,
    },
}


@pytest.mark.parametrize(
    ("argument", "name", "hint"), [(argument, *row) for argument, rows in HINTS.items() for row in rows.items()]
)
def test_hint_for_a_name_of_another_library(argument, name, hint):
    with pytest.raises(ValueError, match=f"^`{argument}` must be the name of ") as caught:
        bp.Network([3, 4, 2], **{argument: name})
    begin = f"; got {name!r}. " + ("Known names: " if hint is None else f"Did you mean {hint}? Known names: ")
    assert begin in str(caught.value)


def test_every_name_of_the_table_leads_somewhere():
    own = {*activations.ACTIVATION_NAMES, *losses.LOSS_NAMES, *initializers.names(), *parameters.NETWORK_LOSSES}
    own |= {*parameters.NETWORK_NAMES, *parameters.STOCHASTIC_SOLVERS, "lbfgs"}
    for name, meant in names._ELSEWHERE.items():
        assert name == names._letters(name)
        assert meant
        assert own.issuperset(meant)
        assert name not in meant


def test_types_of_names_are_the_tables():
    assert get_args(names.ActivationName) == activations.OF_ONE_Z
    assert (*get_args(names.ActivationName), "softmax") == activations.ACTIVATION_NAMES
    outputs = [name for part in get_args(names.OutputName) for name in get_args(part)]
    assert tuple(outputs) == activations.ACTIVATION_NAMES
    assert get_args(names.LossName) == losses.LOSS_NAMES
    assert get_args(names.DTypeName) == DTYPES
    assert get_args(names.InitializerName) == initializers.names()


@pytest.mark.parametrize(
    ("constraint", "type_of_names"),
    [
        (parameters.REGRESSOR_CONSTRAINTS["activation"], types.HiddenName),
        (parameters.CLASSIFIER_CONSTRAINTS["solver"], types.ClassifierSolver),
        (parameters.REGRESSOR_CONSTRAINTS["solver"], types.RegressorSolver),
        (parameters.REGRESSOR_CONSTRAINTS["loss"], types.RegressorLossName),
        (parameters.CLASSIFIER_CONSTRAINTS["batch_size"], types.BatchSize),
        (parameters.CLASSIFIER_CONSTRAINTS["learning_rate"], types.LearningRate),
        (parameters.CLASSIFIER_CONSTRAINTS["class_weight"], types.ClassWeight),
        (parameters.CLASSIFIER_CONSTRAINTS["initializer"], types.EstimatorInitializer),
        (parameters.CLASSIFIER_CONSTRAINTS["weight_normalization"], types.WeightNormalization),
    ],
)
def test_types_of_names_of_the_estimators_are_their_constraints(constraint, type_of_names):
    assert set(all_names(type_of_names)) == set(constraint[0].options)


def all_names(form):
    """The names in a type: in a Literal, and in those of a union."""
    if get_origin(form) is Literal:
        return get_args(form)
    return [name for part in get_args(form) if get_origin(part) is Literal for name in get_args(part)]
