"""Derivatives with other parameters, of complex vectors, and copies of what was linearized."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastbp as bp

METHODS = {
    "vjp": lambda net, X, params: net.vjp(X, np.ones((len(X), 2)), params=params),
    "vjp by the inputs": lambda net, X, params: net.vjp(X, np.ones((len(X), 2)), "inputs", params=params),
    "jvp": lambda net, X, params: net.jvp(X, np.ones(net.n_params), params=params),
    "input_jacobian": lambda net, X, params: net.input_jacobian(X, params=params),
    "jacobian": lambda net, X, params: net.jacobian(X, params=params),
    "jacobian_blocks": lambda net, X, params: np.concatenate(
        [block for _, block in net.jacobian_blocks(X, rows=2, params=params)]
    ),
    "laplacian": lambda net, X, params: net.laplacian(X, params=params),
    "input_derivatives": lambda net, X, params: net.input_derivatives(X, params=params).jacobian,
    "input_hessian": lambda net, X, params: net.input_hessian(X, params=params),
    "linearize_inputs": lambda net, X, params: net.linearize_inputs(X, params=params).laplacian,
}


@pytest.fixture
def net():
    return bp.Network([3, 4, 2], activation="tanh", output="sigmoid", seed=0)


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return rng.standard_normal((5, 3)), rng.standard_normal((5, 2))


# ---- Other parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_other_parameters_are_those_of_a_network_that_has_them(net, data, method):
    X, _ = data
    own, other = net.params.copy(), bp.Network([3, 4, 2], activation="tanh", output="sigmoid", seed=7)
    found = METHODS[method](net, X, other.params)
    np.testing.assert_array_equal(found, METHODS[method](other, X, None))
    assert not np.array_equal(found, METHODS[method](net, X, None))
    np.testing.assert_array_equal(net.params, own)


@pytest.mark.parametrize("method", METHODS)
def test_wrong_parameters_are_refused(net, data, method):
    with pytest.raises(ValueError, match=r"`params` must have shape \(26,\), as `net.params` has; got \(3,\)"):
        METHODS[method](net, data[0], np.ones(3))


def test_out_must_not_overlap_other_parameters(net, data):
    room = np.zeros(5 * 2 * net.n_params)
    with pytest.raises(ValueError, match="must not overlap"):
        net.jacobian(data[0], out=room.reshape(5, 2, -1), params=room[: net.n_params])


def test_input_hessian_fills_an_array(net, data):
    out = np.empty((5, 2, 3, 3))
    assert net.input_hessian(data[0], out=out) is not None
    np.testing.assert_array_equal(out, net.input_hessian(data[0]))
    with pytest.raises(ValueError, match=r"`out` must have the shape \(5, 2, 3, 3\)"):
        net.input_hessian(data[0], out=np.empty((5, 2, 3)))


# ---- What is linearized ----------------------------------------------------------------------------------------------


def test_operators_multiply_complex_vectors_and_matrices(net, data):
    at = net.linearize(*data)
    H = at.hessian @ np.eye(net.n_params)
    rng = np.random.default_rng(2)
    v = rng.standard_normal(net.n_params) + 1j * rng.standard_normal(net.n_params)
    np.testing.assert_allclose(at.hessian @ v, H @ v, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(at.gauss_newton @ np.column_stack([v, v.conj()])[:, :1], at.gauss_newton @ v[:, None])
    np.testing.assert_allclose(at.hessian.H @ v, H @ v, rtol=1e-12, atol=1e-14)


def test_derivatives_by_a_single_output_need_no_axis(data):
    X, Y = data
    net = bp.Network([3, 4, 1], activation="tanh", seed=0)
    at = net.linearize(X, Y[:, 0])
    np.testing.assert_array_equal(at.vjp(Y[:, 1]), at.vjp(Y[:, 1:]))


@pytest.mark.parametrize("leave", [pickle.dumps, copy.deepcopy], ids=["pickle", "deepcopy"])
@pytest.mark.parametrize("other_thread_has_it", [False, True])
def test_what_is_linearized_stays_in_its_process(net, data, leave, other_thread_has_it):
    """A copy would hold addresses of the original's arrays, to which the kernels write."""
    at = net.linearize(*data)
    if other_thread_has_it:
        at._rows._spare.clear()
    for linearized in (at, net.linearize_inputs(data[0])):
        with pytest.raises(TypeError, match="can be neither pickled nor copied deeply"):
            leave(linearized)
    np.testing.assert_array_equal(copy.copy(at).hvp(net.params), at.hvp(net.params))


# ---- Numbers at the edge ---------------------------------------------------------------------------------------------


def test_laplacian_of_weights_that_overflow_in_fewer_directions():
    net = bp.Network([5, 2, 1], activation="tanh", initializer="zeros", dtype="float32")
    net.weights[0] = np.full((5, 2), 3e38, np.float32)
    assert net.laplacian(np.ones((2, 5), np.float32)).shape == (2, 1)  # no warning either


def test_gradient_has_as_many_numbers_whatever_a_user_sets_the_dtype_of_parameters_to():
    net, rng = bp.Network([40, 100, 2], activation="tanh", seed=0), np.random.default_rng(0)
    X, errors = rng.standard_normal((2000, 40)), rng.standard_normal((2000, 2))
    expected = net.vjp(X, errors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net.params.dtype = np.dtype(np.float32)
    np.testing.assert_array_equal(net.vjp(X, errors), expected)
