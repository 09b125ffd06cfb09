"""Targets and class weights of the estimators: which are allowed, and what is said of the others."""

import datetime

import numpy as np
import pytest
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.linear_model import LogisticRegression

from fastbp.neural_network import MLPClassifier, MLPRegressor
from tests.test_neural_network_errors import quietly, raises, warning_of

X = np.random.default_rng(0).standard_normal((60, 4))
Y = (X[:, 0] > 0.3).astype(int)
LABELS = (X[:, :3] > 0).astype(int)
QUICK = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0}

pytestmark = [
    quietly,
    pytest.mark.filterwarnings("ignore:scipy.optimize. The `disp`:DeprecationWarning"),  # an older scikit-learn's
]


# ---- Class weights ---------------------------------------------------------------------------------------------------


def keys_message(classes, keys, hint=""):
    """What is said of keys that are no classes."""
    return (
        f"The keys of `class_weight` must be classes, {classes}; got {keys}. A class that has no key counts with the "
        f"weight 1.{hint}"
    )


TYPED = " A key has the type of the labels: write {} for {}."
WRONG_KEYS = {
    "typing error": ({"ham": 1, "spm": 50}, "words", "'spm'", ""),
    "JSON": ({"0": 1, "1": 50}, "numbers", "'0', '1'", TYPED.format("0", "'0'")),
    "one of JSON": ({0: 1, "1": 50}, "numbers", "'1'", TYPED.format("1", "'1'")),
    "numbers for words": ({0: 1, 1: 50}, "words", "0, 1", ""),
    "numbers for digits": ({0: 1, 1: 50}, "digits", "0, 1", TYPED.format("'0'", "0")),
    "unknown class": ({7: 50}, "numbers", "7", ""),
}
TARGETS = {
    "words": (np.where(Y == 1, "spam", "ham"), "['ham' 'spam']"),
    "numbers": (Y, "[0 1]"),
    "digits": (Y.astype(str), "['0' '1']"),
}


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_keys_of_class_weight_must_be_classes(case):
    class_weight, name, keys, hint = WRONG_KEYS[case]
    y, classes = TARGETS[name]
    model = MLPClassifier(class_weight=class_weight, **QUICK)
    with raises(ValueError, keys_message(classes, keys, hint)):
        model.fit(X, y)
    with raises(ValueError, keys_message(classes, keys, hint)):
        model.partial_fit(X, y, classes=np.unique(y))
    if name == "digits":
        return  # which scikit-learn takes for numbers
    with pytest.raises(ValueError, match=r"The classes, .* are not in class_weight"):  # scikit-learn agrees
        LogisticRegression(class_weight=class_weight).fit(X, y)


def test_keys_are_compared_with_all_classes_and_not_with_those_of_the_rows():
    rows = Y == 0
    model = MLPClassifier(class_weight={1: 3.0}, **QUICK)
    model.partial_fit(X[rows], Y[rows], classes=[0, 1])
    unweighted = MLPClassifier(**QUICK).partial_fit(X[rows], Y[rows], classes=[0, 1])
    assert model.loss_curve_ == unweighted.loss_curve_  # no row of the class is there
    model.partial_fit(X, Y)
    assert model.loss_curve_ != unweighted.partial_fit(X, Y).loss_curve_
    with raises(ValueError, keys_message("[0 1]", "2")):
        MLPClassifier(class_weight={2: 3.0}, **QUICK).partial_fit(X[rows], Y[rows], classes=[0, 1])
    with raises(ValueError, keys_message("[0 1]", "2")):
        model.set_params(class_weight={2: 3.0}).loss_gradient(X, Y)


def test_a_class_that_the_rows_lack_may_have_a_weight_where_every_other_has_one():
    class_weight = {0: 2.0, 1: 1.0, 2: 9.0}  # as for a fold without the class 2
    LogisticRegression(class_weight=class_weight).fit(X, Y)
    found = MLPClassifier(class_weight=class_weight, **QUICK).fit(X, Y)
    assert found.loss_curve_ == MLPClassifier(**QUICK).fit(X, Y, np.where(Y == 0, 2.0, 1.0)).loss_curve_


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_class_weights_of_all_kinds_of_labels(name, column):
    y = TARGETS[name][0]
    class_weight = {np.unique(y)[1]: 4}
    model = MLPClassifier(class_weight=class_weight, **QUICK).fit(X, y[:, None] if column else y)
    assert model.loss_curve_ == MLPClassifier(**QUICK).fit(X, y, np.where(Y == 1, 4.0, 1.0)).loss_curve_


