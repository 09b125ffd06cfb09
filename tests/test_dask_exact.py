"""Steps on all rows of Dask's collections: those of `Network.fit` on the same rows, whoever computes them."""

import sys

import numpy as np
import pytest

import fastbp as bp
from fastbp.training.gradient_steps import GradientSteps
from fastbp.training.trained import training_state_of
from tests import cases
from tests.twins import same_bits

pytest.importorskip("distributed")
import dask.array as da
from distributed import Client, LocalCluster

import fastbp.dask
from fastbp.dask import averaged, exact, walks
from fastbp.dask.graphs import Planned, compute
from fastbp.dask.session import Session, session_on

dtypes = pytest.mark.parametrize("dtype", cases.DTYPES)
optimizers = pytest.mark.parametrize("case", cases.OPTIMIZER_CASES, ids=str)

rng = np.random.default_rng(3)
X = rng.standard_normal((64, 3))
Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 2] * X[:, 0]])
WEIGHTS = rng.uniform(0.2, 2.0, 64)
CHUNKS = (30, 1, 0, 33)


@pytest.fixture(scope="module")
def client():
    yield from client_of(2)


def client_of(n_workers):
    """A client of so many workers in this process."""
    with (
        LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


def net_of(dtype="float64", **changes):
    return bp.Network([3, 5, 2], **{"activation": "tanh", "dtype": dtype, "seed": 1} | changes)


def arrays(dtype="float64", chunks=CHUNKS):
    """Inputs, targets and weights, in one piece and in partitions."""
    local = X.astype(dtype), Y.astype(dtype), WEIGHTS.astype(dtype)
    return local, [da.from_array(a, chunks=(chunks, *a.shape[1:])) for a in local]


def optimizer_of(case):
    return getattr(bp, case.kind)(**case.hyper_parameters)


def tolerance(dtype):
    return {"rtol": 1e-9, "atol": 1e-11} if dtype == "float64" else {"rtol": 2e-3, "atol": 2e-5}


# ---- The same steps --------------------------------------------------------------------------------------------------


@dtypes
@optimizers
def test_a_step_by_a_given_gradient_is_the_training_kernels(case, dtype):
    net, other = net_of(dtype), net_of(dtype)
    other.fit(X.astype(dtype), Y.astype(dtype), epochs=0, optimizer=optimizer_of(case))  # a fresh state
    steps, rule = GradientSteps(other, training_state_of(other), case.clip_norm or 0.0), optimizer_of(case)
    for _ in range(3):
        net.fit(X.astype(dtype), Y.astype(dtype), epochs=1, batch_size=None, optimizer=rule, clip_norm=case.clip_norm)
        _, grad = other.value_and_grad(X.astype(dtype), Y.astype(dtype))
        steps.step(other.params, grad, case.hyper_parameters["learning_rate"])
        if case.clip_norm is None:
            assert same_bits(net.params, other.params)
        else:  # the norms are sums in two orders
            np.testing.assert_allclose(other.params, net.params, rtol=20 * np.finfo(dtype).eps)


@dtypes
@optimizers
def test_it_is_the_fit_of_one_machine(case, dtype, client):
    (x, y, w), (xs, ys, ws) = arrays(dtype)
    penalties = {"l2_penalty": 0.01, "l1_penalty": 0.003}
    local, ours = net_of(dtype, **penalties), net_of(dtype, **penalties)
    common = {"epochs": 6, "batch_size": None, "clip_norm": case.clip_norm}
    expected = local.fit(x, y, optimizer=optimizer_of(case), sample_weight=w, **common)
    found = fastbp.dask.fit(ours, xs, ys, optimizer=optimizer_of(case), sample_weight=ws, client=client, **common)
    np.testing.assert_allclose(found.loss, expected.loss, **tolerance(dtype))
    np.testing.assert_allclose(ours.params, local.params, **tolerance(dtype))
    assert same_bits(found.learning_rate, expected.learning_rate)
    assert found.stopped_by == expected.stopped_by == "epochs"


def test_a_schedule_spans_the_fit_and_another_fit_goes_on(client):
    (x, y, _), (xs, ys, _) = arrays()
    local, ours = net_of(), net_of()
    rule = bp.Adam(learning_rate=bp.Cosine(0.05))
    for epochs, optimizer in ((5, rule), (4, rule), (3, None)):
        expected = local.fit(x, y, epochs, None, optimizer)
        found = fastbp.dask.fit(ours, xs, ys, epochs, None, optimizer, client=client)
        assert same_bits(found.learning_rate, expected.learning_rate)
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-9)
    assert training_state_of(ours).step == training_state_of(local).step == 12
    expected, found = (net.fit(x, y, 2, None).loss for net in (local, ours))  # and so does one on this machine
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_tolerance_is_the_norm_of_the_whole_gradient(client):
    (x, y, _), (xs, ys, _) = arrays()
    local, ours, rule = net_of(l2_penalty=0.01), net_of(l2_penalty=0.01), bp.SGD(0.3)
    expected = local.fit(x, y, 200, None, rule, tol=0.2)
    found = fastbp.dask.fit(ours, xs, ys, 200, None, bp.SGD(0.3), tol=0.2, client=client)
    assert 1 < len(found) == len(expected) < 200
    assert found.stopped_by == expected.stopped_by == "tolerance"
    np.testing.assert_allclose(ours.params, local.params, rtol=1e-9)


