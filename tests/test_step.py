"""`Network.step`: the step of a full-batch fit of one epoch, at little cost."""

import copy
import dataclasses
import pickle
import threading

import numba
import numpy as np
import pytest
from scipy import sparse

import fastbp as bp
from fastbp.kernels.roots import copies, entry
from fastbp.training import single_steps
from tests import cases, reference
from tests.reference import relative_error
from tests.twins import same_bits, twins

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
SOFTMAX = cases.Case("4-6-3", [4, 6, 3], "tanh", "softmax", "cross_entropy", l2_penalty=0.05, l1_penalty=0.01)
OPTIMIZERS = {
    "SGD": bp.SGD(0.1),
    "momentum": bp.SGD(0.05, momentum=0.9),
    "Adam": bp.Adam(0.01),
    "AdamW": bp.AdamW(0.01),
    "RMSprop": bp.RMSprop(0.01),
}


def same_state(first, second):
    """Whether two networks have the same parameters and go on in the same way, to the bit."""
    a, b = first._training_state, second._training_state
    return (
        same_bits(first.params, second.params)
        and same_bits(a.vectors, b.vectors)
        and (a.step, a.powers, a.optimizer) == (b.step, b.powers, b.optimizer)
    )


def fitted(net, X, Y, **settings):
    """The cost before a step that is taken by `fit`."""
    return net.fit(X, Y, epochs=1, batch_size=None, **settings).loss[0]


# ---- The numbers ---------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("optimizer", cases.OPTIMIZER_CASES, ids=str)
def test_every_step_is_that_of_the_reference(optimizer, dtype):
    problem, net = twins(SOFTMAX, np.random.default_rng(1), 6, dtype, weighted=True)
    weights, rule = problem.sample_weight, getattr(bp, optimizer.kind)(**optimizer.hyper_parameters)
    expected = reference.train(
        SOFTMAX, problem.params, problem.X, problem.Y, [np.arange(6)] * 8, optimizer.kind, optimizer.hyper_parameters,
        sample_weight=weights, clip_norm=optimizer.clip_norm,
    )  # fmt: skip
    for params in expected:
        before = net.params.copy()
        cost = net.step(problem.X, problem.Y, weights, optimizer=rule, clip_norm=optimizer.clip_norm)
        assert relative_error(net.params, params) < cases.TRAJECTORY_RTOL[dtype]
        assert cost == pytest.approx(
            reference.cost(SOFTMAX, before, problem.X, problem.Y, weights), rel=cases.VALUE_RTOL[dtype]
        )


@dtypes
@pytest.mark.parametrize("clip_norm", [None, 0.01])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("n", [1, 6])
def test_bits_are_those_of_fit(n, name, weighted, clip_norm, dtype):
    problem, net = twins(SOFTMAX, np.random.default_rng(2), n, dtype, weighted=weighted)
    other, settings = copy.deepcopy(net), {"optimizer": OPTIMIZERS[name], "clip_norm": clip_norm}
    for _ in range(5):
        settings["sample_weight"] = problem.sample_weight
        assert net.step(problem.X, problem.Y, **settings) == fitted(other, problem.X, problem.Y, **settings)
    assert same_state(net, other)


@pytest.mark.parametrize(
    ("sizes", "n"),
    [([4, 4, 2], 2), ([4, 300, 300, 2], 40), ([400, 30, 10], 80), ([20, 100, 10], 700), ([3, 2], 3000)],
    ids=["narrow", "by-neurons", "by-features", "by-rows", "many-rows"],
)
def test_bits_are_those_of_fit_on_every_path(sizes, n):
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((n, sizes[0])), rng.standard_normal((n, sizes[-1]))
    net, other = (bp.Network(sizes, "tanh", seed=0) for _ in range(2))
    for n_threads in (None, 1, 2, None):
        assert net.step(X, Y, n_threads=n_threads) == fitted(other, X, Y, n_threads=n_threads)
    assert same_state(net, other)


def test_dropout_has_the_random_numbers_of_fit():
    X = np.random.default_rng(4).standard_normal((5, 3))
    net, other = (bp.Network([3, 8, 1], seed=0, dropout=0.4) for _ in range(2))
    net.fit(X, X[:, :1], epochs=0, seed=5)
    for seed in (5, None, None):
        assert net.step(X, X[:, :1]) == fitted(other, X, X[:, :1], seed=seed)
    assert same_state(net, other)


# ---- Taking turns --------------------------------------------------------------------------------------------------


