"""Sample weights work: on average a step follows the gradient of the weighted cost, whatever the mini-batch."""

import inspect
import warnings

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.linear_model import LogisticRegression

import fastbp as bp
from fastbp import neural_network as ours
from tests import cases, reference
from tests.reference import relative_error
from tests.twins import network

ignore_the_last_epoch = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# One row in fifty is positive and weighs 49; the features know nothing, so the weighted cost is least at p = 0.5.
N_ROWS, WEIGHT = 10_000, 49.0
rng = np.random.default_rng(0)
RARE = rng.permutation(N_ROWS) < N_ROWS // 50
NOISE = rng.standard_normal((N_ROWS, 2))
WEIGHTS = np.where(RARE, WEIGHT, 1.0)

# The rates fall to 0, so that the noise of single rows dies out. Adam's and RMSprop's mean squares must reach back
# beyond the last rare row, else each is divided by its own square.
OPTIMIZERS = {
    "sgd": lambda rate: bp.SGD(bp.Cosine(rate)),
    "momentum": lambda rate: bp.SGD(bp.Cosine(rate / 10), momentum=0.9),
    "nesterov": lambda rate: bp.SGD(bp.Cosine(rate / 10), momentum=0.9, nesterov=True),
    "adam": lambda rate: bp.Adam(bp.Cosine(rate / 2), beta_2=0.9999),
    "adamw": lambda rate: bp.AdamW(bp.Cosine(rate / 2), beta_2=0.9999, weight_decay=0.0),
    "rmsprop": lambda rate: bp.RMSprop(bp.Cosine(rate / 2), rho=0.9999),
}
# rows of a mini-batch: (learning rate of gradient descent, epochs)
SCHEDULES = {1: (0.003, 12), 10: (0.02, 16), 32: (0.05, 20), 200: (0.2, 40), None: (4.0, 400)}


def unweighted_start():
    """A network that says 2 % everywhere: what a fit without weights ends with."""
    net = bp.Network([2, 1], output="sigmoid", loss="cross_entropy", initializer="zeros")
    net.biases[0][0] = np.log(0.02 / 0.98)
    return net


