"""Sparse X: the same numbers as with dense X, by every path, and no index that the user can change during a call."""

import numpy as np
import pytest
from scipy import sparse

import fastbp as bp
from fastbp.engine import cutting
from fastbp.engine.calls import UnknownCodeError
from fastbp.engine.problem_frames import make_frame
from fastbp.kernels.tables import data as in_data
from fastbp.kernels.tables import plan as in_plan
from fastbp.model.definition import problem_of
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.validation.sparse_rows import sparse_rows
from tests import cases, reference
from tests.reference import relative_error
from tests.twins import same_bits

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
forms = pytest.mark.parametrize("most_density", [0.0, 1.0], ids=["made dense", "by numbers"])
# Widths below a vector, of a vector and more, and of every number of vectors up to more than eight at once.
WIDTHS = (1, 3, 8, 16, 17, 30, 50, 70, 100, 130, 200)


def matrix(n_rows, n_features, density=0.2, seed=0, dtype="float64"):
    """Random CSR with an empty row and an empty column."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features)) * (rng.random((n_rows, n_features)) < density)
    X[n_rows // 2] = X[:, n_features // 3] = 0
    return sparse.csr_array(X.astype(dtype))


def targets(n_rows, n_outputs=3, seed=0):
    return np.random.default_rng(seed).integers(n_outputs, size=n_rows)


def network(width=20, dtype="float64", n_features=40, **settings):
    net = bp.Network([n_features, width, 3], "tanh", "softmax", "cross_entropy", dtype=dtype, seed=0, **settings)
    net.biases[0][...] = np.linspace(-0.5, 0.5, width)
    return net


# ---- Passes ----------------------------------------------------------------------------------------------------------


@dtypes
@forms
@pytest.mark.parametrize("width", WIDTHS)
def test_outputs_costs_and_gradients(width, most_density, dtype, monkeypatch):
    monkeypatch.setattr(cutting, "_MOST_DENSITY", most_density)
    X, y, w = matrix(70, 40, dtype=dtype), targets(70), np.linspace(0, 2, 70)
    net = network(width, dtype, l2_penalty=0.1)
    rtol = cases.VALUE_RTOL[dtype]
    assert relative_error(net.predict(X), net.predict(X.toarray())) < rtol
    assert net.loss_value(X, y, w) == pytest.approx(net.loss_value(X.toarray(), y, w), rel=rtol)
    (cost, grad), (expected_cost, expected) = (net.value_and_grad(Z, y, sample_weight=w) for Z in (X, X.toarray()))
    assert cost == pytest.approx(expected_cost, rel=rtol)
    assert relative_error(grad, expected) < 10 * rtol


def test_gradients_are_the_reference_s():
    case = cases.Case("", [9, 17, 3], "tanh", "softmax", "cross_entropy", l2_penalty=0.1)
    net = bp.Network(case.sizes, **case.keywords, seed=0)
    X, y, w = matrix(15, 9, 0.3), targets(15), np.linspace(0, 2, 15)
    cost, grad = net.value_and_grad(X, y, sample_weight=w)
    arguments = case, net.params, X.toarray(), np.eye(3)[y], w
    assert cost == pytest.approx(reference.cost(*arguments), rel=1e-13)
    assert relative_error(grad, reference.gradient(*arguments)) < 1e-13


# name: (sizes, rows, rows of a mini-batch, mode, pieces)
CUTS = {
    "one piece": ([40, 20, 3], 60, 20, in_plan.BY_ROWS, 1),
    "pieces of rows": ([400, 60, 3], 4000, 4000, in_plan.BY_ROWS, 8),
    "neurons": ([3000, 60, 50, 3], 90, 40, in_plan.BY_NEURONS, 1),
    "several blocks": ([3000, 300, 3], 700, 600, in_plan.BY_NEURONS, 1),
}


@dtypes
@forms
@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_steps_of_every_optimizer(optimizer, most_density, dtype, monkeypatch):
    monkeypatch.setattr(cutting, "_MOST_DENSITY", most_density)
    X, y, w = matrix(60, 40, dtype=dtype), targets(60), np.linspace(0, 2, 60)
    params = []
    for Z in (X, X.toarray()):
        net = network(20, dtype)
        net.fit(
            Z, y, epochs=2, batch_size=20, seed=0, sample_weight=w, clip_norm=optimizer.clip_norm,
            optimizer=getattr(bp, optimizer.kind)(**optimizer.hyper_parameters), validation_data=(Z, y),
        )  # fmt: skip
        params.append(net.params)
    assert relative_error(*params) < cases.TRAJECTORY_RTOL[dtype]


@pytest.mark.parametrize("penalty", [0.0, 0.01])
@pytest.mark.parametrize("name", CUTS)
def test_however_the_work_is_cut(name, penalty, monkeypatch):
    sizes, n_rows, batch_rows, mode, n_pieces = CUTS[name]
    X, y = matrix(n_rows, sizes[0], 0.03), targets(n_rows)
    monkeypatch.setattr(cutting, "_MOST_DENSITY", 0.9)
    inputs = cutting.inputs_of(sparse_rows(X))
    assert inputs.is_by_numbers
    assert cutting.gradient_pieces(sizes, batch_rows, inputs) == (mode, n_pieces)
    params = []
    for Z, n_threads in ((X.toarray(), 1), (X, 1), (X, 2), (X, 3)):
        net = bp.Network(sizes, "relu", "softmax", "cross_entropy", seed=0, l2_penalty=penalty)
        net.fit(Z, y, epochs=2, batch_size=batch_rows, seed=0, optimizer=bp.SGD(0.1), n_threads=n_threads)
        net.fit(Z, y, epochs=1, batch_size=batch_rows, seed=0, optimizer=bp.Adam(), n_threads=n_threads)
        params.append(net.params)
    assert relative_error(params[1], params[0]) < 1e-9
    assert same_bits(params[2], params[1])
    assert same_bits(params[3], params[1])


@pytest.mark.parametrize("n_threads", [2, 3])
def test_outputs_have_the_same_bits_on_any_number_of_threads(n_threads):
    X, net = matrix(3000, 500, 0.05), network(100, n_features=500)
    assert same_bits(net.predict(X, n_threads=n_threads), net.predict(X, n_threads=1))


def test_dropout_leaves_out_the_same_neurons():
    X, y, params = matrix(60, 40), targets(60), []
    for Z in (X, X.toarray()):
        net = network(20, dropout=0.4)
        net.fit(Z, y, epochs=3, batch_size=20, seed=3)
        params.append(net.params)
    assert relative_error(*params) < cases.TRAJECTORY_RTOL["float64"]


def test_plain_descent_touches_the_weights_of_the_features_that_occur_alone():
    X, y = matrix(30, 2000, 0.002), targets(30)
    occurs = np.asarray((X != 0).sum(axis=0)).ravel() > 0
    net = network(20, n_features=2000)
    before = net.weights[0].copy()
    net.fit(X, y, epochs=2, batch_size=10, optimizer=bp.SGD(0.1), seed=0)
    moved = (net.weights[0] != before).any(axis=1)
    assert np.array_equal(moved, occurs)
    assert 0 < occurs.sum() < 200


# ---- Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_every_format(kind, form):
    X = matrix(12, 40).asformat(form)
    X = X if kind == "array" else sparse.csr_matrix(X).asformat(form)
    net = network()
    assert relative_error(net.predict(X), net.predict(X.toarray())) < 1e-14


@forms
def test_columns_in_any_order_and_more_than_once(most_density, monkeypatch):
    monkeypatch.setattr(cutting, "_MOST_DENSITY", most_density)
    rng = np.random.default_rng(0)
    indices, indptr = rng.integers(40, size=90), np.array([0, 30, 30, 60, 90])
    X = sparse.csr_array((rng.standard_normal(90), indices, indptr), shape=(4, 40))
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    net = network()
    assert relative_error(net.predict(X), net.predict(X.toarray())) < 1e-13
    grads = [net.value_and_grad(Z, targets(4))[1] for Z in (X, X.toarray())]
    assert relative_error(*grads) < 1e-13
    for array, was in zip((X.data, X.indices, X.indptr), before, strict=True):
        assert np.array_equal(array, was)  # the user's matrix is left as it was


def test_integers_and_booleans_are_numbers():
    X = (matrix(12, 40) != 0).astype(np.int8)
    net = network(dtype="float32")
    expected = net.predict(X.toarray().astype(np.float32))
    assert relative_error(net.predict(X), expected) < 1e-6
    assert relative_error(net.predict(X.astype(bool)), expected) < 1e-6


def test_rows_as_kernels_take_them():
    X = matrix(9, 7, 0.4)
    rows = sparse_rows(X)
    assert np.array_equal(rows.toarray(), X.toarray())
    assert np.array_equal(rows[np.array([3, 1, 1])].toarray(), X.toarray()[[3, 1, 1]])
    assert np.array_equal(rows[2:5].toarray(), X.toarray()[2:5])
    assert np.shares_memory(rows.values, X.data)
    assert not np.shares_memory(rows.indices, X.indices)
    assert not np.shares_memory(rows.indptr, X.indptr)


# ---- Wrong input, and input that changes -----------------------------------------------------------------------------


def with_changed(array, place, value):
    """A matrix one of whose own arrays was written to afterwards, which SciPy does not notice."""
    X = matrix(5, 40)
    getattr(X, array)[place] = value
    return X


FIT_EACH_OTHER = (
    "`X` must be a sparse matrix whose arrays fit each other; an index lies outside of its 5 x 40 numbers, or a row "
    "ends before it begins. X.check_format() says more."
)


@pytest.mark.parametrize(
    ("X", "error", "text"),
    [
        (with_changed("indices", 3, 40), ValueError, FIT_EACH_OTHER),
        (with_changed("indices", 3, 2**31 - 1), ValueError, FIT_EACH_OTHER),
        (with_changed("indices", 0, -1), ValueError, FIT_EACH_OTHER),
        (with_changed("indptr", 2, 10**6), ValueError, FIT_EACH_OTHER),
        (with_changed("indptr", 0, 3), ValueError, FIT_EACH_OTHER),
        (with_changed("indptr", -1, 10**9), ValueError, FIT_EACH_OTHER),
        (with_changed("indptr", 1, -5), ValueError, FIT_EACH_OTHER),
        (with_changed("data", 2, np.nan), ValueError,
         "`X` must be finite; found nan at (0, 7). Impute or drop such rows."),
        (matrix(5, 39), ValueError,
         "`X` must have shape (n_samples, 40) to fit the first layer, and at least one row; got (5, 39)."),
        (sparse.csr_array((0, 40)), ValueError,
         "`X` must have shape (n_samples, 40) to fit the first layer, and at least one row; got (0, 40)."),
        (sparse.coo_array(np.ones(40)), ValueError,
         "`X` must have two dimensions, rows and features; got shape (40,)."),
        (matrix(5, 40).astype(np.float32), TypeError,
         "`X` must have the network's dtype float64, because nothing is converted between float types silently; got "
         "float32. Convert it with .astype('float64'), or build the network with dtype='float32'."),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(X, error, text):
    net = network()
    before = net.params.copy()
    for call in (net.predict, lambda X: net.fit(X, targets(5)), lambda X: net.value_and_grad(X, targets(5))):
        with pytest.raises(error) as caught:
            call(X)
        assert str(caught.value) == text
    assert np.array_equal(net.params, before)


def corrupted(form, array, place, value):
    """A matrix of another format one of whose arrays was written to afterwards."""
    X = matrix(5, 40).asformat(form)
    parts = getattr(X, array)
    (parts[0] if isinstance(parts, tuple) else parts)[place] = value
    return X


@pytest.mark.parametrize(
    "X",
    [corrupted("csc", "indices", 3, 200_000_000), corrupted("csc", "indptr", 5, 10**6),
     corrupted("coo", "coords", 2, -7), corrupted("coo", "coords", 2, 10**8), corrupted("bsr", "indices", 1, 10**8)],
    ids=lambda X: X.format,
)  # fmt: skip
def test_other_formats_are_looked_at_before_they_are_converted(X):
    """SciPy's conversions trust the indices, and write where they point."""
    with pytest.raises(
        ValueError, match="`X` must be a sparse matrix whose arrays fit each other, to be converted to CSR"
    ):
        network().predict(X)


