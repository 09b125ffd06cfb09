"""Estimators take several epochs in one call of the kernels, and end as if each had been a call of its own."""

import numpy as np
import pytest
from scipy import sparse

import fastbp as bp
from fastbp.engine import shuffling
from fastbp.neural_network import FitDivergedError, MLPClassifier, MLPRegressor
from fastbp.neural_network.stochastic import StochasticFit
from fastbp.training.steps import Steps
from tests.twins import same_bits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
Y = np.tanh(X @ RNG.standard_normal((4, 2)))
LABELS = (X @ RNG.standard_normal((4, 3))).argmax(axis=1)
WEIGHTS = RNG.uniform(0, 3, len(X))
SGD = {"solver": "sgd", "learning_rate_init": 0.05}

# name: (class, parameters, arguments of fit)
CASES = {
    "adam": (MLPClassifier, {"batch_size": 20}, (X, LABELS)),
    "two classes": (MLPClassifier, {"batch_size": 7}, (X, LABELS == 1)),
    "float32": (MLPRegressor, {"batch_size": 20, "dtype": "float32"}, (X, Y)),
    "invscaling": (MLPClassifier, SGD | {"learning_rate": "invscaling", "power_t": 0.3}, (X, LABELS)),
    "an integer as power": (MLPClassifier, SGD | {"learning_rate": "invscaling", "power_t": 1}, (X, LABELS)),
    "adaptive": (MLPRegressor, SGD | {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1}, (X, Y)),
    "schedule": (MLPRegressor, SGD | {"learning_rate": bp.Cosine(0.1), "batch_size": 32}, (X, Y)),
    "tol": (MLPClassifier, {"tol": 0.03, "n_iter_no_change": 3, "batch_size": 10}, (X, LABELS)),
    "tol at once": (MLPRegressor, {"tol": 10.0, "n_iter_no_change": 4}, (X, Y)),
    "no end": (MLPRegressor, {"tol": 10.0, "n_iter_no_change": np.inf}, (X, Y)),
    "no shuffle": (MLPRegressor, {"shuffle": False, "batch_size": 11}, (X, Y)),
    "all rows": (MLPRegressor, {"batch_size": 90}, (X, Y)),
    "one row": (MLPRegressor, {"batch_size": 1, "hidden_layer_sizes": (3,), "max_iter": 5}, (X, Y)),
    "weights": (MLPClassifier, {"batch_size": 16}, (X, LABELS, WEIGHTS)),
    "weights of the data": (MLPRegressor, {"batch_size": 16, "weight_normalization": "data"}, (X, Y, WEIGHTS)),
    "sparse": (MLPClassifier, {"batch_size": 16}, (sparse.csr_matrix(np.where(X > 0.5, X, 0)), LABELS)),
    "dropout": (MLPRegressor, {"batch_size": 16, "dropout": 0.3, "clip_norm": 0.5, "l1_penalty": 0.1}, (X, Y)),
    "divergence": (MLPRegressor, SGD | {"learning_rate_init": 5.0, "activation": "identity", "max_iter": 60}, (X, Y)),
    "divergence of a schedule": (
        MLPRegressor,
        SGD | {"learning_rate": bp.OneCycle(40.0), "activation": "identity", "max_iter": 60},
        (X, Y),
    ),
}


def left_by(kind, parameters, arguments, n_fits=2):
    """Everything that two fits leave, the second of which goes on, and the messages of their errors."""
    rng = np.random.RandomState(3)
    model = kind(**{"hidden_layer_sizes": (6,), "max_iter": 25, "random_state": rng, "warm_start": True} | parameters)
    messages = []
    for _ in range(n_fits):
        try:
            model.fit(*arguments)
        except FitDivergedError as error:
            messages.append(str(error))
    state, optimizer = rng.get_state(), vars(model._optimizer)
    plain = ["n_iter_", "t_", "loss_curve_", "best_loss_", "_no_improvement_count", "loss_"]
    arrays = [*model.coefs_, *model.intercepts_, state[1], optimizer["vectors"], optimizer["constants"]]
    values = [optimizer[name] for name in ("step", "powers", "learning_rate", "code", "n_vectors")]
    return messages, [getattr(model, name, None) for name in plain], state[2:], values, arrays


