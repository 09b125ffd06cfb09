"""
How far to trust it
===================

For whoever is to build on numbers of fastbp, and wants to see them checked first. Afterwards you have seen a gradient
compared with three others that know nothing of fastbp, the same bits on one thread and on two, a training that was
interrupted end as one that was not, and a damaged file refused; and you know the commands that check all of it again.

Nothing on this page is a result that was pasted in: each number is computed when the page is made, and the program
ends with an error where a claim does not hold.
"""

import hashlib
import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numba
import numpy as np

import fastbp as bp

rng = np.random.default_rng(0)
X, labels = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)
net = bp.Network(
    [3, 8, 6, 4],
    activation="tanh",
    output="softmax",
    loss="cross_entropy",
    l2_penalty=0.01,
    seed=0,
)
cost, gradient = net.value_and_grad(X, labels)
print(
    f"cost {cost:.6f}, a gradient of {gradient.size} derivatives,",
    f"the largest {abs(gradient).max():.3f}",
)

# %%
# A gradient that nobody wrote
# ----------------------------
# The first oracle is a twin of this network in plain NumPy. It has a forward pass and no backward pass, so it cannot
# have the same mistake in it.


def twin_cost(params: np.ndarray) -> complex:
    """The cost of the network 3-8-6-4 for parameters that may be complex."""
    a, start, penalty = X, 0, 0.0
    for fan_in, fan_out in ((3, 8), (8, 6), (6, 4)):
        W = params[start : start + fan_in * fan_out].reshape(fan_in, fan_out)
        b = params[start + fan_in * fan_out : start + (fan_in + 1) * fan_out]
        start += (fan_in + 1) * fan_out
        z = a @ W + b
        a = np.tanh(z)
        penalty += 0.01 / 2 * (W * W).sum()
    z = z - z.real.max(
        axis=1, keepdims=True
    )  # so that no exponential overflows
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -log_p[np.arange(len(X)), labels].mean() + penalty


print(f"fastbp's cost less the twin's: {cost - twin_cost(net.params):.1e}")
assert abs(cost - twin_cost(net.params)) < 1e-14

# %%
# The *complex step* gives its derivatives. With a tiny imaginary part added to one parameter, the imaginary part of the
# cost is the derivative times that part: ``f(w + ih) = f(w) + ih f'(w) - h**2 / 2 f''(w) - ...``. There is no
# difference of two close numbers in it, so no digit is lost, and ``h`` may be so small that its square vanishes.

h = 1e-100
identity = np.eye(net.n_params)
exact = np.array(
    [twin_cost(net.params + 1j * h * one).imag / h for one in identity]
)
error = abs(gradient - exact).max() / abs(exact).max()
print(
    f"largest error of backpropagation: {error:.1e} of the largest derivative"
)
assert error < 1e-12

# %%
# In ``float64`` a gradient of fastbp is within ``1e-12`` of its largest derivative, unless the problem is so sensitive
# that its data, moved by one unit in the last place, move the gradient by as much, or every output is within a
# thousandth of its target under a cross-entropy, where their difference has fewer digits. In ``float32`` there are
# seven digits to begin with:

single = bp.Network(
    [3, 8, 6, 4],
    activation="tanh",
    output="softmax",
    loss="cross_entropy",
    l2_penalty=0.01,
    dtype="float32",
    seed=0,
)
single.params = net.params.astype("float32")
_, gradient_32 = single.value_and_grad(X.astype("float32"), labels)
error_32 = abs(gradient_32 - exact).max() / abs(exact).max()
print(f"float32: {error_32:.1e}")
assert error_32 < 1e-5

# %%
# Differences, as anybody would check it
# --------------------------------------
# :func:`fastbp.check_gradient` needs no twin. It moves parameter after parameter by a little, in compiled code, and
# takes differences of the cost, of fourth order where the cost is smooth.

report = bp.check_gradient(net, X, labels)
print(report)
assert report.ok

# %%
# Differences have a best step. A large one sees the curve bend, a small one loses digits. Here is their error over the
# step, for one derivative, with the complex step beside them: that one gets no worse below, it has nothing to lose.

steps = np.logspace(-15, -1, 57)
at = int(abs(exact).argmax())
move = identity[at]


def moved(k: float, h: float) -> float:
    """The cost with one parameter moved by k steps of h."""
    return net.value_and_grad(X, labels, net.params + k * h * move)[0]


