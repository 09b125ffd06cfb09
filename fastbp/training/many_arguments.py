"""The arguments of `fit_many`: which of them are one for all networks, and what each network gets."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.rows import Data
from fastbp.model.checks import checked_data
from fastbp.model.definition import require_networks
from fastbp.storage.atomic import checked_path, path_named
from fastbp.system.memory import require_writable
from fastbp.training.fit import validation_set
from fastbp.training.plan import Plan, batch_rows_for
from fastbp.training.trained import TrainedModel
from fastbp.training.whole_batch import WholeBatchOptimizer
from fastbp.validation.arrays import as_array, column_names
from fastbp.validation.data import sample_weights

# which may be a list of one for each network
EACH = ("epochs", "batch_size", "optimizer", "shuffle", "seed", "early_stopping", "tol", "clip_norm")
_RIGHT = dict.fromkeys(EACH) | {"epochs": 1, "shuffle": True}  # a right value of each


@dataclass(slots=True)
class Task:
    """What one of many networks is trained on, and how; nothing has been changed for it."""

    net: TrainedModel
    plan: Plan
    data: Data
    rows: NDArray[np.int64] | None  # to train on; None for all
    validation_data: Data | None
    validation_rows: NDArray[np.int64] | None
    names: tuple[str, ...] | None  # of the columns

    @property
    def n_train(self) -> int:
        """Rows of an epoch."""
        return len(self.data) if self.rows is None else len(self.rows)

    @property
    def batch_rows(self) -> int:
        """Rows of a mini-batch."""
        return batch_rows_for(self.plan.batch_size, self.n_train)

    def own_data(self) -> Data:
        """Return its rows alone."""
        return self.data if self.rows is None else self.data.rows(self.rows)

    def own_validation_data(self) -> Data | None:
        """Return its validation rows alone."""
        data, rows = self.validation_data, self.validation_rows
        return data if data is None or rows is None else data.rows(rows)


def checked_tasks(
    networks: Any, X: Any, Y: Any, sample_weight: Any, choices: Mapping[str, Any], arguments: Mapping[str, Any]
) -> list[Task]:
    """Return what each network is to do, or raise.

    Parameters
    ----------
    networks : list of TrainedModel
        The networks.
    X, Y, sample_weight : array_like, or list of them
        The data.
    choices : mapping
        `rows`, `validation_data` and `validation_rows`.
    arguments : mapping
        All others that a `Plan` has.
    """
    nets = require_networks(networks)
    if len({id(net) for net in nets}) < len(nets):
        raise ValueError("`networks` must be different ones; the same network twice would be trained by two at once.")
    n = len(nets)
    data = _DataOfNetworks(nets, X, Y, sample_weight, choices)
    plans = {name: _each(name, value, n) if name in EACH else None for name, value in arguments.items()}
    for_all: dict[str, Any] = {
        name: value if plans[name] is None else _RIGHT[name] for name, value in arguments.items()
    }
    Plan(
        **(for_all | {"checkpoint": None, "resume": False}), validation_data=()
    )  # what is wrong for all is said of all
    paths = _checkpoints(arguments["checkpoint"], n)
    tasks = []
    for i, net in enumerate(nets):
        with _in_network(i):
            require_writable(net)
            own = {name: arguments[name] if each is None else each[i] for name, each in plans.items()}
            tasks.append(data.task(i, own | {"checkpoint": paths[i]}))
    return tasks


def _each(name: str, value: Any, n: int) -> Sequence[Any] | None:
    """Return one value for each network, or None for a value that is for all of them."""
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return None
    if len(value) != n:
        raise ValueError(f"`{name}` must be one for all networks, or a list of {n}, one for each; got {len(value)}.")
    return list(value)


def _is_of_many(value: Any, n: int, least: int) -> bool:
    """Whether data are a list with an array for each network: of at least so many dimensions."""
    if not isinstance(value, list | tuple) or len(value) != n or not n:
        return False
    return all(hasattr(each, "shape") and len(each.shape) >= least for each in value)


def _checkpoints(folder: Any, n: int) -> list[str | None]:
    """Return the name of each network's checkpoint."""
    if folder is None:
        return [None] * n
    with path_named("checkpoint"):
        name = checked_path(folder)
    if not os.path.isdir(name):
        raise NotADirectoryError(
            f"`checkpoint` must be a folder that exists, in which each network has a file; got {name!r}."
        )
    return [os.path.join(name, f"network-{i:05d}.fastbp") for i in range(n)]


@contextmanager
def _in_network(i: int) -> Iterator[None]:
    """Name the network that an error is about."""
    try:
        yield
    except Exception as error:
        if type(error) in (TypeError, ValueError):
            raise type(error)(f"For networks[{i}]: {error}") from None
        error.add_note(f"This is about networks[{i}].")
        raise


