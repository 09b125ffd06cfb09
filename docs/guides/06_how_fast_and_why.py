"""
How fast, and why
=================

For whoever wants to know what a step of training costs, where the time goes, and whether fastbp is the right tool for
the network at hand. Afterwards you can estimate the time of a step on your own machine before you train, and you know
where other libraries are ahead.

The times on this page are those of the machine that made it, which may have had other things to do; run the program on
yours. Nothing depends on them: what is asserted are numbers, not seconds.
"""

import contextlib
import logging
import os
import time
from itertools import pairwise

import llvmlite.binding
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import fastbp as bp

# %%
# The same training, three times
# ------------------------------
# A network 2-8-1 learns from mini-batches of ten rows. First in NumPy, as everybody has written it once:

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (2000, 2))
Y = X[:, :1] * X[:, 1:]
BATCH, RATE = 10, 0.5


def numpy_epoch(W1, b1, W2, b2) -> None:
    """Take a step on each mini-batch; the parameters change in place."""
    for start in range(0, len(X), BATCH):
        x, y = X[start : start + BATCH], Y[start : start + BATCH]
        a1 = np.tanh(x @ W1 + b1)
        delta2 = (a1 @ W2 + b2 - y) / BATCH
        delta1 = delta2 @ W2.T * (1 - a1**2)
        W2 -= RATE * a1.T @ delta2
        b2 -= RATE * delta2.sum(axis=0)
        W1 -= RATE * x.T @ delta1
        b1 -= RATE * delta1.sum(axis=0)


def network() -> bp.Network:
    """Return the network at its beginning."""
    return bp.Network([2, 8, 1], activation="tanh", seed=0)


def shortest(work, repeats: int = 5) -> float:
    """Return the seconds of the shortest of some calls: others disturb that one least."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


by_hand, stepped, fitted, sgd = network(), network(), network(), bp.SGD(RATE)
views = [
    view
    for pair in zip(by_hand.weights, by_hand.biases, strict=True)
    for view in pair
]


def step_by_step() -> None:
    """The same by a call for each mini-batch."""
    for start in range(0, len(X), BATCH):
        stepped.step(
            X[start : start + BATCH], Y[start : start + BATCH], optimizer=sgd
        )


def one_call() -> None:
    """The same by a call for the whole epoch."""
    fitted.fit(X, Y, epochs=1, batch_size=BATCH, optimizer=sgd, shuffle=False)


ways = {
    "NumPy": lambda: numpy_epoch(*views),
    "net.step": step_by_step,
    "net.fit": one_call,
}
for name, work in ways.items():
    work()  # loads the kernels
    print(
        f"{name:9} {shortest(work) / (len(X) // BATCH) * 1e6:8.2f} us for a step"
    )

# %%
# All three have taken the same steps:

difference = abs(by_hand.params - fitted.params).max()
print(f"NumPy and fit differ by {difference:.0e}")
assert difference < 1e-12
assert np.array_equal(stepped.params, fitted.params)

# %%
# The arithmetic of such a step is a matter of nanoseconds. Each operation of NumPy is a call with checks and an array
# for its result, some half a microsecond, and a step has more than twenty of them. Libraries that build a graph have
# fewer calls, and each costs more. In :meth:`fastbp.Network.fit` there is **no Python between mini-batches**: one
# call of a compiled function takes all steps of an epoch, or of several. :meth:`fastbp.Network.step` is one such call
# for each step, for rows that come one by one.
#
# That is the whole secret of small networks. The larger the layers, the less it matters, and the more the matrix
# products do.
#
# What is compiled, and when
# --------------------------
# The kernels are Python functions that Numba compiles. Those that Python calls are *roots*; a root is compiled together
# with all functions below it, the *leaves*. Sizes, activations, losses and optimizers reach it as numbers in tables. So
# there is one compilation for each dtype, whatever the network, where a jitted function of other libraries is compiled
# again for every shape:


@contextlib.contextmanager
def compilations():
    """Collect what fastbp says in its log when it compiles."""
    records, logger = [], logging.getLogger("fastbp.kernels.compiler")
    handler = logging.Handler()
    handler.emit = records.append
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield records
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


with compilations() as compiled:
    began, count = time.perf_counter(), 0
    for activation in ("tanh", "relu", "gelu", "sine"):
        for sizes in ([2, 3, 1], [2, 30, 20, 1], [2, 64, 64, 64, 1]):
            for optimizer in (
                bp.SGD(0.01, momentum=0.9),
                bp.Adam(),
                bp.RMSprop(),
            ):
                net = bp.Network(
                    sizes, activation=activation, loss="huber", seed=0
                )
                net.fit(X[:100], Y[:100], epochs=1, optimizer=optimizer)
                count += 1
print(
    f"{count} kinds of networks in {time.perf_counter() - began:.2f} s,",
    f"compiled for them: {len(compiled)}",
)
assert not compiled

# %%
# The first use on a machine compiles, some ten seconds for each dtype, and keeps the result on disk; the next process
# loads it in a fraction of a second. ``python -m fastbp warmup`` does it ahead of time.
# :ref:`sphx_glr_auto_guides_08_containers_and_clusters.py` says where the files are, and whom fastbp believes.
#
# Which instructions
# ------------------
# The kernels follow the processor: vectors of 64 bytes with AVX-512, 32 with AVX2, 16 with NEON on 64-bit Arm. Matrix
# products are fastbp's own, register tiles of such vectors. Without fused multiply-adds they are SciPy's BLAS. This
# machine:

features = llvmlite.binding.get_host_cpu_features()
found = [
    name
    for name in ("avx2", "fma", "avx512f", "avx512bw", "neon")
    if features.get(name)
]
print(
    f"{llvmlite.binding.get_host_cpu_name()}: {', '.join(found) or 'none of them'}"
)

# %%
# :doc:`/processors` has the whole table, and how to try the kernels of a lesser processor on the one at hand.
#
# Threads
# -------
# Threads share a step where there is enough of it: some forty microseconds of one core, or ten where nearly all of it
# is the first layer. Below that, waking a second thread costs more than it brings. The work is cut into pieces by the
# sizes alone, and each sum over pieces has a fixed order. So more threads give the same bits, only sooner, as far as
# there are cores that nobody else uses.

inputs, labels = (
    rng.normal(size=(1024, 256)).astype("float32"),
    rng.integers(0, 10, 1024),
)
results = {}
for n_threads in sorted({1, 2, bp.get_num_threads()}):
    wide = bp.Network(
        [256, 512, 512, 10],
        output="softmax",
        loss="cross_entropy",
        dtype="float32",
        seed=0,
    )
    history = wide.fit(
        inputs, labels, epochs=4, batch_size=128, seed=0, n_threads=n_threads
    )
    results[n_threads] = wide.params
    print(
        f"{n_threads} threads: {history.seconds.min() / 8 * 1e3:6.2f} ms",
        "for a step of 256-512-512-10",
    )
print(
    f"{os.cpu_count()} processors; this process may use {bp.get_num_threads()}"
)
assert all(np.array_equal(params, results[1]) for params in results.values())

# %%
# What a step must cost
# ---------------------
# Two numbers bound it from below. *Flops*: the forward pass of a layer takes ``2 * rows * fan_in * fan_out``, and a
# gradient is three such passes, less the error into the inputs, which nobody needs. *Bytes*: every parameter is read by
# both passes, its gradient written and read, and Adam reads and writes it and two moments.


def flops_of(sizes, rows: int) -> int:
    """Flops of a step's matrix products."""
    layers = [
        2 * rows * fan_in * fan_out for fan_in, fan_out in pairwise(sizes)
    ]
    return 3 * sum(layers) - layers[0]


