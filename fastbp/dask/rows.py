"""`AllRows`: the rows of all partitions, and sums over them whose bits do not depend on who computes what and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.dask import tasks
from fastbp.dask.partitions import Partitions
from fastbp.dask.parts import Blueprint, make_part
from fastbp.dask.session import Session
from fastbp.dask.tasks import Terms
from fastbp.model.definition import Definition

_BRANCHES = 8  # partial sums that are added by one task


class AllRows:
    """The checked rows of all partitions.

    Parameters
    ----------
    session : Session
        Where they are, or will be.
    made : list
        For each partition the task that makes its `Part`.
    blueprint : Future
        Of the network that they are for.
    persist : bool
        Whether they are kept on the workers; else they are made again for each sum, once.
    has_weights : bool
        Whether the rows have weights.

    Attributes
    ----------
    n_rows, weights : list
        Rows and weight of each partition.
    total_weight : float
        Sum of the weights.

    Raises
    ------
    TypeError, ValueError
        If something is wrong with a row; the message names the partition.
    """

    def __init__(self, session: Session, made: list[Any], blueprint: Any, *, persist: bool, has_weights: bool) -> None:
        self.session, self.blueprint, self.has_weights = session, blueprint, has_weights
        self.parts = session.hold(made) if persist else made
        self.n_rows, self.weights, problems = self.total_of(tasks.count)
        if problems:  # in the order of the partitions
            raise problems[0]
        self.total_weight = float(np.sum(self.weights))

    @classmethod
    def of_partitions(cls, session: Session, partitions: Partitions, net: Definition, *, persist: bool) -> AllRows:
        """Return the rows of collections, for a network."""
        blueprint = session.constant(Blueprint(net))
        made = [session.task(make_part, i, blueprint, *source) for i, source in enumerate(partitions.sources)]
        return cls(session, made, blueprint, persist=persist, has_weights=partitions.has_weights)

    def __len__(self) -> int:
        return sum(self.n_rows)

    @property
    def mean_weight(self) -> float:
        """Mean weight of a row; 0 without weights."""
        return self.total_weight / len(self) if self.has_weights else 0.0

    def require_rows(self) -> None:
        """Raise unless a row counts."""
        if len(self) == 0:
            raise ValueError("`X` must have at least one row; all its partitions are empty.")
        if self.total_weight == 0.0:
            raise ValueError("`sample_weight` must not be 0 everywhere; no row would count.")

    def total_of(self, task: Callable[..., Terms]) -> Terms:
        """Return the sums of what a task returns that needs no network: ``task(part)``."""
        return self._sum([self.session.task(task, part) for part in self.parts])

    def sum_of(
        self,
        task: Callable[..., Terms],
        params: NDArray[Any],
        *arguments: Any,
        of_part: Callable[[int], tuple[Any, ...]] = lambda i: (),
        blueprint: Any = None,
    ) -> Terms:
        """Return the sums over the partitions of what a task returns, which are ours.

        Parameters
        ----------
        task : callable
            Called as ``task(part, blueprint, params, *arguments, *of_part(i))`` on the workers.
        params : ndarray, shape (n_params,)
            The parameters.
        *arguments
            Small values, or futures.
        of_part : callable
            Returns further arguments for a partition, by its number.
        blueprint : Future, optional
            Of a network with penalties; by default that of the rows, which has none.
        """
        blueprint = self.blueprint if blueprint is None else blueprint
        vector = self.session.vector(params)
        terms = [
            self.session.task(task, part, blueprint, vector, *arguments, *of_part(i))
            for i, part in enumerate(self.parts)
        ]
        return tuple(np.array(x) if isinstance(x, np.ndarray) else x for x in self._sum(terms))

    def _sum(self, terms: list[Any]) -> Terms:
        """Add up by a tree that the number of partitions makes, always in the same order."""
        while len(terms) > 1:
            groups = [terms[i : i + _BRANCHES] for i in range(0, len(terms), _BRANCHES)]
            terms = [self.session.task(tasks.add_up, group) for group in groups]
        found: Terms = self.session.result(terms[0], self.parts)
        return found
