"""The oracle's optimizers and training loop on trial, and the generators of problems."""

import numpy as np
import pytest
from hypothesis import given

from tests import cases, problems, reference

RTOL = 1e-7  # Adam's epsilon of 1e-8 is left out of the numbers worked by hand


@pytest.mark.parametrize(
    ("name", "hyper_parameters", "expected"),
    [
        ("SGD", {}, (0.8, 0.6)),
        ("SGD", {"momentum": 0.9}, (0.8, 0.42)),
        ("SGD", {"momentum": 0.9, "nesterov": True}, (0.62, 0.078)),
        ("Adam", {}, (0.9, 0.8)),
        ("AdamW", {"weight_decay": 0.5}, (0.85, 0.7075)),
        ("RMSprop", {}, (1 - 0.2 / 0.4**0.5, 1 - 0.2 / 0.4**0.5 - 0.2 / 0.76**0.5)),
        ("RMSprop", {"momentum": 0.5}, (1 - 0.2 / 0.4**0.5, 1 - 0.3 / 0.4**0.5 - 0.2 / 0.76**0.5)),
    ],
)
def test_two_steps_by_hand(name, hyper_parameters, expected):
    """From w = 1 with the gradient 2 twice, learning rate 0.1."""
    params, state, seen = np.array([1.0]), None, []
    for t in (1, 2):
        settings = {"learning_rate": 0.1, **hyper_parameters}
        params, state = reference.optimizer_step(name, settings, state, params, np.array([2.0]), t)
        seen.append(params[0])
    assert seen == pytest.approx(expected, rel=RTOL)


def test_clip_by_hand():
    assert reference.clip(np.array([3.0, 4.0]), 1.0) == pytest.approx([0.6, 0.8])
    assert reference.clip(np.array([3.0, 4.0]), 6.0) == pytest.approx([3.0, 4.0])
    assert reference.clip(np.array([3.0, 4.0]), None) == pytest.approx([3.0, 4.0])
    assert reference.clip(np.zeros(2), 1.0) == pytest.approx([0.0, 0.0])


def test_one_weight_finds_its_optimum():
    case = cases.Case("one-weight", [1, 1])
    X, Y = np.array([[0.8], [-0.8]]), np.array([[0.2], [-0.2]])  # the second row holds the bias at 0
    batches = [[0, 1]] * 100
    trajectory = reference.train(case, np.array([0.4, 0.0]), X, Y, batches, "SGD", {"learning_rate": 0.5})
    assert trajectory[-1] == pytest.approx([0.25, 0.0], abs=1e-12)


@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_training_lowers_the_cost(optimizer):
    case = next(case for case in cases.NETWORK_CASES if case.name == "3-5-2-l2")
    problem = problems.random_problem(case, np.random.default_rng(3), 6, weighted=True)
    before = problem.params.copy()
    batches = [np.array([0, 3, 1]), np.array([2, 5]), np.array([4])] * 10
    trajectory = reference.train(
        case, problem.params, problem.X, problem.Y, batches, optimizer.kind, optimizer.hyper_parameters,
        sample_weight=np.ones(6), clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    assert trajectory.shape == (len(batches), case.n_params)
    assert np.array_equal(problem.params, before)
    costs = [reference.cost(case, params, problem.X, problem.Y) for params in (before, trajectory[-1])]
    assert costs[1] < costs[0]


def test_a_clipped_step_of_plain_descent():
    case = cases.ALL_CASES[3]
    problem = problems.random_problem(case, np.random.default_rng(3), 4)
    rows = [3, 1]
    (after,) = reference.train(
        case, problem.params, problem.X, problem.Y, [rows], "SGD", {"learning_rate": 0.1}, clip_norm=1e-3
    )
    g = reference.gradient(case, problem.params, problem.X[rows], problem.Y[rows])
    assert after - problem.params == pytest.approx(-1e-4 * g / np.linalg.norm(g), abs=1e-15)


# ---- Generators ------------------------------------------------------------------------------------------


def assert_legal(problem):
    """Shapes fit and the targets are what the loss asks for."""
    case, Y = problem.case, problem.Y
    n = len(problem.X)
    assert problem.params.shape == (case.n_params,)
    assert problem.X.shape == (n, case.sizes[0])
    assert Y.shape == (n, case.sizes[-1])
    assert problem.sample_weight is None or np.sum(problem.sample_weight) > 0
    if case.loss == "cross_entropy":
        assert np.all((Y >= 0) & (Y <= 1))
        assert case.output != "softmax" or np.allclose(Y.sum(axis=1), 1)
    assert case.loss != "poisson" or np.all(Y >= 0)
    used = [case.neuron_activations[-1]] if case.output == "softmax" else case.neuron_activations[-1]
    assert set(used) <= set(cases.LOSS_BY_NAME[case.loss].outputs)


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_problems_of_the_tables_are_legal(case):
    problem = problems.random_problem(case, np.random.default_rng(1), weighted=True, margin=1e-4)
    assert_legal(problem)
    assert problems.kink_distance(problem) > 1e-4
    assert case.smooth == np.isinf(problems.kink_distance(problem))


@given(problem=problems.problems())
def test_random_problems_are_legal_and_finite(problem):
    assert_legal(problem)
    assert 1 <= len(problem.X) <= 9
    assert np.isfinite(reference.cost(*problem.arguments))


def test_random_cases_reach_every_name():
    rng = np.random.default_rng(0)
    drawn = [problems.random_network_case(rng) for _ in range(400)]
    layers = [layer for case in drawn for layer in case.neuron_activations]
    names = {name for layer in layers for name in ([layer] if layer == "softmax" else layer)}
    assert names == {*cases.ACTIVATION_NAMES, "softmax"}
    assert {case.loss for case in drawn} == set(cases.LOSS_NAMES)
    assert len({case.name for case in cases.ALL_CASES}) == len(cases.ALL_CASES)


@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_a_rounded_problem_is_still_computed_in_double(dtype):
    problem = problems.random_problem(cases.NETWORK_CASES[7], np.random.default_rng(1), weighted=True)
    rounded = problem.rounded(dtype)
    assert rounded.params.dtype == rounded.X.dtype == rounded.sample_weight.dtype == dtype
    again = rounded.rounded("float64")
    assert reference.cost(*rounded.arguments) == reference.cost(*again.arguments)
    assert np.array_equal(reference.gradient(*rounded.arguments), reference.gradient(*again.arguments))
