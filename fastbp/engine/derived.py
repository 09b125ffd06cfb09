"""Frames of the roots that differentiate in other ways than for training: what they share."""

from __future__ import annotations

from dataclasses import replace
from typing import Never, TypeVar

from fastbp.engine.calls import make_ready
from fastbp.engine.cutting import DENSE, Inputs
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import WatchedFrame
from fastbp.engine.threads import most_threads
from fastbp.engine.workspace import RowPieces, aligned_empty, make_workspace
from fastbp.kernels.tables import codes
from fastbp.kernels.tables import data as in_data
from fastbp.system.memory import require_memory
from fastbp.validation.sparse_rows import Rows, SparseRows

_Kind = TypeVar("_Kind", bound="DerivedFrame")


class DerivedFrame(WatchedFrame):
    """A frame of a root whose threads share rows; a subclass for each root names its module as `kernel`."""

    def __reduce__(self) -> Never:
        """Refuse `pickle` and `copy`."""
        raise of_this_process()


def of_this_process() -> TypeError:
    """Return the error of whoever would pickle or copy what the kernels know by its address."""
    return TypeError(
        "A linearization can be neither pickled nor copied deeply, because the kernels know its arrays by their "
        "addresses in this process. Pickle or copy the network, and linearize that one."
    )


def inputs_for(X: Rows) -> Inputs:
    """Return how these roots take X: sparse rows are made dense block by block."""
    return Inputs(in_data.SCATTERED) if isinstance(X, SparseRows) else DENSE


def of_outputs(problem: Problem) -> Problem:
    """Return the problem for derivatives of the outputs, whatever the loss: then the outputs need not wait for it."""
    return replace(problem, loss=(codes.QUADRATIC, 0, 0), loss_second=0, penalties=(0.0, 0.0))


def make_derived(
    kind: type[_Kind],
    problem: Problem,
    X: Rows,
    cut: RowPieces,
    *,
    n_vectors: int = 0,
    keep_z: bool = False,
) -> _Kind:
    """Allocate a frame for all rows of X.

    Parameters
    ----------
    kind : type
        The class of the frame.
    problem : Problem
        What the kernels are told.
    X : ndarray or SparseRows
        Data like those that it is for.
    cut : RowPieces
        How the rows are cut.
    n_vectors : int
        How many vectors like the parameters the root adds up, as `grads`.
    keep_z : bool
        As for `make_workspace`.
    """
    inputs, n_rows = inputs_for(X), len(X)
    workspace = make_workspace(
        problem,
        batch_rows=n_rows,
        n_rows=n_rows,
        n_threads=most_threads(),
        gradient=True,
        keep_z=keep_z,
        inputs=inputs,
        cut=cut,
    )
    make_ready(problem.dtype, kind.kernel)
    n_bytes = n_vectors * problem.n_params * problem.dtype.itemsize
    require_memory(n_bytes, f"{n_vectors} vectors of {problem.n_params} parameters", "Make the layers smaller.")
    grads = aligned_empty(max(1, n_vectors * problem.n_params), problem.dtype)
    frame = kind(problem.own, workspace, problem.dtype, grads, inputs.form)
    frame.loss_parameter = problem.loss_parameter
    frame.set_penalties(*problem.penalties)
    return frame
