"""One training of a network at a time: what is refused beside it, what is not, and when it is over."""

import copy
import functools
import os
import pickle
import signal
import sys
import threading

import numpy as np
import pytest

import fastbp as bp
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.nielsen import Network as NielsensNetwork
from fastbp.system.alone import trainings
from tests.fresh import run_python

X = np.random.default_rng(0).standard_normal((40, 6))
Y = X[:, :2] - X[:, 2:4]
LABELS = np.arange(40) % 3
LIMIT = 100  # seconds until a thread that does not come is a failure


def network():
    return bp.Network([6, 5, 2], "tanh", seed=0)


def refusal(call, running, where):
    return (
        f"`{call}` must have the network to itself, because two trainings at once lose each other's steps; `{running}` "
        f"is running {where}. Wait until it is over, or train a copy, copy.deepcopy(net)."
    )


HERE = "here, and made this call in a callback or signal handler"

TRAININGS = {
    "fit": lambda net: net.fit(X, Y, epochs=1),
    "step": lambda net: net.step(X, Y),
    "find_learning_rate": lambda net: bp.find_learning_rate(net, X, Y),
    "random_weight_search": lambda net: bp.random_weight_search(net, X, Y, 10),
}


class Busy:
    """A fit of a network in another thread, which waits in a callback until the end of a `with`."""

    def __init__(self, net, fit=None):
        self.has_begun, self.may_end, self.error = threading.Event(), threading.Event(), None
        fit = fit or (lambda wait: net.fit(X, Y, epochs=2, seed=0, callbacks=[wait]))
        self.thread = threading.Thread(target=self.run, args=(fit,), name="first")

    def run(self, fit):
        try:
            fit(self.wait)
        except BaseException as error:
            self.error = error

    def wait(self, *_):
        self.has_begun.set()
        assert self.may_end.wait(LIMIT)

    def __enter__(self):
        self.thread.start()
        assert self.has_begun.wait(LIMIT)
        return self

    def __exit__(self, *_):
        self.may_end.set()
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()
        assert self.error is None


# ---- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_stepped", [False, True])
@pytest.mark.parametrize("call", TRAININGS)
def test_another_training_is_refused_in_another_thread(call, has_stepped):
    net, twin = network(), network()
    for each in (net, twin) if has_stepped else ():
        each.step(X, Y)  # so that its quickest way is there
    twin.fit(X, Y, epochs=2, seed=0)
    with Busy(net):
        with pytest.raises(RuntimeError) as caught:
            TRAININGS[call](net)
        TRAININGS[call](network())  # another network
    assert str(caught.value) == refusal(call, "fit", "in thread 'first'")
    assert np.array_equal(net.params, twin.params)
    assert net._training_state.step == twin._training_state.step
    assert len(net.history) == 2
    TRAININGS[call](net)  # it is over


@pytest.mark.parametrize("call", TRAININGS)
def test_another_training_is_refused_in_a_callback(call):
    net, twin, messages = network(), network(), []

    def again(net, history):
        with pytest.raises(RuntimeError) as caught:
            TRAININGS[call](net)
        messages.append(str(caught.value))

    net.fit(X, Y, epochs=2, seed=0, callbacks=[again])
    twin.fit(X, Y, epochs=2, seed=0)
    assert messages == [refusal(call, "fit", HERE)] * 2
    assert np.array_equal(net.params, twin.params)
    TRAININGS[call](net)


@pytest.mark.parametrize("running", ["find_learning_rate", "random_weight_search"])
def test_nothing_trains_beside_the_others(running, monkeypatch):
    """They call nobody back, so what they call is looked into."""
    from fastbp.derivatives import perturbation
    from fastbp.training import learning_rate_finder

    net, messages = network(), []
    place, name = {
        "find_learning_rate": (learning_rate_finder, "_losses"),
        "random_weight_search": (perturbation, "Moves"),
    }[running]
    inside = getattr(place, name)

    def look(*args, **kwargs):
        for call in TRAININGS.values():
            with pytest.raises(RuntimeError) as caught:
                call(net)
            messages.append(str(caught.value))
        return inside(*args, **kwargs)

    monkeypatch.setattr(place, name, look)
    TRAININGS[running](net)
    assert messages == [refusal(call, running, HERE) for call in TRAININGS]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
def test_a_signal_handler_gets_the_error_and_waits_for_nothing():
    net, messages = network(), []

    def handler(*_):
        with pytest.raises(RuntimeError) as caught:
            net.fit(X, Y, epochs=1)
        messages.append(str(caught.value))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        net.fit(X, Y, epochs=3, callbacks=[lambda net, history: signal.raise_signal(signal.SIGUSR1)])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert messages == [refusal("fit", "fit", HERE)] * 3


