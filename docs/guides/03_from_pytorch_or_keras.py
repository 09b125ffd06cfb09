"""
From PyTorch or Keras, for small networks
=========================================

For those who write ``nn.Sequential`` or ``keras.Sequential`` and train on the CPU.  Afterwards you can write the same
network here, know which defaults differ, and can take trained weights across and back.

Dense networks are all that fastbp has.  What it has not stands at the end of this page.
"""

# %%
# The same program three times
# ----------------------------
# In PyTorch:
#
# .. code-block:: python
#
#     model = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
#     optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
#     loader = DataLoader(TensorDataset(X_train, y_train), batch_size=32, shuffle=True)
#     for epoch in range(30):
#         for X, y in loader:
#             optimizer.zero_grad()
#             loss = nn.functional.cross_entropy(model(X), y)
#             loss.backward()
#             optimizer.step()
#     model.eval()
#     with torch.no_grad():
#         probabilities = model(X_test).softmax(dim=1)
#
# In Keras:
#
# .. code-block:: python
#
#     model = keras.Sequential([keras.Input((64,)), Dense(100, "relu"), Dense(10, "softmax")])
#     model.compile(keras.optimizers.Adam(1e-3), loss="sparse_categorical_crossentropy")
#     history = model.fit(X_train, y_train, epochs=30, batch_size=32)
#     probabilities = model.predict(X_test)
#
# Here:

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastbp as bp

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

net = bp.Network(
    [64, 100, 10],
    activation="relu",
    output="softmax",
    loss="cross_entropy",
    dtype="float32",
    seed=0,
)
history = net.fit(
    X_train, y_train, epochs=30, batch_size=32, optimizer=bp.Adam(1e-3), seed=0
)
probabilities = net.predict(X_test)

accuracy = (probabilities.argmax(axis=1) == y_test).mean()
print(f"{accuracy:.1%} of the test images")
assert accuracy > 0.95
assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)

# %%
# The output layer has its softmax, as in Keras, and the loss expects it.  A ``model.eval()`` is not needed: dropout
# is on in ``fit`` and ``step`` only.  There is no device and no tensor; arrays of NumPy go in and come out.
#
# Names
# -----
# .. list-table::
#    :header-rows: 1
#    :widths: 30 30 40
#
#    * - PyTorch
#      - Keras
#      - fastbp
#    * - ``nn.Linear(2, 3)``
#      - ``Dense(3)``
#      - ``sizes=[2, 3]``, and so on
#    * - ``nn.ReLU()``, ``nn.Tanh()``, ``nn.GELU()``
#      - ``"relu"``, ``"tanh"``, ``"gelu"``
#      - ``activation="relu"``, or a list, one for each hidden layer
#    * - ``nn.LeakyReLU()``, slope 0.01
#      - ``LeakyReLU(0.01)``, by default 0.3
#      - ``"leaky_relu"``, slope 0.01
#    * - ``nn.Dropout(0.2)`` after each activation
#      - ``Dropout(0.2)``
#      - ``Network(..., dropout=0.2)``
#    * - ``model.parameters()``
#      - ``trainable_variables``
#      - ``net.params``, one vector; ``net.weights``, ``net.biases``
#    * - ``loss.backward()``
#      - ``tape.gradient``
#      - :meth:`~fastbp.Network.value_and_grad`
#    * - ``optimizer.step()``
#      - ``model.train_on_batch``
#      - :meth:`~fastbp.Network.step`
#    * - ``clip_grad_norm_(..., 1.0)``
#      - ``global_clipnorm=1.0``
#      - ``fit(..., clip_norm=1.0)``
#    * - ``OneCycleLR``, ``CosineAnnealingLR``
#      - ``CosineDecay``
#      - ``bp.Adam(bp.OneCycle(...))``, :class:`fastbp.Cosine`
#    * - your own loop
#      - ``EarlyStopping``
#      - :class:`fastbp.EarlyStopping`
#    * - ``torch.manual_seed(0)``
#      - ``set_random_seed(0)``
#      - ``Network(..., seed=0)`` and ``fit(..., seed=0)``
#    * - ``torch.func.vmap(jacrev(f))``
#      -
#      - :meth:`~fastbp.Network.input_jacobian`; :doc:`/derivatives` has all others
#    * - ``torch.save(model.state_dict(), path)``
#      - ``model.save(path)``
#      - :meth:`~fastbp.Network.save`, :func:`fastbp.load`
#
# Where a loop of your own is wanted, a step is one call.  Make the optimizer once, before the loop.

