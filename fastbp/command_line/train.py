"""``fastbp train``: a network that learns one column of a table from the others, kept in a file with all it needs."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

import fastbp as bp
from fastbp.command_line.compiling import slow_start_explained
from fastbp.command_line.findings import Columns, Target, find_columns, find_target, require_range, row_number
from fastbp.command_line.options import UsageError, time_text
from fastbp.command_line.reading import Format, read_table
from fastbp.command_line.train_options import train_parser
from fastbp.command_line.writing import require_other, require_place
from fastbp.functions.names import DTypeName
from fastbp.neural_network import MLPClassifier, MLPRegressor
from fastbp.neural_network.table_columns import LARGEST, as_numbers, as_words, number_or_nan
from fastbp.neural_network.table_onnx import require_onnx, write_onnx
from fastbp.neural_network.table_pipelines import make_columns, save

__all__ = ["run"]

_LEAST_ROWS = 5  # with a target, to learn from and to test with
_NAMES_OF_SCIKIT_LEARN = {"sigmoid": "logistic"}
_SHOWN = 10  # classes, or columns of which the same is said
_LARGEST_SINGLE = 1e30  # in float32, whose squares of larger numbers may be infinite


class _Rows(NamedTuple):
    """Rows to learn from, and rows held out: of the same file, or of another one."""

    frame: Any
    y: NDArray[Any]
    held_frame: Any
    held_y: NDArray[Any]
    origin: str
    is_split: bool


def run(words: Sequence[str], program: str) -> int:
    """Read, find out, train, test, report and write."""
    options = train_parser(program).parse_args(words)
    for place in (options.output, options.onnx):
        if place is not None:
            require_place(place)
    require_other("--output", options.output, options.data, options.validation)
    require_other("--onnx", options.onnx, options.data, options.validation, options.output)
    if options.onnx is not None:
        _for_onnx()
    say = (lambda *_: None) if options.quiet else print
    frame, name = _table(options)
    target = find_target(frame[name], name, options.task)
    frame = frame.drop(columns=name)
    counting = row_number(frame)
    if counting:
        frame = frame.drop(columns=counting)
    rows = _split(frame[target.is_known], target, name, options)
    held_out = rows.held_frame if rows.is_split else rows.held_frame[:0]  # another file's are told by its own error
    columns = find_columns(rows.frame, held_out, options.max_categories)
    if counting:
        columns.notes["left out, counting the rows"] = [counting]
    if not columns.numbers and not columns.words:
        raise UsageError(f"{options.data} has no column to learn from; {_all_notes(columns)}")
    if options.onnx is not None:
        _for_onnx(columns)
    inputs = _inputs(rows, target, columns, options)
    _say_findings(say, options, name, target, columns)
    pipeline, seconds = _trained(rows, target, inputs, options)
    _say_results(say, pipeline, rows, target, seconds)
    _write(say, program, pipeline, options)
    return 0


def _for_onnx(columns: Columns | None = None) -> None:
    """Raise before anything is trained that cannot become an ONNX model."""
    try:
        require_onnx([] if columns is None else [*columns.numbers, *columns.words])
    except (ImportError, ValueError) as error:
        raise UsageError(f"argument --onnx: {str(error).rstrip('.')}") from error


# --- data -------------------------------------------------------------------------------------------------------------


def _table(options: argparse.Namespace) -> tuple[Any, str]:
    """Return the table without the columns that are dropped, and the target's name."""
    is_arrays = options.data.lower().endswith(".npz")
    frame = read_table(options.data, _format(options), target=(options.target or "y") if is_arrays else None)
    if not len(frame):
        raise UsageError(f"{options.data} has no rows")
    name = frame.columns[-1] if is_arrays else _target_name(frame, options)
    for column in options.drop:
        if column not in frame.columns:
            raise UsageError(f"argument --drop: must be columns of {options.data}; it has no {column!r}")
        if column == name:
            raise UsageError(f"argument --drop: must not hold the target {name!r}")
    frame = frame.drop(columns=options.drop)
    if frame.shape[1] < 2:
        raise UsageError(f"{options.data} has no columns to learn from beside the target {name!r}")
    return frame, name


def _format(options: argparse.Namespace) -> Format:
    return Format(options.delimiter, options.encoding, options.features_name)