def bytes_of(sizes, rows: int) -> int:
    """Bytes that a step in float32 with Adam reads or writes."""
    n_params = sum(
        (fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes)
    )
    return 4 * (10 * n_params + rows * (2 * sizes[0] + 4 * sum(sizes[1:])))


# %%
# How fast this machine does either is measured: flops by a large matrix product of NumPy, bytes by a copy of as many as
# the step moves, so that they come from the cache in which they fit. One thread for all.


def peak_flops(n: int = 768) -> float:
    """Flops per second of a large product."""
    A, C = rng.random((n, n), dtype=np.float32), np.empty((n, n), np.float32)
    with threadpool_limits(1):
        return 2 * n**3 / shortest(lambda: np.matmul(A, A, out=C))


def copy_seconds(n_bytes: int) -> float:
    """Seconds in which a copy reads and writes so many bytes in all, however few."""
    size = max(n_bytes // 2, 1 << 15)
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    repeats = max(1, (1 << 21) // size)
    return (
        shortest(lambda: [np.copyto(target, source) for _ in range(repeats)])
        / repeats
        * n_bytes
        / (2 * size)
    )


def step_seconds(sizes, rows: int) -> float:
    """Seconds of a step in a fit on one thread."""
    guess = 1e-6 + max(
        flops_of(sizes, rows) / 5e10, bytes_of(sizes, rows) / 2e10
    )
    n_steps = int(np.clip(0.006 / guess, 2, 5000))
    features = rng.standard_normal((n_steps * rows, sizes[0]), dtype=np.float32)
    classes = rng.integers(0, sizes[-1], len(features))
    net = bp.Network(
        sizes,
        activation="relu",
        output="softmax",
        loss="cross_entropy",
        dtype="float32",
        seed=0,
    )
    history = net.fit(
        features, classes, epochs=6, batch_size=rows, seed=0, n_threads=1
    )
    return history.seconds.min() / n_steps


# %%
# The model is ``max(flops / peak, bytes / bandwidth) + overhead``. The overhead is what the narrowest network takes
# with mini-batches of that size: gathering rows, activations, the loss, the loop.

peak = peak_flops()
print(f"peak {peak / 1e9:.0f} GFLOP/s on one thread")
widths = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
table = {}
for rows in (1, 64):
    print(
        f"\nbatch {rows}\n{'network':>18} {'by flops':>9} {'by bytes':>9}",
        f"{'model':>9} {'measured':>9}   over model",
    )
    for width in widths:
        sizes = [width, width, width, 10]
        measured = step_seconds(sizes, rows)
        overhead = measured if width == widths[0] else table[rows, widths[0]][0]
        bounds = (
            flops_of(sizes, rows) / peak,
            copy_seconds(bytes_of(sizes, rows)),
        )
        model = max(bounds) + overhead
        table[rows, width] = measured, *bounds, model
        microseconds = " ".join(
            f"{1e6 * seconds:9.2f}" for seconds in (*bounds, model, measured)
        )
        print(
            f"{'-'.join(map(str, sizes)):>18} {microseconds} {measured / model:9.1f}  (us)"
        )

# %%
# And as a picture:

fig, axes = plt.subplots(
    1, 2, figsize=(9, 4), sharey=True, layout="constrained"
)
for ax, rows in zip(axes, (1, 64), strict=True):
    measured, by_flops, by_bytes, model = (
        1e6 * np.array([table[rows, width] for width in widths]).T
    )
    ax.loglog(
        widths,
        by_flops,
        ":",
        color="C1",
        label="flops at the rate of a large product",
    )
    ax.loglog(
        widths, by_bytes, "--", color="C2", label="bytes at the rate of a copy"
    )
    ax.loglog(
        widths,
        model,
        "-",
        color="gray",
        label="the larger of both, and overhead",
    )
    ax.loglog(widths, measured, "o", color="C0", label="measured")
    ax.set(
        title=f"rows of a mini-batch: {rows}",
        xlabel="width w of a network w-w-w-10 (neurons)",
    )
axes[0].set(
    ylabel="time of a step (us)",
    ylim=(1e-2, 2e6 * max(max(times) for times in table.values())),
)
fig.legend(
    *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2
)

# %%
# How to read it:
#
# * **With one row a step moves bytes.** Each parameter is used for two flops in each pass and moved in each. A wide
#   network is as fast as memory is; larger mini-batches cost little more until the flops catch up.
# * **With 64 rows wide layers multiply.** There the step is near the rate of one large product, and no library can be
#   much faster on the same instructions, whatever it is written in.
# * **In between** layers fill neither vectors nor tiles, and what is not a product counts: activations, biases, the
#   loss. Those points lie above the line.
#
# What follows for you: below a width of some hundred neurons, and with small mini-batches, the overhead of a library
# decides, and there fastbp is several times faster than the others. Above it the processor decides.
#
# How it compares, and where it loses
# -----------------------------------
# ``python -m bench`` in a copy of the repository measures fastbp beside scikit-learn, torch and jax, in turn, each in a
# process of its own at its best number of threads, after all have shown that they compute the same. The numbers here
# are from the reports of 2026-11-26 in ``bench/results``, two virtual cores of an AMD EPYC (family 26, to LLVM
# ``znver5``), float32 where nothing else is said. Ahead it is by 11 to 13 times for a step of 2-4-4-2 on one row, 2 to
# 5 times for 784-30-10 with ten, and 1.15 to 1.3 times for 784-128-10 with 64.
#
# It is behind, or not ahead, here:
#
# * **Wide layers, large mini-batches.** 784-2048-2048-10 with 256 rows, held to AVX2: 39.2 ms, jax 38.6 ms; with
#   AVX-512 21.8 ms, jax 23.2 ms. On 16 cores of an Intel Emerald Rapids, in one run on 2026-11-27, torch took 8.24 ms
#   and fastbp 10.8 ms (:doc:`/processors`).
# * **Some matrix products.** 64 x 64 x 64 with AVX-512: 0.95 times the rate of SciPy's BLAS; 256 x 2048 x 2048 held to
#   AVX2: 0.99 times.
# * **One row of a tiny network, in a compiled loop.** Outputs of 2-4-4-2 in float64 held to AVX2: jax's ``lax.scan``
#   takes 45.5 ns and fastbp 63.4 ns; with AVX-512 65.4 and 72.7 ns. jax compiles its loop for that one network.
# * **One row for each of many networks.** 96 networks 10-32-32-1, outputs of one row, AVX-512: jax's ``vmap`` takes
#   23.8 us, :func:`fastbp.predict_many` 61.6 us. With a thousand rows it is 1.3 times faster.
# * **The first call.** Some ten seconds of compiling once on a machine, for each dtype, and 0.15 s of loading in each
#   process. jax took 0.25 to 0.5 s for each network in each process; scikit-learn compiles nothing.
# * **A graphics card** is another world for wide networks. fastbp has the CPU only, and fully connected layers only.
#
# To measure your own case, do as ``step_seconds`` above, with your sizes and mini-batches. More is to be had by
# training several networks side by side (:func:`fastbp.fit_many`, :doc:`/many`), by ``float32`` where seven digits are
# enough, and by sparse ``X``, whose zeros are never multiplied.
