"""The options of ``fastbp train``."""

from __future__ import annotations

import argparse
import textwrap

from fastbp.command_line.options import (
    Parser,
    at_least,
    layer_sizes,
    number_of_at_least_0,
    positive_number,
    share_above_0,
)
from fastbp.command_line.reading import add_options
from fastbp.functions.activations import OF_ONE_Z
from fastbp.validation.arrays import DTYPES

__all__ = ["train_parser"]

_LARGEST_SEED = 2**32 - 1  # that scikit-learn's split of the rows takes
_DESCRIPTION = """Train a network to predict one column of a table from the others, and keep it in a file
for `{program} predict`. Words become a column for each of them, numbers are standardised, missing
numbers become the median. A part of the rows is held out, and the score is that on them."""
_EPILOG = """examples:
  {program} train iris.csv --target species
  {program} train houses.csv.gz --target price --drop id,address --hidden 64,32 --early-stopping
  {program} train digits.npz --output digits.fastbp --onnx digits.onnx

In Python, fastbp.load("model.fastbp") is a pipeline of scikit-learn, whose predict takes a data frame."""


def train_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        prog=f"{program} train",
        description=textwrap.fill(_DESCRIPTION.format(program=program), 78),
        epilog=_EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_table(parser)
    _add_network(parser)
    return parser


def _add_table(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="table: .csv, .csv.gz, .tsv, .txt, .parquet or .npz")
    add("--target", metavar="COLUMN", help="to be predicted: its name, or its number from 0 (the last; of .npz: y)")
    add(
        "--task",
        choices=("auto", "classification", "regression"),
        default="auto",
        help="by default words and few whole numbers are classes, other numbers a quantity",
    )
    add("--drop", type=_names, default=[], metavar="COLUMNS", help="not to be learned from: a,b,c")
    add("--max-categories", type=at_least(1), default=100, metavar="N", help="words used of a column (%(default)s)")
    add("--validation", metavar="FILE", help="table of the rows held out, instead of a part of DATA")
    add("--validation-fraction", type=share_above_0, default=0.2, metavar="SHARE", help="held out (%(default)s)")
    add_options(parser)
    add("--output", default="model.fastbp", metavar="FILE", help="the model (%(default)s); one that exists is replaced")
    add("--onnx", metavar="FILE", help="the same model for other programs, with an input for each column")


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--hidden", type=layer_sizes, default=[100], metavar="SIZES", help="hidden layers (100), such as 128,64")
    add("--activation", choices=OF_ONE_Z, default="relu", metavar="NAME", help=", ".join(OF_ONE_Z))
    add("--epochs", type=at_least(1), default=200, metavar="N", help="at most (%(default)s)")
    add("--batch-size", type=at_least(1), metavar="N", help="rows of a mini-batch (200, or all of fewer)")
    add("--learning-rate", type=positive_number, default=0.001, metavar="RATE", help="of Adam (%(default)s)")
    add("--alpha", type=number_of_at_least_0, default=0.0001, metavar="X", help="of the L2 penalty (%(default)s)")
    add("--early-stopping", action="store_true", help="end when the score of the rows held out does not improve")
    add(
        "--seed",
        type=at_least(0, _LARGEST_SEED),
        default=0,
        metavar="N",
        help="of weights, order and split (%(default)s)",
    )
    add("--threads", type=at_least(1), metavar="N", help="by default as many as the process may use")
    add("--dtype", choices=DTYPES, default="float64", help="type of the network's numbers (%(default)s)")
    add("--no-progress", action="store_true", help="no progress bar, which only a terminal has anyway")
    add("--quiet", action="store_true", help="no progress bar and no report")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