def _target_name(frame: Any, options: argparse.Namespace) -> str:
    """Return the name of the target, which may be told as a number."""
    names, told = list(frame.columns), options.target
    if told is None:
        return str(names[-1])
    if told in names:
        return str(told)
    try:
        return str(names[int(told)])
    except (ValueError, IndexError):
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise UsageError(
            f"argument --target: must be a column of {options.data}, by its name or number from 0; got {told!r}, and "
            f"there are {shown}"
        ) from None


def _split(frame: Any, target: Target, name: str, options: argparse.Namespace) -> _Rows:
    """Return the rows to learn from and those held out."""
    y = target.y
    if options.validation is not None:
        held = _validation_table(options, name, frame, target)
        known = held[held[name].notna()]
        if len(known) < 2:
            raise UsageError(f"{options.validation} must have two rows or more with a value of {name!r}")
        return _Rows(
            frame, y, known[list(frame.columns)], _held_y(known, name, target, options), options.validation, False
        )
    if len(y) < _LEAST_ROWS:
        raise UsageError(
            f"{options.data} must have {_LEAST_ROWS} rows or more with a value of {name!r}, to learn from and to test "
            f"with; it has {len(y)}"
        )
    everything = np.arange(len(y))
    count = min(max(2, round(options.validation_fraction * len(y))), len(y) - 2)
    train, held_out = train_test_split(
        everything, test_size=count, random_state=options.seed, stratify=_strata(y, target, count)
    )
    if target.task == "classification":  # a class that is only held out could not be learned
        is_learned = np.isin(y[held_out], y[train])
        held_out = held_out[is_learned] if is_learned.any() else _one_of_many(y)  # to test with
        train = np.setdiff1d(everything, held_out)
    train, held_out = np.sort(train), np.sort(held_out)
    return _Rows(frame.iloc[train], y[train], frame.iloc[held_out], y[held_out], options.data, is_split=True)


def _one_of_many(y: NDArray[Any]) -> NDArray[np.intp]:
    """Return the place of a row of the class with the most."""
    classes, counts = np.unique(y, return_counts=True)
    return np.flatnonzero(y == classes[counts.argmax()])[-1:]


def _strata(y: NDArray[Any], target: Target, count: int) -> NDArray[Any] | None:
    """Return the classes whose shares both parts keep, where each has rows enough for it."""
    if target.task == "regression":
        return None
    classes, counts = np.unique(y, return_counts=True)
    return y if counts.min() >= 2 and len(classes) <= min(count, len(y) - count) else None


def _validation_table(options: argparse.Namespace, name: str, frame: Any, target: Target) -> Any:
    path = options.validation
    needed = [*frame.columns, name]
    words = [column for column in frame.columns if np.isnan(number_or_nan(frame[column].dropna())).any()]
    if target.y.dtype.kind == "U" and not set(np.char.lower(target.y)) <= {"true", "false"}:
        words.append(name)
    is_arrays = path.lower().endswith(".npz")
    held = read_table(path, _format(options), target=name if is_arrays else None, words=words)
    missing = [column for column in needed if column not in held.columns]
    if missing:
        raise UsageError(f"{path} must have the columns of {options.data}; it lacks {missing[0]!r}")
    return held


def _held_y(known: Any, name: str, target: Target, options: argparse.Namespace) -> NDArray[Any]:
    """Return the values of the target in a file of validation rows, as those that are learned."""
    if target.y.dtype.kind == "U":
        y: NDArray[Any] = as_words(known[[name]])[:, 0].astype(str)
    else:
        y = number_or_nan(known[name])
        if not np.isfinite(y).all():
            raise UsageError(f"{options.validation} must have numbers as values of the target {name!r}")
        if (np.abs(y) >= LARGEST).any():
            raise UsageError(
                f"{options.validation} must have numbers below {LARGEST:g} as values of the target {name!r}"
            )
    if target.task == "classification":
        new = y[~np.isin(y, target.y)]
        if len(new):
            raise UsageError(
                f"{options.validation} must have classes that {options.data} has; it has {new[0].item()!r}"
            )
        return y.astype(target.y.dtype)
    return y


# --- training ---------------------------------------------------------------------------------------------------------


