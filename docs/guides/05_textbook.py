"""
The textbook
============

For those who learn or teach backpropagation.  Afterwards you have seen each number of it once from the library and once
from the formula, and know what the formulas say about nudged weights, slow neurons and momentum.

The letters are those of Michael Nielsen's "Neural Networks and Deep Learning", chapter 2: z is what a neuron sums up,
a = f(z) its activation, and delta = dC/dz its error.
"""

# %%
# The network
# -----------
# It has two inputs, three hidden neurons and two outputs, all sigmoid, and the quadratic cost, half the squared
# distance of outputs and targets.  There is one sample.

import copy
import itertools

import matplotlib.pyplot as plt
import numpy as np

import fastbp as bp
from fastbp.plotting import (
    ActivationDisplay,
    ErrorSurfaceDisplay,
    NetworkDisplay,
)

net = bp.Network(
    [2, 3, 2], activation="sigmoid", output="sigmoid", loss="quadratic", seed=1
)
net.biases[0][...] = 0.1, -0.2, 0.3
X, Y = np.array([[0.5, -1.0]]), np.array([[1.0, 0.0]])

print("sizes", net.sizes, "parameters", net.n_params)
print("W1 =", net.weights[0].round(4).tolist())
print("b1 =", net.biases[0].tolist())
assert net.n_params == 2 * 3 + 3 + 3 * 2 + 2

# %%
# :meth:`fastbp.Network.trace` returns every number of one forward and one backward pass, layer by layer.

trace = net.trace(X, Y)
hidden, output = trace.layers
for name, layer in (("hidden", hidden), ("output", output)):
    for letter in ("z", "a", "delta"):
        print(f"{name} {letter:5} = {getattr(layer, letter)[0].round(4)}")
print(f"cost: {trace.cost:.6f}")

# %%
# :class:`fastbp.plotting.NetworkDisplay` writes them where they belong.  First forward, with the weights on the
# arrows:

fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
display = NetworkDisplay.from_network(net, X, Y, ax=ax)

# %%
# then backward, with the steps of gradient descent on the arrows:

fig, ax = plt.subplots(figsize=(8, 5), layout="constrained")
display = NetworkDisplay.from_network(
    net, X, Y, arrows="steps", learning_rate=1.0, ax=ax
)

# %%
# Forward
# -------
# z is the sum of the inputs times their weights, plus the bias.  A sample is a row here, so a layer's weights have
# the shape (inputs, outputs) and stand on the right.  The book writes columns, with the weights on the left.


def f(z):
    """Return the sigmoid."""
    return 1 / (1 + np.exp(-z))


def df(z):
    """Return its derivative."""
    return f(z) * (1 - f(z))


(W1, W2), (b1, b2) = net.weights, net.biases
z1 = X @ W1 + b1
a1 = f(z1)
z2 = a1 @ W2 + b2
a2 = f(z2)
cost = 0.5 * np.sum((a2 - Y) ** 2)

print("z1 by NumPy: ", z1.round(6))
print("z1 by fastbp:", hidden.z.round(6))
for by_numpy, by_fastbp in (
    (z1, hidden.z),
    (a1, hidden.a),
    (z2, output.z),
    (a2, output.a),
    (cost, trace.cost),
):
    np.testing.assert_allclose(by_fastbp, by_numpy, rtol=1e-12)

# %%
# BP1: the error of the output
# ----------------------------
# How the cost depends on the output, times how the output depends on z:
#
# .. math:: \delta^L = \nabla_a C \odot f'(z^L)
#
# For the quadratic cost the first factor is a - y.

delta2 = (a2 - Y) * df(z2)
print("output delta by NumPy: ", delta2.round(6))
print("output delta by fastbp:", output.delta.round(6))
np.testing.assert_allclose(output.delta, delta2, rtol=1e-12)

# %%
# BP2: the error of the layer before
# ----------------------------------
# Errors flow back through the weights that the activations came through:
#
# .. math:: \delta^l = \delta^{l+1} (W^{l+1})^T \odot f'(z^l)

delta1 = delta2 @ W2.T * df(z1)
print("hidden delta by NumPy: ", delta1.round(6))
print("hidden delta by fastbp:", hidden.delta.round(6))
np.testing.assert_allclose(hidden.delta, delta1, rtol=1e-12)

# %%
# BP3: the biases
# ---------------
# A bias is added to z, so its derivative is the error itself:
#
# .. math:: \frac{\partial C}{\partial b^l_j} = \delta^l_j