def test_numbers_of_another_shape_or_length():
    X = matrix(5, 40)
    X.data = np.ones((X.nnz, 2))
    with pytest.raises(ValueError, match="whose arrays fit each other"):
        network().predict(X)
    X.data = np.ones(1)
    with pytest.raises(ValueError, match="whose arrays fit each other"):
        network().predict(X)


def test_a_callback_that_writes_to_the_matrix_moves_no_index():
    """Columns and beginnings of rows are those of the beginning; numbers may be the new ones."""
    params = []
    for changes in (False, True):
        X, y, net = matrix(60, 40), targets(60), network()

        def scribble(net, history, X=X, changes=changes):
            if changes:
                X.indices[:] = 10**8
                X.indptr[:] = -(10**6)

        net.fit(X, y, epochs=3, batch_size=8, seed=0, callbacks=[scribble], validation_data=(X, y))
        params.append(net.params)
    assert np.array_equal(*params)


# ---- Everything else that takes X ------------------------------------------------------------------------------------


def test_calls_that_look_at_all_numbers_take_it_as_well():
    X, y, net = matrix(12, 40), targets(12), network(8)
    dense = X.toarray()
    assert bp.check_gradient(net, X, y, max_params=50, seed=0).ok
    assert np.array_equal(bp.node_perturbation(net, X, y)[0], bp.node_perturbation(net, dense, y)[0])
    assert relative_error(net.trace(X, y).layers[0].delta, net.trace(dense, y).layers[0].delta) < 1e-13
    found = [bp.find_learning_rate(net, Z, y, seed=0, n_steps=10).losses for Z in (X, dense)]
    assert relative_error(*found) < 1e-9