looped = bp.Network(
    [64, 100, 10],
    activation="relu",
    output="softmax",
    loss="cross_entropy",
    dtype="float32",
    seed=0,
)
optimizer, rng = bp.Adam(1e-3), np.random.default_rng(0)
costs = []
for _ in range(300):
    rows = rng.choice(len(X_train), 32, replace=False)
    costs.append(looped.step(X_train[rows], y_train[rows], optimizer=optimizer))
print(
    f"cost {costs[0]:.3f} at first, {np.mean(costs[-20:]):.3f} after 300 steps"
)
assert np.mean(costs[-20:]) < 0.3 * costs[0]

# %%
# dtype
# -----
# PyTorch and Keras compute in float32 unless told otherwise.  A network here is float64 unless told otherwise,
# because fits of curves and gradient checks want the digits.  Say ``dtype="float32"`` where speed counts more.
# Nothing is converted between the two silently.

assert bp.Network([2, 1]).dtype == np.float64
assert net.dtype == net.params.dtype == probabilities.dtype == np.float32
try:
    net.predict(X_test.astype("float64"))
except TypeError as error:
    print(textwrap.fill(str(error), 80))
else:
    raise AssertionError("float64 was not refused")

# %%
# Initial weights
# ---------------
# Keras draws from ``glorot_uniform`` and sets biases to 0, as fastbp does by default.  PyTorch's ``nn.Linear`` draws
# weights and biases from the interval of plus and minus 1 / sqrt(fan_in).  No ``initializer=`` is that; two lines
# are:

rng = np.random.default_rng(0)
as_torch = bp.Network([64, 100, 10], activation="relu", seed=0)
for W, b in zip(as_torch.weights, as_torch.biases, strict=True):
    limit = 1 / np.sqrt(len(W))
    W[...] = rng.uniform(-limit, limit, W.shape)
    b[...] = rng.uniform(-limit, limit, b.shape)

by_default = bp.Network([64, 100, 10], activation="relu", seed=0)
assert not any(b.any() for b in by_default.biases)

# %%
# The other initializers beside these two, by the spread of the weights of a layer with 64 inputs and 100 neurons:

names = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "scaled_normal",
    "standard_normal",
]
spreads = [
    bp.Network([64, 100, 10], initializer=name, seed=0).weights[0].std()
    for name in names
]
spreads.append(as_torch.weights[0].std())
fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
bars = ax.barh(
    [*names, "PyTorch's nn.Linear"], spreads, color=6 * ["0.6"] + ["k"]
)
ax.bar_label(bars, fmt="%.3f", padding=3)
ax.set(xscale="log", xlim=(0.03, 2))
ax.set_xlabel("standard deviation of the weights (no unit, log)")
ax.invert_yaxis()
assert np.isclose(spreads[0], np.sqrt(2 / 164), rtol=0.05)
assert np.isclose(spreads[-1], 1 / np.sqrt(3 * 64), rtol=0.05)

# %%
# What the losses divide by
# -------------------------
# A cost here is a sum over the outputs and a mean over the rows.  ``nn.MSELoss``, ``nn.BCELoss``, ``nn.HuberLoss``
# and Keras' losses of these names are means over the outputs as well, and the squared error is halved here.  So for K
# outputs:
#
# .. list-table::
#    :header-rows: 1
#
#    * - fastbp
#      - PyTorch
#      - Keras
#    * - ``"quadratic"``
#      - ``nn.MSELoss()`` times K / 2
#      - ``"mse"`` times K / 2
#    * - ``"cross_entropy"`` after softmax
#      - ``nn.CrossEntropyLoss()`` of the logits
#      - ``"categorical_crossentropy"``, sparse or not
#    * - ``"cross_entropy"`` after sigmoid
#      - ``nn.BCEWithLogitsLoss()`` of the logits, times K
#      - ``"binary_crossentropy"``, times K
#    * - ``"absolute"``
#      - ``nn.L1Loss()`` times K
#      - ``"mae"`` times K
#    * - ``"huber"``, ``loss_parameter=1``
#      - ``nn.HuberLoss(delta=1.0)`` times K
#      - ``"huber"`` times K
#    * - ``"poisson"``
#      - ``nn.PoissonNLLLoss`` times K, ``log_input=False``
#      - ``"poisson"`` times K
#
# With Adam a factor of the loss changes hardly anything; with SGD it is a factor of the learning rate.

