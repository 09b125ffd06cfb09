"""`Recipe`: what makes one partition within one task, so that nothing of it outlives the task.

As tasks of their own, the loading of X, of Y and the checks would let Dask hold the loaded rows of further partitions
while one is worked on.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dask.core import get, get_dependencies
from dask.delayed import Delayed
from distributed import Future

from fastbp.dask.partitions import Partitions
from fastbp.dask.parts import Part
from fastbp.dask.tasks import Terms

_Graph = Mapping[Any, Any]
PartMaker = Callable[..., Part]  # called as ``make(index, shared, X, Y, sample_weight)``


class Recipe:
    """How a worker makes a partition.

    Parameters
    ----------
    index : int
        Number of the partition.
    make : callable
        Makes the part of loaded rows.
    graph : dict
        Dask's tasks that nobody else needs.
    wanted : sequence
        The keys of X, Y and, perhaps, the weights.
    inputs : sequence
        The keys of tasks whose results the partition shares with others, and which are therefore given.
    """

    def __init__(self, index: int, make: PartMaker, graph: _Graph, wanted: list[Any], inputs: list[Any]) -> None:
        self._index, self._make, self._graph, self._wanted, self._inputs = index, make, graph, wanted, inputs
        self._chosen: tuple[Callable[..., Part], tuple[Any, ...]] | None = None

    def then(self, choose: Callable[..., Part], *arguments: Any) -> Recipe:
        """Return a recipe for some rows of the part: ``choose(part, *arguments)``."""
        other = copy.copy(self)
        other._chosen = choose, arguments
        return other

    def make(self, shared: Any, *given: Any) -> Part:
        """Return the part."""
        known = dict(zip(self._inputs, given, strict=True))
        own = [key for key in self._wanted if key in self._graph]
        try:
            made = known | dict(zip(own, get(self._graph, own, dict(known)), strict=True))
        except Exception as error:
            error.add_note(f"It was raised in making partition {self._index}.")
            raise
        X, Y, *weights = [made[key] for key in self._wanted]
        part = self._make(self._index, shared, X, Y, *(weights or [None]))
        if self._chosen is not None:
            choose, arguments = self._chosen
            part = choose(part, *arguments)
        return part


class OfRecipe:
    """A task of a part as a task of its recipe."""

    def __init__(self, task: Callable[..., Terms]) -> None:
        self._task = task
        self.__name__ = task.__name__

    def __call__(self, recipe: Recipe, n_given: int, shared: Any, *arguments: Any) -> Terms:
        """Make the part, do with it what the task does, and let go of it."""
        return self._task(recipe.make(shared, *arguments[:n_given]), *arguments[n_given:])


def recipes_of(partitions: Partitions, make: PartMaker) -> list[tuple[Recipe, list[Delayed]]] | None:
    """Return for each partition its recipe, and what makes its inputs; None where the cluster holds results already."""
    sources = [[thing for thing in source if thing is not None] for source in partitions.sources]
    found = _whole(sources)
    if found is None:
        return None
    whole, below = found
    needed = [_needed(below, [thing.key for thing in source]) for source in sources]
    uses = Counter(key for keys in needed for key in keys)
    made = []
    for i, (source, keys) in enumerate(zip(sources, needed, strict=True)):
        own = {key: whole[key] for key in keys if uses[key] == 1}
        wanted = [thing.key for thing in source]
        inputs = sorted({key for own_key in own for key in below[own_key]}.union(wanted) - own.keys(), key=str)
        made.append((Recipe(i, make, own, wanted, inputs), [Delayed(key, whole) for key in inputs]))
    return made


def _whole(sources: list[list[Any]]) -> tuple[dict[Any, Any], dict[Any, set[Any]]] | None:
    """Return the graphs of all as one, and what each task needs; None where there are results among the tasks."""
    graphs = {id(graph): graph for source in sources for graph in (thing.__dask_graph__() for thing in source)}
    whole: dict[Any, Any] = {}
    for graph in graphs.values():
        whole.update(graph)
    below = {key: get_dependencies(whole, key) for key in whole}
    named = {thing.key for source in sources for thing in source}.union(*below.values())
    if any(isinstance(task, Future) for task in whole.values()) or not named <= whole.keys():
        return None  # a future is a task of the graph, or named without being there
    return whole, below


def _needed(below: Mapping[Any, Iterable[Any]], keys: Iterable[Any]) -> set[Any]:
    """Return the keys of all tasks that some need, themselves included."""
    found, ahead = set[Any](), list(keys)
    while ahead:
        key = ahead.pop()
        if key not in found:
            found.add(key)
            ahead += below[key]
    return found
