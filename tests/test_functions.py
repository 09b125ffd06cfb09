"""The rows of facts of activations and losses: against the kernels' tables, and against the plain formulas."""

import re

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp import neural_network
from fastbp.export import onnx
from fastbp.functions import activations, losses
from fastbp.kernels.jobs import known_codes
from fastbp.kernels.tables import codes
from fastbp.neural_network import parameters
from tests import cases, reference_formulas

Z = np.linspace(-20, 20, 4001)
DTYPE = np.dtype(np.float64)
POSITIVE = bp.Activation("square", numba.njit(lambda z: 1 + z * z), numba.njit(lambda z: 2 * z), positive=True)


def codes_of(facts, outputs):
    return {losses.loss_entry(facts.name, [output], DTYPE)[0] for output in outputs}


def test_rows_have_the_names_under_which_they_are_found():
    for table in (activations.ACTIVATIONS, losses.LOSSES):
        assert [facts.name for facts in table.values()] == list(table)


def test_codes_of_activations_are_those_of_the_kernels():
    of_one_z = {activations.ACTIVATIONS[name].code for name in activations.OF_ONE_Z}
    assert of_one_z == set(known_codes.ELEMENTWISE_ACTIVATIONS)
    assert {activations.ACTIVATIONS[name].code for name in activations.OF_LAYERS} == {codes.SOFTMAX}
    from_z = {facts.code for facts in activations.ACTIVATIONS.values() if facts.from_z}
    assert from_z | {codes.CUSTOM_ACTIVATION} == set(known_codes.ACTIVATIONS_FROM_Z)


def test_codes_of_losses_are_those_of_the_kernels():
    everywhere = set().union(*(codes_of(row, {*row.matching, "identity"}) for row in losses.LOSSES.values()))
    variants = {code for row in losses.LOSSES.values() for _, code in row.reported}
    assert everywhere | variants == {*known_codes.LOSSES_OF_OUTPUTS, *codes.LOSSES_FROM_LOGITS}
    assert variants <= set(codes.LOSSES_FROM_LOGITS)
    for row in losses.LOSSES.values():
        assert codes_of(row, row.matching) <= set(codes.LOSSES_FROM_LOGITS) or not row.only_matching
    for output, expected in (("softmax", codes.SOFTMAX_LOSSES), ("sigmoid", codes.SIGMOID_LOSSES)):
        own = losses.loss_entry("cross_entropy", [output], DTYPE)[0]
        assert {own, losses.reported_code("cross_entropy", output)} == set(expected)
    assert losses.reported_code("poisson", "exp") == codes.POISSON_DEVIANCE
    assert losses.reported_code("poisson", "softplus") is None
    for outputs, expected in (
        (["exp"], codes.POISSON_OF_LOGITS), (["sigmoid", "exp", "softplus"], codes.POISSON_OF_LOGITS),
        (["exp", POSITIVE], codes.POISSON), ([POSITIVE], codes.POISSON),
    ):  # fmt: skip
        assert losses.loss_entry("poisson", outputs, DTYPE)[0] == expected


@pytest.mark.parametrize("row", cases.ACTIVATIONS, ids=str)
def test_facts_of_an_activation_are_true(row):
    facts = activations.ACTIVATIONS[row.name]
    f = reference_formulas.ACTIVATIONS[row.name]
    value = np.array([f.value(z) for z in Z])
    slope = np.abs([f.derivative(z) for z in Z])
    assert facts.positive == bool((value > 0).all())
    assert facts.rough == bool(row.kinks)
    assert facts.can_die == bool((value[Z < 0] == 0).all())
    if row.stackable:  # the slope of exp has no largest value
        assert 0.99 * facts.largest_slope < slope.max() < 1.15 * facts.largest_slope
        flat_share = np.mean(slope < 0.01 * facts.largest_slope)  # sine's slope is small where it crosses 0
        assert facts.never_flat == bool(flat_share < 0.01)


@pytest.mark.parametrize("row", cases.LOSSES, ids=str)
def test_facts_of_a_loss_are_those_of_the_tests(row):
    facts = losses.LOSSES[row.name]
    ranges = {"any": "real", "non_negative": "count", "probabilities": "probability"}
    assert ranges[facts.targets] == row.targets
    assert (facts.kinks is not None) == bool(row.kinks)
    assert (facts.parameter is not None) == bool(row.parameters)
    assert facts.parameter is None or facts.parameter.default == row.default
    for parameter in (row.default, *row.parameters) if row.kinks else ():
        assert facts.kinks(parameter) == row.kinks_with(parameter)
    positive = {name for name in activations.ACTIVATION_NAMES if activations.ACTIVATIONS[name].positive}
    allowed = set(facts.matching) if facts.only_matching else set(activations.ACTIVATION_NAMES)
    assert allowed & (positive if facts.positive_outputs else allowed) == set(row.outputs)


@pytest.mark.parametrize("name", [name for name, facts in losses.LOSSES.items() if facts.matching])
def test_matching_outputs_have_the_error_a_minus_y(name):
    for output in losses.LOSSES[name].matching:
        net = bp.Network([2, 3], output=output, loss=name, seed=0)
        y = np.array([[0.0, 1.0, 0.0]])
        _, grad = net.value_and_grad([[0.3, -0.2]], y)
        np.testing.assert_allclose(grad[-3:], (net.predict([[0.3, -0.2]]) - y)[0], rtol=1e-12)


def test_messages_name_every_fitting_output():
    positive = {name for name, facts in activations.ACTIVATIONS.items() if facts.positive}
    for name, expected in (("poisson", positive), ("cross_entropy", set(losses.LOSSES["cross_entropy"].matching))):
        with pytest.raises(ValueError, match="needs outputs that are") as caught:
            bp.Network([2, 1], output="identity", loss=name)
        told = set(re.findall("'([a-z_]+)'", str(caught.value).partition("needs")[2].partition("got")[0]))
        assert told == expected


def test_every_name_is_in_the_documentation():
    assert all(name in bp.Network.__doc__ for name in (*activations.ACTIVATION_NAMES, *losses.LOSS_NAMES))
    for name in {*activations.OF_ONE_Z} - {"sigmoid"}:
        assert f"'{name}'" in neural_network.MLPClassifier.__doc__
    for name in parameters.NETWORK_LOSSES:
        assert f"'{name}'" in neural_network.MLPRegressor.__doc__


def test_a_regressor_has_every_loss_of_numbers():
    numbers = {name for name, row in losses.LOSSES.items() if row.targets != "probabilities"}
    assert set(parameters.NETWORK_LOSSES.values()) == numbers


def test_every_activation_becomes_onnx():
    assert sorted((*onnx._OPERATORS, *onnx._FORMULAS)) == sorted(activations.ACTIVATION_NAMES)