def test_it_goes_on_from_fit_and_fit_from_it():
    problem, net = twins(SOFTMAX, np.random.default_rng(5), 8)
    other, rule, arrays = copy.deepcopy(net), bp.Adam(0.02), (problem.X, problem.Y)
    net.fit(*arrays, epochs=2, batch_size=3, optimizer=rule, seed=0)
    history = net.history
    net.step(*arrays)
    net.step(problem.X[:3], problem.Y[:3], optimizer=rule)
    net.step(*arrays)
    assert net.history is history
    net.fit(*arrays, epochs=2, batch_size=3)
    net.step(*arrays, optimizer=bp.Adam(0.02))  # another object: afresh
    other.fit(*arrays, epochs=2, batch_size=3, optimizer=rule, seed=0)
    fitted(other, *arrays)
    fitted(other, problem.X[:3], problem.Y[:3], optimizer=rule)
    fitted(other, *arrays)
    other.fit(*arrays, epochs=2, batch_size=3)
    fitted(other, *arrays, optimizer=bp.Adam(0.02))
    assert same_state(net, other)
    assert net._training_state.step == 1


def test_the_first_optimizer_is_adam():
    net = bp.Network([2, 1], seed=0)
    net.step([[1.0, 2.0]], [[1.0]])
    assert net._training_state.optimizer == bp.Adam()
    assert net.history is None


def test_clipping_is_of_one_step_only():
    problem, net = twins(SOFTMAX, np.random.default_rng(6), 8)
    other, rule = copy.deepcopy(net), bp.SGD(0.1)
    for clip_norm in (None, 0.01, 0.01, 10.0, None):
        net.step(problem.X, problem.Y, optimizer=rule, clip_norm=clip_norm)
        fitted(other, problem.X, problem.Y, optimizer=rule, clip_norm=clip_norm)
    assert same_bits(net.params, other.params)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_steps_on_its_own(duplicate):
    problem, net = twins(SOFTMAX, np.random.default_rng(7), 4)
    net.step(problem.X, problem.Y)
    twin = duplicate(net)
    assert net.step(problem.X, problem.Y) == twin.step(problem.X, problem.Y)
    assert same_state(net, twin)
    before = net.params.copy()
    twin.step(problem.X, problem.Y)
    assert same_bits(net.params, before)


# ---- Schedules -----------------------------------------------------------------------------------------------------


class Halving(bp.Schedule):
    """Half the rate at every step."""

    def __call__(self, steps, horizon):
        return 0.5 ** (1 + np.asarray(steps, np.float64))


class Linear(bp.Schedule):
    """Down to 0 at the end."""

    def __call__(self, steps, horizon):
        return 0.1 * (1 - np.asarray(steps) / horizon)

    def __repr__(self):
        return "Linear()"


@pytest.mark.parametrize(
    "schedule",
    [
        bp.Constant(0.1), bp.InverseScaling(0.1), bp.Step(0.1, step_size=2),
        bp.Cosine(0.1, n_steps=4), bp.OneCycle(0.1, n_steps=4), Halving(),
    ],
    ids=lambda schedule: type(schedule).__name__,
)  # fmt: skip
def test_every_step_has_the_rate_of_the_schedule(schedule):
    net = bp.Network([1, 1], initializer="zeros")
    expected, w = schedule(np.arange(5), 5), 0.0
    for rate in expected:
        net.step([[1.0]], [[1.0]], optimizer=None if net._training_state else bp.SGD(schedule))
        w += rate * (1 - 2 * w)  # as much for the bias, whose gradient is the same
        assert net.params == pytest.approx([w, w], abs=1e-15)


@pytest.mark.parametrize(
    "schedule", [bp.Cosine(0.1), bp.OneCycle(0.1), Linear()],
    ids=lambda schedule: type(schedule).__name__,
)  # fmt: skip
def test_a_schedule_that_spans_a_fit_is_refused(schedule):
    net = bp.Network([1, 1], initializer="zeros")
    net.fit([[1.0]], [[1.0]], epochs=2, optimizer=bp.SGD(schedule), seed=0)
    before, step = net.params.copy(), net._training_state.step
    for _ in range(2):
        with pytest.raises(ValueError, match="learning rate") as caught:
            net.step([[1.0]], [[1.0]])
        assert str(caught.value) == (
            "`optimizer` must have a learning rate that does not depend on the number of all steps, which is unknown "
            f"where they are taken one by one; got {schedule!r}. Give the schedule its `n_steps`, or take all steps in "
            "one fit."
        )
    assert same_bits(net.params, before)
    assert net._training_state.step == step


