"""Wrong input, as scikit-learn answers it and with its exception types, and fits that diverge."""

import functools
import re
import sys
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.utils._param_validation import InvalidParameterError

import fastbp as bp
from fastbp import neural_network as ours
from fastbp.neural_network import FitDivergedError, MLPClassifier, MLPRegressor

X, Y = make_classification(60, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
quietly = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@contextmanager
def raises(kind, text):
    """The exact text of an exception."""
    with pytest.raises(kind) as caught:
        yield
    assert str(caught.value) == text


# ---- As scikit-learn -------------------------------------------------------------------------------------------------

BAD_DATA = {
    "NaN": (np.full((4, 2), np.nan), [0, 1, 0, 1]),
    "infinity": (np.full((4, 2), np.inf), [0, 1, 0, 1]),
    "one dimension": (np.zeros(4), [0, 1, 0, 1]),
    "lengths": (np.zeros((4, 2)), [0, 1]),
    "no rows": (np.zeros((0, 2)), []),
    "no columns": (np.zeros((4, 0)), [0, 1, 0, 1]),
    "strings": (np.full((4, 2), "x"), [0, 1, 0, 1]),
    "complex": (np.zeros((4, 2), complex), [0, 1, 0, 1]),
    "no target": (np.zeros((4, 2)), None),
    "NaN target": (np.zeros((4, 2)), [0, np.nan, 0, 1]),
    "sparse format": (sparse.dok_array((4, 2)), None),
}
BAD_SETTINGS = [
    {"hidden_layer_sizes": -1}, {"hidden_layer_sizes": (5, 0)}, {"solver": "newton"}, {"alpha": -1}, {"batch_size": 0},
    {"learning_rate_init": 0.0}, {"max_iter": 0}, {"momentum": 2}, {"momentum": -0.5}, {"validation_fraction": 1.0},
    {"beta_1": 1.0}, {"beta_2": -0.1}, {"epsilon": 0.0}, {"n_iter_no_change": 0}, {"max_fun": 0}, {"shuffle": "true"},
    {"tol": -1.0}, {"power_t": -1.0}, {"early_stopping": "yes"}, {"random_state": "seed"}, {"warm_start": 3},
    {"early_stopping": True, "validation_fraction": 0.01},
]  # fmt: skip


def complaint(call):
    """The type and the text of what a call raises, its choices sorted: scikit-learn writes them in a set's order.

    Those that only fastbp's regressor has are left out.
    """
    with pytest.raises(Exception) as caught:  # noqa: PT011 # whatever scikit-learn raises
        call()
    text = re.sub("fastbp", "sklearn", str(caught.value))
    text = re.sub("'lm', |, 'lm'(?=})", "", text)
    return type(caught.value), re.sub(r"{(.*?)}", lambda choices: str(sorted(choices[1].split(", "))), text)


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_bad_data_get_scikit_learns_answer(name, case):
    answers = [complaint(lambda lib=lib: getattr(lib, name)(max_iter=1).fit(*BAD_DATA[case])) for lib in (ours, theirs)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("settings", BAD_SETTINGS, ids=str)
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_bad_settings_get_scikit_learns_answer(name, settings):
    answers = [complaint(lambda lib=lib: getattr(lib, name)(**settings).fit(X, Y)) for lib in (ours, theirs)]
    assert answers[0] == answers[1]


@quietly
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_bad_inputs_of_predict_get_scikit_learns_answer(name):
    models = [getattr(lib, name)(**QUICK).fit(X, Y) for lib in (ours, theirs)]
    for inputs in (X[:, :3], X[0], np.full((2, 4), np.nan), X[:0], "text", [[1.0, 2.0], [3.0]]):
        answers = [complaint(lambda model=model: model.predict(inputs)) for model in models]  # noqa: B023 # called here
        assert answers[0] == answers[1]


@quietly
def test_other_complaints_are_scikit_learns():
    def partly(lib):
        lib.MLPClassifier(**QUICK).partial_fit(X, Y)

    def other_classes(lib):
        lib.MLPClassifier(**QUICK).fit(X, Y).partial_fit(X, Y + 1)

    def other_classes_warm(lib):
        lib.MLPClassifier(warm_start=True, **QUICK).fit(X, Y).fit(X, Y % 2)

    def partly_stopping(lib):
        lib.MLPClassifier(early_stopping=True, **QUICK).partial_fit(X, Y, classes=[0, 1, 2])

    def several_targets(lib):
        lib.MLPClassifier(**QUICK).fit(X, np.column_stack([Y, Y]))

    def rare_class(lib):
        lib.MLPClassifier(early_stopping=True, **QUICK).fit(X[:5], [0, 0, 0, 0, 1])

    def lbfgs_partly(lib):
        lib.MLPClassifier(solver="lbfgs").partial_fit(X, Y)

    for call in (partly, other_classes, other_classes_warm, partly_stopping, several_targets, rare_class, lbfgs_partly):
        answers = [complaint(lambda lib=lib: call(lib)) for lib in (ours, theirs)]  # noqa: B023 # called here
        assert answers[0] == answers[1]


def warning_of(call):
    with pytest.warns(Warning) as caught:  # noqa: PT030 # whatever scikit-learn warns of
        call()
    # not SciPy's to an older scikit-learn
    return [(w.category, str(w.message)) for w in caught if w.category is not DeprecationWarning]


@pytest.mark.parametrize(
    "settings", [{"max_iter": 3}, {"max_iter": 3, "solver": "lbfgs"}, {"batch_size": 1000}], ids=str
)
def test_warnings_are_scikit_learns(settings):
    column = Y.reshape(-1, 1)
    for target in (Y, column):
        calls = [functools.partial(lib.MLPClassifier(**QUICK | settings).fit, X, target) for lib in (ours, theirs)]
        found, expected = map(warning_of, calls)
        assert found == expected
        assert target is Y or found[0][0] is DataConversionWarning


# ---- What scikit-learn does not have ---------------------------------------------------------------------------------

EXTRA_SETTINGS = [
    {"dtype": "float16"}, {"initializer": "zero"}, {"dropout": 1.0}, {"dropout": "half"}, {"l1_penalty": -1.0},
    {"clip_norm": 0.0}, {"scoring": 3}, {"warm_start_optimizer": "yes"}, {"n_threads": 0}, {"progress": "bar"},
    {"activation": "logistik"}, {"learning_rate": 0.1},
]  # fmt: skip


@pytest.mark.parametrize("settings", EXTRA_SETTINGS, ids=str)
@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_parameters_are_checked(model, settings):
    (name, value), *_ = settings.items()
    with pytest.raises(
        ValueError, match=rf"^The '{name}' parameter of {model.__name__} must be .* Got {value!r} instead\.$"
    ):
        model(**settings).fit(X, Y)


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        (MLPClassifier, {"class_weight": "even"}),
        (MLPRegressor, {"loss": "hinge"}),
        (MLPRegressor, {"quantile": 1.0}),
        (MLPRegressor, {"huber_slope": 0.0}),
        (MLPRegressor, {"output_activation": "softmax"}),
    ],
    ids=str,
)
def test_parameters_of_one_model_are_checked(model, settings):
    (name, value), *_ = settings.items()
    with pytest.raises(
        ValueError, match=rf"^The '{name}' parameter of {model.__name__} must be .* Got {value!r} instead\.$"
    ):
        model(**settings).fit(X, Y)


