"""Calls during which everything that was handed in is changed: programs for fresh processes, where a crash is seen.

There are two ways.  An argument that is looked at late writes into those that were looked at before it, at the same
place in every run; and another thread writes all the time.
"""

import contextlib
import random
import sys
import threading
import warnings

import numpy as np
from scipy import sparse

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.nielsen import CrossEntropyCost
from fastbp.nielsen import Network as NielsensNetwork

VALUES = (10**7, -1, 2**62, -(2**63))  # as indices they are far away, or in front of an array
ERRORS = (ValueError, TypeError, ArithmeticError, IndexError)
N_ROWS, SIZES = 60, [20, 6, 5]
# dtype of the numbers, dtype of the labels, and of the indices of sparse inputs if they are sparse
KINDS = {
    "dense": [("float64", "int64", None), ("float32", "int32", None)],
    "sparse": [("float64", "int64", "int32"), ("float32", "uint8", "int64")],
}


class Given:
    """What a user hands in: inputs, labels and weights of some rows, of a few and of one, and all their arrays."""

    def __init__(self, dtype, label_dtype, index_dtype):
        rng = np.random.default_rng(0)
        self.dtype, X = np.dtype(dtype), rng.standard_normal((N_ROWS, SIZES[0])).astype(dtype)
        self.y, self.w = np.arange(N_ROWS).astype(label_dtype) % 5, np.linspace(0.5, 2.0, N_ROWS).astype(dtype)
        self.Y = np.eye(5, dtype=dtype)[self.y]
        self.x, self.label = X[:1].copy(), self.y[:1].copy()
        self.X, self.numbers, self.indices = X, [X, self.w, self.Y, self.x], [self.y, self.label]
        if index_dtype is not None:
            self.X = sparse.csr_array(np.where(X > 0.5, X, 0))
            self.X.indices, self.X.indptr = (a.astype(index_dtype) for a in (self.X.indices, self.X.indptr))
            self.numbers[0] = self.X.data
            self.indices += [self.X.indices, self.X.indptr]
        # made here, for SciPy itself may crash where another thread writes to the indices of what it cuts or unpacks
        self.few, self.dense = self.X[:4], X
        if index_dtype is not None:
            self.dense = self.X.toarray()
            self.numbers += [self.few.data, self.dense]
            self.indices += [self.few.indices, self.few.indptr]

    @property
    def arrays(self):
        """All of them."""
        return self.numbers + self.indices


class Late:
    """An array that does something when it is looked at, which is after those before it."""

    def __init__(self, array, deed):
        self.array, self.deed, self.shape, self.dtype = array, deed, array.shape, array.dtype

    def __array__(self, dtype=None, copy=None):
        self.deed()
        return self.array

    def __len__(self):
        return len(self.array)


class LateRate(bp.Schedule):
    """A learning rate that does something when it is asked for, which is after everything was looked at."""

    def __init__(self, deed=lambda: None):
        self.deed = deed

    def __call__(self, steps, horizon):
        self.deed()
        return np.full(np.shape(steps), 0.01)


# ---- The calls: of what is given, what is given for validation, and what is done meanwhile; they return the result ---


def network(given):
    return bp.Network(SIZES, "tanh", "softmax", "cross_entropy", dtype=given.dtype, seed=0)


def fit(given, held_out, deed, batch_size=7):
    net = network(given)
    history = net.fit(
        given.X, given.y, epochs=2, batch_size=batch_size, optimizer=bp.SGD(LateRate(deed)), seed=0,
        sample_weight=given.w, validation_data=(held_out.X, held_out.y, Late(held_out.w, deed)),
        callbacks=[lambda net, history: deed()],
    )  # fmt: skip
    return net.params, history.loss, history.val_loss


def fit_targets(given, held_out, deed):
    net = bp.Network(SIZES, "tanh", "sigmoid", dtype=given.dtype, seed=0)
    history = net.fit(given.X, given.Y, epochs=2, batch_size=None, sample_weight=Late(given.w, deed))
    return net.params, history.loss


def steps(given, held_out, deed):
    net, rate = network(given), LateRate()
    data, optimizer = (given.X, given.y, given.w), bp.SGD(rate)
    net.step(*data, optimizer=optimizer)
    rate.deed = deed
    return net.step(*data, optimizer=optimizer), net.params


def steps_on_one_row(given, held_out, deed):
    net, rate = network(given), LateRate()
    data, optimizer = (given.x, given.label), bp.SGD(rate)
    net.step(*data, optimizer=optimizer)
    rate.deed = deed
    return net.step(*data, optimizer=optimizer), net.params


def gradient(given, held_out, deed):
    net = network(given)
    return net.value_and_grad(given.X, given.y, Late(net.params.copy(), deed), given.w)


