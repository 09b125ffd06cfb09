"""`fit`: a network trained on the rows of Dask's collections."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Literal

from distributed import Client

from fastbp import validation
from fastbp.dask import tasks
from fastbp.dask.averaged import Averaged
from fastbp.dask.exact import Cost, FullBatch, SteppedEpochs
from fastbp.dask.partitions import Partitions, is_collection, partitions_of
from fastbp.dask.rows import AllRows
from fastbp.dask.session import Session, session_on
from fastbp.dask.whole_batch import trainer_of
from fastbp.model.model import passes_of
from fastbp.network import Network
from fastbp.storage.atomic import PathLike
from fastbp.storage.networks import describe
from fastbp.system.alone import alone
from fastbp.system.memory import require_writable
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.fit import train_epochs, validation_set
from fastbp.training.history import Callback, History
from fastbp.training.optimizers import Optimizer
from fastbp.training.plan import Plan, batch_rows_for
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
    """Train a network on the rows of Dask's collections."""
    plan = Plan(
        epochs=epochs,
        batch_size=batch_size,
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
        rows = AllRows.of_partitions(session, partitions, net, persist=persist)
        rows.require_rows()
        validation_cost = _validation_cost(net, session, plan, names, persist=persist)
        saved = None
        if plan.resume and plan.checkpoint is not None:
            saved = SavedFit(plan.checkpoint, net, plan.optimizer, in_iterations=True)
        rule = plan.optimizer if saved is None else saved.optimizer
        epochs = _iterations(net, rows, plan, rule, average_every)
        description = _describe(net, rows, plan, epochs.rule, average_every)
        if saved is not None:
            saved.compare(description)
        return train_epochs(net, epochs, plan, validation_cost, saved, description, names)


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


def _validation_cost(
    net: Network, session: Session, plan: Plan, names: tuple[str, ...] | None, *, persist: bool
) -> Callable[[], float] | None:
    """Return what computes the cost of the validation data, here or on the cluster, if there are any."""
    given = plan.validation_data
    if given is None:
        return None
    if not (isinstance(given, tuple | list) and any(map(is_collection, given))):
        data = validation_set(net, given, names)
        return lambda: passes_of(net).cost(data.X, data.targets, data.sample_weight, n_threads=None)
    try:
        rows = AllRows.of_partitions(session, partitions_of(*given), net, persist=persist)
        rows.require_rows()
    except (TypeError, ValueError) as error:
        raise type(error)(f"In `validation_data`: {error}") from None
    cost = Cost(net, rows)
    return lambda: cost.cost(net.params)


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