OTHER_NAMES = [
    (MLPClassifier, {"activation": "sigmoid"}, "'logistic'"),
    (MLPClassifier, {"activation": "linear"}, "'identity'"),
    (MLPClassifier, {"activation": "Swish"}, "'silu'"),
    (MLPClassifier, {"initializer": "xavier_uniform"}, "'glorot_uniform'"),
    (MLPClassifier, {"initializer": "he"}, "'he_normal' or 'he_uniform'"),
    (MLPClassifier, {"solver": "L-BFGS-B"}, "'lbfgs'"),
    (MLPClassifier, {"dtype": "Float32"}, "'float32'"),
    (MLPRegressor, {"loss": "mse"}, "'squared_error'"),
    (MLPRegressor, {"loss": "quadratic"}, "'squared_error'"),
    (MLPRegressor, {"loss": "mae"}, "'absolute_error'"),
    (MLPRegressor, {"loss": "pinball"}, "'quantile'"),
    (MLPRegressor, {"output_activation": "sigmoid"}, "'logistic'"),
]


@pytest.mark.parametrize(("model", "settings", "meant"), OTHER_NAMES, ids=str)
def test_names_of_other_libraries_are_understood(model, settings, meant):
    ((name, value),) = settings.items()
    with pytest.raises(InvalidParameterError) as caught:
        model(**settings).fit(X, Y)
    message = str(caught.value)
    assert message.startswith(f"The {name!r} parameter of {model.__name__} must be ")
    assert message.endswith(f" Got {value!r} instead. Did you mean {meant}?")