class _DataOfNetworks:
    """The data of all networks: what is the same is converted and checked once."""

    def __init__(
        self, nets: Sequence[TrainedModel], X: Any, Y: Any, sample_weight: Any, choices: Mapping[str, Any]
    ) -> None:
        n = len(nets)
        self._nets = nets
        of_X = _is_of_many(X, n, 2)
        n_rows = X.shape[0] if hasattr(X, "shape") and X.shape else len(X) if isinstance(X, list | tuple) else None
        may_be_rows = not of_X and n_rows == n  # as many rows as networks: a list of rows
        self._own = [of_X, *(not may_be_rows and _is_of_many(value, n, 1) for value in (Y, sample_weight))]
        given = zip((X, Y, sample_weight), self._own, strict=True)
        self._arguments = [list(value) if own else value for value, own in given]  # whatever becomes of the user's list
        self._rows = _index_lists("rows", choices["rows"], n)
        self._validation_rows = _index_lists("validation_rows", choices["validation_rows"], n)
        chosen = choices["validation_data"]
        if chosen is not None and self._validation_rows is not None:
            raise ValueError("`validation_rows` names rows of X, and `validation_data` are others; pass one of them.")
        many = isinstance(chosen, list) and len(chosen) == n and all(isinstance(each, tuple | None) for each in chosen)
        self._validation_data = list(chosen) if many else [chosen] * n
        self._known: dict[Any, Any] = {}  # checked data, by what they depend on

    def task(self, i: int, arguments: Mapping[str, Any]) -> Task:
        """Return the task of a network."""
        net, given = self._nets[i], self._validation_data[i]
        X = self._arguments[0][i] if self._own[0] else self._arguments[0]
        names = column_names(X) or net.feature_names
        data = self._data(i, net)
        rows = _rows_of(data, self._rows, i, "rows")
        validation_rows = _rows_of(data, self._validation_rows, i, "validation_rows")
        chosen = data if validation_rows is not None else None
        if given is not None:
            chosen = self._once(net, ("validation", id(given), names), lambda: validation_set(net, given, names))
        plan = Plan(**arguments, validation_data=chosen)
        task = Task(net, plan, data, rows, chosen, validation_rows, names)
        if isinstance(plan.optimizer, WholeBatchOptimizer):
            plan.require_whole_batch(plan.optimizer, task.n_train)
            plan.optimizer.require(net)
        else:
            _ = task.batch_rows  # refuses a wrong one
        return _with_copies(task)

    def _data(self, i: int, net: TrainedModel) -> Data:
        values = [value[i] if own else value for value, own in zip(self._arguments, self._own, strict=True)]
        key = tuple(id(value) for value in values)
        return self._once(net, ("data", *key, net.feature_names), lambda: Data(*checked_data(net, *values)))

    def _once(self, net: TrainedModel, key: tuple[Any, ...], make: Callable[[], Data]) -> Data:
        """Return data that another network of the same kind may have had checked."""
        loss = net.loss if isinstance(net.loss, str) else id(net.loss)
        kind = (*key, net.dtype, net.sizes[0], net.sizes[-1], loss, net.has_softmax)
        if kind not in self._known:
            self._known[kind] = make()
        known: Data = self._known[kind]
        return known


def _with_copies(task: Task) -> Task:
    """Return a task with copies of the rows that are chosen, where the choice among all of them could change a bit.

    Sparse rows are multiplied as full as they are; and validation weights are added up in an order of their own where
    they lie side by side.
    """
    is_sparse = not isinstance(task.data.X, np.ndarray)
    if task.rows is not None and is_sparse:
        task.data, task.rows = task.own_data(), None
    if task.validation_rows is not None and (is_sparse or task.data.sample_weight is not None):
        task.validation_data, task.validation_rows = task.own_validation_data(), None
    return task


def _index_lists(name: str, value: Any, n: int) -> Sequence[Any] | None:
    """Return the rows of each network as they were given."""
    if value is None:
        return None
    value = list(value) if isinstance(value, np.ndarray) and value.ndim == 2 else value  # a row for each network
    if not isinstance(value, list | tuple) or len(value) != n:
        got = f"{len(value)}" if isinstance(value, list | tuple) else type(value).__name__
        raise ValueError(
            f"`{name}` must be a list of {n}, the row numbers or a boolean mask for each network; got {got}."
        )
    return list(value)


def _rows_of(data: Data, lists: Sequence[Any] | None, i: int, name: str) -> NDArray[np.int64] | None:
    """Return a network's rows as numbers that are ours, each of a row that there is; None for all rows."""
    if lists is None or lists[i] is None:
        return None
    n = len(data)
    given = np.array(as_array(lists[i], name, np.dtype(np.float64)))  # first a copy, then a look
    if given.shape == (0,):
        raise ValueError(f"`{name}` must name at least one row; got none.")
    if given.ndim != 1 or given.dtype.kind not in "biu":
        raise ValueError(
            f"`{name}` must be row numbers (n,) or a boolean mask ({n},); got an array of {given.dtype} with shape "
            f"{given.shape}."
        )
    if given.dtype.kind == "b":
        if len(given) != n:
            raise ValueError(f"`{name}` must have a truth value for each of the {n} rows of X; got {len(given)}.")
        rows = np.flatnonzero(given)
    else:
        if given.size and not (-n <= int(given.min()) and int(given.max()) < n):
            raise ValueError(f"`{name}` must be numbers of the {n} rows of X; got {given.min()} to {given.max()}.")
        rows = given.astype(np.int64, copy=False)
        rows[rows < 0] += n
    if not len(rows):
        raise ValueError(f"`{name}` must name at least one row; got none.")
    if data.sample_weight is not None:
        sample_weights(data.sample_weight[rows], len(rows), data.sample_weight.dtype)
    return rows