@pytest.mark.parametrize("weight", [-1, np.nan, np.inf, -np.inf, None, "5", 1e39], ids=str)
def test_class_weights_must_be_finite_and_not_negative(weight):
    text = f"`class_weight` must hold finite numbers of at least 0; got {weight!r} for the class 1."
    model = MLPClassifier(class_weight={0: 1, 1: weight}, dtype="float32", **QUICK)  # in which 1e39 is infinite
    with raises(ValueError, text):
        model.fit(X, Y)
    with raises(ValueError, text):
        model.partial_fit(X, Y, classes=[0, 1])


def test_class_weights_must_leave_something():
    text = "`sample_weight` times `class_weight` must be other than 0 for at least one row; got 0 for all {}."
    model = MLPClassifier(class_weight={0: 0, 1: 1}, **QUICK)
    with raises(ValueError, text.format(60)):
        model.fit(X, Y, 1.0 - Y)
    with raises(ValueError, "In `eval_set`: " + text.format(9)):
        model.fit(X, Y, eval_set=(X[:9], [0] * 9))


def test_class_weights_of_several_labels():
    text = (
        "`class_weight` must be None or 'balanced' where `y` has several labels, since a sample then has several "
        "classes; got a dict. Pass `sample_weight`."
    )
    with raises(ValueError, text):
        MLPClassifier(class_weight={0: 1.0}, **QUICK).fit(X, LABELS)


# ---- Several labels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [2, 255, -1])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_0_is_a_label(code, solver, dtype):
    settings = QUICK | {"solver": solver}
    model = MLPClassifier(**settings).fit(X.astype(dtype), code * LABELS)
    plain = MLPClassifier(**settings).fit(X.astype(dtype), LABELS)
    np.testing.assert_array_equal(model.coefs_[0], plain.coefs_[0])
    assert np.unique(model.predict(X)).tolist() == [0, 1]
    expected = theirs.MLPClassifier(**settings).fit(X.astype(dtype), code * LABELS)
    np.testing.assert_allclose(model.loss_, expected.loss_, rtol=1e-4 if dtype == "float32" else 1e-8)


def test_what_is_not_0_is_a_label_everywhere():
    plain = MLPClassifier(**QUICK).fit(X, LABELS, eval_set=(X, LABELS))
    model = MLPClassifier(**QUICK).fit(X, LABELS, eval_set=(X, 2 * LABELS))
    assert model.validation_loss_curve_ == plain.validation_loss_curve_
    assert model.partial_fit(X, 3.0 * LABELS).loss_ == plain.partial_fit(X, LABELS).loss_
    assert model.loss_gradient(X, 2 * LABELS)[0] == plain.loss_gradient(X, LABELS)[0]
    masks = sparse.csr_array(255 * LABELS)
    assert MLPClassifier(**QUICK).fit(X, masks).loss_curve_ == MLPClassifier(**QUICK).fit(X, LABELS).loss_curve_
    scored = MLPClassifier(early_stopping=True, scoring="f1_macro", **QUICK).fit(X, LABELS, eval_set=(X, 2 * LABELS))
    expected = MLPClassifier(early_stopping=True, scoring="f1_macro", **QUICK).fit(X, LABELS, eval_set=(X, LABELS))
    assert scored.validation_scores_ == expected.validation_scores_


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (1, 2), (-2.0, -1.0)])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_two_numbers_that_are_not_0_are_refused(low, high, container):
    y = container(np.where(LABELS == 1, high, low))
    text = (
        f"`y` must be 0 where a sample does not have a label, and 1, or one other number, where it has; got {low} and "
        f"{high}. Pass (y == {high}).astype(int)."
    )
    with raises(ValueError, text):
        MLPClassifier(**QUICK).fit(X, y)
    with raises(ValueError, text):
        MLPClassifier(**QUICK).partial_fit(X, y, classes=[0, 1, 2])
    with raises(ValueError, f"In `eval_set`: {text}"):
        MLPClassifier(**QUICK).fit(X, LABELS, eval_set=(X, y))


def test_rows_that_all_have_a_label_or_none():
    for y in (np.zeros_like(LABELS), np.ones_like(LABELS), np.full_like(LABELS, 7)):
        their, our = theirs.MLPClassifier(**QUICK).fit(X, y), MLPClassifier(**QUICK).fit(X, y)
        np.testing.assert_allclose(our.loss_curve_, their.loss_curve_, rtol=1e-8)


# ---- Numbers ---------------------------------------------------------------------------------------------------------