def gradient_of_one_row(given, held_out, deed):
    net = network(given)
    return net.value_and_grad(given.x, given.label, Late(net.params.copy(), deed))


def differences(given, held_out, deed):
    data = given.few, given.y[:4], Late(given.w[:4], deed)
    return bp.finite_difference_gradient(network(given), *data[:2], sample_weight=data[2]).gradient


def differences_of_one_row(given, held_out, deed):
    result = bp.finite_difference_gradient(network(given), given.x, Late(given.label.copy(), deed), dtype=given.dtype)
    return result.gradient


def nodes(given, held_out, deed):
    return bp.node_perturbation(network(given), given.few, Late(given.y[:4].copy(), deed))


def rates(given, held_out, deed):
    w = Late(given.w, deed)
    return bp.find_learning_rate(network(given), given.X, given.y, n_steps=9, seed=0, sample_weight=w).losses


def search(given, held_out, deed):
    net = network(given)
    return bp.random_weight_search(net, given.X, Late(given.y.copy(), deed), 20, seed=0).loss, net.params


def classifier(given, held_out, deed, call="fit"):
    rate = LateRate(deed)
    model = MLPClassifier(
        (6,), max_iter=2, batch_size=7, learning_rate=rate, solver="sgd", random_state=0, dtype=given.dtype
    )
    if call == "partial_fit":
        rate.deed = lambda: None
        model.partial_fit(given.X, given.y, given.w, classes=np.arange(5))
        rate.deed = deed
        model.partial_fit(given.X, given.y, given.w)
    else:
        model.fit(given.X, given.y, given.w, X_val=held_out.X, y_val=held_out.y, sample_weight_val=held_out.w)
    return model.coefs_, model.loss_curve_


def regressor(given, held_out, deed):
    model = MLPRegressor(
        hidden_layer_sizes=(6,), max_iter=2, batch_size=7, learning_rate=LateRate(deed), solver="sgd", random_state=0,
        dtype=given.dtype,
    )  # fmt: skip
    return model.fit(given.X, given.Y, given.w).coefs_


def columns(given, held_out, deed):
    class Late(NielsensNetwork):
        def total_cost(self, *arguments, **keywords):
            deed()
            return 0.0

    np.random.seed(0)
    random.seed(0)
    net = Late(SIZES, CrossEntropyCost)
    data = [(x.reshape(-1, 1), y.reshape(-1, 1)) for x, y in zip(given.dense, given.Y, strict=True)]
    labelled = [(x, label) for (x, _), label in zip(data, np.split(given.y, N_ROWS), strict=True)]
    with contextlib.redirect_stdout(None):
        records = net.SGD(list(data), 2, 7, 0.1, 0.1, labelled, True, True)
    return records[:2], net.weights


CALLS = {
    "fit": fit,
    "fit, all rows": lambda given, held_out, deed: fit(given, held_out, deed, None),
    "fit, targets": fit_targets,
    "steps": steps,
    "steps on one row": steps_on_one_row,
    "gradient": gradient,
    "gradient of one row": gradient_of_one_row,
    "cost": lambda given, held_out, deed: network(given).loss_value(given.X, given.y, Late(given.w, deed)),
    "trace": lambda given, held_out, deed: network(given).trace(given.X, given.y, Late(given.w, deed)).cost,
    "differences": differences,
    "differences of one row": differences_of_one_row,
    "nodes": nodes,
    "check": lambda given, held_out, deed: repr(
        bp.check_gradient(network(given), given.few, given.y[:4], Late(given.w[:4], deed))
    ),
    "rates": rates,
    "search": search,
    "classifier": classifier,
    "partial_fit": lambda given, held_out, deed: classifier(given, held_out, deed, "partial_fit"),
    "regressor": regressor,
    "columns": columns,
}
# What has no second argument, for the other thread.
ALONE = {
    "predict": lambda given, held_out, deed: network(given).predict(given.X),
    "predict one row": lambda given, held_out, deed: network(given).predict(given.x),
    "diagnose": lambda given, held_out, deed: bp.diagnose(network(given), given.X),
}


# ---- What is done meanwhile ------------------------------------------------------------------------------------------


def write(arrays, value):
    """Write a value into arrays; into numbers also NaN."""
    for array in arrays:
        if array.dtype.kind == "f":
            array[...] = np.nan if value == -1 else value
        else:
            array[...] = np.array(value).astype(array.dtype)


def set_shapes(given):
    for array in given.arrays:
        array.shape = (array.size, 1) if array.ndim == 1 else array.shape[::-1]


def set_dtypes(given):
    for array in given.arrays:
        array.dtype = np.dtype("int8") if array.dtype.kind in "iu" else np.dtype("int16")


