"""`fit`: a network trained on the rows of Dask's collections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal, NamedTuple

from distributed import Client

from fastbp import validation
from fastbp.dask import tasks
from fastbp.dask.averaged import Averaged
from fastbp.dask.exact import Cost, FullBatch, SteppedEpochs
from fastbp.dask.partitions import Partitions, is_collection, partitions_of
from fastbp.dask.parts import Blueprint, make_part
from fastbp.dask.rows import AllRows
from fastbp.dask.session import Session, session_on
from fastbp.dask.whole_batch import trainer_of
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.storage.atomic import PathLike
from fastbp.storage.networks import describe
from fastbp.system.alone import alone
from fastbp.system.memory import require_writable
from fastbp.training.checkpoint import describe_data
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.fit import require_pair, train_epochs, validation_set
from fastbp.training.history import Callback, History
from fastbp.training.optimizers import Optimizer
from fastbp.training.plan import Plan, batch_rows_for, checked_batch_size
from fastbp.training.saved_fit import SavedFit
from fastbp.training.state import continued_state
from fastbp.training.trained import training_state_of
from fastbp.training.whole_batch import Iterations, WholeBatchOptimizer
from fastbp.validation.arrays import require_columns


def fit(
    net: Network,
    X: Any,
    Y: Any,
    epochs: int = 30,
    batch_size: int | Literal["auto"] | None = "auto",
    optimizer: Optimizer | WholeBatchOptimizer | None = None,
    *,
    client: Client | None = None,
    average_every: int | None = None,
    persist: bool = True,
    shuffle: bool = True,
    seed: int | None = None,
    validation_data: tuple[Any, Any] | tuple[Any, Any, Any] | None = None,
    sample_weight: Any = None,
    early_stopping: EarlyStopping | None = None,
    tol: float | None = None,
    clip_norm: float | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool = False,
    checkpoint: PathLike | None = None,
    checkpoint_every: int | timedelta = 1,
    resume: bool = False,
) -> History:
    r"""Train a network on the rows of Dask's collections, by the workers of a Dask cluster.

    Parameters
    ----------
    net : Network
        The network, which is trained in place.
    X : dask.array.Array or dask.dataframe.DataFrame, shape (n, n_features)
        Inputs.  Chunks are cut by rows alone; their sizes may be unknown, and partitions may be empty.
    Y : dask.array.Array, dask.dataframe.DataFrame or Series, shape (n, n_outputs) or (n,)
        Targets, in the partitions of X; for softmax with cross-entropy also integer labels (n,).
    epochs : int
        Passes over the data; with a `WholeBatchOptimizer`, iterations.
    batch_size : int, None or 'auto'
        None takes each step by the gradient of all rows: *exact*.  Otherwise each partition takes mini-batches of so
        many rows, and parameters are averaged now and then: *averaged*; see Notes.  A partition with fewer rows is one
        mini-batch.  'auto' is 32, or n if that is smaller.
    optimizer : Optimizer or WholeBatchOptimizer, optional
        As in `Network.fit`: None or the same object goes on from the last fit, the first fit uses ``Adam()``.  A
        `WholeBatchOptimizer` is always exact, with ``batch_size`` None or 'auto'.
    client : distributed.Client, optional
        The cluster's client.  None for the current one; where there is none, for a cluster within this process, which
        ends with the fit.
    average_every : int, optional
        Steps of each partition between two averages.  None for an epoch.
    persist : bool
        Whether the workers keep the checked partitions, which must then fit into their memory together.  False makes
        each partition again once a round, and once before the first one: for data larger than memory.
    shuffle : bool
        Whether each epoch takes the rows of a partition in a new random order; rows never change partition.
    seed : int, optional
        Seed of that order and of dropout.  None goes on with the random numbers of the last fit, if there was one.
    validation_data : tuple, optional
        ``(X_val, Y_val)`` or ``(X_val, Y_val, sample_weight_val)``, all of Dask or all local, whose cost is recorded
        after each epoch.
    sample_weight : dask.array.Array or dask.dataframe.Series, shape (n,), optional
        How often each row counts, in the partitions of X.  A mini-batch's weights are compared with the mean weight of
        all n rows, as in `Network.fit`.
    early_stopping : EarlyStopping, optional
        When to stop by the validation loss.
    tol : float, optional
        Stop when the Euclidean norm of the gradient over all rows is not above this: looked at before each exact step,
        and after each averaged epoch at the price of one more pass.
    clip_norm : float, optional
        Scale a gradient, of all rows or of a mini-batch, whose Euclidean norm is larger than this down to it.
    callbacks : sequence of callable
        Each is called here as ``callback(net, history)`` after every epoch; one that returns True ends the training.
    progress : bool
        Show a progress bar on standard error, where that is a terminal or a notebook.
    checkpoint : str or os.PathLike, optional
        A file, here, to write all of the fit's state to, between two epochs.
    checkpoint_every : int or datetime.timedelta
        How often: a number of epochs, or a time, after which the epoch at hand is finished first.
    resume : bool
        Go on from `checkpoint`, if there is such a file, with the same bits as a run that was never interrupted; the
        workers may be others.  Network, partitions and arguments must be those of the checkpoint's fit.

    Returns
    -------
    History
        Loss, validation loss, learning rate and time of each epoch, and why training ended; `net.history` as well.

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError
        For a wrong argument or row, of which the partition is named; the network is unchanged.
    FileError
        If a checkpoint to resume from is damaged; the network is unchanged.
    TrainingDivergedError
        If the loss becomes NaN or infinite; the network has the parameters from before that epoch.

    See Also
    --------
    from_memmap : Rows of a file as an array of Dask.

    Notes
    -----
    *Exact.*  With cost C_i of row i, weight w_i (1 without weights) and penalty R, each step follows the gradient of

    .. math:: C(\theta) = \frac{\sum_p \sum_{i \in p} w_i C_i(\theta)}{\sum_i w_i} + R(\theta),

    whose sums over the partitions p are added in a fixed tree: the result of `Network.fit` with ``batch_size=None`` on
    the same rows, to the order of summation.  A round is a pass over the data; whole-batch optimizers may need several
    for an iteration.

    *Averaged.*  A round begins with parameters :math:`\theta` and the optimizer's vectors v.  Each partition p with
    n_p rows takes its next `average_every` mini-batch steps from there, or as many as its epoch still has, over m_p
    rows, and comes to :math:`\theta_p, v_p`.  The next round begins with

    .. math:: \theta = \sum_p \frac{m_p}{M} \theta_p, \quad v = \sum_p \frac{m_p}{M} v_p, \quad M = \sum_p m_p.

    Partitions that have finished their epoch wait for the others, and so do not count.  The optimizer's number of steps
    and the steps that a schedule sees are those of the longest walk: an epoch has as many as the largest number of
    mini-batches that a partition has.  Rounds are few and long this way, because a round costs tens of milliseconds,
    whatever is computed: prefer partitions of thousands of rows, and join small ones by ``rechunk`` or
    ``repartition``.  An average of walks is not the walk on all rows: many partitions, each with few steps, learn more
    slowly for each epoch than one machine does.  One partition with ``shuffle=False``, without dropout, has the bits
    of `Network.fit`.

    Both ways, the same partitions, seed and arguments give the same bits on any number of workers and threads, also if
    workers come and go.  Results do depend on how the rows are partitioned.

    Ctrl-C leaves the network as it was after the last finished epoch.

    Without `persist`, a worker holds at most two partitions for each task that it runs at once, one as it is loaded
    and one as it is checked, and the vectors of parameters.  Chunks that are cut or joined on the way belong to many
    partitions, and Dask keeps them for as long as it needs them: load the partitions as they are to be used.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import fastbp as bp
    >>> from fastbp.dask import fit
    >>> X = da.from_array(np.linspace(-1.0, 1.0, 400)[:, None], chunks=(100, 1))
    >>> net = bp.Network([1, 8, 1], activation="tanh", seed=0)
    >>> history = fit(net, X, X**2, epochs=30, batch_size=10, optimizer=bp.Adam(0.02), average_every=5, seed=0)
    >>> bool(history.loss[-1] < 0.1 * history.loss[0])
    True
    >>> exact = fit(net, X, X**2, epochs=5, batch_size=None, optimizer=bp.SGD(0.1))
    >>> bool(exact.loss[4] < exact.loss[0])
    True
    """
    if not isinstance(net, Network):
        raise TypeError(f"`net` must be a fastbp.Network; got {type(net).__name__}.")
    plan = Plan(
        epochs=epochs,
        batch_size=checked_batch_size(batch_size),
        optimizer=optimizer,
        shuffle=shuffle,
        seed=seed,
        validation_data=validation_data,
        early_stopping=early_stopping,
        tol=tol,
        clip_norm=clip_norm,  # type: ignore[arg-type] # what it takes becomes what it means there
        callbacks=callbacks,
        progress=progress,
        n_threads=None,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,  # type: ignore[arg-type]
        resume=resume,
    )
    persist = validation.flag(persist, "persist")
    if average_every is not None:
        average_every = validation.positive_integer(average_every, "average_every")
    if validation_data is not None:
        require_pair(validation_data)
    partitions = partitions_of(X, Y, sample_weight)
    return alone(net, "fit", functools.partial(_fit, net, partitions, plan, client, average_every, persist))


def _fit(
    net: Network,
    partitions: Partitions,
    plan: Plan,
    client: Client | None,
    average_every: int | None,
    persist: bool,
) -> History:
    """Do that, while no other training of the network runs."""
    require_writable(net)
    if net.feature_names is not None and partitions.names is not None:
        require_columns(partitions.meta, net.feature_names)
    names = partitions.names or net.feature_names
    with session_on(client) as session:
        rows = _rows(session, partitions, net, persist=persist)
        rows.require_rows()
        watched = None
        if plan.validation_data is not None:
            watched = _watched(net, session, plan.validation_data, names, persist=persist)
        saved = None
        if plan.resume and plan.checkpoint is not None:
            saved = SavedFit(plan.checkpoint, net, plan.optimizer, in_iterations=True)
            names = saved.names(names)
        rule = plan.optimizer if saved is None else saved.optimizer
        epochs = _iterations(net, rows, plan, rule, average_every)
        description = _describe(net, rows, plan, epochs.rule, average_every)
        if watched is not None and plan.checkpoint is not None:
            description["fit"] |= watched.describe()
        if saved is not None:
            saved.compare(description)
        return train_epochs(net, epochs, plan, None if watched is None else watched.cost, saved, description, names)


def _rows(session: Session, partitions: Partitions, net: Network, *, persist: bool) -> AllRows:
    """Return the rows of collections, checked for a network."""
    blueprint = session.constant(Blueprint(net))
    return AllRows.of_partitions(session, partitions, make_part, blueprint, blueprint, persist=persist)


def _iterations(
    net: Network,
    rows: AllRows,
    plan: Plan,
    rule: Optimizer | WholeBatchOptimizer | None,
    average_every: int | None,
) -> Iterations:
    """Return the epochs of the fit."""
    n_rows = len(rows)
    if isinstance(rule, WholeBatchOptimizer):
        plan.require_whole_batch(rule, n_rows)
        rule.require(net)
    batch_rows = n_rows if isinstance(rule, WholeBatchOptimizer) else batch_rows_for(plan.batch_size, n_rows)
    if average_every is not None and batch_rows == n_rows:
        raise ValueError(
            f"`average_every` must be None where each step looks at all {n_rows} rows, and nothing is averaged; got "
            f"{average_every}. Use mini-batches, such as batch_size=32, or leave it out."
        )
    if isinstance(rule, WholeBatchOptimizer):
        return Iterations(net, rule, trainer_of(rule, net, rows), rule.columns, rule.reasons)
    if batch_rows == n_rows and any(net.dropout):
        raise ValueError(
            f"`dropout` must be 0 where each step looks at all rows, whose masks no partition knows; the network has "
            f"{net.dropout}. Make it without dropout, or use mini-batches, such as batch_size=32."
        )
    state = continued_state(net, training_state_of(net), rule, plan.seed)
    if plan.resume:
        state = state.copy()  # a checkpoint that is refused changes nothing
    trainer: FullBatch | Averaged
    if batch_rows == n_rows:
        trainer = FullBatch(net, rows, state, plan)
    else:
        trainer = Averaged(net, rows, state, plan, batch_rows, average_every)
    return SteppedEpochs(net, state, trainer)


class _Watched(NamedTuple):
    """Validation data: their cost, and what a checkpoint says of them."""

    cost: Callable[[], float]
    describe: Callable[[], dict[str, Any]]


def _watched(net: Network, session: Session, given: Any, names: tuple[str, ...] | None, *, persist: bool) -> _Watched:
    """Return validation data, which are here or on the cluster."""
    if not any(map(is_collection, given)):
        data = validation_set(net, given, names)
        members = data.X, data.targets, data.sample_weight
        return _Watched(lambda: passes_of(net).cost(*members, n_threads=None), lambda: describe_data(*members, "_val"))
    try:
        rows = _rows(session, partitions_of(*given), net, persist=persist)
        rows.require_rows()
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None
    cost = Cost(net, rows)
    return _Watched(lambda: cost.cost(net.params), lambda: {"partitions_val": rows.total_of(tasks.digests)[0]})


def _describe(net: Network, rows: AllRows, plan: Plan, rule: Any, average_every: int | None) -> dict[str, Any]:
    """Return what a checkpoint says of the fit."""
    if plan.checkpoint is None:
        return {}
    n_rows = len(rows)
    batch_rows = n_rows if isinstance(rule, WholeBatchOptimizer) else batch_rows_for(plan.batch_size, n_rows)
    arguments = plan.describe(n_rows, batch_rows, rule)
    (digests,) = rows.total_of(tasks.digests)
    return {
        "network": describe(net),
        "fit": {**arguments, "average_every": average_every, "partitions": digests},
        "epochs": plan.epochs,
    }