# ---- Data of every kind ----------------------------------------------------------------------------------------------


def layouts(array):
    """The same values in other memory, named."""
    apart = np.zeros((2 * array.shape[0], *array.shape[1:]), array.dtype)
    apart[::2] = array
    frozen = array.copy()
    frozen.setflags(write=False)
    bytes_ = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = bytes_[1:].view(array.dtype).reshape(array.shape)
    unaligned[...] = array
    return {
        "contiguous": array, "Fortran": np.asfortranarray(array), "apart": apart[::2],
        "backwards": array[::-1].copy()[::-1], "read-only": frozen, "unaligned": unaligned,
    }  # fmt: skip


@dtypes
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["contiguous", "Fortran", "apart", "backwards", "read-only", "unaligned"])
def test_layouts_have_the_same_bits_and_stay_as_they_are(layout, weighted, dtype):
    problem, net = twins(SOFTMAX, np.random.default_rng(8), 5, dtype, weighted=True)
    if not weighted:
        problem = dataclasses.replace(problem, sample_weight=None)
    other, rule = copy.deepcopy(net), bp.Adam(0.01)
    given = [problem.X, problem.Y] + [problem.sample_weight] * weighted
    arrays = [layouts(array)[layout] for array in given]
    for _ in range(3):
        assert net.step(*arrays, optimizer=rule) == fitted(
            other, problem.X, problem.Y, sample_weight=problem.sample_weight, optimizer=rule
        )
    assert same_state(net, other)
    for array, original in zip(arrays, given, strict=True):
        assert np.array_equal(array, original)


@pytest.mark.parametrize("kind", ["int8", "int32", "int64", "uint8", "uint64", "apart", "list"])
def test_labels_of_every_kind_are_one_hot_rows(kind):
    problem, net = twins(SOFTMAX, np.random.default_rng(9), 5)
    other, labels = copy.deepcopy(net), np.array([2, 0, 1, 1, 0])
    given = {"apart": np.repeat(labels, 2)[::2], "list": labels.tolist()}.get(kind)
    given = labels.astype(kind) if given is None else given
    for _ in range(3):
        assert net.step(problem.X, given) == pytest.approx(other.step(problem.X, np.eye(3)[labels]), rel=1e-14)
    assert net.params == pytest.approx(other.params, abs=1e-14)


def test_lists_integers_and_a_flat_target_are_converted():
    net, other = (bp.Network([2, 3, 1], "tanh", seed=0) for _ in range(2))
    X, y = np.array([[1, 2], [3, -4], [0, 1]]), np.array([1, 0, 2])
    for given in ((X, y), (X, y), (X.tolist(), y.tolist()), (X * 1.0, y * 1.0), (X, (y * 1.0).reshape(-1, 1))):
        assert net.step(*given) == fitted(other, X * 1.0, y.reshape(-1, 1) * 1.0)
    assert same_state(net, other)


@dtypes
@pytest.mark.parametrize("density", [0.02, 0.5])
def test_sparse_rows_have_the_bits_of_fit(density, dtype):
    X = sparse.csr_array(sparse.random(40, 60, density=density, format="csr", dtype=dtype, random_state=13))
    Y = np.arange(40) % 3
    net, other = (bp.Network([60, 5, 3], "tanh", "softmax", "cross_entropy", dtype=dtype, seed=0) for _ in range(2))
    for given in (X, X, X.tocoo(), X[:7], X):
        assert net.step(given, Y[: given.shape[0]]) == fitted(other, given, Y[: given.shape[0]])
    assert same_state(net, other)
    with pytest.raises(ValueError, match=r"^`X` must have shape \(n_samples, 60\)"):
        net.step(X[:, :9], Y)


def test_columns_of_a_data_frame_are_those_of_the_first():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"length": [1.0, 2.0], "width": [3.0, 5.0]})
    net, other = (bp.Network([2, 1], seed=0) for _ in range(2))
    for _ in range(2):
        assert net.step(frame, [1.0, 2.0]) == fitted(other, frame, [1.0, 2.0])
    assert net.feature_names == ("length", "width")
    with pytest.raises(ValueError, match=r"^`X` must have its columns in the order of `fit`"):
        net.step(frame[["width", "length"]], [1.0, 2.0])
    assert net.step(frame.to_numpy(), [1.0, 2.0]) == fitted(other, frame, [1.0, 2.0])
    assert same_state(net, other)