def test_dtype_in_all_the_ways_of_numpy():
    for dtype in ("float32", np.float32, np.dtype(np.float32), "f4", "single", np.dtype("<f4")):
        model = MLPClassifier(**QUICK, dtype=dtype)
        assert clone(model).get_params()["dtype"] == dtype
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, Y)
        assert model.predict_proba(X).dtype == np.float32
    rule = "must be 'float32' or 'float64' (as a name, a NumPy type or a dtype) or None. Got"
    for dtype in (np.float16, np.int64, int, np.dtype(">f4"), "half", 32):
        with raises(ValueError, f"The 'dtype' parameter of MLPRegressor {rule} {dtype!r} instead."):
            MLPRegressor(dtype=dtype).fit(X, Y)


def test_lists_must_fit_the_layers():
    text = (
        "`activation` must be one name, or a list with one entry for each of the 1 hidden layers; got 2 entries. The "
        "output layer's activation is `output`."
    )
    with raises(ValueError, text):
        MLPClassifier(activation=["relu", "tanh"], **QUICK).fit(X, Y)
    with raises(ValueError, "`dropout` must be one rate, or one for each of the 1 hidden layers; got 2."):
        MLPClassifier(dropout=[0.1, 0.2], **QUICK).fit(X, Y)


@quietly
def test_eval_set():
    with raises(ValueError, "In `eval_set`: X has 3 features, but MLPClassifier is expecting 4 features as input."):
        MLPClassifier(**QUICK).fit(X, Y, eval_set=(X[:, :3], Y))
    unknown = "`y` has classes not in `self.classes_`. `self.classes_` has [0 1 2]. 'y' has [7]."
    with raises(ValueError, "In `eval_set`: " + unknown):
        MLPClassifier(**QUICK).fit(X, Y, eval_set=(X, np.full(60, 7)))
    with raises(ValueError, "In `eval_set`: `y` must have 1 columns, as in `fit`; got 2."):
        MLPRegressor(**QUICK).fit(X, Y, eval_set=(X, np.zeros((60, 2))))
    with raises(ValueError, unknown):
        MLPClassifier(**QUICK).fit(X, Y).loss_gradient(X, np.full(60, 7))


@quietly
def test_going_on_with_other_layers():
    model = MLPClassifier(warm_start=True, **QUICK).fit(X, Y)
    text = (
        "A fit that goes on (`warm_start` or `partial_fit`) must have the layer sizes of the one before, [4, 5, 3]; "
        "`hidden_layer_sizes` and the data ask for [4, 6, 3]. Set warm_start=False to begin afresh."
    )
    with raises(ValueError, text):
        model.set_params(hidden_layer_sizes=(6,)).fit(X, Y)


