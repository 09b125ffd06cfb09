"""J^T J, the gradient and the sum of squares against the explicit Jacobian, which is found by the complex step."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse

import fastbp as bp
from fastbp.engine import normal_equations as engine
from fastbp.engine.cutting import normal_pieces
from fastbp.engine.rows import Data
from fastbp.kernels.machine import team
from fastbp.model.checks import checked_data
from fastbp.model.definition import problem_of
from tests.cases import ALL_CASES, Case
from tests.problems import random_problem
from tests.reference import relative_error
from tests.squares import Squares
from tests.twins import network, same_bits

CASES = (
    *(case for case in ALL_CASES if case.loss == "quadratic"),
    Case("softmax output", [3, 6, 4], "tanh", "softmax"),
    Case("softmax behind nothing", [3, 4], [], "softmax"),
    Case("many outputs", [2, 3, 4, 9], "sigmoid"),
    Case("linear", [5, 3], []),
    Case("mixed outputs", [3, 5, 4], "gelu", [("identity", 2), ("tanh", 1), ("sine", 1)]),
    Case("mixed hidden", [3, 6, 5, 2], [[("tanh", 2), ("silu", 4)], [("relu", 1), ("softplus", 4)]], "sigmoid"),
)
WIDE = Case("wide", [4, 20, 3])
DEEP = Case("deep", [3, 12, 11, 10, 2], "tanh")


def equations_of(net, X, Y, sample_weight=None, n_threads=1, is_mixed=False):
    """The three results, J^T J made symmetric."""
    data = Data(*checked_data(net, X, Y, sample_weight))
    equations = engine.NormalEquations(problem_of(net), data, n_threads, is_mixed=is_mixed)
    half_squares, gradient, lower = equations.equations(net.params)
    equations.end()
    return half_squares, gradient, np.tril(lower) + np.tril(lower, -1).T


def expected_equations(case, params, X, Y, sample_weight=None):
    squares = Squares(case, X, Y, sample_weight)
    squares.ridge = 0.0 * squares.ridge
    return squares.cost(params), *squares.equations(params)


def assert_near(found, expected, rtol):
    for ours, theirs in zip(found, expected, strict=True):
        assert relative_error(np.asarray(ours), np.asarray(theirs)) < rtol


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_jacobian(case, weighted):
    rng = np.random.default_rng(len(case.name))
    problem = random_problem(case, rng, 21)
    weights = rng.random(21) * np.array([1.0, 0.0, 3.0] * 7) if weighted else None
    found = equations_of(network(case, problem.params), problem.X, problem.Y, weights)
    assert_near(found, expected_equations(case, problem.params, problem.X, problem.Y, weights), 1e-12)


@pytest.mark.parametrize("n", [1, 15, 16, 129, 700])
@pytest.mark.parametrize("case", [WIDE, DEEP], ids=str)
def test_any_number_of_rows(case, n):
    problem = random_problem(case, np.random.default_rng(n), n)
    weights = 0.5 + np.random.default_rng(1).random(n)
    found = equations_of(network(case, problem.params), problem.X, problem.Y, weights, n_threads=2)
    assert_near(found, expected_equations(case, problem.params, problem.X, problem.Y, weights), 1e-12)


@pytest.mark.parametrize("case", [WIDE, DEEP, CASES[-1]], ids=str)
@pytest.mark.parametrize("kind", ["float32", "mixed"])
def test_in_single_precision(case, kind):
    dtype = "float32" if kind == "float32" else "float64"
    problem = random_problem(case, np.random.default_rng(0), 500).rounded(dtype)
    half_squares, gradient, matrix = equations_of(
        network(case, problem.params, dtype), problem.X, problem.Y, is_mixed=kind == "mixed"
    )
    expected = expected_equations(case, *(x.astype(float) for x in (problem.params, problem.X, problem.Y)))
    assert_near((matrix,), expected[2:], 3e-6)
    assert_near((half_squares, gradient), expected[:2], 1e-12 if kind == "mixed" else 3e-6)


@pytest.mark.parametrize("is_mixed", [False, True])
def test_bits_do_not_depend_on_threads(is_mixed):
    problem = random_problem(WIDE, np.random.default_rng(0), 3000)
    net = network(WIDE, problem.params)
    found = [
        equations_of(net, problem.X, problem.Y, n_threads=n_threads, is_mixed=is_mixed) for n_threads in (1, 2, 3, 1)
    ]
    data = Data(*checked_data(net, problem.X, problem.Y, None))
    assert engine.NormalEquations(problem_of(net), data, 2).n_threads == 2  # or there would be nothing to see
    for half_squares, gradient, matrix in found[1:]:
        assert half_squares == found[0][0]
        assert same_bits(gradient, found[0][1])
        assert same_bits(matrix, found[0][2])


def test_rows_of_any_form():
    problem = random_problem(DEEP, np.random.default_rng(0), 200)
    X = np.where(np.abs(problem.X) > 1, problem.X, 0.0)
    net = network(DEEP, problem.params)
    expected = equations_of(net, X, problem.Y)
    strided = np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]
    for form in (np.asfortranarray(X), strided, scipy.sparse.csr_array(X), X.tolist()):
        for ours, theirs in zip(equations_of(net, form, problem.Y), expected, strict=True):
            assert same_bits(np.asarray(ours), np.asarray(theirs))


def test_rows_without_weight_do_not_count():
    case = Case("exp", [2, 3, 1], "exp")
    problem = random_problem(case, np.random.default_rng(0), 9)
    weights = np.ones(9)
    weights[4] = 0.0
    problem.X[4] = 1e6  # whose output is infinite
    found = equations_of(network(case, problem.params), problem.X, problem.Y, weights)
    keep = weights > 0
    assert_near(found, expected_equations(case, problem.params, problem.X[keep], problem.Y[keep]), 1e-12)


def test_few_rows_that_count_are_cut_as_if_there_were_no_others(monkeypatch):
    def poisoned(elements, dtype):
        return np.full(elements, np.nan, dtype)

    monkeypatch.setattr(engine, "aligned_empty", poisoned)
    problem = random_problem(WIDE, np.random.default_rng(0), 3000)
    net, weights = network(WIDE, problem.params), np.zeros(3000)
    weights[1000:1150] = 1.0
    expected = equations_of(net, problem.X[1000:1150], problem.Y[1000:1150])
    for ours, theirs in zip(equations_of(net, problem.X, problem.Y, weights), expected, strict=True):
        assert same_bits(np.asarray(ours), np.asarray(theirs))


def test_wide_layers_have_few_rows_in_a_block():
    for sizes, rows in (((4, 20, 3), 128), ((10, 30, 30, 1), 256), ((3000, 1, 1), 16), ((1, 3000, 1), 16)):
        shape = engine.shape_of(problem_of(bp.Network(sizes)))
        factors = shape.most_inputs + shape.most_outputs
        found, n_pieces = normal_pieces(100 * 256, shape.products_per_row, shape.n_sums, factors)
        assert found == rows
        assert n_pieces * found <= 100 * 256


def test_an_abandoned_call_changes_nothing():
    problem = random_problem(WIDE, np.random.default_rng(0), 300)
    net = network(WIDE, problem.params)
    equations = engine.NormalEquations(problem_of(net), Data(*checked_data(net, problem.X, problem.Y, None)), 1)
    rules = {"mu_max": 1e10, "min_gradient": 0.0, "goal": 0.0, "factors": (0.1, 10.0)}
    equations.set_rule(mu=1e-3, by_gain_ratio=True, **rules)
    rows = np.zeros((5, 4))
    equations.iterate(net.params, rows[:2], 0.0)
    before, state = net.params.copy(), equations.state
    control = equations._frame.control
    control[team.REQUEST] = team.ABANDON
    equations.iterate(net.params, rows, 0.0)
    assert equations.n_done == 0
    assert same_bits(net.params, before)
    assert same_bits(equations.state, state)
    control[team.REQUEST] = team.PAUSE
    equations.iterate(net.params, rows, 0.0)
    assert equations.n_done == 1
    equations.end()


PROGRAM = """
import json
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
X, results = rng.normal(size=(40, 2)), []
Y = np.stack([np.sin(X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
for sizes, products in (([2, 3, 2], "float64"), ([2, 9, 3, 2], "float64"), ([2, 3, 2], "float32")):
    net = bp.Network(sizes, activation="tanh", dtype="float64", seed=0, l2_penalty=1e-4)
    history = net.fit(X, Y, epochs=3, optimizer=bp.LevenbergMarquardt(products=products), sample_weight=1 + X[:, 0]**2)
    results.append([*net.params, *history.loss, *history.mu, *history.tries])
net = bp.Network([2, 4, 2], activation="gelu", output="softmax", dtype="float64", seed=0)
history = net.fit(X, Y, epochs=3, optimizer=bp.LevenbergMarquardt(damping="trainlm"))
results.append([*net.params, *history.loss, *history.mu])
print(json.dumps(results))
"""


def test_plain_python_agrees_with_compiled():
    found = []
    for disable_jit in ("1", "0"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disable_jit}
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=True, env=environment
        )
        found.append(json.loads(result.stdout))
    for i, (plain, compiled) in enumerate(zip(*found, strict=True)):
        is_mixed = i == 2  # sums in float32, whose order is another one in vectors of another width
        np.testing.assert_allclose(plain, compiled, rtol=1e-3 if is_mixed else 1e-7, atol=1e-4 if is_mixed else 1e-12)


def test_what_does_not_fit_is_refused():
    net = bp.Network([1000, 400, 1], activation="tanh", seed=0)
    message = (
        r"J\^T J and its factor for 400801 parameters would take \d+ bytes \(\d+\.\d GiB\) of memory, and \d+ \(.*\) "
        r"are available\. Make the layers smaller, or train with bp\.LBFGS\(\), which keeps some vectors as long as "
        r"the parameters\."
    )
    with pytest.raises(MemoryError, match=message):
        net.fit(np.zeros((2, 1000)), np.zeros((2, 1)), optimizer=bp.LevenbergMarquardt())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_sum_of_squares_alone_is_the_number_that_comes_with_the_equations(dtype):
    rng = np.random.default_rng(0)
    net = bp.Network([3, 4, 2], activation="tanh", dtype=dtype, seed=0)
    X, Y = rng.standard_normal((50, 3)).astype(dtype), rng.standard_normal((50, 2)).astype(dtype)
    data = Data(*checked_data(net, X, Y, None))
    equations = engine.NormalEquations(problem_of(net), data, 1)
    expected = 0.5 * ((net.predict(data.X) - data.targets.array) ** 2).sum()
    assert equations.half_squares(net.params) == equations.equations(net.params)[0] == pytest.approx(expected, rel=1e-5)
    equations.end()
