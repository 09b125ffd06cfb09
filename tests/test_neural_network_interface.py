"""The estimators within scikit-learn: its checks, its tools, pickles, pandas."""

import ast
import copy
import inspect
import io
import pickle
import re
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_validate
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.training.steps import Steps
from tests.fresh import ROOT, TIME_LIMIT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = {"hidden_layer_sizes": (8,), "max_iter": 40, "random_state": 0, "learning_rate_init": 0.02}


@pytest.fixture(scope="module")
def iris():
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture(scope="module")
def fitted(iris):
    return MLPClassifier(**QUICK).fit(*iris)


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings
@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])  # none is expected to fail
def test_scikit_learns_checks(estimator, check):
    check(estimator)


# ---- Tools that clone, fit and predict -------------------------------------------------------------------------------


def test_clone_has_the_parameters_and_no_fit(fitted):
    twin = clone(fitted)
    assert twin.get_params() == fitted.get_params()
    assert not hasattr(twin, "coefs_")
    assert not hasattr(twin, "network_")


def test_pipeline(iris):
    model = make_pipeline(StandardScaler(), MLPClassifier(**QUICK)).fit(*iris)
    assert model.score(*iris) > 0.9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of joblib's workers
def test_grid_search_in_two_processes(iris):
    grid = {"alpha": [1e-4, 30.0], "activation": ["tanh", "relu"]}
    search = GridSearchCV(MLPClassifier(**QUICK), grid, n_jobs=2, cv=3).fit(*iris)
    alone = GridSearchCV(MLPClassifier(**QUICK), grid, cv=3).fit(*iris)
    assert search.best_params_["alpha"] == 1e-4
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_cross_val_predict(iris):
    assert np.mean(cross_val_predict(MLPClassifier(**QUICK), *iris) == iris[1]) > 0.9


def test_calibration(iris):
    model = CalibratedClassifierCV(MLPClassifier(**QUICK), cv=3).fit(*iris)
    np.testing.assert_allclose(model.predict_proba(iris[0]).sum(axis=1), 1)
    assert model.score(*iris) > 0.9


def test_bagging(iris):
    model = BaggingClassifier(MLPClassifier(**QUICK), n_estimators=3, random_state=0).fit(*iris)
    assert model.score(*iris) > 0.9


def test_multi_output():
    X, Y = make_regression(80, 5, n_targets=2, random_state=0)
    Y /= Y.std(axis=0)
    model = MultiOutputRegressor(MLPRegressor(**QUICK | {"solver": "lbfgs"})).fit(X, Y)
    assert model.score(X, Y) > 0.95