np.testing.assert_allclose(hidden.db, delta1[0], rtol=1e-12)
np.testing.assert_allclose(output.db, delta2[0], rtol=1e-12)
print("db1 =", hidden.db.round(6))

# %%
# BP4: the weights
# ----------------
# A weight is multiplied by the activation that comes in, so its derivative is activation in times error out:
#
# .. math:: \frac{\partial C}{\partial W^l_{kj}} = a^{l-1}_k \delta^l_j

dW1, dW2 = X.T @ delta1, a1.T @ delta2
print("dW2 =\n", dW2.round(6))
np.testing.assert_allclose(hidden.dW, dW1, rtol=1e-12)
np.testing.assert_allclose(output.dW, dW2, rtol=1e-12)

# %%
# That is all.  :meth:`fastbp.Network.value_and_grad` puts the four arrays behind each other, in the order of
# ``net.params``: W1, b1, W2, b2.  With many samples, dW and db are the means over them.

_, grad = net.value_and_grad(X, Y)
four = np.concatenate([dW1.ravel(), delta1[0], dW2.ravel(), delta2[0]])
np.testing.assert_allclose(grad, four, rtol=1e-12)

X_both = np.array([[0.5, -1.0], [2.0, 0.3]])
Y_both = np.array([[1.0, 0.0], [0.0, 1.0]])
_, both = net.value_and_grad(X_both, Y_both)
_, second = net.value_and_grad(X_both[1:], Y_both[1:])
np.testing.assert_allclose(both, (grad + second) / 2, rtol=1e-12)

# %%
# One weight nudged
# -----------------
# The derivative by a weight says how fast the cost changes when that weight is nudged.  So nudge it.  The first
# output weight moves along the axis below; the line has the slope that backpropagation found.

i = W1.size + b1.size  # of the first output weight within params
nudges = np.linspace(-4, 4, 81)
costs = []
for nudge in nudges:
    moved = net.params.copy()
    moved[i] += nudge
    costs.append(net.value_and_grad(X, Y, moved)[0])

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(nudges, costs, "k", label="cost")
ax.plot(
    nudges,
    trace.cost + grad[i] * nudges,
    "--",
    color="#D55E00",
    label=f"slope {grad[i]:.4f} = dC/dw",
)
ax.plot(0, trace.cost, "o", color="#D55E00")
ax.set(xlabel="change of the weight (no unit)", ylabel="cost (no unit)")
legend = ax.legend(frameon=False)

small = 1e-6
direction = np.eye(net.n_params)[i]
up, _ = net.value_and_grad(X, Y, net.params + small * direction)
down, _ = net.value_and_grad(X, Y, net.params - small * direction)
by_nudge = (up - down) / (2 * small)
print(f"by a nudge {by_nudge:.9f}, by backpropagation {grad[i]:.9f}")
assert np.isclose(by_nudge, grad[i], rtol=1e-6)

# %%
# n + 1 passes against one backward pass
# --------------------------------------
# One nudge gives one derivative.  For all n there are n + 1 forward passes to make, and that was how gradients were
# found before backpropagation.  :func:`fastbp.finite_difference_gradient` does it and counts.

nudged = bp.finite_difference_gradient(net, X, Y)
print(nudged)
difference = np.abs(nudged.gradient - grad).max()
print(f"largest difference from backpropagation: {difference:.0e}")
assert nudged.n_passes == net.n_params + 1 == 18
assert np.allclose(nudged.gradient, grad, atol=1e-7)

# %%
# A backward pass costs about two forward ones, whatever the number of parameters: so a gradient costs about three.
# The multiplications of both ways, counted, for one sample:


def multiplications(sizes):
    """Return those of a forward pass, and of a gradient by backpropagation."""
    products = [
        fan_in * fan_out for fan_in, fan_out in itertools.pairwise(sizes)
    ]
    forward = to_weights = sum(products)
    to_errors = sum(products[1:])
    return forward, forward + to_weights + to_errors


for sizes in ([2, 3, 2], [64, 30, 10], [784, 100, 10]):
    n = bp.Network(sizes, seed=0).n_params
    forward, gradient = multiplications(sizes)
    slow = (n + 1) * forward
    name = "-".join(map(str, sizes))
    print(f"{name:10}  one way {gradient:9,}  the other {slow:15,}")
    assert gradient < 3 * forward

# %%
# :ref:`sphx_glr_auto_examples_11_cost_of_a_gradient.py` measures the times.  As a check the slow way is worth its
# price, once: :func:`fastbp.check_gradient`.

report = bp.check_gradient(net, X, Y)
print(report)
assert report.ok

