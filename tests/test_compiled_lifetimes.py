"""Networks in compiled code outlive what they were made of, see what it becomes, and are compiled once."""

import copy
import gc
import json
import os
import pickle
import random
import weakref

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.export import njit_typing
from tests.fresh import run_python

compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@numba.njit
def outputs(net, x):
    out = np.empty(net.n_outputs)
    net.predict(x, out)
    return out


@numba.njit
def handed_through(nets, x):
    net, more = nets
    return net, (more, net), outputs(net, x)


def test_what_is_written_to_the_parameters_is_seen():
    net = bp.Network([2, 4, 3], "tanh", seed=0)
    handle, x = net.compiled(), np.array([0.5, -1.0])
    for change in (
        lambda: net.params.fill(0.25),
        lambda: net.fit([[1.0, 0.0]], [[1.0, 2.0, 3.0]], epochs=3),
        lambda: net.step([[1.0, 0.0]], [[1.0, 2.0, 3.0]]),
        lambda: setattr(net, "params", np.linspace(-1, 1, net.n_params)),
        lambda: net.weights.__setitem__(0, np.ones((2, 4))),
    ):
        before = outputs(handle, x)
        change()
        after = outputs(handle, x)
        assert (after != before).any()
        np.testing.assert_allclose(after, net.predict(x[None])[0], rtol=1e-12)


def test_a_handle_keeps_what_it_needs():
    calls = []

    def make():
        net = bp.Network(
            [2, 4, 3], [bp.Activation("half", numba.njit(lambda z: z / 2), numba.njit(lambda z: 0.5))], seed=0
        )
        calls.append(weakref.ref(net))
        return net.compiled(bp.Adam()), net.predict([[1.0, 2.0]])[0]

    handle, expected = make()
    table = weakref.ref(handle._evaluator)
    gc.collect()
    assert calls[0]() is None
    rubbish = [np.full(31, 7.0) for _ in range(1000)]
    np.testing.assert_allclose(outputs(handle, np.array([1.0, 2.0])), expected, rtol=1e-12)
    np.testing.assert_allclose(outputs(copied_from(handle), np.array([1.0, 2.0])), expected, rtol=1e-12)
    del handle, rubbish
    gc.collect()
    assert table() is None


@compiled
def test_what_is_gone_is_no_network():
    handle = bp.Network([2, 3], seed=0).compiled()
    found = numba.njit(lambda pointer: bp.network_at(pointer, np.float64))
    pointer, values = handle.pointer, handle._evaluator.values
    assert found(pointer).pointer == pointer
    del handle
    gc.collect()
    assert values.size  # what is read in compiled code lives here
    with pytest.raises(ValueError, match=r"^`pointer` must be the pointer of a compiled network that is alive\.$"):
        found(pointer)


FORKING = """
import os, threading, time, warnings, numba, numpy as np, fastbp as bp
warnings.simplefilter("ignore")  # Python does not like forks of several threads
@numba.njit(nogil=True)
def work(net, X, Y, out, is_over):
    while True:
        net.predict(X, out)
        net.step(X, Y)
        if is_over[0]:
            break
net = bp.Network([3, 700, 700, 2], seed=0)
handle, is_over = net.compiled(bp.SGD(1e-9)), np.ones(1)
X, Y, out = np.ones((300, 3)), np.ones((300, 2)), np.empty((300, 2))
work(handle, X[:1], Y[:1], out[:1], is_over)
n_slots, running = handle._evaluator.values[17], np.zeros(1)
threads = [threading.Thread(target=work, args=(handle, X, Y, np.empty((300, 2)), running)) for i in range(n_slots + 1)]
for thread in threads:
    thread.start()
claims = handle._evaluator._claims
while not (claims[-8] and claims[0]):  # a thread takes a step
    time.sleep(0.001)
child = os.fork()
if not child:
    work(handle, X[:1], Y[:1], out[:1], is_over)
    os._exit(7)
running[0] = 1
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
for thread in threads:
    thread.join()
"""


@compiled
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
def test_a_child_waits_for_no_call_of_its_parent():
    assert run_python(FORKING) == "7\n"


def copied_from(handle):
    """A handle that compiled code has returned."""
    if numba.config.DISABLE_JIT:
        return handle
    first, (more, second), _ = handed_through((handle, 1), np.array([1.0, 2.0]))
    assert (first.pointer, second.pointer, more) == (handle.pointer, handle.pointer, 1)
    return second


def test_copies_have_their_own():
    net = bp.Network([2, 4, 3], "tanh", seed=0)
    twins = copy.deepcopy(net), pickle.loads(pickle.dumps(net))
    handle, x = net.compiled(), np.array([0.5, -1.0])
    others, expected = [twin.compiled() for twin in twins], net.predict(x[None])[0]
    net.params[...] = 0
    for other in others:
        np.testing.assert_allclose(outputs(other, x), expected, rtol=1e-12)
    assert not outputs(handle, x).any()
    for fails in (lambda: pickle.dumps(handle), lambda: copy.copy(handle), lambda: copy.deepcopy(handle)):
        with pytest.raises(TypeError, match=r"^A bp\.CompiledNetwork cannot be pickled or copied, because it has"):
            fails()


