"""Problems, that is cases with numbers, and generators of random ones: seeded, and for hypothesis."""

import dataclasses
from dataclasses import dataclass
from math import inf

import numpy as np
from hypothesis import strategies as st

from tests import reference
from tests.cases import ACTIVATION_KINKS, ACTIVATIONS, LOSS_BY_NAME, LOSSES, Case


@dataclass(frozen=True, eq=False)
class Problem:
    """A case with parameters and data, all float64 unless rounded.

    Attributes
    ----------
    case : Case
    params : ndarray of shape (n_params,)
    X : ndarray of shape (n, n_features)
    Y : ndarray of shape (n, n_outputs)
        Legal for the case's loss.
    sample_weight : ndarray of shape (n,) or None
    """

    case: Case
    params: np.ndarray
    X: np.ndarray
    Y: np.ndarray
    sample_weight: np.ndarray | None = None

    @property
    def arguments(self):
        """What the functions of the reference take: ``reference.gradient(*problem.arguments)``."""
        return self.case, self.params, self.X, self.Y, self.sample_weight

    def rounded(self, dtype):
        """Return the same problem with every array rounded to dtype."""
        arrays = {key: getattr(self, key) for key in ("params", "X", "Y", "sample_weight")}
        arrays = {key: None if value is None else value.astype(dtype) for key, value in arrays.items()}
        return dataclasses.replace(self, **arrays)


def random_params(case, rng):
    """Normal weights of variance 1 / fan_in and biases of standard deviation 1/2, (n_params,)."""
    layers = []
    for fan_in, fan_out in zip(case.sizes, case.sizes[1:], strict=False):
        W = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        layers.append((W, rng.standard_normal(fan_out) / 2))
    return reference.pack(layers)


def random_data(case, rng, n):
    """X (n, n_features) and targets Y (n, n_outputs) that are legal for the case's loss and output."""
    X = rng.standard_normal((n, case.sizes[0]))
    shape = (n, case.sizes[-1])
    targets = LOSS_BY_NAME[case.loss].targets
    if targets == "real":
        Y = 1.5 * rng.standard_normal(shape)  # on both sides of huber's threshold
    elif targets == "count":
        Y = rng.poisson(2.0, shape).astype(np.float64)
    elif case.output == "softmax":
        Y = rng.dirichlet(np.ones(shape[1]), n)
        Y[::2] = reference.one_hot(rng.integers(shape[1], size=n), shape[1])[::2]
    else:
        Y = rng.random(shape)
        Y[::2] = np.round(Y[::2])
    return X, Y


def random_problem(case, rng, n=5, *, weighted=False, margin=0.0):
    """A problem of n rows with no kink within margin; of its weights, if any, one is 0 where n > 1."""
    for _ in range(10_000):
        X, Y = random_data(case, rng, n)
        sample_weight = rng.uniform(0.2, 3.0, n) if weighted else None
        if weighted and n > 1:
            sample_weight[rng.integers(n)] = 0.0
        problem = Problem(case, random_params(case, rng), X, Y, sample_weight)
        if kink_distance(problem) > margin:
            return problem
    raise ValueError(f"{case}: no problem of {n} rows keeps a distance of {margin} from all kinks")


def kink_distance(problem):
    """Smallest distance of any z, a - y or (with an L1 penalty) weight from a kink; inf without kinks."""
    case, distances = problem.case, [inf]
    zs, as_ = reference.forward(case.sizes, case.neuron_activations, problem.params, problem.X)
    for names, z in zip(case.neuron_activations, zs, strict=True):
        for k, name in enumerate([] if names == "softmax" else names):
            distances += [np.min(np.abs(z[:, k] - kink)) for kink in ACTIVATION_KINKS[name]]
    distances += [np.min(np.abs(as_[-1] - problem.Y - kink)) for kink in case.loss_kinks]
    if case.l1_penalty:
        distances += [np.min(np.abs(W)) for W, _ in reference.unpack(case.sizes, problem.params)]
    return min(distances)


# ---- Random architectures --------------------------------------------------------------------------------


def _build_case(integer, choice):
    """Draw a case from integer(low, high), both included, and choice(sequence)."""

    def layer(names, fan_out):
        if choice([True, False, False]):
            counts = []
            while sum(counts) < fan_out:
                counts.append(integer(1, fan_out - sum(counts)))
            return [(choice(names), count) for count in counts]
        return choice(names)

    sizes = [integer(1, 6) for _ in range(2 + integer(0, 3))]
    hidden_names = [row.name for row in ACTIVATIONS if row.stackable]
    loss = choice(LOSSES)
    if "softmax" in loss.outputs and sizes[-1] > 1 and choice([True, False]):
        output = "softmax"
    else:
        output = layer([name for name in loss.outputs if name != "softmax"], sizes[-1])
    activation = choice(hidden_names) if choice([True, False]) else [layer(hidden_names, n) for n in sizes[1:-1]]
    l2_penalty, l1_penalty = choice([0.0, 0.1]), choice([0.0, 0.0, 0.03])
    name = "-".join(map(str, sizes)) + f"-{loss}"
    parameter = choice([None, *loss.parameters])
    return Case(name, sizes, activation, output, loss.name, l2_penalty, l1_penalty, parameter)


def random_network_case(rng):
    """A random case: up to three hidden layers, mixed or not, any output with a loss it fits, penalties."""
    return _build_case(
        lambda low, high: int(rng.integers(low, high + 1)), lambda items: items[rng.integers(len(items))]
    )


@st.composite
def network_cases(draw):
    """Hypothesis strategy of random cases, as `random_network_case`."""
    return _build_case(lambda low, high: draw(st.integers(low, high)), lambda items: draw(st.sampled_from(items)))


@st.composite
def problems(draw, max_rows=9, margin=0.0):
    """Hypothesis strategy of random problems of 1 to max_rows rows, with or without sample weights."""
    case, n, weighted = draw(network_cases()), draw(st.integers(1, max_rows)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_problem(case, rng, n, weighted=weighted, margin=margin)
