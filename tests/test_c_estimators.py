"""Estimators as C: classes, labels and probabilities as in Python."""

import ctypes
import inspect

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.neural_network.c_files import _string
from tests import c_programs
from tests.c_compilers import compilers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of 40 iterations

FORMATS = (None, "q15", "q31")
TYPES = {"q15": np.int16, "q31": np.int32}
NAMES = ["length", "wi\\dth */", "größe ??/"]
LABELS = ['a "b\\', "*/ ??/ %s", "größe 😀\n\x01" + "9"]


def data():
    """Rows, and how far each is to one side of a curved border."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def fitted(kind):
    """An estimator of a kind."""
    X, side = data()
    if kind == "frame":
        X = pd.DataFrame(X, columns=NAMES)
    targets = {
        "multiclass": np.array(LABELS)[np.digitize(side, [-0.5, 0.5])],
        "binary": np.where(side > 0, 7, -2),
        "labels": np.stack([side > 0, side > 0.7, side < -0.7], axis=1).astype(int),
        "one": np.full(len(side), "only"),
        "frame": side > 0,
        "single": np.digitize(side, [-0.5, 0.5]),
        "regressor": side,
        "targets": np.stack([side, side**2], axis=1),
    }
    settings = {"hidden_layer_sizes": (8,), "activation": "tanh", "max_iter": 40, "random_state": 0, "solver": "lbfgs"}
    if kind in ("regressor", "targets"):
        return MLPRegressor(**settings).fit(X, targets[kind])
    return MLPClassifier(dtype="float32" if kind == "single" else None, **settings).fit(X, targets[kind])


KINDS = ("multiclass", "binary", "labels", "one", "frame", "single", "regressor", "targets")


def inputs(estimator):
    """Rows as the estimator wants them."""
    X = data()[0]
    return pd.DataFrame(X, columns=NAMES) if hasattr(estimator, "feature_names_in_") else X


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of files, the estimators, and the reports."""
    folder, estimators = tmp_path_factory.mktemp("c"), {kind: fitted(kind) for kind in KINDS}
    reports = {}
    for kind, estimator in estimators.items():
        for form in FORMATS:
            X = inputs(estimator)
            ranges = {} if form is None else {"calibration": X}
            reports[kind, form] = estimator.to_c(folder / f"{kind}_{form}.c", f"e_{kind}_{form}", format=form, **ranges)
    return folder, estimators, reports


@pytest.fixture(scope="module")
def compiled(written):
    """All of them as one library, with the names of the classes."""
    if not compilers():
        pytest.skip("there is no C compiler")
    lines = [f"#define E_MULTICLASS_{str(form).upper()}_CLASS_NAMES" for form in FORMATS]
    lines += [f'#include "{kind}_{form}.c"' for kind in KINDS for form in FORMATS]
    lines += ["const char *name_of(int i);", "const char *name_of(int i) {"]
    lines += [f"(void)e_multiclass_{form}_class_names;" for form in FORMATS[1:]]
    lines += ["return e_multiclass_None_class_names[i]; }", ""]
    return c_programs.library(written[0], "\n".join(lines), compilers()[0], "-O1")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_c_says_what_python_says(written, compiled, kind, form):
    _, estimators, reports = written
    estimator, report = estimators[kind], reports[kind, form]
    X, place = inputs(estimator), f"e_{kind}_{form}_"
    dtype, unit = estimator.network_.dtype, 1.0
    rows = np.asarray(X, dtype)
    if form is not None:
        rows, unit = report.network.integers(rows).astype(TYPES[form]), 2.0 ** -report.points[-1]
    error = 1e-5 if form is None else report.max_error.max() + unit
    if kind in ("regressor", "targets"):
        function = getattr(compiled, f"{place}predict" + ("_q" if form else ""))
        found = c_programs.outputs(function, rows, (len(rows), estimator.n_outputs_)) * unit
        assert abs(found - estimator.predict(X).reshape(found.shape)).max() <= error
        return
    expected = estimator.predict_proba(X)
    found = c_programs.outputs(getattr(compiled, f"{place}proba"), rows, expected.shape) * unit
    assert abs(found - expected).max() <= error
    sure = (abs(expected - 0.5) > error).all(axis=1) if kind == "labels" else np.sort(expected)[:, -1] - error > 0.5
    assert sure.mean() > 0.5
    if kind == "labels":
        labels = c_programs.outputs(getattr(compiled, f"{place}labels"), rows, expected.shape, np.uint8)
        assert np.array_equal(labels[sure], estimator.predict(X)[sure])
        return
    function = getattr(compiled, f"{place}class")
    places = [function(ctypes.c_void_p(row.ctypes.data)) for row in np.ascontiguousarray(rows)]
    assert np.array_equal(estimator.classes_[places][sure], estimator.predict(X)[sure])


def test_names_of_classes_are_strings_and_comments(written, compiled):
    folder, estimators, _ = written
    compiled.name_of.restype = ctypes.c_char_p
    classes = estimators["multiclass"].classes_
    assert [compiled.name_of(i).decode() for i in range(3)] == classes.tolist()
    header = (folder / "multiclass_None.h").read_text(encoding="ascii")
    assert header.count("/* class ") == 3
    assert "#define E_MULTICLASS_NONE_N_CLASSES 3" in header
    for kind in ("multiclass", "binary", "labels", "one"):
        n = estimators[kind].predict_proba(inputs(estimators[kind])).shape[1]
        assert f"/* Probabilities p[0] to p[{n - 1}]. */" in (folder / f"{kind}_None.h").read_text(encoding="ascii")
    for form, half in ((None, "0.5"), ("q15", "16384"), ("q31", "1073741824")):
        assert f"y[0] > {half};" in (folder / f"binary_{form}.c").read_text(encoding="ascii")
        assert f"labels[j] = y[j] > {half};" in (folder / f"labels_{form}.c").read_text(encoding="ascii")
    source = (folder / "frame_q15.c").read_text(encoding="ascii")
    assert ' *   x[1] "wi\\\\dth *\\/"\n' in source


def test_a_string_has_no_escape_that_goes_on_into_the_next_letter():
    assert _string("\x019") == '"\\0019"'


def test_sparse_rows_are_taken_as_in_predict(written, tmp_path):
    _, estimators, reports = written
    X = sparse.csr_matrix(inputs(estimators["binary"]))
    report = estimators["binary"].to_c(tmp_path / "net.c", format="q15", calibration=X, test_vectors=X[:3])
    assert np.array_equal(report.max_error, reports["binary", "q15"].max_error)


def test_an_estimator_takes_what_a_network_takes():
    assert inspect.signature(MLPClassifier.to_c) == inspect.signature(bp.Network.to_c)


def test_rows_are_checked_as_in_predict(tmp_path):
    estimator = fitted("frame")
    X = inputs(estimator)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.to_c(tmp_path / "net.c", format="q15", calibration=X[NAMES[::-1]])
    with pytest.raises(NotFittedError):
        MLPClassifier().to_c(tmp_path / "net.c")
    assert list(tmp_path.iterdir()) == []