def test_metadata_routing(iris):
    X, y = iris
    weights = np.where(y == "setosa", 0.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        model = MLPClassifier(**QUICK).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        result = cross_validate(model, X, y, params={"sample_weight": weights}, return_estimator=True, cv=3)
    for estimator in result["estimator"]:  # nothing was learned of the class without weight
        assert (estimator.predict(X[y == "setosa"]) != "setosa").mean() > 0.5


def test_set_params_on_a_fitted_model(iris, fitted):
    model = copy.deepcopy(fitted)
    before = model.predict(iris[0])
    model.set_params(alpha=1.0, solver="sgd", learning_rate_init=0.5)
    np.testing.assert_array_equal(model.predict(iris[0]), before)
    model.set_params(hidden_layer_sizes=(4, 3)).fit(*iris)
    assert [W.shape for W in model.coefs_] == [(4, 4), (4, 3), (3, 3)]


def test_partial_fit_is_there_for_stochastic_solvers_only():
    assert hasattr(MLPClassifier(), "partial_fit")
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")


def test_an_unfitted_model_says_so():
    for name in ("predict", "predict_proba", "predict_log_proba", "input_gradient"):
        with pytest.raises(NotFittedError, match="This MLPClassifier instance is not fitted yet"):
            getattr(MLPClassifier(), name)([[0.0]])
    with pytest.raises(NotFittedError, match="This MLPRegressor instance is not fitted yet"):
        MLPRegressor().loss_gradient([[0.0]], [0.0])


# ---- What type checkers see ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_every_parameter_is_stored_by_its_name(model):
    values = {name: object() for name in model().get_params()}
    stored = model(**values)
    assert list(vars(stored)) == list(inspect.signature(model).parameters)
    assert all(vars(stored)[name] is value for name, value in values.items())


def statements(function, kind):
    """The statements of a kind in a function's source."""
    source = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return [node for node in ast.walk(source) if isinstance(node, kind)]


@pytest.mark.parametrize("model", [MLPClassifier, MLPRegressor])
def test_every_attribute_is_declared(model):
    fitted = model(early_stopping=True, **QUICK).fit([[0.0], [1.0]] * 20, [0, 1] * 20, eval_set=([[0.0]] * 2, [0, 1]))
    declared = {name for cls in model.__mro__ for name in vars(cls).get("__annotations__", {})}
    stores = statements(model.__init__, ast.Attribute)
    parameters = {node.attr for node in stores if isinstance(node.ctx, ast.Store)}
    assert parameters == set(fitted.get_params())
    attributes = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    assert attributes <= declared
    documented = {
        name for line in re.findall(r"^    (\w+_(?:, \w+_)*) : ", model.__doc__, re.M) for name in line.split(", ")
    }
    assert documented - {"network_"} <= declared  # which is a property, with a type of its own
    for method in (model.fit, model.partial_fit):
        assert inspect.signature(method).return_annotation == "Self"


# ---- Pickles ---------------------------------------------------------------------------------------------------------


def test_a_pickle_holds_no_network_and_nothing_compiled(fitted):
    ours = ("fastbp.neural_network.", "fastbp.training.state")
    allowed = (*ours, "numpy", "sklearn.", "builtins", "copyreg", "collections", "_codecs")

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            assert module.startswith(allowed), f"{module}.{name}"
            return super().find_class(module, name)

    state = fitted.__getstate__()
    assert not any(type(value).__name__ == "Network" for value in state.values())
    model = Unpickler(io.BytesIO(pickle.dumps(fitted))).load()
    np.testing.assert_array_equal(model.coefs_[0], fitted.coefs_[0])


@pytest.mark.parametrize("how", ["pickle", "joblib", "joblib memory map", "deepcopy", "copy"])
def test_a_copy_predicts_and_trains_like_the_original(how, iris, fitted, tmp_path):
    X, y = iris
    if how.startswith("joblib"):
        joblib.dump(fitted, tmp_path / "model")
        model = joblib.load(tmp_path / "model", mmap_mode="r" if "map" in how else None)
    else:
        makers = {"pickle": lambda m: pickle.loads(pickle.dumps(m)), "deepcopy": copy.deepcopy, "copy": copy.copy}
        model = makers[how](fitted)
    np.testing.assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
    original = copy.deepcopy(fitted)
    model.partial_fit(X, y)
    original.partial_fit(X, y)
    for mine, theirs in zip(model.coefs_, original.coefs_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (model.coefs_[0] != fitted.coefs_[0]).any()  # a copy's training leaves the original alone


def test_a_pickle_works_in_another_process(iris, fitted, tmp_path):
    (tmp_path / "model.pickle").write_bytes(pickle.dumps((fitted, iris[0])))
    code = f"""
import pickle
model, X = pickle.load(open({str(tmp_path / "model.pickle")!r}, "rb"))
print(*model.predict(X), sep="\\n")
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT,
        check=True,
    )
    assert run.stdout.split() == fitted.predict(iris[0]).tolist()


# ---- Parameters that users change ------------------------------------------------------------------------------------


def test_replaced_and_changed_parameters_are_used(iris, fitted):
    X, _ = iris
    model = copy.deepcopy(fitted)
    expected = fitted.predict_proba(X)
    other = MLPClassifier(**QUICK | {"random_state": 5}).fit(*iris)
    model.coefs_, model.intercepts_ = [W.copy() for W in other.coefs_], [b.copy() for b in other.intercepts_]
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    model.coefs_[0][...] = 0  # in place, of arrays that are the user's own
    assert np.ptp(model.predict_proba(X), axis=0).max() == pytest.approx(0, abs=1e-12)
    fitted_again = copy.deepcopy(fitted)
    fitted_again.coefs_[0][...] = 0  # in place, of the model's own arrays
    assert np.ptp(fitted_again.predict_proba(X), axis=0).max() == pytest.approx(0, abs=1e-12)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected)


def test_network_is_the_network_inside(iris, fitted):
    X, _ = iris
    net = fitted.network_
    assert net.sizes == (4, 8, 3)
    np.testing.assert_array_equal(net.predict(X), fitted.predict_proba(X))
    assert net.weights[0] is fitted.coefs_[0]


# ---- Inputs of all kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_and_their_names(library, iris):
    library = pytest.importorskip(library)
    X, y = iris
    frame = library.DataFrame(dict(zip("abcd", X.T, strict=True)))
    model = MLPClassifier(**QUICK).fit(frame, library.Series(y))
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(model.predict(frame), MLPClassifier(**QUICK).fit(X, y).predict(X))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier was fitted"):
        model.predict(X)
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        model.predict(frame[["b", "a", "c", "d"]])
    stopped = MLPClassifier(**QUICK | {"early_stopping": True}, scoring="f1_macro").fit(frame, y)
    assert len(stopped.validation_scores_) == stopped.n_iter_


@pytest.mark.parametrize("form", ["fortran", "strided", "read-only", "list", "one row"])
def test_all_layouts_predict_the_same(form, iris, fitted):
    X, _ = iris
    inputs = {
        "fortran": np.asfortranarray(X),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "read-only": X.copy(),
        "list": X.tolist(),
        "one row": X[:1],
    }[form]
    if form == "read-only":
        inputs.flags.writeable = False
    expected = fitted.predict_proba(X)[: len(inputs)]
    np.testing.assert_allclose(fitted.predict_proba(inputs), expected, rtol=1e-12)
    if form != "one row":
        twin = MLPClassifier(**QUICK).fit(inputs, iris[1])
        np.testing.assert_array_equal(twin.coefs_[0], fitted.coefs_[0])


def test_one_class_alone():
    model = MLPClassifier(max_iter=3).fit([[0.0], [1.0]], ["only", "only"])
    assert model.predict([[5.0]]).tolist() == ["only"]


def test_the_number_of_threads_changes_no_bit():
    X, y = make_classification(600, 40, random_state=0)
    models = [MLPClassifier((64, 64), max_iter=3, n_threads=n, random_state=0).fit(X, y) for n in (1, 2)]
    np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])


def test_ctrl_c_keeps_what_was_learned(iris, monkeypatch):
    run, calls = Steps.epoch, []

    def interrupted(self, rates, order):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, rates, order)

    monkeypatch.setattr(Steps, "epoch", interrupted)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        model = MLPClassifier(**QUICK, early_stopping=True).fit(*iris)  # which looks after each epoch
    assert model.n_iter_ == len(model.loss_curve_) == 2
    assert model.predict(iris[0]).shape == (150,)
