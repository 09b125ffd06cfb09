"""What a value of an ONNX graph is for a network: neurons of one layer, each some function of its z.

`Neurons` are columns of one layer in runs; a run's neurons have the same function, known by its values at GRID.  What
is affine is not computed but kept, as vectors for z and for the function's value, and folded into weights in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbp.export.onnx_functions import Line, name_of, samples_of
from fastbp.export.onnx_tensors import UnreadableError
from fastbp.functions.names import OutputName

__all__ = [
    "IDENTITY",
    "Affine",
    "Dims",
    "Layer",
    "Named",
    "Neurons",
    "Run",
    "affine",
    "applied",
    "closed",
    "composed",
    "cut",
    "of_numbers",
    "vectors",
]

Array = NDArray[Any]
IDENTITY: Line = (1.0, 0.0)
Affine = tuple[Array | None, Array | None]  # a scale and a shift, None for what does nothing
_MOST_LINES = 4  # that may stand in front of an activation: a spelling of gelu has one
_NOT_KNOWN = (
    "a function that is none of a network's activations. Those have LeakyRelu's slope 0.01, Elu's alpha 1 and Gelu "
    "without approximation."
)


@dataclass(frozen=True)
class Named:
    """A function that a network has: scale f(alpha z + beta) + shift, with numbers or vectors for scale and shift."""

    name: OutputName
    line: Line = IDENTITY
    scale: Any = 1.0
    shift: Any = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether it is f(alpha z + beta) itself."""
        is_number = isinstance(self.scale, float) and isinstance(self.shift, float)
        return is_number and (self.scale, self.shift) == IDENTITY


@dataclass(frozen=True)
class Run:
    """Neurons side by side with one function of their z."""

    count: int
    samples: Array | None  # the function's values at GRID, or None where neurons have different scales or shifts
    label: str  # of the node that it comes from, for messages
    line: Line | None = None  # alpha and beta, if it is alpha z + beta
    inner: tuple[Line, ...] = ()  # lines that went into a bent function on the way here
    core: Named | None = None  # the function as an activation with what was affine after it, if known so

    def named(self) -> Named | None:
        """Return the function by its name, if it is an activation, or an affine function of one."""
        if self.line is not None:
            return Named("identity", self.line)
        found = None if self.samples is None else name_of(self.samples, self.inner)
        if found is None or (self.core is not None and self.core.name == found[0]):
            return self.core  # which knows a scale and shift that are almost none
        return Named(*found)


@dataclass(frozen=True)
class Layer:
    """A layer's z = (a W) * scale + shift, with None for what there is not; the input X has neither a nor W."""

    source: Neurons | None
    W: Array | None
    width: int
    scale: Array | None = None
    shift: Array | None = None
    before: tuple[tuple[int, Named], ...] = ()  # what the source's neurons compute


@dataclass(frozen=True)
class Neurons:
    """Columns of a layer, n rows of them, as a value of the graph that has further dimensions."""

    layer: Layer
    runs: tuple[Run, ...]
    element: int  # what ONNX calls the dtype
    dims: tuple[int, ...]  # without the rows
    begin: int = 0
    is_end: bool = False  # softmax, and probabilities of two classes: no layer may follow
    n_rows: int | None = None  # where the model says how many rows there are to be

    @property
    def count(self) -> int:
        """How many columns there are."""
        return math.prod(self.dims)

    @property
    def is_whole(self) -> bool:
        """Whether all columns of the layer are there."""
        return self.begin == 0 and self.count == self.layer.width


@dataclass(frozen=True)
class Dims:
    """Numbers that are computed from the shape of a value: None is the number of rows."""

    numbers: tuple[int | None, ...]
    is_list: bool = True


def of_numbers(layer: Layer, element: int, label: str, n_rows: int | None) -> Neurons:
    """Return all z of a layer."""
    run = Run(layer.width, samples_of(IDENTITY), label, line=IDENTITY)
    return Neurons(layer, (run,), element, (layer.width,), n_rows=n_rows)


# --- what is affine ---------------------------------------------------------------------------------------------------


def affine(value: Neurons, scale: Any, shift: Any, label: str) -> Neurons:
    """Return scale * value + shift: numbers, or vectors with an entry for each column."""
    if isinstance(scale, float) and isinstance(shift, float) and value.layer.W is not None:
        return replace(value, runs=tuple(_affine_run(run, scale, shift, label) for run in value.runs))
    if value.is_whole and all(run.line is not None for run in value.runs):
        layer = _affine_layer(value, scale, shift)
        return replace(of_numbers(layer, value.element, label, value.n_rows), dims=value.dims)
    runs, begin = [], 0
    for run in value.runs:
        columns = slice(begin, begin + run.count)
        parts = [part if isinstance(part, float) else part[columns] for part in (scale, shift)]
        runs.append(_affine_run(run, parts[0], parts[1], label))
        begin += run.count
    return replace(value, runs=tuple(runs))


