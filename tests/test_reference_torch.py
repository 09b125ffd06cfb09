"""The oracle against torch, an independent implementation; skipped where torch is not installed."""

import numpy as np
import pytest

from tests import cases, problems, reference

torch = pytest.importorskip("torch")
functional = torch.nn.functional

TORCH_ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sine": torch.sin,
    "exp": torch.exp,
}
TORCH_LOSSES = {
    "quadratic": lambda a, Y: functional.mse_loss(a, Y, reduction="none") / 2,
    "absolute": lambda a, Y: functional.l1_loss(a, Y, reduction="none"),
    "huber": lambda a, Y, delta=1.0: functional.huber_loss(a, Y, reduction="none", delta=delta),
    "log_cosh": lambda a, Y: torch.log(torch.cosh(a - Y)),
    "poisson": lambda a, Y: functional.poisson_nll_loss(a, Y, log_input=False, eps=0.0, reduction="none"),
    "quantile": lambda a, Y, q=0.5: torch.maximum(q * (Y - a), (q - 1) * (Y - a)),
}
# Ours -> torch's; beta_1 and beta_2 become the pair `betas`.
TORCH_SETTINGS = {"learning_rate": "lr", "epsilon": "eps", "rho": "alpha"}


def torch_cost(problem, params):
    """The cost of a problem as a torch scalar."""
    case, a = problem.case, torch.tensor(problem.X)
    penalty = 0.0
    start = 0
    for names, fan_in, fan_out in zip(case.neuron_activations, case.sizes, case.sizes[1:], strict=False):
        W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        start += fan_in * fan_out
        z = a @ W + params[start : start + fan_out]
        start += fan_out
        if names == "softmax":
            a = torch.softmax(z, dim=1)
        else:
            a = torch.stack([TORCH_ACTIVATIONS[name](z[:, k]) for k, name in enumerate(names)], dim=1)
        penalty = penalty + case.l2_penalty / 2 * (W**2).sum() + case.l1_penalty * W.abs().sum()
    Y = torch.tensor(problem.Y)
    if case.loss != "cross_entropy":
        parameter = () if case.loss_parameter is None else (case.loss_parameter,)
        costs = TORCH_LOSSES[case.loss](a, Y, *parameter).sum(dim=1)
    elif names == "softmax":
        costs = functional.cross_entropy(z, Y, reduction="none")
    else:
        costs = functional.binary_cross_entropy_with_logits(z, Y, reduction="none").sum(dim=1)
    w = torch.tensor(problem.sample_weight)
    return (w * costs).sum() / w.sum() + penalty


@pytest.mark.parametrize("case", cases.ALL_CASES, ids=str)
def test_cost_and_gradient_against_torch(case):
    problem = problems.random_problem(case, np.random.default_rng(5), 4, weighted=True, margin=1e-6)
    params = torch.tensor(problem.params, requires_grad=True)
    expected = torch_cost(problem, params)
    expected.backward()
    assert reference.cost(*problem.arguments) == pytest.approx(expected.item(), rel=1e-12)
    assert reference.relative_error(reference.gradient(*problem.arguments), params.grad.numpy()) < 1e-12


@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_optimizer_against_torch(optimizer):
    rng = np.random.default_rng(2)
    params, state = rng.standard_normal(6), None
    theirs = torch.tensor(params, requires_grad=True)
    settings = {TORCH_SETTINGS.get(key, key): value for key, value in optimizer.hyper_parameters.items()}
    if optimizer.kind in ("Adam", "AdamW"):
        settings["betas"] = (settings.pop("beta_1", 0.9), settings.pop("beta_2", 0.999))
    if optimizer.kind == "RMSprop":
        settings.setdefault("alpha", 0.9)
    stepper = getattr(torch.optim, optimizer.kind)([theirs], **settings)
    for t in range(1, 11):
        g = reference.clip(rng.standard_normal(6), optimizer.clip_norm)
        params, state = reference.optimizer_step(optimizer.kind, optimizer.hyper_parameters, state, params, g, t)
        theirs.grad = torch.tensor(g)
        stepper.step()
        assert reference.relative_error(params, theirs.detach().numpy()) < 1e-12
