"""The kernels give the same numbers when they run as plain Python: NUMBA_DISABLE_JIT=1."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
results = []
for activation in ("sigmoid", "relu", "elu", "softplus", "gelu", "sine"):
    net = bp.Network([3, 4, 2], activation=activation, loss="huber", seed=0, l2_penalty=0.1, dropout=0.25)
    cost, grad = net.value_and_grad(X, Y, sample_weight=[1, 2, 0, 1, 1, 1])
    net.fit(X[::-1], Y, epochs=2, batch_size=4, optimizer=bp.Adam(0.01), seed=1, clip_norm=1.0)
    results.append([cost, *grad, *net.params, *net.predict(X).ravel()])
net = bp.Network([3, 4, 2], output="softmax", loss="cross_entropy", seed=0)
net.fit(X, [0, 1, 1, 0, 1, 0], epochs=2, batch_size=4, optimizer=bp.RMSprop(0.01), seed=1)
results.append([net.loss_value(X, [0, 1, 1, 0, 1, 0]), *net.params])
v = rng.normal(size=net.n_params)
at = net.linearize(X, [0, 1, 1, 0, 1, 0])
results.append([*net.hvp(X, [0, 1, 1, 0, 1, 0], v), *at.hvp(v), *at.gnvp(v), *at.jvp(v).ravel(), *at.vjp(Y)])
wide = bp.Network([210, 14, 1], activation="silu", output="softplus", loss="poisson", seed=0)
X, Y, v = rng.normal(size=(60, 210)), rng.random((60, 1)), rng.normal(size=wide.n_params)
results.append([*wide.hvp(X, Y, v), *wide.fisher_vp(X, v), *wide.jvp(X, X, wrt="inputs").ravel()])
for sizes, output in (([3, 4, 2], "tanh"), ([2, 4, 3, 3], "softmax"), ([5, 4, 3, 3], "sigmoid")):
    net = bp.Network(sizes, output=output, activation="silu", seed=0)
    X, Y = rng.normal(size=(6, sizes[0])), rng.normal(size=(6, sizes[-1]))
    arrays = [net.input_jacobian(X), net.jacobian(X), *net.vjp(X, Y, "both"), net.input_gradient(X, Y)]
    arrays += [net.per_sample_gradients(X, Y), net.per_sample_gradient_norms(X, Y)]
    arrays += [net.per_sample_gradient_dots(X, Y, net.params)]
    results.append([number for array in arrays for number in array.ravel()])
print(json.dumps(results))
"""


def run(disable_jit: str) -> list[list[float]]:
    environment = os.environ | {"NUMBA_DISABLE_JIT": disable_jit}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300, check=True, env=environment
    )
    return json.loads(result.stdout)


def test_plain_python_agrees_with_compiled() -> None:
    for plain, compiled in zip(run("1"), run("0"), strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-10, atol=1e-12)


def test_plain_python_is_plain() -> None:
    program = "from fastbp.kernels.roots.entry import run; import types; assert isinstance(run, types.FunctionType)"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", program], timeout=120, check=True, env=environment)
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            [sys.executable, "-c", program],
            timeout=120,
            check=True,
            env=os.environ | {"NUMBA_DISABLE_JIT": "0"},
            stderr=subprocess.DEVNULL,
        )