def _affine_run(run: Run, scale: Any, shift: Any, label: str) -> Run:
    """Return a run's function times scale plus shift."""
    of_all = isinstance(scale, float) and isinstance(shift, float)
    if of_all and run.line is not None:
        line = (scale * run.line[0], scale * run.line[1] + shift)
        return replace(run, samples=samples_of(line), label=label, line=line)
    known = run.named()
    if known is not None:
        known = replace(known, scale=known.scale * scale, shift=known.shift * scale + shift)
    elif not of_all:
        raise UnreadableError(f"{run.label} makes {_NOT_KNOWN}")
    samples = run.samples * scale + shift if of_all and run.samples is not None else None
    return replace(run, samples=samples, label=label, line=None, core=known)


def _affine_layer(value: Neurons, scale: Any, shift: Any) -> Layer:
    """Return a layer whose z is that of another times scale plus shift."""
    layer = value.layer
    lines = vectors([(run.count, run.line or IDENTITY) for run in value.runs])
    new = composed((layer.scale, layer.shift), lines, vectors([(layer.width, (scale, shift))]))
    return replace(layer, scale=new[0], shift=new[1])


def composed(*parts: Affine) -> Affine:
    """Return what is affine one after the other as one."""
    scale, shift = parts[0]
    for times, plus in parts[1:]:
        if times is not None:
            scale = times if scale is None else scale * times
            shift = None if shift is None else shift * times
        if plus is not None:
            shift = plus if shift is None else shift + plus
    return scale, shift


def vectors(parts: Sequence[tuple[int, tuple[Any, Any]]]) -> Affine:
    """Return scales and shifts of runs, numbers or vectors, as vectors; None where all are 1 or 0."""
    found: list[Array | None] = []
    for i, nothing in enumerate(IDENTITY):
        if all(isinstance(part[i], float) and part[i] == nothing for _, part in parts):
            found.append(None)
        else:
            found.append(np.concatenate([np.full(n, part[i], np.float64) for n, part in parts]))
    return found[0], found[1]


# --- what is bent -----------------------------------------------------------------------------------------------------


def applied(function: Callable[..., Array], arguments: Sequence[Any], label: str) -> Neurons:
    """Return a function, number by number, of neurons of one layer and of numbers."""
    values = [argument for argument in arguments if isinstance(argument, Neurons)]
    first = values[0]
    for other in values[1:]:
        if other.layer is not first.layer or other.begin != first.begin or other.dims != first.dims:
            raise UnreadableError(f"{label} joins values of different layers; a network is one chain of layers.")
    if first.layer.W is None:
        raise UnreadableError(f"{label} bends the input in front of the first layer; read are scales and shifts.")
    counts = _common_counts([[run.count for run in value.runs] for value in values])
    columns = [_cut(argument.runs, counts) if isinstance(argument, Neurons) else argument for argument in arguments]
    done: dict[tuple[int, ...], Run] = {}  # neurons with the same functions are computed once
    runs = []
    for i, count in enumerate(counts):
        parts = [column[i] if isinstance(column, list) else column for column in columns]
        key = tuple(id(part.samples) for part in parts if isinstance(part, Run))
        if key not in done:
            done[key] = _applied_run(function, parts, label)
        runs.append(replace(done[key], count=count))
    return replace(first, runs=tuple(runs))


def _applied_run(function: Callable[..., Array], parts: Sequence[Any], label: str) -> Run:
    """Return a function of runs and numbers."""
    runs = [part for part in parts if isinstance(part, Run)]
    for run in runs:
        if run.samples is None:
            raise UnreadableError(f"{label} follows scales or shifts of neurons, which only a new layer may follow.")
    samples = np.asarray(function(*[part.samples if isinstance(part, Run) else part for part in parts]))
    inner: list[Line] = []
    for run in runs:
        lines = run.inner if run.line is None else (run.line,)
        inner += [line for line in lines if line not in (*inner, IDENTITY)]
    return Run(0, samples, label, inner=tuple(inner[:_MOST_LINES]))


def _common_counts(all_counts: Sequence[list[int]]) -> list[int]:
    """Return the runs that none of some lists of runs cuts."""
    if all(counts == all_counts[0] for counts in all_counts):
        return all_counts[0]
    ends = sorted({int(end) for counts in all_counts for end in np.cumsum(counts)})
    return [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _cut(runs: Sequence[Run], counts: Sequence[int]) -> list[Run]:
    """Return runs cut into shorter ones; not those with vectors, of which no function is asked for."""
    parts, rest = [], iter(runs)
    left, run = 0, runs[0]
    for count in counts:
        if not left:
            run = next(rest)
            left = run.count
        parts.append(run if run.count == count else replace(run, count=count))
        left -= count
    return parts


def cut(runs: Sequence[Run], counts: list[int], sizes: Sequence[int]) -> list[Run]:
    """Return runs that are also cut where parts of these sizes end."""
    return _cut(runs, _common_counts([counts, list(sizes)]))


# --- the end of a layer -----------------------------------------------------------------------------------------------


def closed(value: Neurons) -> tuple[tuple[int, Named], ...]:
    """Return what a layer's neurons compute, by names."""
    found = []
    for run in value.runs:
        known = run.named()
        if known is None:
            raise UnreadableError(f"{run.label} makes {_NOT_KNOWN}")
        found.append((run.count, known))
    return tuple(found)