class _Inputs(NamedTuple):
    """What makes numbers of the columns, and those of the rows to learn from and of the rows held out."""

    encoder: Any
    X: NDArray[Any]
    held_inputs: NDArray[Any]


def _inputs(rows: _Rows, target: Target, columns: Columns, options: argparse.Namespace) -> _Inputs:
    """Return what a network is given, or raise if it cannot learn from that."""
    if options.batch_size is not None and options.batch_size > len(rows.y):
        raise UsageError(
            f"argument --batch-size: must be at most the number of rows to learn from, {len(rows.y)}; got "
            f"{options.batch_size}"
        )
    if target.task == "regression" and options.dtype == "float32" and np.abs(rows.y).max() >= _LARGEST_SINGLE:
        raise UsageError(f"argument --dtype: must be float64 for a target of {_LARGEST_SINGLE:g} and more")
    encoder = make_columns(columns.numbers, columns.words, columns.categories)
    X = encoder.fit_transform(rows.frame)
    try:
        if not rows.is_split:  # an error names the row of that file
            as_numbers(rows.held_frame[columns.numbers], rows.held_frame.index)
        held_inputs = encoder.transform(rows.held_frame)
    except ValueError as error:
        raise UsageError(f"{rows.origin}: {str(error).rstrip('.')}") from error
    require_range(held_inputs, options.dtype, rows.origin)
    return _Inputs(encoder, X, held_inputs)


def _trained(rows: _Rows, target: Target, inputs: _Inputs, options: argparse.Namespace) -> tuple[Pipeline, float]:
    """Return the fitted pipeline and how many seconds its network took."""
    mean, scale = _standard(rows.y) if target.task == "regression" else (0.0, 1.0)
    y, held_y = rows.y, rows.held_y
    if target.task == "regression":
        y, held_y = (y - mean) / scale, (held_y - mean) / scale
    network = _network(options, target.task)
    watched = {"X_val": inputs.held_inputs, "y_val": held_y} if options.early_stopping else {}
    _compile_first(options.dtype)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says how many epochs there were
        try:
            network.fit(inputs.X, y, **watched)
        except bp.TrainingDivergedError as error:  # whose text has the names of Python's arguments
            raise bp.TrainingDivergedError(
                "the loss became NaN or infinite, and nothing was written; pass a smaller --learning-rate than "
                f"{options.learning_rate:g}"
            ) from error
    seconds = time.perf_counter() - began
    _scale_outputs(network, mean, scale)
    return Pipeline([("columns", inputs.encoder), ("network", network)]), seconds