def resize(given):
    for array in given.arrays:
        with contextlib.suppress(ValueError):  # NumPy refuses it where others have references
            array.resize((1,) * array.ndim)


def let_go(given):
    if sparse.issparse(given.X):
        given.X.data = given.X.indices = given.X.indptr = np.zeros(1, np.int32)
    names = "X", "y", "w", "Y", "x", "label", "few", "dense"
    vars(given).update(dict.fromkeys(names), numbers=[], indices=[])


def make_read_only(given):
    for array in given.arrays:
        array.setflags(write=False)


IN_PLACE = (set_shapes, set_dtypes, resize, let_go, make_read_only)


# ---- The programs ----------------------------------------------------------------------------------------------------


def same(a, b):
    """Whether two results are the same to the bit."""
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray)))


def outcome(call, kind, change):
    """Return the result of a call during which `change` is done to all that it was given, or the error's class."""
    given, held_out = Given(*kind), Given(*kind)

    def deed():
        change(given)
        change(held_out)

    try:
        return call(given, held_out, deed)
    except ERRORS as error:
        return type(error)


def change_indices(form):
    """Labels and the indices of sparse rows are copied when they are looked at: nothing else than that is right."""
    wrong = []
    for kind in KINDS[form]:
        for name, call in CALLS.items():
            expected = outcome(call, kind, lambda given: None)
            assert not isinstance(expected, type), (name, expected)
            for value in VALUES:
                found = outcome(call, kind, lambda given, value=value: write(given.indices, value))
                if not same(found, expected):
                    wrong.append((name, kind, value))
    return wrong


def change_numbers(form):
    """Numbers may be the old or the new ones, or an error: of this there is nothing but the process to look at."""
    for kind in KINDS[form]:
        for call in CALLS.values():
            for value in VALUES:
                outcome(call, kind, lambda given, value=value: write(given.arrays, value))
    return []


def change_in_place(form):
    """What can be done to an array where it is: the right result, or an error."""
    wrong = []
    for kind in KINDS[form]:
        for name, call in CALLS.items():
            expected = outcome(call, kind, lambda given: None)
            for change in IN_PLACE:
                found = outcome(call, kind, change)
                if not (isinstance(found, type) or same(found, expected)):
                    wrong.append((name, kind, change.__name__))
    return wrong


def change_in_another_thread(form, n_rounds=2):
    """Another thread writes to everything all the time; an error or a number, and the process lives."""
    sys.setswitchinterval(1e-5)
    givens, over = [], threading.Event()

    def scribble():
        i = 0
        while not over.is_set():
            for given, right in givens:
                write(given.arrays if i % 3 else given.indices, VALUES[i % len(VALUES)])
                for array, copy in zip(given.arrays, right, strict=True):
                    array[...] = copy
            i += 1

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        for _ in range(n_rounds):
            for kind in KINDS[form]:
                for call in (CALLS | ALONE).values():
                    both = Given(*kind), Given(*kind)
                    givens[:] = [(given, [array.copy() for array in given.arrays]) for given in both]
                    with contextlib.suppress(*ERRORS):
                        call(*both, lambda: None)
    finally:
        over.set()
        writer.join()
    return []


def change_parameters(form):
    """What a callback can do to a network's own arrays."""
    X, Y = np.ones((40, 20)), np.ones((40, 5))

    def to_shape(net):
        net.params.shape = (-1, 1)

    def to_short(net):
        net.params.dtype = np.int16

    def to_vectors(net):
        net._training_state.vectors = np.zeros(1)

    def to_nothing(net):
        net.params[...] = np.nan

    survived = 0
    for change in (to_shape, to_short, to_vectors, to_nothing):
        for batch_size in (1, None):
            net = bp.Network(SIZES, "tanh", seed=0)
            with contextlib.suppress(*ERRORS):
                net.fit(X, Y, epochs=3, batch_size=batch_size, callbacks=[lambda net, _, change=change: change(net)])
            for call in (net.predict, lambda X, net=net: net.fit(X, Y), lambda X, net=net: net.step(X, Y)):
                with contextlib.suppress(*ERRORS):
                    call(np.ones((4000, 20)) if call == net.predict else X)
            for call in (bp.finite_difference_gradient, bp.check_gradient, bp.find_learning_rate):
                with contextlib.suppress(*ERRORS):
                    call(net, X, Y)
            with contextlib.suppress(*ERRORS):
                bp.random_weight_search(net, X, Y, 10)
            survived += 1
    return [] if survived == 8 else ["not all"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # NumPy's, of what it does not like about such numbers and changes
    program, form = sys.argv[1:]
    sys.stdout.write(f"{globals()[program](form)}\n")