rng = np.random.default_rng(0)
rows, targets = rng.standard_normal((50, 4)), rng.uniform(0, 1, (50, 3))
for loss, output, mean_over_all in (
    ("quadratic", "identity", lambda a, t: ((a - t) ** 2).mean() / 2),
    ("absolute", "identity", lambda a, t: abs(a - t).mean()),
    (
        "cross_entropy",
        "sigmoid",
        lambda a, t: -(t * np.log(a) + (1 - t) * np.log1p(-a)).mean(),
    ),
    ("poisson", "exp", lambda a, t: (a - t * np.log(a)).mean()),
):
    tried = bp.Network(
        [4, 8, 3], activation="tanh", output=output, loss=loss, seed=0
    )
    mean = mean_over_all(tried.predict(rows), targets)
    assert np.isclose(tried.loss_value(rows, targets), 3 * mean, rtol=1e-12)
picked = probabilities[np.arange(len(y_test)), y_test]
assert np.isclose(
    net.loss_value(X_test, y_test), -np.log(picked).mean(), rtol=1e-4
)

# %%
# Defaults of the optimizers
# --------------------------
# =========================================  ==============  ===========  ===========
# \                                          PyTorch         Keras        fastbp
# =========================================  ==============  ===========  ===========
# ``SGD``, learning rate                     0.001           0.01         to be given
# ``Adam``, learning rate                    0.001           0.001        0.001
# ``Adam``, epsilon                          1e-8            1e-7         1e-8
# ``AdamW``, weight decay                    0.01            0.004        0.01
# ``RMSprop``, learning rate                 0.01            0.001        0.001
# ``RMSprop``, share of the old mean square  ``alpha=0.99``  ``rho=0.9``  ``rho=0.9``
# =========================================  ==============  ===========  ===========

assert (bp.Adam().learning_rate, bp.Adam().epsilon) == (0.001, 1e-8)
assert bp.AdamW().weight_decay == 0.01
assert (bp.RMSprop().learning_rate, bp.RMSprop().rho) == (0.001, 0.9)

# %%
# Two things are called weight decay.  :class:`fastbp.AdamW` takes a share off every parameter, biases too, beside
# Adam's step, as ``torch.optim.AdamW`` does.  ``Network(..., l2_penalty=c)`` adds c / 2 times the squared weights to
# the cost: that is ``kernel_regularizer=keras.regularizers.L2(c / 2)`` in Keras.  ``weight_decay=c`` of
# ``torch.optim.SGD`` and ``torch.optim.Adam`` is nearly that, but pulls at the biases too.

plain, penalised = (
    bp.Network([4, 8, 3], activation="tanh", l2_penalty=c, seed=0)
    for c in (0.0, 0.1)
)
_, grad = plain.value_and_grad(rows, targets)
_, penalised_grad = penalised.value_and_grad(rows, targets)
pull = penalised_grad - grad
first_weights, first_biases = pull[:32], pull[32:40]
assert np.allclose(first_weights, 0.1 * plain.weights[0].ravel(), rtol=1e-12)
assert np.allclose(first_biases, 0)

adam, adamw = (
    bp.Network(
        [4, 8, 3], activation="tanh", initializer="standard_normal", seed=0
    )
    for _ in range(2)
)
before = adam.params.copy()
adam.step(rows, targets, optimizer=bp.Adam(0.01))
adamw.step(rows, targets, optimizer=bp.AdamW(0.01, weight_decay=0.1))
difference = adam.params - adamw.params
assert np.allclose(difference, 0.01 * 0.1 * before, rtol=1e-9)  # all parameters

