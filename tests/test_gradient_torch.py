"""Value and gradient of `bp.Network` against torch, an independent implementation; skipped where it is missing."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests import cases  # noqa: E402 -- nothing below is needed without torch
from tests.reference import relative_error  # noqa: E402
from tests.test_reference_torch import torch_cost  # noqa: E402
from tests.twins import twins, value_and_gradient  # noqa: E402


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_value_and_gradient_against_torch(case):
    problem, net = twins(case, np.random.default_rng(21), 7, weighted=True, margin=1e-6)
    params = torch.tensor(problem.params, requires_grad=True)
    expected = torch_cost(problem, params)
    expected.backward()
    value, grad = value_and_gradient(problem, net)
    assert value == pytest.approx(expected.item(), rel=cases.VALUE_RTOL["float64"])
    assert relative_error(grad, params.grad.numpy()) < cases.GRADIENT_RTOL["float64"]