def test_no_step_of_several_fits_is_lost():
    """Those that come at the same moment are refused, or come after each other; none of their steps is forgotten."""
    net, results = network(), []
    start = threading.Barrier(4)

    def fit():
        start.wait(LIMIT)
        try:
            net.fit(X, Y, epochs=300, batch_size=4, seed=0)
        except RuntimeError:
            results.append(0)
        else:
            results.append(1)

    threads = [threading.Thread(target=fit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(results) == 4
    assert sum(results) >= 1
    assert net._training_state.step == 300 * 10 * sum(results)
    assert not trainings


# ---- When it is over -------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """What a callback raises."""


def stop(kind):
    raise kind


ENDS = {
    "an exception": (StoppedError, lambda net: net.fit(X, Y, epochs=1, callbacks=[lambda *_: stop(StoppedError)])),
    "an exit": (SystemExit, lambda net: net.fit(X, Y, epochs=1, callbacks=[lambda *_: stop(SystemExit)])),
    "Ctrl-C": (KeyboardInterrupt, lambda net: net.fit(X, Y, epochs=1, callbacks=[lambda *_: stop(KeyboardInterrupt)])),
    "divergence": (bp.TrainingDivergedError, lambda net: net.fit(1e200 * X, Y, epochs=9, optimizer=bp.SGD(1e200))),
    "a wrong argument": (ValueError, lambda net: net.fit(X, Y, batch_size=41)),
    "a wrong callback": (TypeError, lambda net: net.fit(X, Y, epochs=1, callbacks=[lambda *_: 1])),
    "no folder": (OSError, lambda net: net.fit(X, Y, epochs=1, checkpoint="/no/such/folder/at/all")),
    "a second fit": (RuntimeError, lambda net: net.fit(X, Y, epochs=1, callbacks=[lambda net, _: net.fit(X, Y)])),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_is_over_whatever_ended_it(end):
    net, (error, fit) = network(), ENDS[end]
    with pytest.raises(error):
        fit(net)
    assert not trainings
    net.fit(X, Y, epochs=1, optimizer=bp.Adam())
    for call in TRAININGS.values():
        call(net)


def test_it_is_over_after_ctrl_c_at_any_place():
    """A signal's handler runs where a function is called or has returned: at each of these places in turn."""
    from fastbp.system import alone

    net, fit = network(), functools.partial(network().fit, X, Y, epochs=1, seed=0)
    fit()
    place = 0

    def run(limit):
        """Fit with an exception at one of the events, and say whether the fit ended without it."""
        left = [limit]

        def tick(frame, event, arg):
            if frame.f_code is not run.__code__:
                left[0] -= 1
                if left[0] < 0:
                    raise KeyboardInterrupt

        sys.setprofile(tick)
        try:
            fit()
            return True
        except KeyboardInterrupt:
            return False
        finally:
            sys.setprofile(None)

    is_over = False
    while not is_over:
        is_over = run(place)
        assert not alone.trainings, place
        place += 1
    assert place > 100
    assert len(fit().loss) == 1
    net.step(X, Y)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_trains_its_own_copy():
    """Forked in a callback, and by another thread while a fit waits; the parent's fit goes on."""
    code = """
import os, threading, warnings
import numpy as np, fastbp as bp
warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of any fork of a process with threads
X = np.random.default_rng(0).standard_normal((40, 6))
net = bp.Network([6, 5, 1], "tanh", seed=0)
statuses = []
def fork(*_):
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if len(net.fit(X, X[:, 0], epochs=3)) == 3 and net.step(X, X[:, 0]) > 0 else 1)
        finally:
            os._exit(2)
    statuses.append(os.waitpid(child, 0)[1])
net.fit(X, X[:, 0], epochs=2, callbacks=[fork])
has_begun, may_end = threading.Event(), threading.Event()
def wait(*_):
    has_begun.set()
    may_end.wait()
thread = threading.Thread(target=lambda: net.fit(X, X[:, 0], epochs=1, callbacks=[wait]))
thread.start()
has_begun.wait()
fork()
try:
    net.fit(X, X[:, 0])
except RuntimeError:
    statuses.append("refused")
may_end.set()
thread.join()
net.fit(X, X[:, 0], epochs=1)
print(statuses)
"""
    assert run_python(code) == "[0, 0, 0, 'refused']\n"


# ---- What may be done beside it --------------------------------------------------------------------------------------


def set_parameters(net):
    net.params = net.params.copy()
    net.weights[0] = net.weights[0].copy()
    net.load_torch_state_dict(net.torch_state_dict())


BESIDE = {
    "predictions": lambda net, folder: (net.predict(X), net.predict(X[:1]), net.loss_value(X, Y)),
    "gradients": lambda net, folder: (net.value_and_grad(X, Y), net.trace(X, Y), bp.check_gradient(net, X[:4], Y[:4])),
    "differences": lambda net, folder: bp.finite_difference_gradient(net, X[:4], Y[:4]),
    "nodes": lambda net, folder: bp.node_perturbation(net, X[:4], Y[:4]),
    "files": lambda net, folder: (net.save(folder / "net"), bp.load(folder / "net").fit(X, Y, epochs=1)),
    "deepcopy": lambda net, folder: copy.deepcopy(net).fit(X, Y, epochs=1),
    "copy": lambda net, folder: copy.copy(net).step(X, Y),
    "pickle": lambda net, folder: pickle.loads(pickle.dumps(net)).fit(X, Y, epochs=1),
    "parameters": lambda net, folder: set_parameters(net),
    "diagnostics": lambda net, folder: bp.diagnose(net, X),
}


@pytest.mark.parametrize("deed", BESIDE)
def test_everything_else_may_be_done_beside_it(deed, tmp_path):
    net, twin = network(), network()
    with Busy(net):
        BESIDE[deed](net, tmp_path)
    twin.fit(X, Y, epochs=2, seed=0, callbacks=[lambda net, history: BESIDE[deed](net, tmp_path) and None])
    assert np.array_equal(net.params, twin.params)
    plain = network()
    plain.fit(X, Y, epochs=2, seed=0)
    assert np.array_equal(net.params, plain.params)


@pytest.mark.parametrize("take", [copy.deepcopy, copy.copy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("has_trained", [False, True])
def test_a_copy_made_in_a_callback_goes_on_from_there(has_trained, take):
    """With the optimizer and the random numbers as they were then: the rest is that of the fit itself."""
    net, copies = network(), []
    if has_trained:
        net.fit(X, Y, epochs=1, seed=1)
    net.fit(X, Y, epochs=4, seed=0, callbacks=[lambda net, history: copies.append(take(net))])
    for done, each in enumerate(copies, start=1):
        assert not np.array_equal(each.params, net.params) or done == 4
        each.fit(X, Y, epochs=4 - done)
        assert np.array_equal(each.params, net.params)
        assert each._training_state.step == net._training_state.step


# ---- Estimators, and the book's class --------------------------------------------------------------------------------


class Waits(bp.Schedule):
    """A constant learning rate that calls back when it is asked for, which is within a fit."""

    def __init__(self, call):
        self._call = call

    def __call__(self, steps, n_steps):
        self._call()
        return np.full(np.shape(steps), 0.01)


ESTIMATORS = {"classifier": (MLPClassifier, LABELS), "regressor": (MLPRegressor, Y)}


def estimator(kind, call):
    return ESTIMATORS[kind][0](
        hidden_layer_sizes=(5,), max_iter=2, learning_rate=Waits(call), solver="sgd", random_state=0, tol=0.0
    )


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("first", ["fit", "partial_fit"])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_fit_of_an_estimator_at_a_time(kind, first):
    y, messages = ESTIMATORS[kind][1], []
    keywords = {"classes": [0, 1, 2]} if kind == "classifier" and first == "partial_fit" else {}
    busy = Busy(None, lambda wait: getattr(model, first)(X, y, **keywords))
    model = estimator(kind, busy.wait)
    with busy:
        before = dict(vars(model))
        for call in ("fit", "partial_fit"):
            with pytest.raises(RuntimeError) as caught:
                getattr(model, call)(X, y)
            messages.append(str(caught.value))
        assert vars(model) == before
        with pytest.raises(RuntimeError) as caught:
            model.network_.fit(X, y)
        messages.append(str(caught.value))
        assert model.predict(X).shape == y.shape
        copied = copy.deepcopy(model.network_), pickle.dumps(model.network_)
    calls = "fit", "partial_fit", "fit"
    assert messages == [refusal(call, first, "in thread 'first'") for call in calls]
    assert all(copied)
    twin = estimator(kind, lambda: None)
    getattr(twin, first)(X, y, **keywords)
    assert all(np.array_equal(a, b) for a, b in zip(model.coefs_, twin.coefs_, strict=True))
    model.partial_fit(X, y)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_a_refused_estimator_is_free_afterwards():
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=2, solver="lbfgs", random_state=0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(np.full_like(X, np.nan), Y)
    assert not trainings
    assert model.fit(X, Y).predict(X).shape == Y.shape
    assert list(TRAININGS["fit"](model.network_).loss)
    assert not trainings


def test_one_training_of_the_book_s_class_at_a_time(capsys):
    messages = []
    data = [(x.reshape(-1, 1), y.reshape(-1, 1)) for x, y in zip(X, abs(Y) / 9, strict=True)]

    class Curious(NielsensNetwork):
        def evaluate(self, test_data):
            with pytest.raises(RuntimeError) as caught:
                self.SGD(list(data), 1, 10, 0.1)
            messages.append(str(caught.value))
            return 0

    net = Curious([6, 5, 2])
    net.SGD(list(data), 2, 10, 0.1, test_data=[(data[0][0], 0)])
    assert messages == [refusal("SGD", "SGD", HERE)] * 2
    assert capsys.readouterr().out == "Epoch 0: 0 / 1\nEpoch 1: 0 / 1\n"
    net.SGD(list(data), 1, 10, 0.1)