orders = {
    "first order": lambda h: (moved(1, h) - moved(0, h)) / h,
    "second order": lambda h: (moved(1, h) - moved(-1, h)) / (2 * h),
    "fourth order": lambda h: (
        (8 * (moved(1, h) - moved(-1, h)) - (moved(2, h) - moved(-2, h)))
        / (12 * h)
    ),
    "complex step": lambda h: twin_cost(net.params + 1j * h * move).imag / h,
}
styles = {
    "first order": "o",
    "second order": "s",
    "fourth order": "^",
    "complex step": ".",
}
best, eps = {}, np.finfo(float).eps  # one unit in the last place of 1
fig, ax = plt.subplots(layout="constrained")
for name, derivative in orders.items():
    errors = np.array([abs(derivative(h) / gradient[at] - 1) for h in steps])
    best[name] = errors.min()
    ax.loglog(
        steps,
        np.maximum(errors, eps),
        styles[name] + "-",
        ms=4,
        lw=1,
        label=name,
    )
ax.axhline(
    eps,
    color="gray",
    lw=1,
    ls="--",
    zorder=0,
    label="last place of 1; less is drawn here",
)
ax.set(
    xlabel="step h (unit of the parameter)",
    ylabel="error relative to backpropagation (no unit)",
)
fig.legend(loc="outside upper center", ncols=3)
print(*(f"{name} {error:.0e}" for name, error in best.items()), sep=", ")
assert best["complex step"] < 1e-14 < best["fourth order"] < best["first order"]

# %%
# **An oracle must be able to say no.** Leave the penalty on the weights out of the network, as one may forget it in a
# derivation, and the twin disagrees in the first digits:

forgetful = bp.Network(
    [3, 8, 6, 4],
    activation="tanh",
    output="softmax",
    loss="cross_entropy",
    seed=0,
)
_, wrong_gradient = forgetful.value_and_grad(X, labels, net.params)
wrong_by = abs(wrong_gradient - exact).max() / abs(exact).max()
print(f"without the penalty: {wrong_by:.1e}")
assert wrong_by > 1e-3

# %%
# A function of your own is asked as soon as it is made. This derivative is wrong by 2 %:


@numba.njit
def bell(z: float) -> float:
    return np.exp(-z * z)


@numba.njit
def wrong_derivative(z: float) -> float:
    return -1.96 * z * np.exp(-z * z)


refusal = ""
try:
    bp.Activation("bell", bell, wrong_derivative)
except ValueError as error:
    refusal = str(error)
print(textwrap.fill(refusal, 80))
assert "must be the derivative" in refusal

# %%
# The same bits on any number of threads
# --------------------------------------
# Sums of floating-point numbers depend on their order:

numbers = rng.normal(size=100_000).astype("float32")
forwards, backwards = (
    np.add.accumulate(numbers)[-1],
    np.add.accumulate(numbers[::-1])[-1],
)
print(f"forwards {forwards}, backwards {backwards}")
assert forwards != backwards

# %%
# So a library that cuts its work by the number of threads gives other digits on another machine, and after some
# thousand steps another network. fastbp cuts by the problem alone and adds the parts in one fixed order. The step here
# is large enough for threads to share it:


def digest(params: np.ndarray) -> str:
    """Return the first letters of a fingerprint of all bits."""
    return hashlib.sha256(params.tobytes()).hexdigest()[:16]


def train(n_threads: int) -> bp.Network:
    """Train a network that is large enough for several threads."""
    trained = bp.Network(
        [64, 128, 10],
        activation="relu",
        output="softmax",
        loss="cross_entropy",
        seed=1,
    )
    trained.fit(
        images, digits, epochs=3, batch_size=256, seed=1, n_threads=n_threads
    )
    return trained


images, digits = rng.normal(size=(1024, 64)), rng.integers(0, 10, 1024)
prints = {n_threads: digest(train(n_threads).params) for n_threads in (1, 2, 3)}
print(prints)
assert len(set(prints.values())) == 1

# %%
# What is *not* promised is the same bits on another processor: AVX2, AVX-512 and NEON have vectors of other lengths,
# and with them other orders of summation. :doc:`/processors` says which does what.
#
# Interrupted, and as if it never was
# -----------------------------------
# A file keeps every bit, and so does a training that somebody ends by Ctrl-C and that goes on later. The callback here
# stands for the finger on the keys.

folder = tempfile.TemporaryDirectory()
path = Path(folder.name)

net.save(path / "net.safetensors")
assert digest(bp.load(path / "net.safetensors").params) == digest(net.params)


def fresh() -> bp.Network:
    """Return the network at its beginning."""
    return bp.Network(
        [3, 8, 4],
        activation="tanh",
        output="softmax",
        loss="cross_entropy",
        seed=2,
    )


def interrupt(net: bp.Network, history: bp.History) -> None:
    """Press Ctrl-C after the third epoch."""
    if len(history) == 3:
        raise KeyboardInterrupt


whole, first, second = fresh(), fresh(), fresh()
whole.fit(X, labels, epochs=8, optimizer=bp.Adam(0.01), seed=3)
try:
    first.fit(
        X,
        labels,
        epochs=8,
        optimizer=bp.Adam(0.01),
        seed=3,
        callbacks=[interrupt],
        checkpoint=path / "fit.safetensors",
    )
