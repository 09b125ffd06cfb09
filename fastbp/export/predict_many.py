"""`predict_many`: the outputs of many networks for the same rows, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import DENSE, LEAST_SHARED_FLOPS, MOST_PARAMS_TIMES_ROWS, PARAMS_OF_A_ROW, inputs_of
from fastbp.engine.frame import Frame
from fastbp.engine.many import Member, Memory, outputs_together
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import make_frame
from fastbp.engine.threads import thread_count
from fastbp.export.exported import ExportedModel, evaluator_of
from fastbp.kernels.roots import rows_of_many
from fastbp.model.checks import checked_rows
from fastbp.model.definition import has_own_functions, require_networks
from fastbp.model.model import passes_of
from fastbp.system.memory import require_memory, require_own_shape
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import Rows


def predict_many(networks: Sequence[ExportedModel], X: MatrixLike, *, n_threads: int | None = None) -> NDArray[Any]:
    """Return the outputs of many networks for the same rows, with the bits of each network's own `predict`.

    Parameters
    ----------
    networks : sequence of Network
        Networks of one dtype with equally many inputs and outputs; their hidden layers may differ.
    X : array_like or sparse matrix, shape (n, n_features)
        Inputs, of the networks' dtype; integers and lists are converted.
    n_threads : int, optional
        Threads to use, which share the networks; by default as many as the process may.

    Returns
    -------
    ndarray, shape (n_networks, n, n_outputs)
        The outputs, network by network.

    Raises
    ------
    TypeError, ValueError
        For a wrong argument.

    Examples
    --------
    >>> import fastbp as bp
    >>> networks = [bp.Network([2, 4, 1], seed=seed) for seed in range(10)]
    >>> outputs = bp.predict_many(networks, [[0.5, -1.0], [0.0, 2.0]])
    >>> outputs.shape, outputs.mean(axis=0).shape
    ((10, 2, 1), (2, 1))
    """
    nets = require_networks(networks)
    threads = thread_count(n_threads)
    if not nets:
        raise ValueError("`networks` must be at least one; got none.")
    ends = {(net.dtype, net.sizes[0], net.sizes[-1]) for net in nets}
    if len(ends) > 1:
        kinds = " and ".join(sorted(f"{dtype} {n} -> {k}" for dtype, n, k in ends)[:2])
        raise ValueError(f"`networks` must have one dtype and equally many inputs and outputs; got {kinds}.")
    for net in {net.feature_names: net for net in nets}.values():
        rows = checked_rows(net, X)
    for net in nets:
        require_own_shape(net)
    n_rows, n_outputs, dtype = len(rows), nets[0].sizes[-1], nets[0].dtype
    n_bytes = len(nets) * n_rows * n_outputs * dtype.itemsize
    require_memory(n_bytes, f"The outputs of {len(nets)} networks for {n_rows} rows", "Predict fewer rows at a time.")
    out = np.empty((len(nets), n_rows, n_outputs), dtype)
    if not _by_evaluators(nets, rows, out):
        _by_passes(nets, rows, out, threads)
    return out


def _by_evaluators(nets: Sequence[ExportedModel], rows: Rows, out: NDArray[Any]) -> bool:
    """Have a few rows go through the networks' evaluators, with the least that can be done for each network."""
    n_rows, inputs = len(rows), inputs_of(rows)
    n_params = PARAMS_OF_A_ROW * len(nets) + sum(net.n_params for net in nets)
    if inputs is not DENSE or n_rows * n_params > MOST_PARAMS_TIMES_ROWS:
        return False
    found = [evaluator_of(net) for net in nets]
    if None in found:
        return False
    pointers = np.array([evaluator.pointer for evaluator in found if evaluator is not None])
    x = np.ascontiguousarray(rows).reshape(-1)
    done: bool = rows_of_many.run.of(out.dtype)(x, out.reshape(-1), pointers, n_rows)
    return done


def _by_passes(nets: Sequence[ExportedModel], rows: Rows, out: NDArray[Any], n_threads: int) -> None:
    """Have each network's passes made by one of the threads."""
    members, owners, seconds, flops, inputs = [], [], 0.0, 0, inputs_of(rows)
    for net, outputs in zip(nets, out, strict=True):
        if has_own_functions(net):  # whose errors are told by the call
            outputs[...] = passes_of(net).outputs(rows, n_threads)
            continue
        passes = passes_of(net)
        frame = passes.take_made("many", rows, _frame)
        frame.set_data(rows)
        members.append(Member(frame, net.params, out=outputs.reshape(-1)))
        owners.append(passes)
        flops += len(rows) * inputs.flops_per_row(net.sizes)
        seconds += len(rows) * inputs.seconds_per_row(net.sizes)
    if not members:
        return
    frames = [member.frame for member in members]
    threads = min(n_threads, len(members)) if flops >= LEAST_SHARED_FLOPS else 1
    outputs_together(members, Memory(frames, threads), seconds / threads)
    for passes, frame in zip(owners, frames, strict=True):
        passes.give_back(frame)


def _frame(problem: Problem, rows: Rows) -> Frame:
    """Return a frame for the outputs of the rows, without memory of its own."""
    return make_frame(problem, len(rows), len(rows), gradient=False, inputs=inputs_of(rows), has_memory=False)