# %%
# Saturated neurons
# -----------------
# BP1 and BP2 both have the factor f'(z).  For large positive or negative z the sigmoid is flat, the factor nearly 0,
# and such a neuron hardly learns, however wrong it is.

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
display = ActivationDisplay.from_names(["sigmoid"], limits=(-8, 8), ax=ax)

# %%
# One neuron, as in chapter 3 of the book, whose input is 1 and whose output shall be 0.  It begins with z = 4, that
# is with an output of 0.98.  The quadratic cost waits long before it moves.  With cross-entropy the factor f'(z)
# cancels: the error is a - y.

curves = {}
for loss in ("quadratic", "cross_entropy"):
    neuron = bp.Network(
        [1, 1], output="sigmoid", loss=loss, initializer="zeros"
    )
    neuron.params = [2.0, 2.0]  # weight and bias
    (layer,) = neuron.trace([[1.0]], [[0.0]]).layers
    print(f"{loss}: a = {layer.a[0, 0]:.3f}, delta = {layer.delta[0, 0]:.4f}")
    outputs, optimizer = [], bp.SGD(0.15)
    for _ in range(300):
        neuron.step([[1.0]], [[0.0]], optimizer=optimizer)
        outputs.append(neuron.predict([[1.0]])[0, 0])
    curves[loss] = np.array(outputs)

fig, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(curves["quadratic"], "k", label="quadratic")
ax.plot(curves["cross_entropy"], "--", color="#D55E00", label="cross-entropy")
ax.set(xlabel="step", ylabel="output, which shall be 0 (no unit)", ylim=(0, 1))
legend = ax.legend(frameon=False)
assert curves["quadratic"][100] > 0.9
assert curves["cross_entropy"][100] < 0.2

# %%
# :func:`fastbp.diagnose` finds such neurons in a network.  Here all weights are made a thousand times as large.

inputs = np.random.default_rng(0).standard_normal((200, 2))
large = copy.deepcopy(net)
large.params = 1000 * net.params
print(bp.diagnose(large, inputs))
assert bp.diagnose(net, inputs).ok
assert not bp.diagnose(large, inputs).ok

# %%
# Momentum
# --------
# A long valley: the cost rises steeply in one direction and gently in the other.  Plain gradient descent needs a
# small learning rate for the steep one and then creeps along the gentle one.  Momentum keeps a share of the last
# step, so that steps along the valley add up: v becomes momentum * v - rate * gradient, and w becomes w + v.
#
# One neuron with one input has such a cost: here the inputs are 6 and -6, so the weight is steep and the bias gentle.

X_valley = np.array([[6.0], [-6.0]])
Y_valley = np.array([[7.0], [-5.0]])  # solved by weight 1 and bias 1
rate = 0.05
paths = {}
for momentum in (0.0, 0.8):
    valley = bp.Network([1, 1], initializer="zeros")
    optimizer = bp.SGD(rate, momentum=momentum)
    w, v, path = np.zeros(2), np.zeros(2), [[0.0, 0.0]]
    for _ in range(60):
        _, grad = valley.value_and_grad(X_valley, Y_valley, w)
        v = momentum * v - rate * grad
        w = w + v
        valley.step(X_valley, Y_valley, optimizer=optimizer)
        np.testing.assert_allclose(valley.params, w, rtol=1e-12)
        path.append(valley.params.tolist())
    paths[momentum] = np.array(path)
    cost = valley.loss_value(X_valley, Y_valley)
    print(f"momentum {momentum}: cost {cost:.1e} after 60 steps")

fig, axes = plt.subplots(
    1, 2, figsize=(9, 4), layout="constrained", sharey=True
)
for ax, (momentum, path) in zip(axes, paths.items(), strict=True):
    limits = (-0.3, 2.3), (-0.3, 2.3)
    display = ErrorSurfaceDisplay.from_network(
        valley, X_valley, Y_valley, path=path, limits=limits, ax=ax
    )
    ax.set_title(f"momentum {momentum}")

far, near = (np.abs(paths[momentum][-1] - 1).max() for momentum in (0.0, 0.8))
assert near < 0.1 * far

# %%
# The programs of the book itself run with :mod:`fastbp.nielsen` in place of their ``network``; examples
# :ref:`sphx_glr_auto_examples_01_two_neurons.py` and :ref:`sphx_glr_auto_examples_04_deltas_as_amplifiers.py` go
# through one step by hand, and :ref:`sphx_glr_auto_examples_10_neurons_in_trouble.py` through what can go wrong.
