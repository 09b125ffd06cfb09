"""`AllRows`: the rows of all partitions, and sums over them whose bits do not depend on who computes what and when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from fastbp.dask import tasks
from fastbp.dask.partitions import Partitions
from fastbp.dask.parts import Part
from fastbp.dask.recipes import OfRecipe, PartMaker, Recipe, recipes_of
from fastbp.dask.session import Session
from fastbp.dask.tasks import Terms

_BRANCHES = 8  # partial sums that are added by one task


class AllRows:
    """The checked rows of all partitions.

    Parameters
    ----------
    session : Session
        Where they are, or will be.
    held : list or None
        For each partition a future of its `Part`, or a task that makes it.
    recipes : list or None
        In place of these, how each is made within a task that needs it.
    shared : Future
        What the recipes share.
    blueprint : Future
        Of the network that they are for.
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

    def __init__(
        self,
        session: Session,
        held: list[Any] | None,
        recipes: Sequence[tuple[Recipe, list[Any]]] | None,
        shared: Any,
        blueprint: Any,
        *,
        has_weights: bool,
    ) -> None:
        self.session, self.blueprint, self.has_weights = session, blueprint, has_weights
        self._held, self._recipes, self._shared = held, recipes, shared
        self.n_rows, self.weights, problems = self.total_of(tasks.count)
        if problems:  # in the order of the partitions
            raise problems[0]
        self.total_weight = float(np.sum(self.weights))

    @classmethod
    def of_partitions(
        cls,
        session: Session,
        partitions: Partitions,
        make: PartMaker,
        shared: Any,
        blueprint: Any,
        *,
        persist: bool,
        has_weights: bool | None = None,
    ) -> AllRows:
        """Return the rows of collections.

        Parameters
        ----------
        session, shared, blueprint, has_weights
            See the class; by default they have weights if the partitions have.
        partitions : Partitions
            The collections.
        make : callable
            Makes the part of a partition, called as ``make(index, shared, X, Y, sample_weight)``.
        persist : bool
            Whether the parts are kept on the workers; else they are made again for each sum, once.
        """
        has_weights = partitions.has_weights if has_weights is None else has_weights
        recipes = None if persist else recipes_of(partitions, make)
        held = None
        if recipes is None:
            held = [session.task(make, i, shared, *source) for i, source in enumerate(partitions.sources)]
            held = session.hold(held) if persist else held
        return cls(session, held, recipes, shared, blueprint, has_weights=has_weights)

    def some(self, choose: Callable[..., Part], *arguments: Any) -> AllRows:
        """Return some of the rows: those of ``choose(part, *arguments)``, kept if these are."""
        held, recipes = self._held, self._recipes
        if held is not None:
            is_kept = isinstance(held[0], Future)
            held = [self.session.task(choose, part, *arguments) for part in held]
            held = self.session.hold(held) if is_kept else held
        if recipes is not None:
            recipes = [(recipe.then(choose, *arguments), given) for recipe, given in recipes]
        return type(self)(self.session, held, recipes, self._shared, self.blueprint, has_weights=self.has_weights)

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
        return self._sum([self._task(task, i) for i in range(self._n_partitions)])

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
        terms = [self._task(task, i, blueprint, vector, *arguments, *of_part(i)) for i in range(self._n_partitions)]
        return tuple(np.array(x) if isinstance(x, np.ndarray) else x for x in self._sum(terms))

    @property
    def _n_partitions(self) -> int:
        return len(self._recipes or self._held or [])

    def _task(self, task: Callable[..., Terms], i: int, *arguments: Any) -> Any:
        """Return the task of a partition: of its part where that is kept, else one that makes the part as well."""
        if self._recipes is None:
            assert self._held is not None
            return self.session.task(task, self._held[i], *arguments)
        recipe, given = self._recipes[i]
        return self.session.task(OfRecipe(task), recipe, len(given), self._shared, *given, *arguments)

    def _sum(self, terms: list[Any]) -> Terms:
        """Add up by a tree that the number of partitions makes, always in the same order."""
        while len(terms) > 1:
            groups = [terms[i : i + _BRANCHES] for i in range(0, len(terms), _BRANCHES)]
            terms = [self.session.task(tasks.add_up, group) for group in groups]
        found: Terms = self.session.result(terms[0], self._held or ())
        return found
