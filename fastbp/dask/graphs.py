"""Graphs of tasks as plain dictionaries, cheaper than `dask.delayed`, whose half a millisecond each task would pay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dask.core import get_dependencies
from dask.delayed import Delayed
from dask.task_spec import List, Task, TaskRef
from distributed import Client, Future

_Graph = dict[Any, Any]


class Planned:
    """A task that is not sent yet.

    Parameters
    ----------
    key : str
        Its key, which nobody else has.
    function : callable
        What it calls, a pure function.
    *arguments
        Values, futures, `Delayed` objects, other planned tasks, and lists of these.

    Attributes
    ----------
    node : Task
        What the scheduler gets of it.
    needs : list
        What is planned or delayed among its arguments.
    """

    __slots__ = ("key", "needs", "node")

    def __init__(self, key: str, function: Callable[..., Any], *arguments: Any) -> None:
        self.key = key
        self.needs = list[Any]()
        self.node = Task(key, function, *map(self._reference, arguments))

    def _reference(self, argument: Any) -> Any:
        if isinstance(argument, Planned | Delayed):
            self.needs.append(argument)
            return TaskRef(argument.key)
        if isinstance(argument, list) and any(isinstance(each, Planned | Delayed | Future) for each in argument):
            return List(*map(self._reference, argument))
        return argument


def compute(client: Client, tasks: Sequence[Any]) -> list[Future]:
    """Have tasks computed, planned or delayed, with all that they need: one message to the scheduler."""
    graph: _Graph = {}
    waiting = list(tasks)
    while waiting:
        task = waiting.pop()
        if isinstance(task, Delayed):
            _add_needed(graph, task.__dask_graph__(), task.key)
        elif task.key not in graph:
            graph[task.key] = task.node
            waiting += task.needs
    futures: list[Future] = client.get(graph, [task.key for task in tasks], sync=False)
    return futures


def _add_needed(graph: _Graph, whole: Any, key: Any) -> None:
    """Add a task to a graph, and all that it needs."""
    waiting = [key]
    while waiting:
        key = waiting.pop()
        if key not in graph and key in whole:
            graph[key] = whole[key]
            waiting += get_dependencies(whole, key)