def test_a_fit_of_sparse_rows_is_resumed(tmp_path):
    X, y = matrix(60, 40), targets(60)
    whole, net = network(), network()
    whole.fit(X, y, epochs=4, batch_size=8, seed=0)
    path = tmp_path / "fit.checkpoint"

    class StopError(Exception):
        pass

    def stop(net, history):
        if len(history) == 2:
            raise StopError

    with pytest.raises(StopError):
        net.fit(X, y, epochs=4, batch_size=8, seed=0, checkpoint=path, callbacks=[stop])
    other = X.copy()
    other.data[5] += 1
    with pytest.raises(ValueError, match="X"):
        network().fit(other, y, epochs=4, batch_size=8, seed=0, checkpoint=path, resume=True)
    with pytest.raises(ValueError, match="is of a fit with a sparse `X`, and this fit's is dense"):
        network().fit(X.toarray(), y, epochs=4, batch_size=8, seed=0, checkpoint=path, resume=True)
    again = network()
    again.fit(X, y, epochs=4, batch_size=8, seed=0, checkpoint=path, resume=True)
    assert same_bits(again.params, whole.params)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@forms
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_estimators(solver, most_density, monkeypatch):
    monkeypatch.setattr(cutting, "_MOST_DENSITY", most_density)
    X, y = matrix(80, 40), targets(80)
    for kind, target in ((MLPClassifier, y), (MLPRegressor, y.astype(float))):
        settings = {"hidden_layer_sizes": (9,), "solver": solver, "max_iter": 5, "random_state": 0}
        sparse_model, dense_model = (kind(**settings).fit(Z, target) for Z in (X, X.toarray()))
        assert sparse_model.loss_ == pytest.approx(dense_model.loss_, rel=1e-9)
        loss, coefs, _ = sparse_model.loss_gradient(X, target)
        expected_loss, expected, _ = sparse_model.loss_gradient(X.toarray(), target)
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert relative_error(coefs[0], expected[0]) < 1e-12


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_scorer_may_change_what_it_is_given():
    """It gets rows of its own: neither the user's matrix nor the validation loss changes."""
    X, y = matrix(80, 40), targets(80)
    X_val = sparse.csr_array(matrix(20, 40, seed=1))
    X_val.data[::3] = 0.0  # which eliminate_zeros would take out of the arrays
    before = X_val.copy()

    def scorer(estimator, X, y):
        score = estimator.score(X, y)
        X.eliminate_zeros()
        X.data[:] = 7.0
        return score

    curves = []
    for scoring in (scorer, None):
        model = MLPClassifier((9,), max_iter=4, early_stopping=True, scoring=scoring, random_state=0)
        curves.append(model.fit(X, y, X_val=X_val, y_val=targets(20)).validation_loss_curve_)
    assert curves[0] == curves[1]
    assert np.array_equal(X_val.data, before.data)
    assert np.array_equal(X_val.indices, before.indices)


def test_a_frame_made_for_one_form_of_x_takes_no_other():
    """It has no room for the rows of the other one, and reads their numbers elsewhere."""
    X, net = matrix(12, 40), network()
    rows = sparse_rows(X)
    for_sparse, for_dense = (
        make_frame(problem_of(net), 12, 12, gradient=True, inputs=inputs)
        for inputs in (cutting.Inputs(in_data.NUMBERS, 0.25), cutting.DENSE)
    )
    for frame, wrong in ((for_sparse, X.toarray()), (for_dense, rows)):
        with pytest.raises(UnknownCodeError):
            frame.set_data(wrong)