def _standard(y: NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and standard deviation of the values to learn, the latter never 0."""
    return float(y.mean()), float(y.std()) or 1.0


def _scale_outputs(network: Any, mean: float, scale: float) -> None:
    """Have the last layer, which is linear, predict values as they are in the table."""
    if isinstance(network, MLPRegressor):
        net = network.network_
        net.weights[-1][...] *= scale
        net.biases[-1][...] *= scale
        net.biases[-1][...] += mean


def _compile_first(dtype: DTypeName) -> None:
    """Compile the kernels, or load them, so that the time of the training is its own."""
    with slow_start_explained():
        net = bp.Network([1, 1], dtype=dtype, seed=0)
        net.fit(np.zeros((2, 1), dtype), np.zeros((2, 1), dtype), epochs=1, batch_size=2, seed=0)


def _network(options: argparse.Namespace, task: str) -> Any:
    """Return the estimator that the options describe."""
    return (MLPClassifier if task == "classification" else MLPRegressor)(
        hidden_layer_sizes=tuple(options.hidden),
        activation=_NAMES_OF_SCIKIT_LEARN.get(options.activation, options.activation),
        max_iter=options.epochs,
        batch_size=options.batch_size or "auto",
        learning_rate_init=options.learning_rate,
        alpha=options.alpha,
        early_stopping=options.early_stopping,
        random_state=options.seed,
        dtype=options.dtype,
        n_threads=options.threads,
        progress=not (options.quiet or options.no_progress),
    )


# --- report -----------------------------------------------------------------------------------------------------------


def _say_findings(say: Any, options: argparse.Namespace, name: str, target: Target, columns: Columns) -> None:
    """Say what was found out, and how to have it otherwise."""
    n_rows = len(target.is_known)
    told = "" if options.target is not None else ", the last column (--target chooses another one)"
    say(f"{options.data}: {n_rows} rows; to predict: {name!r}{told}")
    unknown = n_rows - int(target.is_known.sum())
    if unknown:
        say(f"left out: {unknown} rows without a value of {name!r}")
    _say_task(say, options, target)
    for note, names in columns.notes.items():
        say(_of_columns(note, names))
    parts = [(len(columns.numbers), "numbers"), (len(columns.words), "words")]
    shown = [f"{_count(count, 'column')} of {kind}" for count, kind in parts if count]
    say(f"inputs: {' and '.join(shown)}")


def _of_columns(note: str, names: list[str]) -> str:
    """Return a sentence about one column or several."""
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"column{'' if len(names) == 1 else 's'} {shown}{more}: {note}"


def _all_notes(columns: Columns) -> str:
    return "; ".join(_of_columns(note, names) for note, names in columns.notes.items())


def _say_task(say: Any, options: argparse.Namespace, target: Target) -> None:
    other = "regression" if target.task == "classification" else "classification"
    reason = f", since the target has {target.reason}" if options.task == "auto" else ""
    if reason and target.y.dtype.kind != "U" and (target.y == np.floor(target.y)).all():
        reason += f" (--task {other} overrides)"
    if target.task == "regression":
        say(f"regression{reason}")
        return
    classes, counts = np.unique(target.y, return_counts=True)
    say(f"classification into {len(classes)} classes{reason}")
    shown = ", ".join(f"{label} ({n})" for label, n in list(zip(classes, counts, strict=True))[:_SHOWN])
    say(f"classes and their rows: {shown}{', ...' if len(classes) > _SHOWN else ''}")


def _say_results(say: Any, pipeline: Pipeline, rows: _Rows, target: Target, seconds: float) -> None:
    """Say what was trained, and how well it predicts rows that it has not learned from."""
    network = pipeline.named_steps["network"]
    net = network.network_
    sizes = "-".join(str(size) for size in net.sizes)
    say(f"network {sizes}, {network.activation}, {net.n_params} parameters, {net.dtype}")
    say(f"{_count(network.n_iter_, 'epoch')} on {_count(len(rows.y), 'row')} in {time_text(seconds)}\n")
    where = f"on {_count(len(rows.held_y), 'row')} {'held out' if rows.is_split else f'of {rows.origin}'}"
    predicted = pipeline.predict(rows.held_frame)
    if target.task == "classification":
        classes, counts = np.unique(rows.y, return_counts=True)
        usual = classes[counts.argmax()]
        lines = [(f"accuracy {where}", f"{np.mean(predicted == rows.held_y):.2%}")]
        lines += [(f"of the most frequent class, {usual}", f"{np.mean(rows.held_y == usual):.2%}")]
    else:
        lines = [(f"R2 {where}", _r2(rows.held_y, predicted))]
        lines += [("of the mean of the rows learned", _r2(rows.held_y, np.full(len(rows.held_y), rows.y.mean())))]
    width = max(len(text) for text, _ in lines)
    for text, value in lines:
        say(f"{text:{width}}{value:>9}")


def _r2(y: NDArray[np.float64], predicted: NDArray[np.float64]) -> str:
    """Return the share of the variance that is predicted, as a text; it has no value where all values are one."""
    mean, scale = y.mean(), y.std()
    if not scale:
        return "none"
    return f"{r2_score((y - mean) / scale, (predicted - mean) / scale):.4f}"  # the squares of large values are finite


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _write(say: Any, program: str, pipeline: Pipeline, options: argparse.Namespace) -> None:
    """Write the files."""
    writers = [(options.output, save), (options.onnx, write_onnx)]
    for path, write in writers:
        if path is not None:
            try:
                write(pipeline, path)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error).rstrip(".")
                raise UsageError(f"{path} cannot be written: {reason}") from error
    say(f"\n{options.output}: {os.path.getsize(options.output)} bytes; {program} predict {options.output} DATA uses it")
    if options.onnx is not None:
        say(f"{options.onnx}: {os.path.getsize(options.onnx)} bytes, an ONNX model with an input for each column")
