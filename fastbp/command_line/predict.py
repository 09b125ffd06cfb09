"""``fastbp predict``: what a model of ``fastbp train`` says of another table."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

import fastbp as bp
from fastbp.command_line.compiling import slow_start_explained
from fastbp.command_line.findings import require_range
from fastbp.command_line.options import Parser, UsageError
from fastbp.command_line.reading import Format, add_options, read_table
from fastbp.command_line.writing import require_format, require_other, write_predictions
from fastbp.neural_network.table_pipelines import states_of

__all__ = ["run"]

_DESCRIPTION = """Predict with a model of `{program} train`. The table needs the columns that the model has learned
from, in any order; others are passed over. Words that were not there in training count as none of those
that were, and a number that is missing as the median."""
_EPILOG = """examples:
  {program} predict model.fastbp new.csv
  {program} predict model.fastbp new.parquet --probabilities --output predictions.csv"""


def run(words: Sequence[str], program: str) -> int:
    """Read the model and the table, predict, and write."""
    options = _parser(program).parse_args(words)
    require_format(options.output)
    if options.output != "-":
        require_other("--output", options.output, options.model, options.data)
    pipeline = _pipeline(options.model, program)
    network = pipeline.named_steps["network"]
    if options.probabilities and not hasattr(network, "classes_"):
        raise UsageError(f"argument --probabilities: must be for a model of classes; {options.model} predicts numbers")
    frame = _table(options, pipeline)
    classes = getattr(network, "classes_", ())
    if not len(frame):  # which scikit-learn refuses
        nothing = np.empty((0, max(1, len(classes))), network.network_.dtype)
        write_predictions(
            options.output, nothing[:, :0].reshape(0), nothing if options.probabilities else None, classes
        )
        return 0
    try:
        with slow_start_explained():
            X = pipeline.named_steps["columns"].transform(frame)
            require_range(X, network.network_.dtype, options.data)
            predicted = network.predict(X)
        probabilities = network.predict_proba(X) if options.probabilities else None
    except ValueError as error:
        raise UsageError(f"{options.data}: {str(error).rstrip('.')}") from error
    write_predictions(options.output, predicted, probabilities, classes)
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{program} predict",
        description=textwrap.fill(_DESCRIPTION.format(program=program), 78),
        epilog=_EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=f"a file that `{program} train` wrote")
    add("data", metavar="DATA", help="table: .csv, .csv.gz, .tsv, .txt, .parquet or .npz")
    add("--output", default="-", metavar="FILE", help=".csv, .parquet, .npz, or - for CSV on standard output (-)")
    add("--probabilities", action="store_true", help="also a column with the probability of each class")
    add_options(parser)
    return parser


def _pipeline(path: str, program: str) -> Pipeline:
    """Return the model of a file."""
    try:
        pipeline = bp.load(path)
    except OSError as error:
        reason = str(error.strerror or error).replace("`path`", "it")
        raise UsageError(f"{path} cannot be read: {reason}") from error
    except ImportError as error:
        raise UsageError(str(error).rstrip(".")) from error
    except ValueError as error:
        raise UsageError(str(error).rstrip(".").replace("`path`", "MODEL")) from error
    if not isinstance(pipeline, Pipeline):
        raise UsageError(
            f"{path} must be a file of `{program} train`; it holds a {type(pipeline).__name__}, which fastbp.load reads"
        )
    return pipeline


def _table(options: argparse.Namespace, pipeline: Pipeline) -> Any:
    """Return the rows to predict for, with the columns that the model needs."""
    states = states_of(pipeline.named_steps["columns"])
    needed = states["numbers"] + states["words"]
    how = Format(options.delimiter, options.encoding, options.features_name)
    frame = read_table(options.data, how, words=states["words"])
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(
            f"{options.data} must have the columns that the model has learned from; it lacks {missing[0]!r}{more}"
        )
    return frame[needed]