def test_values_are_those_of_each_call():
    """The copies of one call are not those of the next."""
    rng = np.random.default_rng(10)
    net, other = (bp.Network([3, 4, 2], "tanh", seed=0) for _ in range(2))
    for i in range(12):
        X, Y = rng.standard_normal((1 + i % 3, 3)), rng.standard_normal((1 + i % 3, 2))
        w = rng.random(len(X)) if i % 2 else None
        assert net.step(X, Y, w) == fitted(other, X, Y, sample_weight=w)
    assert same_state(net, other)


# ---- What it costs -------------------------------------------------------------------------------------------------


def test_a_step_is_one_call_of_the_kernel_and_makes_no_frame_again(monkeypatch):
    calls, frames = [], []
    run, make = entry.run, single_steps.make_frame
    monkeypatch.setattr(entry, "run", lambda *arguments: calls.append(1) or run(*arguments))
    monkeypatch.setattr(
        single_steps, "make_frame", lambda *arguments, **keywords: frames.append(1) or make(*arguments, **keywords)
    )
    net = bp.Network([4, 16, 2], "tanh", dtype="float32", seed=0)
    X, Y = np.ones((32, 4), np.float32), np.ones((32, 2), np.float32)
    for _ in range(10):
        net.step(X, Y)
    assert (len(calls), len(frames)) == (10, 1)
    for _ in range(3):
        net.step(X[:1], Y[:1])
        net.step(X, Y)
    assert (len(calls), len(frames)) == (16, 2)


@dtypes
@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_arrays_of_every_kind_compile_nothing(dtype):
    net = bp.Network([3, 4, 2], dtype=dtype, seed=0)
    X, Y = np.ones((2, 3), dtype), np.ones((2, 2), dtype)
    net.step(X, Y)
    function = copies.run.of(X.dtype)
    for layout in layouts(X):
        net.step(layouts(X)[layout], layouts(Y)[layout])
    net.step(X.astype(int), Y.astype(int))
    net.step(X.tolist(), Y)
    net.step(X, Y, np.ones(2, dtype))
    for other in (X.astype("float16"), X[:, :2], X[:1], X[0], X[..., None], X.astype(X.dtype.newbyteorder()) + np.nan):
        with pytest.raises((TypeError, ValueError)):
            net.step(other, Y)
    assert len(function.signatures) == 1
    with pytest.raises(TypeError, match="No matching definition"):
        function(X[0], Y, X, Y)


@pytest.mark.parametrize(("sizes", "most"), [([3, 4, 2], 32), ([300, 300, 2], 4)], ids=["small", "large"])
def test_frames_are_kept_for_some_kinds_of_arrays_only(sizes, most):
    net = bp.Network(sizes, seed=0)
    for n in range(1, 60):
        net.step(np.ones((n, sizes[0])), np.ones((n, 2)))
        assert len(net._stepper._spare) <= most


# ---- Wrong input ---------------------------------------------------------------------------------------------------