def test_networks_that_come_and_go():
    """Of many networks, some copies, some handles and results of compiled code live, and all of them are right."""
    rng, alive = random.Random(0), []
    for i in range(150):
        deed = rng.randrange(6)
        if deed < 2 or not alive:
            sizes = [2, rng.choice((3, 40, 600)), 3]
            net = bp.Network(sizes, "tanh", seed=i)
            alive.append((net if rng.random() < 0.5 else None, net.compiled(bp.SGD(0.1)), net.params))
        elif deed == 2:
            alive.pop(rng.randrange(len(alive)))
            gc.collect()
        elif deed == 3:
            net, handle, params = rng.choice(alive)
            alive.append((None, copied_from(handle), params))
        elif deed == 4:
            net, handle, params = rng.choice(alive)
            handle.step(np.array([0.3, 0.1]), np.ones(3))
        elif net_of := [entry for entry in alive if entry[0] is not None]:
            net = copy.copy(rng.choice(net_of)[0])
            alive.append((net, net.compiled(bp.Adam()), net.params))
        net, handle, params = rng.choice(alive) if alive else (None, None, None)
        if handle is not None:
            x = np.array([rng.random(), -1.0])
            sizes = [2, (params.size - 3) // 6, 3]
            twin = bp.Network(sizes, "tanh")
            twin.params[...] = params
            np.testing.assert_allclose(outputs(handle, x), twin.predict(x[None])[0], rtol=1e-12)
        del net, handle


USERS = """
import numba, numpy as np
@numba.njit(cache=True)
def outputs(net, x):
    out = np.empty(net.n_outputs)
    net.predict(x, out)
    net.step(x, out)
    return out
"""
CALLER = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np, fastbp as bp, of_a_user
found = []
for seed, sizes in enumerate(([2, 3], [2, 5, 4, 3], [2, 700, 3])):
    net = bp.Network(sizes, "tanh", seed=seed)
    handle, x = net.compiled(bp.Adam()), np.array([0.5, -1.0])
    for value in (net.params.copy(), np.linspace(-1, 1, net.n_params)):
        net.params[...] = value
        out = of_a_user.outputs(handle, x)
        assert np.allclose(out, net.predict(x[None])[0], rtol=1e-12), (out, net.predict(x[None]))
stats = of_a_user.outputs.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


@compiled
def test_a_users_function_is_compiled_once_for_all_processes(tmp_path):
    (tmp_path / "of_a_user.py").write_text(USERS)
    code = CALLER.format(folder=str(tmp_path))
    assert run_python(code, NUMBA_CACHE_DIR=None) == "0 1\n"
    assert run_python(code, NUMBA_CACHE_DIR=None) == "1 0\n"


PLAIN = """
import json, numpy as np, fastbp as bp
found = []
for sizes, options in [([3, 5, 4], ("tanh", "softmax", "cross_entropy")), ([3, 20, 2], ("gelu", "identity"))]:
    net = bp.Network(sizes, *options, seed=0)
    handle, x, y = net.compiled(bp.Adam(0.1)), np.linspace(-1, 1, 15).reshape(5, 3), np.full((5, sizes[-1]), 0.25)
    out, grad = np.empty((5, sizes[-1])), np.empty(net.n_params)
    dx, jacobian = np.empty((5, 3)), np.empty((sizes[-1], 3))
    handle.predict(x, out), handle.input_gradient(x, y, dx), handle.input_jacobian(x[0].copy(), jacobian)
    found += [handle.value_and_grad(x, y, grad), handle.loss_value(x[0].copy(), y[0].copy()), handle.step(x, y)]
    if options[1] == "softmax":
        found += [handle.loss_value(x[0].copy(), 2), handle.step(x, np.arange(5) % 4)]
    found += [*net.params, *out.ravel(), *grad, *dx.ravel(), *jacobian.ravel()]
    assert bp.network_at(handle.pointer, np.float64).n_steps == handle.n_steps
print(json.dumps(found))
"""


@compiled
def test_plain_python_has_the_same_numbers():
    plain, of_kernels = (json.loads(run_python(PLAIN, NUMBA_DISABLE_JIT=disabled)) for disabled in "10")
    np.testing.assert_allclose(plain, of_kernels, rtol=1e-9, atol=1e-12)


def test_the_type_tells_the_version():
    numba_type = njit_typing.type_of(np.dtype("float32"))
    assert numba_type.name == "fastbp.CompiledNetwork(float32, version 1)"
    assert pickle.loads(pickle.dumps(numba_type)) == numba_type
    assert numba_type != njit_typing.type_of(np.dtype("float64"))
