"""The kernels compiled, or loaded from the disk, ahead of their first use."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, cast

import numpy as np

from fastbp.derivatives.perturbation import finite_difference_gradient
from fastbp.export.predict_many import predict_many
from fastbp.functions.names import DTypeName
from fastbp.inspection.gradient_check import check_gradient
from fastbp.kernels.roots import lbfgs_steps, optimizer_step
from fastbp.network import Network
from fastbp.training.lbfgs import LBFGS
from fastbp.training.levenberg_marquardt import LevenbergMarquardt
from fastbp.training.many import fit_many
from fastbp.validation.numbers import FloatDType, network_dtype

# How long all kernels of a dtype are compiled, on the machine of the README's tables, rounded, as
# `FASTBP_CACHE_DIR=$(mktemp -d) python -m fastbp warmup` prints for the first dtype; `disk_cache.FIRST_USE` is for
# training, predictions and gradients.  A test sees to it that every text says the same.
ALL_KERNELS = "about 20 seconds"


def warmup(dtypes: FloatDType | Collection[FloatDType] = ("float32", "float64")) -> dict[str, float]:
    """Compile every kernel now, or load it from the disk cache, so that no later call has to.

    The first fit, prediction or gradient ever compiles for about 10 seconds for its dtype, and all kernels, those of
    further derivatives, L-BFGS and Levenberg-Marquardt included, take about twice that; ``python -m fastbp warmup``
    prints it. Later processes load the result from the disk in a fraction of a second. Call this where waiting does no
    harm: when a program is installed, when a container is built (the command does the same), when a server starts,
    or before timing anything.

    Parameters
    ----------
    dtypes : dtype, or list, tuple or set of dtypes, default ("float32", "float64")
        The dtypes of the networks that will be used: float32, float64, or both.

    Returns
    -------
    seconds : dict of str to float
        How long each dtype took, by its name and in the order given. A dtype that this process has used already takes
        a few milliseconds.

    Raises
    ------
    ValueError
        If `dtypes` are others, or none; then nothing is compiled.

    Notes
    -----
    Every kernel serves all networks of a dtype, whatever their sizes, activations and losses. Only an `Activation` or a
    `Loss` of one's own still compiles when it is first used. Where no folder can be written to, kernels are compiled in
    each process; the environment variable ``FASTBP_CACHE_DIR`` names a folder.

    A folder's files are executed, so one is used only if it and its files belong to the user or to root and nobody else
    may write to them. The same holds of every folder and link on the way to it; but those like ``/tmp``, in which
    nobody can rename what belongs to others, may be on the way. What root compiled when a container was built is read
    by every user to whom the folder is readable, also where it is read-only; new kernels then go to another folder. A
    folder that is passed over is reported once, with the reason, by a warning of the logger
    ``fastbp.kernels.cache_folders``. Of more than 128 kernels in a folder, those are removed that nobody has used for
    three days, those first that were used longest ago.

    Examples
    --------
    >>> import fastbp as bp
    >>> seconds = bp.warmup("float64")
    >>> list(seconds)
    ['float64']
    """
    return {name: _use_every_kernel(name) for name in dtype_names(dtypes)}


def dtype_names(dtypes: Any) -> list[DTypeName]:
    """Return the names of the dtypes that `warmup` was given."""
    several = list(dtypes) if isinstance(dtypes, list | tuple | set | frozenset) else [dtypes]
    try:
        names = [cast("DTypeName", network_dtype(dtype).name) for dtype in several]
    except ValueError:
        names = []
    if not names:
        raise ValueError(f"`dtypes` must be 'float32', 'float64' or a list of these; got {dtypes!r}.")
    return names


def _use_every_kernel(dtype: DTypeName) -> float:
    """Call each root kernel once; return the seconds."""
    began = time.perf_counter()
    net = Network([2, 2, 1], activation="tanh", dtype=dtype, seed=0)
    X, Y = np.zeros((4, 2), dtype), np.zeros((4, 1), dtype)
    net.fit(X, Y, epochs=1, batch_size=2, seed=0)
    net.step(X, Y)
    for rule in (LBFGS(), LevenbergMarquardt()):
        net.fit(X, Y, epochs=1, optimizer=rule)
    for kernel in (optimizer_step, lbfgs_steps):
        kernel.run.of(net.dtype)
    finite_difference_gradient(net, X, Y, dtype=net.dtype)
    net.hvp(X, Y, net.params)
    net.laplacian(X)
    net.input_jacobian(X)
    net.compiled()
    net.predict_one(X[0])
    fit_many([net], X, Y, epochs=1, batch_size=2)
    predict_many([net], X)
    check_gradient(net, X, Y)  # in float64, whatever the network's dtype
    return time.perf_counter() - began
