"""The fastbp networks that the cases and problems of the tables describe."""

import fastbp as bp
from tests import problems, reference


def network(case, params=None, dtype="float64", **keywords):
    """A `bp.Network` of a case, with given parameters (rounded to dtype) or initial ones."""
    net = bp.Network(case.sizes, dtype=dtype, seed=0, **case.keywords, **keywords)
    if params is not None:
        net.params = params.astype(dtype)
    return net


def twins(case, rng, n=5, dtype="float64", **settings):
    """A random problem in the precision of dtype, and the fastbp network with its parameters."""
    problem = problems.random_problem(case, rng, n, **settings).rounded(dtype)
    return problem, network(case, problem.params, dtype)


def value_and_gradient(problem, net, **keywords):
    """What fastbp says of a problem."""
    return net.value_and_grad(problem.X, problem.Y, sample_weight=problem.sample_weight, **keywords)


def reference_value_and_gradient(problem):
    """What the reference says of a problem."""
    return reference.cost(*problem.arguments), reference.gradient(*problem.arguments)


def same_bits(first, second):
    """Whether two arrays have the same dtype, shape and bits."""
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()