@quietly
def test_going_on_with_other_targets_leaves_the_model_as_it_was():
    model = MLPRegressor(**QUICK).fit(X, Y)
    with pytest.raises(ValueError, match=r"the data ask for \[4, 5, 2\]"):
        model.partial_fit(X, np.column_stack([Y, Y]))
    assert model.n_outputs_ == 1
    assert model.input_gradient(X).shape == (60, 1, 4)


def test_balanced_weights_need_all_samples():
    text = (
        "`class_weight='balanced'` is not supported by partial_fit, which does not see all samples. Pass a dict with "
        "the weight of each class, such as that of sklearn.utils.class_weight.compute_class_weight."
    )
    with raises(ValueError, text):
        MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


def test_poisson_needs_counts():
    with raises(ValueError, "`y` must be at least 0 for loss='poisson'; its smallest value is -1."):
        MLPRegressor("poisson").fit(X, Y - 1)


@pytest.mark.parametrize(
    ("loss", "parameter", "text"),
    [
        ("quadratic", 1.0, "`loss_parameter` must be None, except for the losses 'huber' and 'quantile'; got 1.0."),
        ("huber", 0.0, "`loss_parameter` must be above 0; got 0.0."),
        ("quantile", 1.0, "`loss_parameter` must be above 0 and below 1 for `loss='quantile'`; got 1.0."),
    ],
)
def test_loss_parameter_of_a_network(loss, parameter, text):
    with raises(ValueError, text):
        bp.Network([1, 1], loss=loss, loss_parameter=parameter)


# ---- Divergence ------------------------------------------------------------------------------------------------------

SENTENCE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def all_finite(model):
    return all(np.isfinite(array).all() for array in model.coefs_ + model.intercepts_)


def test_a_diverging_fit_says_so_and_keeps_finite_weights():
    data, y = make_regression(60, 4, random_state=0)
    model = MLPRegressor(solver="sgd", activation="identity", learning_rate_init=10.0, random_state=0, batch_size=10)
    with pytest.raises(FitDivergedError) as caught:
        model.fit(1e3 * data, y)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, bp.TrainingDivergedError)
    assert re.fullmatch(
        re.escape(SENTENCE)
        + r" The loss became NaN or infinite in epoch \d+ with a learning rate of 10; the model keeps its "
        r"last finite weights\. Try inputs scaled to mean 0 and variance 1 \(`StandardScaler`\), a smaller "
        r"`learning_rate_init`, or `clip_norm=1\.0`\.",
        str(caught.value),
    )
    assert all_finite(model)
    assert np.isfinite(model.predict(data)).all()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_targets_beyond_all_measure(solver):
    y = 1e300 * np.random.default_rng(0).uniform(-1, 1, 60)
    model = MLPRegressor(solver=solver, random_state=0)
    with pytest.raises(FitDivergedError, match=SENTENCE):
        model.fit(X, y)
    assert all_finite(model)


def test_early_stopping_ends_a_diverging_fit_with_the_best_weights():
    data, y = make_regression(80, 4, random_state=0)
    settings = {"solver": "sgd", "activation": "identity", "learning_rate_init": 0.8, "early_stopping": True}
    model = MLPRegressor(random_state=0, max_iter=100, n_iter_no_change=90, **settings)
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(data, y)
    assert re.fullmatch(
        r"The loss became NaN or infinite in epoch \d+; training stops with the best weights so far\.",
        str(caught[0].message),
    )
    assert np.isnan(model.validation_scores_[-1])
    assert np.isnan(model.loss_curve_[-1])
    assert all_finite(model)


def test_nothing_is_printed_unless_asked(capsys):
    MLPClassifier(**QUICK | {"max_iter": 500, "tol": 0.1}).fit(X, Y)
    assert capsys.readouterr() == ("", "")
    assert sys.stdout is not None