@pytest.mark.parametrize("batch_size", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rare_rows_that_weigh_as_much_as_all_others(optimizer, batch_size):
    net = unweighted_start()
    rate, epochs = SCHEDULES[batch_size]
    net.fit(
        NOISE, RARE.astype(float), epochs=epochs, batch_size=batch_size, optimizer=OPTIMIZERS[optimizer](rate),
        sample_weight=WEIGHTS, seed=0,
    )  # fmt: skip
    assert net.predict(NOISE).mean() == pytest.approx(0.5, abs=0.02)


def test_that_is_what_logistic_regression_finds():
    model = LogisticRegression(C=1e6).fit(NOISE, RARE, WEIGHTS)
    assert model.predict_proba(NOISE)[:, 1].mean() == pytest.approx(0.5, abs=0.02)


@ignore_the_last_epoch
@pytest.mark.parametrize("batch_size", [1, 10, 32, 200])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("weighed_by", ["balanced", "dict", "sample_weight"])
def test_estimators_with_class_weight(weighed_by, solver, batch_size):
    class_weight = {"balanced": "balanced", "dict": {False: 1.0, True: WEIGHT}}.get(weighed_by)
    rate, epochs = SCHEDULES[batch_size]
    model = ours.MLPClassifier(
        (), solver=solver, batch_size=batch_size, alpha=0, max_iter=epochs, tol=0, n_iter_no_change=np.inf, momentum=0,
        class_weight=class_weight, weight_normalization="auto" if class_weight else "data", beta_2=0.9999,
        learning_rate=bp.Cosine(rate if solver == "sgd" else rate / 2), random_state=0,
    )  # fmt: skip
    model.fit(NOISE, RARE, None if class_weight else WEIGHTS)
    assert model.predict_proba(NOISE)[:, 1].mean() == pytest.approx(0.5, abs=0.02)
    # and what is reported is near the smallest value that the weighted loss can have, log 2, not below it
    assert model.loss_curve_[-1] == pytest.approx(np.log(2), abs=0.01)


@pytest.mark.parametrize("sizes", [[3, 4, 2], [20, 40, 5]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 2, 3, 6, 12])
def test_the_mean_step_is_the_gradient_of_the_weighted_cost(batch_size, sizes):
    """Steps so small that the parameters stay where they are: those of an epoch add up to the whole gradient."""
    rng = np.random.default_rng(batch_size)
    case = cases.Case("", sizes, "tanh", "softmax", "cross_entropy", l2_penalty=0.1)
    X, Y = rng.standard_normal((12, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=12)]
    w = rng.uniform(0, 5, 12) ** 2
    net = network(case)
    before = net.params.copy()
    rate = 1e-7
    net.fit(X, Y, epochs=1, batch_size=batch_size, optimizer=bp.SGD(rate), sample_weight=w, seed=0)
    mean_step = (before - net.params) / rate / (12 // batch_size)
    assert relative_error(mean_step, reference.gradient(case, before, X, Y, w)) < 1e-5


def test_one_row_s_weight_is_its_gradient_s_factor():
    """Mini-batches of one row: the weights used to vanish altogether."""
    X, Y, w = np.array([[1.0], [2.0]]), np.array([[1.0], [-1.0]]), np.array([3.0, 1.0])
    net = bp.Network([1, 1], initializer="zeros")
    net.fit(X, Y, epochs=1, batch_size=1, optimizer=bp.SGD(0.1), sample_weight=w, shuffle=False)
    # mean weight 2. Row 1: a - y = -1, factor 3/2: W = b = 0.15. Row 2: a - y = 0.45 + 1, factor 1/2, step 0.0725.
    assert net.params == pytest.approx([0.15 - 2 * 0.0725, 0.15 - 0.0725])


def test_all_weights_alike_are_as_none():
    results = []
    for weights in (None, np.full(100, 7.0)):
        net = bp.Network([2, 5, 1], "tanh", seed=0)
        history = net.fit(NOISE[:100], NOISE[:100, :1], epochs=3, batch_size=8, seed=0, sample_weight=weights)
        results.append((net.params.copy(), history.loss))
    for none, alike in zip(*results, strict=True):
        assert alike == pytest.approx(none, rel=1e-12)


# ---- Estimators ------------------------------------------------------------------------------------------------------


@ignore_the_last_epoch
@pytest.mark.skipif(
    "sample_weight" not in inspect.signature(theirs.MLPClassifier.fit).parameters, reason="scikit-learn before 1.7"
)
@pytest.mark.parametrize("batch_size", [1, 7, 50])
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_sample_weight_alone_is_scikit_learn_s(name, batch_size):
    X, w = NOISE[:60], WEIGHTS[:60] + np.arange(60) % 5
    y = RARE[:60] | (X[:, 0] > 1) if name == "MLPClassifier" else X[:, 0] ** 2
    settings = {"hidden_layer_sizes": (9,), "batch_size": batch_size, "max_iter": 5, "random_state": 0}
    mine, their = (getattr(library, name)(**settings).fit(X, y, w) for library in (ours, theirs))
    assert mine.loss_curve_ == pytest.approx(their.loss_curve_, rel=1e-9)
    chosen = getattr(ours, name)(**settings, weight_normalization="batch").fit(X, y, w)
    assert np.array_equal(chosen.coefs_[0], mine.coefs_[0])
    other = getattr(ours, name)(**settings, weight_normalization="data").fit(X, y, w)
    assert not np.allclose(other.coefs_[0], mine.coefs_[0])


@ignore_the_last_epoch
def test_class_weight_counts_in_mini_batches_of_one_row():
    y = (NOISE[:300, 0] > 1).astype(int)
    models = [
        ours.MLPClassifier((9,), batch_size=1, alpha=0, max_iter=2, random_state=0, class_weight=weights)
        for weights in (None, {0: 1, 1: 1000})
    ]
    plain, weighted = (model.fit(NOISE[:300], y).predict_proba(NOISE[:300])[:, 1].mean() for model in models)
    assert plain < 0.3
    assert weighted > 0.7


@ignore_the_last_epoch
def test_class_weights_of_a_stream_are_factors_of_each_row_s_gradient():
    """`partial_fit` sees no other rows to compare with: a weight of 3 is the row three times in the sum."""
    X, y = NOISE[:6], np.array([0, 1, 0, 0, 1, 0])
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "momentum": 0.0, "alpha": 0.0, "random_state": 0}
    model = ours.MLPClassifier(**settings, class_weight={0: 1.0, 1: 3.0}, learning_rate_init=0.01)
    plain = ours.MLPClassifier(**settings, learning_rate_init=0.03)  # a rate three times as large does the same
    for classifier in (model, plain):
        classifier.partial_fit(X[1:2], y[1:2], classes=[0, 1])
    assert model.coefs_[0] == pytest.approx(plain.coefs_[0], rel=1e-12)


def test_weight_normalization_is_checked():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            ValueError, match="The 'weight_normalization' parameter of MLPClassifier must be a str among"
        ):
            ours.MLPClassifier(weight_normalization="row").fit(NOISE, RARE)


@pytest.mark.parametrize("batch_size", [1, 32])
def test_the_learning_rate_finder_judges_rows_by_their_weights(batch_size):
    """A first mini-batch of light rows costs little; a heavy row in the next one does not count as an explosion."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 5))
    Y = X[:, :1] + 0.1 * rng.standard_normal((2000, 1))
    w = np.where(rng.random(2000) < 0.01, 1000.0, 1.0)
    net = bp.Network([5, 8, 1], "tanh", seed=0, l2_penalty=0.01)
    plain, weighted = (
        bp.find_learning_rate(net, X, Y, batch_size=batch_size, sample_weight=weights, seed=0) for weights in (None, w)
    )
    assert len(weighted.losses) > 0.5 * len(plain.losses)
    alike = bp.find_learning_rate(net, X, Y, batch_size=batch_size, sample_weight=np.full(2000, 7.0), seed=0)
    assert alike.losses[:20] == pytest.approx(plain.losses[:20], rel=1e-9)
    first = bp.find_learning_rate(net, X, Y, batch_size=batch_size, sample_weight=(np.arange(2000) == 5) * 1.0, seed=0)
    assert np.isfinite(first.losses).all()