@dtypes
def test_a_fit_that_diverges_leaves_the_last_parameters(dtype, client):
    _, (xs, ys, _) = arrays(dtype)
    net = net_of(dtype, activation="relu")
    with pytest.raises(
        bp.TrainingDivergedError, match=r"^The loss became NaN or infinite in epoch \d+ with a learning"
    ):
        fastbp.dask.fit(net, xs, ys, 500, None, bp.SGD(1e4), client=client)
    assert np.isfinite(net.params).all()
    assert net.history.stopped_by == "divergence"
    assert training_state_of(net).step == 0


def test_dropout_is_refused(client):
    _, (xs, ys, _) = arrays()
    net = net_of(dropout=0.5)
    before = net.params.copy()
    with pytest.raises(ValueError, match="dropout") as error:
        fastbp.dask.fit(net, xs, ys, 2, None, client=client)
    assert str(error.value) == (
        "`dropout` must be 0 where each step looks at all rows, whose masks no partition knows; the network has "
        f"{net.dropout}. Make it without dropout, or use mini-batches, such as batch_size=32."
    )
    assert same_bits(net.params, before)
    assert training_state_of(net) is None
    assert net.history is None


# ---- The same bits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [bp.Adam(), bp.LBFGS(), bp.LevenbergMarquardt()], ids=lambda rule: type(rule).__name__)
def test_workers_and_the_order_of_arrival_do_not_show(rule, client, monkeypatch):
    dtype = "float64" if isinstance(rule, bp.LevenbergMarquardt) else "float32"  # its sums are of float64 numbers
    _, (xs, ys, ws) = arrays(dtype, chunks=(4,) * 16)
    bits = list[bytes]()

    def fit(client):
        net = net_of(dtype)
        fastbp.dask.fit(net, xs, ys, 2, None, rule, sample_weight=ws, client=client)
        bits.append(net.params.tobytes())

    fit(client)
    for n_workers in (1, 3):
        for other in client_of(n_workers):
            fit(other)
    order = np.random.default_rng(0)

    def result(self, task, parts=()):
        known, waiting = [], [task]
        while waiting:
            known.append(waiting.pop())
            waiting += [needed for needed in known[-1].needs if isinstance(needed, Planned)]
        futures = [compute(self.client, [known[i]])[0] for i in order.permutation(len(known))]
        for future in futures:  # so that the sums find their terms, which came in any order
            future.result()
        return theirs(self, task, parts)

    theirs = Session.result
    monkeypatch.setattr(Session, "result", result)
    fit(client)
    assert len(set(bits)) == 1


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def test_ctrl_c_while_a_round_is_computed(client, monkeypatch, tmp_path):
    _, (xs, ys, _) = arrays()
    arguments = {"epochs": 6, "batch_size": None, "client": client}
    rule = bp.Adam(bp.Step(0.01, 2, 0.5))  # whose place goes on, too
    whole, net, path = net_of(), net_of(), tmp_path / "fit.ckpt"
    whole_history = fastbp.dask.fit(whole, xs, ys, optimizer=rule, **arguments)
    third = net_of()
    fastbp.dask.fit(third, xs, ys, optimizer=rule, **arguments | {"epochs": 3})
    press_at(monkeypatch, 3 + 2)  # two rounds come before the first epoch: of counts, and of digests
    with pytest.raises(KeyboardInterrupt):
        fastbp.dask.fit(net, xs, ys, optimizer=rule, checkpoint=path, **arguments)
    assert same_bits(net.history.loss, whole_history.loss[:3])
    assert net.history.stopped_by == "interruption"
    assert same_bits(net.params, third.params)
    monkeypatch.undo()
    other = net_of()
    history = fastbp.dask.fit(other, xs, ys, optimizer=rule, checkpoint=path, resume=True, **arguments)
    assert same_bits(history.loss, whole_history.loss)
    assert same_bits(other.params, whole.params)