GOOD = np.ones((2, 3)), np.array([0, 1])
WRONG = {
    "shape": ((np.ones((2, 4)), GOOD[1]), {}, ValueError,
              "`X` must have shape (n_samples, 3) to fit the first layer; got (2, 4)."),
    "no row": ((np.ones((0, 3)), np.zeros(0, int)), {}, ValueError,
               "`X` must have at least one row; got shape (0, 3)."),
    "dtype": ((np.ones((2, 3), np.float32), GOOD[1]), {}, TypeError,
              "`X` must have the network's dtype float64, because nothing is converted between float types silently; "
              "got float32. Convert it with .astype('float64'), or build the network with dtype='float32'."),
    "NaN": ((np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 1.0]]), GOOD[1]), {}, ValueError,
            "`X` must be finite; found nan at (1, 1). Impute or drop such rows."),
    "infinity": ((np.array([[1.0, 2.0, 3.0], [1.0, 1.0, -np.inf]]), GOOD[1]), {}, ValueError,
                 "`X` must be finite; found -inf at (1, 2). Impute or drop such rows."),
    "label": ((GOOD[0], np.array([0, 2])), {}, ValueError,
              "`Y` must hold labels from 0 to 1, one for each output; got 2 at 1. Map the classes with "
              "numpy.unique(y, return_inverse=True)."),
    "negative label": ((GOOD[0], np.array([-1, 1])), {}, ValueError,
                       "`Y` must hold labels from 0 to 1, one for each output; got -1 at 0. Map the classes with "
                       "numpy.unique(y, return_inverse=True)."),
    "huge label": ((GOOD[0], np.array([0, 2**64 - 1], np.uint64)), {}, ValueError,
                   "`Y` must hold labels from 0 to 1, one for each output; got 18446744073709551615 at 1. Map the "
                   "classes with numpy.unique(y, return_inverse=True)."),
    "labels": ((GOOD[0], np.array([0, 1, 1])), {}, ValueError,
               "`Y` must have one label for each of the 2 rows of X; got 3."),
    "probability": ((GOOD[0], np.array([[0.5, 0.5], [0.5, 0.6]])), {}, ValueError,
                    "`Y` must have rows that sum to 1 for softmax with cross-entropy; row 1 sums to 1.1. Use "
                    "`output='sigmoid'` for classes that do not exclude each other."),
    "NaN in Y": ((GOOD[0], np.array([[0.5, 0.5], [0.5, np.nan]])), {}, ValueError,
                 "`Y` must be finite; found nan at (1, 1). Impute or drop such rows."),
    "weight": ((*GOOD, np.array([1.0, -1.0])), {}, ValueError,
               "`sample_weight` must be finite and at least 0; a weight is how often a row counts."),
    "infinite weight": ((*GOOD, np.array([1.0, np.inf])), {}, ValueError,
                        "`sample_weight` must be finite and at least 0; a weight is how often a row counts."),
    "no weight": ((*GOOD, np.zeros(2)), {}, ValueError,
                  "`sample_weight` must not be 0 everywhere; no row would count."),
    "clip_norm": (GOOD, {"clip_norm": 0.0}, ValueError,
                  "`clip_norm` must be above 0; got 0.0."),
    "optimizer": (GOOD, {"optimizer": "adam"}, TypeError,
                  "`optimizer` must be an optimizer such as bp.Adam(); got 'adam'."),
    "n_threads": (GOOD, {"n_threads": 0}, ValueError, "`n_threads` must be at least 1; got 0."),
}  # fmt: skip


def other_kinds(arguments):
    """Right arguments of the same shapes and dtypes, where these are possible: frames for them are then there."""
    X, Y, *weights = (np.ones_like(array) for array in arguments)
    Y = Y / 2 if Y.dtype.kind == "f" else Y
    return X, Y, *weights


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_input(name, prepared):
    arguments, keywords, kind, message = WRONG[name]
    net = bp.Network([3, 4, 2], output="softmax", loss="cross_entropy", seed=0)
    net.step(*GOOD)
    if prepared and name not in ("shape", "no row", "dtype", "labels"):
        net.step(*other_kinds(arguments))
    before, state = net.params.copy(), net._training_state
    step, vectors = state.step, state.vectors.copy()
    for _ in range(2):
        with pytest.raises(kind) as caught:
            net.step(*arguments, **keywords)
        assert str(caught.value) == message
    assert same_bits(net.params, before)
    assert net._training_state is state
    assert (state.step, same_bits(state.vectors, vectors)) == (step, True)


@dtypes
def test_wrong_values_and_shapes_of_arrays_that_are_copied(dtype):
    net = bp.Network([3, 4, 2], "tanh", dtype=dtype, seed=0)
    X, Y = np.ones((4, 3), dtype), np.ones((4, 2), dtype)
    net.step(X, Y)

    def is_refused(X, Y, message):
        """Where a place for such arrays is left, and where none is."""
        net.step(np.ones((4, 3), dtype), np.ones((4, 2), dtype))
        before, step = net.params.copy(), net._training_state.step
        for _ in range(2):
            with pytest.raises(ValueError, match=message):
                net.step(X, Y)
        return same_bits(net.params, before) and net._training_state.step == step

    for place in np.ndindex(4, 5):
        wrong = np.hstack([X, Y])
        wrong[place] = [np.nan, np.inf, -np.inf][place[1] % 3]
        assert is_refused(wrong[:, :3], wrong[:, 3:], r"must be finite; found")
    for shape in [(4, 1), (1, 2), (4, 3), (2, 4), (3, 2), (5, 2), (4, 2, 1), (8,)]:
        assert is_refused(X, np.ones(shape, dtype), r"^`Y` must have")
    step = net._training_state.step
    largest = np.full_like(X, np.finfo(dtype).max)  # whose sum overflows
    net.step(largest, np.zeros_like(Y))
    assert net._training_state.step == step + 1


