"""`fit_many`: many networks trained in one call, each by one thread, with the bits of its own `fit`.

Training goes in rounds.  A round is one call of the kernels, in which each network takes some epochs, validation and
early stopping included; between two rounds Python records them, moves the progress bar and writes checkpoints.  What
needs Python after each epoch, callbacks for instance, is trained network by network instead, on all threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Literal

from numpy.typing import ArrayLike, NDArray

from fastbp.engine.cutting import inputs_of, is_shared
from fastbp.engine.shuffling import kernel_draws_permutation
from fastbp.engine.threads import thread_count
from fastbp.model.definition import has_own_functions
from fastbp.storage.atomic import PathLike
from fastbp.system import caller
from fastbp.system.alone import alone_with_all
from fastbp.system.progress import progress_bar
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.fit import Preparation, fit_checked
from fastbp.training.frames import Frames
from fastbp.training.history import Callback, History
from fastbp.training.many_arguments import Task, checked_tasks
from fastbp.training.optimizers import Optimizer
from fastbp.training.rounds import Run, train_in_rounds
from fastbp.training.saved_fit import SavedFit
from fastbp.training.state import TrainingDivergedError
from fastbp.training.trained import TrainedModel, history_of, training_state_of
from fastbp.training.whole_batch import WholeBatchOptimizer
from fastbp.validation.matrix_like import MatrixLike

_MOST_SHOWN = 10  # networks named in a warning


_Validation = tuple[MatrixLike, ArrayLike] | tuple[MatrixLike, ArrayLike, ArrayLike]


def fit_many(
    networks: Sequence[TrainedModel],
    X: MatrixLike | Sequence[MatrixLike],
    Y: ArrayLike | Sequence[ArrayLike],
    *,
    epochs: int | Sequence[int] = 30,
    batch_size: int | Literal["auto"] | Sequence[int | Literal["auto"] | None] | None = "auto",
    optimizer: Optimizer | WholeBatchOptimizer | Sequence[Optimizer | WholeBatchOptimizer | None] | None = None,
    shuffle: bool | Sequence[bool] = True,
    seed: int | Sequence[int | None] | None = None,
    rows: Sequence[ArrayLike | None] | None = None,
    sample_weight: ArrayLike | Sequence[ArrayLike] | None = None,
    validation_data: _Validation | Sequence[_Validation | None] | None = None,
    validation_rows: Sequence[ArrayLike | None] | None = None,
    early_stopping: EarlyStopping | Sequence[EarlyStopping | None] | None = None,
    tol: float | Sequence[float | None] | None = None,
    clip_norm: float | Sequence[float | None] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    n_threads: int | None = None,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | timedelta = 1,
    resume: bool = False,
) -> list[History]:
    """Train many networks in one call, on all threads; each ends with the bits that its own `fit` gives it.

    Whatever the others and the threads do, each network has the parameters, the history and the optimizer's state of
    ``net.fit(X[rows], Y[rows], sample_weight[rows], ...)``; see there for what is not said here.

    Parameters
    ----------
    networks : sequence of Network
        Different networks, of any sizes, activations, losses and penalties.
    X : array_like or sparse matrix, shape (n, n_features)
        Inputs of all networks, which are converted and checked once; or a list of arrays, one for each network.
    Y : array_like, shape (n, n_outputs) or (n,)
        Targets, in the same way.
    epochs : int
        Passes over the data.  This and `batch_size`, `optimizer`, `shuffle`, `seed`, `early_stopping`, `tol` and
        `clip_norm` may each be a list of one for each network.
    batch_size : int, "auto" or None
        Rows of a mini-batch.
    optimizer : Optimizer or WholeBatchOptimizer, optional
        The rule, each network's state being its own.
    shuffle : bool
        Whether each epoch takes the rows in a new random order.
    seed : int, optional
        Seed of the order of the rows and of dropout: one int is the seed of each network, and gives all of them the
        same orders.  None draws fresh ones, or goes on with those of the network's last fit.
    rows : list of (array_like or None), or ndarray of shape (n_networks, m), optional
        For each network the rows that it is trained on, numbers (which may repeat, as in a bootstrap) or a boolean mask
        (n,); None for all.  X is not copied, except for sparse X and for networks that are trained one by one.  All of
        X, Y and `sample_weight` is checked, also where no network has a row.
    sample_weight : array_like, shape (n,), optional
        How often each row counts; or a list of arrays, one for each network.
    validation_data : tuple, optional
        ``(X_val, Y_val)`` or ``(X_val, Y_val, sample_weight_val)``, whose cost is recorded after each epoch; or a list
        of tuples, one for each network.
    validation_rows : list of (array_like or None), optional
        For each network the rows of X, Y and sample_weight that are its validation data, in the same way; with
        `sample_weight` they are copied.
    early_stopping : EarlyStopping, optional
        When a network stops by its validation loss; the others go on.
    tol, clip_norm : float, optional
        As in `Network.fit`.
    callbacks : sequence of callable
        Each is called as ``callback(net, history)`` after every epoch of every network.
    progress : bool
        Show one progress bar, which counts the epochs of all networks.
    n_threads : int, optional
        Threads to use, each for one network at a time; by default as many as the process may.
    checkpoint : str or os.PathLike, optional
        A folder, in which each network has a checkpoint file of its own by its number.
    checkpoint_every : int or datetime.timedelta
        How often they are written.
    resume : bool
        Let each network go on from its file there, if there is one.

    Returns
    -------
    list of History
        The record of each network; it is `net.history` as well.  Its `seconds` are the network's share of the time of
        the calls that trained several networks, by the work that its steps are.

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError
        For a wrong argument, or while one of the networks is trained already; all networks are unchanged.
    FileError
        If a checkpoint to resume from is damaged; all networks are unchanged.

    Warns
    -----
    RuntimeWarning
        If networks diverged: each has the parameters from before that epoch, its history says
        ``stopped_by == "divergence"``, and the others were trained to their end.

    Notes
    -----
    Ctrl-C ends the training of each network between two steps, as in `Network.fit`.

    Trained one by one, each by all threads, are networks with callbacks, a `WholeBatchOptimizer`, functions or a
    schedule of the user's own, or `tol` with mini-batches; and networks so large that threads share a step, where there
    are fewer networks than threads.

    Small networks of one architecture that take equally many steps on equally many rows are trained side by side, each
    in a lane of the processor's vectors, where there are enough of them: with the same bits, in less time.

    Memory: the data once; of each network the parameters, a copy of them, and the optimizer's vectors; for each thread
    what one network's step works in.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (200, 1))
    >>> Y = X**2 + 0.1 * rng.normal(size=(200, 1))
    >>> networks = [bp.Network([1, 8, 1], activation="tanh", seed=seed) for seed in range(20)]
    >>> histories = bp.fit_many(
    ...     networks, X, Y, seed=list(range(20)), optimizer=bp.Adam(0.01), rows=rng.integers(0, 200, (20, 200))
    ... )
    >>> bool(bp.predict_many(networks, [[0.5]]).std() < 0.1)
    True
    """
    arguments = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "shuffle": shuffle,
        "seed": seed,
        "early_stopping": early_stopping,
        "tol": tol,
        "clip_norm": clip_norm,
        "callbacks": callbacks,
        "progress": progress,
        "n_threads": n_threads,
        "checkpoint": checkpoint,
        "checkpoint_every": checkpoint_every,
        "resume": resume,
    }
    choices = {"rows": rows, "validation_data": validation_data, "validation_rows": validation_rows}
    tasks = checked_tasks(networks, X, Y, sample_weight, choices, arguments)
    threads = thread_count(n_threads)
    histories = alone_with_all([task.net for task in tasks], "fit_many", lambda: _fit(tasks, threads, progress))
    _warn_of_divergence(histories)
    return histories


def _fit(tasks: list[Task], n_threads: int, progress: bool) -> list[History]:
    """Do that with networks that nobody else trains."""
    runs = _prepared(tasks, n_threads)
    together = [run for run in runs if isinstance(run, Run)]
    total, begun = sum(task.plan.epochs for task in tasks), sum(len(run.record.history) for run in together)
    with progress_bar(total, "epoch", wanted=progress, begun=begun) as advance:
        with _ending(together):
            for run in together:
                run.begin()
            train_in_rounds(together, n_threads, advance, is_shown=progress)
        for task in (run for run in runs if isinstance(run, Task)):
            task.plan.progress = False  # there is one bar
            with contextlib.suppress(TrainingDivergedError):  # its history says so
                fit_checked(task.net, task.own_data(), task.plan, task.own_validation_data(), task.names)
            advance(len(history_of(task.net)))
    return [history_of(task.net) for task in tasks]


def _prepared(tasks: list[Task], n_threads: int) -> list[Run | Task]:
    """Return what trains each network: a task where it is trained by itself.

    Nothing has changed where an error comes: what checkpoints hold is given to the networks when all of it was read.
    """
    frames, before = Frames(), list[tuple[TrainedModel, NDArray[Any]]]()
    olds = [old.rng.bit_generator for task in tasks if (old := training_state_of(task.net)) is not None]
    states = [bits.state for bits in olds]  # of which a new optimizer draws its seed
    try:
        runs = [_run_of(task, frames, n_threads > len(tasks)) for task in tasks]
        together = [run for run in runs if isinstance(run, Run)]
        before += [(run.net, run.net.params.copy()) for run in together if run.saved is not None]
        for run in together:
            run.restore()
    except BaseException:
        for net, params in before:
            net.params[...] = params
        for bits, state in zip(olds, states, strict=True):
            bits.state = state
        raise
    return runs


def _run_of(task: Task, frames: Frames, threads_are_left: bool) -> Run | Task:
    """Return a network's run, or its task if something needs Python after each epoch, or if more threads share it."""
    plan: Any = task.plan
    saved = SavedFit(plan.checkpoint, task.net, plan.optimizer) if plan.resume else None
    rule: Any = plan.optimizer if saved is None else saved.optimizer
    task.names = task.names if saved is None else saved.names(task.names)
    old = training_state_of(task.net)
    known = old.optimizer if rule is None and old is not None else rule
    described = None if plan.checkpoint is None else task.own_validation_data()
    prepare = Preparation(task.net, plan, task.data, described, saved, task.rows)
    if (
        isinstance(rule, WholeBatchOptimizer)
        or plan.callbacks
        or (known is not None and known.has_own_schedule)
        or (plan.tol is not None and task.batch_rows < task.n_train)
        or not kernel_draws_permutation(task.n_train)
        or has_own_functions(task.net)
        or (threads_are_left and is_shared(task.net.sizes, task.batch_rows, inputs_of(task.data.X)))
    ):
        if saved is not None:
            prepare.compare(rule)  # now, when nothing has changed
        return task
    return Run(task, prepare.epochs(rule, frames), saved, prepare.description, frames)


@contextlib.contextmanager
def _ending(runs: Sequence[Run]) -> Iterator[None]:
    """Say in each history why it ended, and write the last checkpoints, also where an exception ends the training."""
    try:
        yield
    except BaseException:
        with ExitStack() as stack:
            for run in runs:
                run.record.history.stopped_by = run.record.stopped_by or "interruption"
                if run.record.stopped_by is not None:  # it has come to its end
                    stack.callback(run.end)
                if run.record.stopped_by != "divergence":
                    stack.enter_context(run.checkpoints.on_the_way_out())
            raise
    for run in runs:
        run.end()


def _warn_of_divergence(histories: Sequence[History]) -> None:
    """Name the networks that have diverged."""
    which = [i for i, history in enumerate(histories) if history.stopped_by == "divergence"]
    if which:
        shown = ", ".join(map(str, which[:_MOST_SHOWN])) + ", ..." * (len(which) > _MOST_SHOWN)
        caller.warn(
            f"The loss of {len(which)} of {len(histories)} networks became NaN or infinite, of networks {shown}; they "
            "have the parameters from before that epoch, and their optimizer's state was reset. Their history says "
            "stopped_by='divergence'.",
            RuntimeWarning,
        )