def press_at(monkeypatch, n_results):
    """Have Ctrl-C pressed when something is waited for after so many results."""
    results, theirs = [], Session.result

    def result(self, task, parts=()):
        if len(results) == n_results:
            raise KeyboardInterrupt
        results.append(theirs(self, task, parts))
        return results[-1]

    monkeypatch.setattr(Session, "result", result)


def test_what_is_too_large_for_a_message_goes_in_pieces(client):
    """Dask warns of a large one, and a warning is an error here."""
    value = {"a": np.arange(3 << 20), "b": "text"}
    with session_on(client) as session:
        arrived = session.constant(value).result()
    assert arrived["b"] == "text"
    assert np.array_equal(arrived["a"], value["a"])


STEPS = {
    "exact": ((exact.FullBatch._step,), None, 2),
    "averaged": ((averaged.Averaged._epoch, walks.Rounds.epoch), 16, 1),
}


@pytest.mark.parametrize("way", STEPS)
def test_ctrl_c_at_any_line_of_a_step(way, client):
    functions, batch_size, epochs = STEPS[way]
    _, (xs, ys, _) = arrays()
    after = list[tuple[bytes, bytes, int]]()

    def snapshot(net):
        state = training_state_of(net)
        return net.params.tobytes(), state.vectors.tobytes(), state.step

    net = net_of()
    first = bp.Adam()
    arguments = {"client": client, "shuffle": False}
    fastbp.dask.fit(net, xs, ys, 0, batch_size, first, **arguments)
    after.append(snapshot(net))
    for _ in range(epochs):
        fastbp.dask.fit(net, xs, ys, 1, batch_size, first, **arguments)
        after.append(snapshot(net))
    presses, is_over = 0, False
    while not is_over:
        net, lines = net_of(), [0]
        try:
            with tracing(functions, lines, presses):
                fastbp.dask.fit(net, xs, ys, epochs, batch_size, bp.Adam(), **arguments)
            is_over = True
        except KeyboardInterrupt:
            presses += 1
        assert snapshot(net) == after[len(net.history)]
    assert presses > 20


class tracing:  # noqa: N801 # a verb, as of a context manager
    """Press Ctrl-C before the line of some functions that is so many after the first."""

    def __init__(self, functions, lines, press):
        self.codes, self.lines, self.press = [function.__code__ for function in functions], lines, press

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.of_call)

    def __exit__(self, *error):
        sys.settrace(self.before)

    def of_call(self, frame, event, argument):
        return self.of_line if frame.f_code in self.codes else None

    def of_line(self, frame, event, argument):
        if event == "line":
            self.lines[0] += 1
            if self.lines[0] == self.press + 1:
                raise KeyboardInterrupt
        return self.of_line