@pytest.mark.parametrize("name", CASES)
def test_several_epochs_are_those_of_single_calls(name, monkeypatch):
    counts = []
    epochs = Steps.epochs
    monkeypatch.setattr(
        Steps,
        "epochs",
        lambda self, rates, *rest: (counts.append(len(rates) // self.per_epoch), epochs(self, rates, *rest))[1],
    )
    together = left_by(*CASES[name])
    assert max(counts) > 1
    n_before = len(counts)
    monkeypatch.setattr(StochasticFit, "is_watched", lambda self: True)
    alone = left_by(*CASES[name])
    assert len(counts) == n_before
    assert bool(alone[0]) == name.startswith("divergence")
    assert together[:-1] == alone[:-1]
    for ours, expected in zip(together[-1], alone[-1], strict=True):
        assert same_bits(ours, expected)


def calls_of(model, *arguments, **keywords):
    """The epochs of each call of `Steps.epochs` in a fit."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        epochs = Steps.epochs
        patch.setattr(
            Steps,
            "epochs",
            lambda self, rates, *rest: (found.append(len(rates) // self.per_epoch), epochs(self, rates, *rest))[1],
        )
        model.fit(*arguments, **keywords)
    return found


def test_no_more_epochs_than_are_certain_are_begun():
    model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=50, random_state=0, tol=10.0, n_iter_no_change=4)
    assert calls_of(model, X, Y) == [5, 1]  # the first loss counts as an improvement
    assert model.n_iter_ == 6
    assert sum(calls_of(model.set_params(max_iter=3), X, Y)) == 3


class _Own(bp.Schedule):
    def __call__(self, step, n_steps):
        return np.full(len(step), 0.01)


WATCHED = {
    "early_stopping": {"early_stopping": True},
    "verbose": {"verbose": True},
    "own schedule": {"solver": "sgd", "learning_rate": _Own()},
}


@pytest.mark.parametrize("name", [*WATCHED, "validation", "negative weights"])
def test_what_looks_after_each_epoch_finds_single_ones(name, capsys):
    model = MLPRegressor(**{"hidden_layer_sizes": (4,), "max_iter": 4, "random_state": 0} | WATCHED.get(name, {}))
    keywords = {"validation": {"X_val": X, "y_val": Y}, "negative weights": {"sample_weight": WEIGHTS - 0.1}}
    assert calls_of(model, X, Y, **keywords.get(name, {})) == []
    assert model.n_iter_ > 0


def test_ctrl_c_keeps_the_finished_epochs(monkeypatch):
    take_all = Steps._take_all

    def interrupted(self, rates, pauses=None):
        take_all(self, rates[: 2 * self.per_epoch])
        raise KeyboardInterrupt

    expected = MLPRegressor(hidden_layer_sizes=(6,), max_iter=2, random_state=0).fit(X, Y)
    monkeypatch.setattr(Steps, "_take_all", interrupted)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=20, random_state=0).fit(X, Y)
    assert model.loss_curve_ == expected.loss_curve_
    assert (model.n_iter_, model.t_) == (2, 180)
    assert all(map(same_bits, model.coefs_, expected.coefs_))


def test_a_numpy_that_shuffles_otherwise(monkeypatch):
    expected = MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0).fit(X, Y)
    shuffling._is_numpys_shuffle.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(shuffling, "_drawn", lambda bits, n_rows: list(range(n_rows)))
        model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0)
        assert calls_of(model, X, Y) == []
    shuffling._is_numpys_shuffle.cache_clear()
    assert shuffling.kernel_shuffles(90)
    assert all(map(same_bits, model.coefs_, expected.coefs_))
    assert shuffling.bits_of(object()) is None