def test_a_wrong_first_step_leaves_no_state():
    net = bp.Network([3, 2], seed=0)
    with pytest.raises(ValueError, match="must be finite"):
        net.step(np.full((1, 3), np.nan), np.ones((1, 2)))
    assert net._training_state is None


@pytest.mark.parametrize("which", ["params", "weights", "biases", "vectors"])
def test_read_only_parameters_are_not_written(which):
    net = bp.Network([3, 4, 2], seed=0)
    net.step(np.ones((2, 3)), np.ones((2, 2)))
    before = net.params.copy()
    part = {"params": net.params, "weights": net.weights[1], "biases": net.biases[0],
            "vectors": net._training_state.vectors}[which]  # fmt: skip
    part.setflags(write=False)
    with pytest.raises(ValueError, match=r"`net\.params` must be writable to be trained or set"):
        net.step(np.ones((2, 3)), np.ones((2, 2)))
    assert same_bits(net.params, before)
    part.setflags(write=True)
    net.step(np.ones((2, 3)), np.ones((2, 2)))


# ---- Divergence ----------------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("n", [1, 5000])
def test_divergence_gives_back_the_parameters_from_before_the_step(n, dtype):
    net, rule = bp.Network([1, 1], initializer="zeros", dtype=dtype), bp.SGD(30.0, momentum=0.5)
    X = np.ones((n, 1), dtype)
    seen = [net.params.copy()]

    def steps():
        for _ in range(1000):
            net.step(X, X, optimizer=rule)
            seen.append(net.params.copy())

    with pytest.raises(bp.TrainingDivergedError) as caught:
        steps()
    assert str(caught.value) == (
        f"The loss became NaN or infinite in step {len(seen)} with a learning rate of 30. The network has the "
        "parameters from before that step, and the optimizer's state was reset. Try a smaller learning rate, "
        "clip_norm=1.0, or inputs scaled to mean 0 and variance 1."
    )
    assert np.isfinite(net.params).all()
    assert same_bits(net.params, seen[-1])
    state = net._training_state
    assert (state.step, state.powers, state.vectors.any()) == (0, (1.0, 1.0), False)
    net.params = [0.0, 0.0]
    assert net.step(X, X) == pytest.approx(0.5, rel=1e-6)
    assert net._training_state.step == 1


def test_a_step_to_infinity_is_taken_back():
    """The cost is finite, and the parameters after the step are not."""
    net = bp.Network([1, 1], initializer="zeros", dtype="float32")
    with pytest.raises(bp.TrainingDivergedError, match="in step 1 with a learning rate of 1e"):
        net.step([[1.0]], [[1e10]], optimizer=bp.SGD(1e35))
    assert net.params.tolist() == [0.0, 0.0]


# ---- Ctrl-C --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 3000])
def test_an_interrupt_leaves_a_whole_step(n, monkeypatch):
    """Python obeys Ctrl-C when the kernel has returned."""
    X = np.random.default_rng(12).standard_normal((n, 4))
    net, other = (bp.Network([4, 6, 2], "tanh", seed=0) for _ in range(2))

    def interrupted(run):
        def call(*arguments):
            run(*arguments)
            raise KeyboardInterrupt

        return call

    for interrupts in (False, True, False, True, False):
        with monkeypatch.context() as patched:
            if interrupts:
                patched.setattr(entry, "run", interrupted(entry.run))
                with pytest.raises(KeyboardInterrupt):
                    net.step(X, X[:, :2])
            else:
                net.step(X, X[:, :2])
        fitted(other, X, X[:, :2])
        assert same_state(net, other)
    assert net._training_state.step == 5


# ---- Threads -------------------------------------------------------------------------------------------------------


def test_threads_may_step_one_network_at_once():
    """Their steps are mixed; nothing is torn, and the network can be trained afterwards."""
    rng = np.random.default_rng(11)
    net = bp.Network([4, 16, 2], "tanh", seed=0)
    net.step(np.zeros((1, 4)), np.zeros((1, 2)))
    errors, arrays = [], [(rng.standard_normal((n, 4)), rng.standard_normal((n, 2))) for n in (1, 1, 8, 8, 3000, 3000)]

    def work(X, Y):
        try:
            for i in range(200):
                assert np.isfinite(net.step(X, Y, np.ones(len(X)) if i % 3 else None))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=pair) for pair in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert np.isfinite(net.params).all()
    state = net._training_state
    assert 0 < state.step <= 1 + 200 * len(threads)
    assert len(net.fit(*arrays[2], epochs=2)) == 2
