"""scikit-learn's private names: all in one file, and the estimators give the same without any of them."""

import importlib
from numbers import Integral, Real

import numpy as np
import pytest
import sklearn
from sklearn.utils import _param_validation as theirs

from fastbp.neural_network import constraints, sklearn_private
from fastbp.neural_network.parameters import CLASSIFIER_CONSTRAINTS, REGRESSOR_CONSTRAINTS
from tests.fresh import ROOT, run_python

NAMES = (
    "sklearn.utils._param_validation:Interval",
    "sklearn.utils._param_validation:Options",
    "sklearn.utils._param_validation:StrOptions",
    "sklearn.utils._param_validation:InvalidParameterError",
    "sklearn.utils._param_validation:validate_parameter_constraints",
    "sklearn.base:_fit_context",
    "sklearn.utils.validation:_check_sample_weight",
    "sklearn.utils.multiclass:_check_partial_fit_first_call",
)
WAYS = ("missing", "raises TypeError", "returns None")


def test_every_name_is_listed_here_and_used_with_this_scikit_learn():
    source = (ROOT / sklearn_private.__file__).read_text(encoding="utf-8")
    assert all(name.rpartition(":")[2] in source and name.rpartition(":")[0] in source for name in NAMES)
    assert sklearn_private.missing == [], f"scikit-learn {sklearn.__version__} does otherwise"


CODE = """
import pkgutil, sys
import numpy as np
import fastbp.neural_network
from fastbp.neural_network import sklearn_private

NAMES, WAYS = {names!r}, {ways!r}
rng = np.random.default_rng(0)
X, y = rng.standard_normal((40, 3)), rng.integers(3, size=40)
whole, other = pkgutil.resolve_name, (None, None)

def resolve_name(name):
    if name != other[0]:
        return whole(name)
    if other[1] == "missing":
        raise AttributeError(name)
    return changed

def changed(*args, **kwargs):
    if other[1] == "raises TypeError":
        raise TypeError("an argument that is not known")

pkgutil.resolve_name = resolve_name

def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        kinds = sorted(cls.__name__ for cls in type(error).__mro__)
        return f"{{kinds}} {{error}}"

def result():
    from fastbp.neural_network import MLPClassifier, MLPRegressor, sklearn_private
    settings = dict(hidden_layer_sizes=(4,), max_iter=3, tol=0.0, n_iter_no_change=9, random_state=0)
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = MLPClassifier(**settings).fit(X, y, sample_weight=[1, 2] * 20)
        b = MLPRegressor(solver="lbfgs", **settings).fit(X, y, sample_weight=2.0)
    c = MLPClassifier(**settings)
    for _ in range(2):
        c.partial_fit(X, y, classes=[2, 0, 1], sample_weight=np.ones(40, "f4"))
    said = [
        refused(MLPClassifier(alpha=-1).fit, X, y),
        refused(MLPClassifier(alpha="x").fit, X, y),
        refused(MLPClassifier(alpha=float("nan")).fit, X, y),
        refused(MLPClassifier(solver="newton").fit, X, y),
        refused(MLPClassifier(activation="sigmoid").fit, X, y),
        refused(MLPClassifier(dtype="float16").fit, X, y),
        refused(MLPClassifier(random_state=-1).fit, X, y),
        refused(MLPClassifier(shuffle="yes").fit, X, y),
        refused(MLPRegressor(quantile=1.0).fit, X, y),
        refused(MLPRegressor(max_iter=2.5).fit, X, y),
        refused(MLPClassifier(**settings).fit, X, y, sample_weight=[1.0] * 39),
        refused(MLPClassifier(**settings).partial_fit, X, y),
        refused(c.partial_fit, X, y, classes=[0, 1]),
    ]
    assert None not in said
    a.alpha = -1
    said.append(refused(a.partial_fit, X, y))  # parameters are looked at in the first call only
    bits = [net.network_.params.tobytes().hex() for net in (a, b, c)]
    return bits, said, sklearn_private.missing

expected = result()
assert expected[2] == []
for way in WAYS:
    for name in NAMES:
        other = name, way
        for module in [module for module in sys.modules if module.startswith("fastbp.neural_network")]:
            del sys.modules[module]
        bits, said, missing = result()
        print(name, way, name in missing, bits == expected[0], said == expected[1], sep="|")
        for here, there in zip(said, expected[1]):
            if here != there:
                print("   ", here, "|||", there)
"""


def test_without_one_of_them_or_if_it_does_otherwise_fit_gives_the_same():
    lines = run_python(CODE.format(names=NAMES, ways=WAYS), time_limit=300).splitlines()
    assert lines == [f"{name}|{way}|True|True|True" for way in WAYS for name in NAMES]


# ---- What stands in ------------------------------------------------------------------------------------------------

VALUES = (
    None, True, False, np.True_, 0, 1, -1, 2.5, 0.0, 1.0, np.inf, -np.inf, np.nan, np.float32(0.5), np.int64(3), 2**32,
    "adam", "sgd", "relu", "auto", "", "float32", (), (5,), [3], [], {}, {0: 1}, print, int, np.zeros(3), np.zeros(()),
    np.random.RandomState(0), np.random, object, b"x", 1j,
)  # fmt: skip


@pytest.mark.parametrize("rules", [CLASSIFIER_CONSTRAINTS, REGRESSOR_CONSTRAINTS], ids=["classifier", "regressor"])
def test_parameters_are_refused_in_scikit_learns_words(rules):
    refusals = 0
    for name, of_name in rules.items():
        for value in VALUES:
            said = []
            for module in (theirs, constraints):
                try:
                    module.validate_parameter_constraints({name: of_name}, {name: value, "further": 1}, "MLP")
                    said.append(None)
                except module.InvalidParameterError as error:
                    said.append(str(error))
            assert said[0] == said[1]
            refusals += said[0] is not None
    assert 600 < refusals < len(rules) * len(VALUES)


@pytest.mark.parametrize("closed", ["left", "both", "neither"])
@pytest.mark.parametrize("kind", [Real, Integral])
def test_intervals_are_scikit_learns(kind, closed):
    for bounds in ((0, 3), (0, None), (-2, 1)):
        if bounds[1] is None and kind is Integral and closed == "both":
            continue
        pair = [module.Interval(kind, *bounds, closed=closed) for module in (theirs, constraints)]
        assert str(pair[0]) == str(pair[1])
        for value in (-2, -1, 0, 1, 3, 4, 0.0, 3.0, 0.5, np.nan, np.inf, "a", None, True, np.float32(1)):
            assert pair[0].is_satisfied_by(value) == pair[1].is_satisfied_by(value)


def test_options_are_scikit_learns():
    for make in (lambda module: module.Options(Real, {np.inf}), lambda module: module.StrOptions({"a"})):
        pair = [make(module) for module in (theirs, constraints)]
        assert str(pair[0]) == str(pair[1])
        for value in (np.inf, 1.0, "a", "b", None):
            assert pair[0].is_satisfied_by(value) == pair[1].is_satisfied_by(value)


def test_names_of_parameters_are_those_of_the_constructor():
    class Estimator:
        def __init__(self, b, a=1, **kwargs):
            pass

    assert sklearn_private.parameter_names(Estimator) == ["a", "b"]
    kind = importlib.import_module("fastbp.neural_network").MLPClassifier
    assert sklearn_private.parameter_names(kind) == sorted(kind().get_params(deep=False))