except KeyboardInterrupt:
    print(f"interrupted after {len(first.history)} of 8 epochs")
second.fit(
    X,
    labels,
    epochs=8,
    optimizer=bp.Adam(0.01),
    seed=3,
    checkpoint=path / "fit.safetensors",
    resume=True,
)
print(
    f"never interrupted {digest(whole.params)}, resumed {digest(second.params)}"
)
assert digest(first.params) != digest(whole.params) == digest(second.params)

# %%
# A file that was damaged, or made to harm
# ----------------------------------------
# Files of networks hold numbers and a description, no code. They are read without being trusted: whatever is wrong is
# one :class:`fastbp.FileError`, and no file makes the reader crash, wait or take much memory.

content = (path / "net.safetensors").read_bytes()


def opened(damaged: bytes) -> str:
    """Return what became of a file with such a content."""
    (path / "damaged.safetensors").write_bytes(damaged)
    try:
        bp.load(path / "damaged.safetensors")
    except bp.FileError as error:
        return str(error).replace(folder.name, "...")
    return "read"


for what in (
    content[:-7],
    b"\xff" * 7 + b"\x7f" + content[8:],
    b"\x80\x04cos\nsystem\n(S'echo hello'\ntR.",
    b"",
):
    print(
        textwrap.fill(
            opened(what), 80, initial_indent="- ", subsequent_indent="  "
        )
    )

# %%
# Now 300 times a byte somewhere in the file becomes another. The description holds a checksum of itself and of the
# numbers, so that one bit of one parameter is noticed as well. A checksum is there for accidents: who makes a file on
# purpose can make it fit, and what he gets by that is a network with numbers of his choice, and no code that runs.

refused = 0
for position in rng.integers(0, len(content), 300):
    damaged = bytearray(content)
    damaged[position] ^= rng.integers(1, 256)
    refused += opened(bytes(damaged)) != "read"
print(f"{refused} of 300 refused, and whole it is {opened(content)}")
assert refused == 300
folder.cleanup()

# %%
# Wrong input is refused before anything happens
# ----------------------------------------------
# The message names the argument, the rule, what came, and the cure; the network stays as it was.

before = digest(net.params)
for wrong_input in (X[:, :2], np.where(X > 2, np.nan, X)):
    try:
        net.fit(wrong_input, labels)
    except ValueError as error:
        print("-", error)
    else:
        raise AssertionError("it was accepted")
assert digest(net.params) == before

# %%
# Errors of the functions
# -----------------------
# The vectorised ``exp``, ``tanh`` and their kin are fastbp's own, and each states the largest error it may have, in
# units in the last place (ulp). A network of one neuron with weight 1 and bias 0 shows the function itself. Here are
# those for ``float32`` beside NumPy's in ``float64``, which is as good as exact at this scale.

z = np.linspace(-9, 9, 400_001, dtype="float32").reshape(-1, 1)
exactly = {
    "tanh": (np.tanh, 1.1),
    "exp": (np.exp, 1.05),
    "softplus": (lambda z: np.logaddexp(0, z), 1.8),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), 1.4),
}
for name, (function, stated) in exactly.items():
    neuron = bp.Network([1, 1], output=name, dtype="float32")
    neuron.params = np.array([1, 0], "float32")
    right = function(z.astype("float64"))
    ulp = np.spacing(abs(right).astype("float32")).astype("float64")
    worst = (abs(neuron.predict(z) - right) / ulp).max()
    print(f"{name:8} stated {stated:4} ulp, seen {worst:.2f}")
    assert (
        worst <= stated + 0.4
    )  # 0.4 more where the processor has no fused multiply-add

# %%
# Check it all again
# ------------------
# What you saw here is a small part of what the tests do: every activation with every loss, mixed layers, random
# architectures, torch where it is installed, kills at random moments, forks, signals, full disks. In a copy of the
# repository:
#
# .. code-block:: bash
#
#    python -m pip install -e ".[test]"
#    python -m tests.trust                      # every promise; writes docs/trust.md
#    python -m tests.trust --only files         # one subject
#    python -m tests.fuzz_files --count 20000   # files with random damage
#    python -m tests.soak --minutes 10          # threads that train and predict, with an eye on the memory
#    python -m tests.with_versions --quick      # oldest and newest versions of all libraries
#    python -m pytest                           # everything
#
# :doc:`/trust` is the page that the second line makes: each promise, the tests that hold it, and what they saw. It ends
# with what is not promised. Read that part first.
#
# What to do where a number looks wrong all the same: ``print(bp.check_gradient(net, X, Y))`` for the gradient,
# :func:`fastbp.diagnose` for neurons that learn nothing, ``net.trace(X, Y)`` for every z, a and delta
# (:meth:`fastbp.Network.trace`). How fastbp is made so that it can be trusted is in
# :ref:`sphx_glr_auto_guides_09_how_it_is_built.py`.
