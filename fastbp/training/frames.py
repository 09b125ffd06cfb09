"""Frames for networks that are trained together: what is the same for all networks of a kind is laid out once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.engine.cutting import inputs_of
from fastbp.engine.frame import Frame
from fastbp.engine.problem import Problem
from fastbp.engine.problem_frames import make_frame
from fastbp.engine.rows import Data
from fastbp.model.definition import Definition, problem_of


class Frames:
    """Makes frames without memory to work in, for networks that have no functions of the user's own."""

    def __init__(self) -> None:
        self._problems: dict[Any, Problem] = {}
        self._made: dict[Any, Frame] = {}

    def take(self, net: Definition, data: Data, rows: NDArray[np.int64] | None, batch_rows: int | None = None) -> Frame:
        """Return a frame for the cost of some rows of the data, or for steps on so many of them at a time."""
        n_rows, inputs = len(data) if rows is None else len(rows), inputs_of(data.X)
        definition = (net.sizes, net.dtype, net.activations, net.loss, net.loss_parameter, net.penalties, net.dropout)
        problem = self._problems.get(definition)
        if problem is None:
            problem = self._problems[definition] = problem_of(net)
        key = definition, n_rows, batch_rows, inputs
        first = self._made.get(key)
        if first is None:
            arguments: dict[str, Any] = {"gradient": batch_rows is not None, "inputs": inputs, "has_memory": False}
            first = self._made[key] = make_frame(problem, batch_rows or n_rows, n_rows, **arguments)
        return first.twin()