# %%
# Momentum of ``torch.optim.SGD`` is the same rule as :class:`fastbp.SGD`'s as long as the learning rate is constant.
# There the velocity is multiplied by the learning rate of the step, here by that of the time when it was gained, as
# in Keras.
#
# Weights across and back
# -----------------------
# :meth:`fastbp.Network.torch_state_dict` has the parameters as an ``nn.Sequential`` names them, and
# :func:`fastbp.from_torch_state_dict` makes a network of what ``model.state_dict()`` returns.  A state dict does not
# tell the activations, so these are to be given.  A weight of PyTorch has the shape (outputs, inputs).

state = net.torch_state_dict()
print({name: array.shape for name, array in state.items()})
back = bp.from_torch_state_dict(
    state, activation="relu", output="softmax", loss="cross_entropy"
)
assert np.array_equal(back.predict(X_test), probabilities)
assert np.array_equal(state["0.weight"], net.weights[0].T)

# %%
# With PyTorch installed, both sides give the same outputs:

try:
    import torch
except ImportError:
    print("PyTorch is not installed here: nothing to compare with.")
else:
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10)
    )
    model.load_state_dict(
        {name: torch.from_numpy(array) for name, array in state.items()}
    )
    with torch.no_grad():
        logits = model(torch.from_numpy(X_test))
    largest = np.abs(logits.softmax(dim=1).numpy() - probabilities).max()
    print(f"largest difference of a probability: {largest:.0e}")
    assert largest < 1e-5
    theirs = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(y_test)
    ).item()
    assert np.isclose(theirs, net.loss_value(X_test, y_test), rtol=1e-4)

# %%
# A weight of a Keras ``Dense`` has our shape, (inputs, outputs): with ``model.get_weights()`` as ``arrays``,
# ``net.params = np.concatenate([array.ravel() for array in arrays])``.  Models with scalers, or of which you have
# only a file, come by ONNX: :func:`fastbp.from_onnx` and :doc:`/onnx`.

# as Keras has them: weights and biases in turn
arrays = [
    array
    for layer in zip(net.weights, net.biases, strict=True)
    for array in layer
]
assert np.array_equal(
    np.concatenate([array.ravel() for array in arrays]), net.params
)

# %%
# What a training step costs
# --------------------------
# A step of a small network is so short that most of its time in other libraries is Python between their operations.
# Here an epoch is one call of compiled code.  One step with Adam in float32, relu, softmax with cross-entropy, the
# shortest of three runs, each library at its best number of threads, in microseconds:
#
# ===========================  ============  =======  ======  ======
# network, batch               scikit-learn  PyTorch  jax     fastbp
# ===========================  ============  =======  ======  ======
# 2-4-4-2, batch 1             123           139      1.16    0.0867
# 784-30-10, batch 10          190           161      42.4    13.4
# 64-100-10, batch 200         368           206      86.3    38.6
# 784-128-10, batch 64         572           333      168     145
# 784-2048-2048-10, batch 256  74 500        43 900   38 600  39 200
# ===========================  ============  =======  ======  ======
#
# Measured on 2026-11-26 on two cores of an AMD EPYC (family 26), held to AVX2, with torch 2.13.0, jax 0.10.2 and
# scikit-learn 1.9.1; ``bench/results/avx2.md`` has all rows, and :doc:`/processors` what other processors do.  The
# smaller the network, the larger the gain; where matrix products take all the time, there is none.
#
# What fastbp does not do
# -----------------------
# * Convolutions, recurrence, attention, embeddings: layers are dense.
# * Batch and layer normalisation, skip connections, several inputs or branches: a network is one chain.
# * GPUs, float16 and bfloat16.
# * Automatic differentiation of your own code.  Activations and losses of your own come with their derivatives
#   (:class:`fastbp.Activation`, :class:`fastbp.Loss`), and :meth:`fastbp.Network.vjp` continues a gradient of yours
#   through the network.
#
# For these, stay where you are.