DAYS = np.datetime64("2020-01-01") + np.arange(60)
NOT_NUMBERS = {
    "days": (DAYS, "dtype datetime64[D]", True),
    "seconds and NaT": (np.where(Y == 1, DAYS.astype("M8[s]"), np.datetime64("NaT")), "dtype datetime64[s]", True),
    "durations": (DAYS - DAYS[0], "dtype timedelta64[D]", True),
    "days in two columns": (np.column_stack([DAYS, DAYS]), "dtype datetime64[D]", True),
    "days as objects": (np.array(list(DAYS), object), "a datetime64", True),
    "dates": (DAYS.tolist(), "a date", True),
    "differences": ([datetime.timedelta(days=int(i)) for i in Y], "a timedelta", True),
    "texts": (Y.astype(str), "dtype <U21", False),
    "bytes": (Y.astype("S2"), "dtype |S2", False),
    "list of texts": ([str(i) for i in Y], "dtype <U1", False),
}


@pytest.mark.parametrize("case", NOT_NUMBERS)
def test_targets_of_a_regression_must_be_numbers(case):
    y, found, is_time = NOT_NUMBERS[case]
    cure = "Choose a unit, as by (y - origin) / np.timedelta64(1, 'D')." if is_time else "Write y.astype(float)."
    text = f"`y` must hold real numbers; got {found}. {cure}"
    for loss in ("squared_error", "poisson"):
        with raises(TypeError, text):
            MLPRegressor(loss, **QUICK).fit(X, y)
    with raises(TypeError, text):
        MLPRegressor(**QUICK).partial_fit(X, y)
    with raises(TypeError, f"In `eval_set`: {text}"):
        MLPRegressor(**QUICK).fit(X, Y, eval_set=(X, y))
    with raises(TypeError, text):
        MLPRegressor(**QUICK).fit(X, Y).loss_gradient(X, y)


def test_targets_of_pandas_must_be_numbers():
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2020", periods=60, tz="UTC")
    for y in (days, days.tz_localize(None), pandas.Series(days), pandas.Series(days - days[0])):
        with pytest.raises(TypeError, match=r"^`y` must hold real numbers; got "):
            MLPRegressor(**QUICK).fit(X, y)
    numbers = pandas.Series(Y, dtype="Int64")
    assert MLPRegressor(**QUICK).fit(X, numbers).loss_ == MLPRegressor(**QUICK).fit(X, Y).loss_


def test_targets_as_objects_are_numbers_as_in_scikit_learn():
    y = (Y + 0.5).astype(object)
    expected = theirs.MLPRegressor(**QUICK).fit(X, y).loss_curve_
    np.testing.assert_allclose(MLPRegressor(**QUICK).fit(X, y).loss_curve_, expected, rtol=1e-8)
    np.testing.assert_allclose(MLPRegressor(**QUICK).fit(X, y.astype(str).astype(object)).loss_curve_, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "shown"), [("nan", "float64", "nan"), ("-inf", "float64", "-inf"), (1e39, "float32", "1e+39")]
)
def test_targets_must_be_finite_in_the_dtype_of_the_arithmetic(value, dtype, shown):
    y = Y.astype(object)
    y[7] = value
    text = (
        f"`y` must hold numbers that are finite in {dtype}, the type of all arithmetic; got {shown} in row 7. Scale "
        "the targets, set dtype='float64', or leave such rows out."
    )
    with raises(ValueError, text):
        MLPRegressor(dtype=dtype, **QUICK).fit(X, y)


def test_dates_are_class_labels_but_nat_is_none():
    y = np.where(Y == 1, DAYS[0], DAYS[1])
    assert (MLPClassifier(**QUICK).fit(X, y).classes_ == DAYS[:2]).all()
    with raises(ValueError, "`y` must hold class labels, which NaT is not. Leave such rows out."):
        MLPClassifier(**QUICK).fit(X, np.where(Y == 1, DAYS[0], np.datetime64("NaT")))


# ---- A column --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_a_column_is_warned_of_as_by_scikit_learn(name):
    def twice(lib, method):
        model = getattr(lib, name)(warm_start=True, **QUICK)
        first = {"classes": [0, 1]} if (name, method) == ("MLPClassifier", "partial_fit") else {}
        getattr(model, method)(X, Y[:, None], **first)
        getattr(model, method)(X, Y[:, None])

    import fastbp.neural_network as ours

    for method in ("fit", "partial_fit"):
        found, expected = (warning_of(lambda lib=lib: twice(lib, method)) for lib in (ours, theirs))  # noqa: B023
        assert found == expected
        assert sum(kind is DataConversionWarning for kind, _ in found) == 2
