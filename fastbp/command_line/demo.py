"""The demonstration: train on handwritten digits, check the gradient, and time it against n + 1 forward passes."""

from __future__ import annotations

import argparse
import math
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastbp as bp
from fastbp.command_line.compiling import slow_start_explained
from fastbp.command_line.options import Parser, UsageError, at_least, layer_sizes, positive_number, share, time_text
from fastbp.digits import Digits, embedded_digits, read_digits
from fastbp.functions.activations import OF_ONE_Z
from fastbp.inspection.gradient_times import measure_gradient
from fastbp.validation.arrays import DTYPES

__all__ = ["run"]

# Each rule with a learning rate to begin with that suits the digits; it falls to 0 along a cosine.
_OPTIMIZERS: dict[str, tuple[Callable[[bp.Schedule], bp.Optimizer], float]] = {
    "sgd": (lambda rate: bp.SGD(rate, momentum=0.9), 0.05),
    "adam": (bp.Adam, 1e-2),
    "adamw": (bp.AdamW, 1e-2),
    "rmsprop": (bp.RMSprop, 3e-3),
}
_EPOCHS, _QUICK_EPOCHS = 60, 10
_CHECKED_ROWS = 16
_CHECK_FLOPS = 1e10  # about a second; a large network's gradient is checked for some of its parameters
# From five parameters to some thousands.
_TABLE = ((2, 1, 1), (4, 4, 2), (8, 12, 4), (16, 32, 4), (64, 32, 10), (64, 100, 10))
_TABLE_ROWS = 100


def run(words: Sequence[str], program: str, is_named: bool = True) -> int:
    """Load, train, check, compare; without its name the command explains all of them."""
    options = _parser(program, is_named).parse_args(words)
    digits = _load(options)
    net = bp.Network(
        [digits.X_train.shape[1], *options.hidden, digits.n_classes],
        activation=options.activation,
        output="softmax",
        loss="cross_entropy",
        dtype=options.dtype,
        seed=options.seed,
        dropout=options.dropout,
    )
    print(f"{digits.name}: {len(digits.X_train)} images to learn from, {len(digits.X_test)} to test with")
    print(f"network {_sizes(net)}, {options.activation}, {net.n_params} parameters, {options.dtype}")
    with slow_start_explained():
        bp.warmup(options.dtype)
    _train(net, digits, options)
    is_right = _check(net, digits, options)
    if not options.no_table:
        _table(options)
    return 0 if is_right else 1


# --- the parts of the job ---------------------------------------------------------------------------------------------


def _load(options: argparse.Namespace) -> Digits:
    """Return the digits asked for."""
    if options.data is None:
        digits = embedded_digits(options.dtype)
    else:
        try:
            digits = read_digits(options.data, options.dtype)
        except OSError as error:
            raise UsageError(f"{options.data} cannot be opened: {error.strerror or error}") from error
        except ValueError as error:
            raise UsageError(str(error)) from error
    if options.batch_size > len(digits.X_train):
        raise UsageError(
            f"argument --batch-size: must be at most the number of images to learn from, {len(digits.X_train)}; got "
            f"{options.batch_size}"
        )
    return digits


def _train(net: bp.Network, digits: Digits, options: argparse.Namespace) -> None:
    """Train and print the accuracies."""
    make, usual_rate = _OPTIMIZERS[options.optimizer]
    rate = usual_rate if options.learning_rate is None else options.learning_rate
    history = net.fit(
        digits.X_train,
        digits.y_train,
        epochs=options.epochs or (_QUICK_EPOCHS if options.quick else _EPOCHS),
        batch_size=options.batch_size,
        optimizer=make(bp.Cosine(rate)),
        seed=options.seed,
        progress=True,
        n_threads=options.threads,
    )
    seconds = history.seconds.sum()
    steps = len(history) * math.ceil(len(digits.X_train) / options.batch_size)
    print(
        f"{len(history)} epochs of {options.optimizer} with learning rate {rate:g} in {time_text(seconds)}, "
        f"{time_text(seconds / steps)} for a step of {options.batch_size} images"
    )
    train = _accuracy(net, digits.X_train, digits.y_train, options.threads)
    test = _accuracy(net, digits.X_test, digits.y_test, options.threads)
    print(f"\n{'training accuracy':18}{train:8.2%}\n{'test accuracy':18}{test:8.2%}\n")


def _accuracy(net: bp.Network, X: NDArray[Any], y: NDArray[np.int64], n_threads: int | None) -> float:
    """Return the share of images whose largest output is the right one."""
    return float((net.predict(X, n_threads=n_threads).argmax(axis=1) == y).mean())


def _check(net: bp.Network, digits: Digits, options: argparse.Namespace) -> bool:
    """Compare backpropagation's gradient with differences of the cost; whether they agree."""
    from fastbp.inspection.gradient_check import check_gradient

    X, y = digits.X_test[:_CHECKED_ROWS], digits.y_test[:_CHECKED_ROWS]
    passes = _CHECK_FLOPS / (2 * net.n_params * len(X))  # two for each parameter
    report = check_gradient(net, X, y, max_params=max(100, int(passes / 2)), n_threads=options.threads)
    print(f"on {len(X)} images, the {report}\n")
    return bool(report.ok)


def _table(options: argparse.Namespace) -> None:
    """Time one gradient by backpropagation and by n + 1 forward passes, for networks of growing size."""
    sizes = _TABLE[:-2] if options.quick else _TABLE
    print(f"one gradient over {_TABLE_ROWS} rows by backpropagation, and by n + 1 forward passes")
    print(f"{'network':>12}{'n':>8}{'backprop':>12}{'n + 1 passes':>15}{'ratio':>9}{'(n + 1) / 3':>14}")
    for layers in sizes:
        net = bp.Network(layers, activation="tanh", dtype=options.dtype, seed=options.seed)
        times = measure_gradient(net, _TABLE_ROWS, n_threads=options.threads)
        print(
            f"{_sizes(net):>12}{net.n_params:8}{time_text(times.backpropagation):>12}{time_text(times.perturbation):>15}"
            f"{times.perturbation / times.backpropagation:9.1f}{(net.n_params + 1) / 3:14.1f}"
        )


# --- options and texts ------------------------------------------------------------------------------------------------


_DESCRIPTION = """Train a network on handwritten digits, check its gradient, and compare the time of one gradient by
backpropagation with that of n + 1 forward passes. `{program} warmup` only compiles the kernels."""
_EPILOG = """commands, each with a --help of its own:
  train    train on a table (CSV, Parquet, .npz) and keep the model in a file
  predict  predictions of such a model for another table
  info     versions, processor, threads and the folder of compiled kernels
  warmup   compile all kernels ahead of their first use
  demo     what is described above, as without a command"""


def _parser(program: str, is_named: bool) -> argparse.ArgumentParser:
    parser = Parser(
        prog=f"{program} demo" if is_named else program,
        description=textwrap.fill(_DESCRIPTION.format(program=program), 78),
        epilog=None if is_named else _EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"fastbp {bp.__version__}")
    add("--hidden", type=layer_sizes, default=[200], metavar="SIZES", help="hidden layers: 200, or 128,64")
    add("--activation", choices=OF_ONE_Z, default="relu", metavar="NAME", help=", ".join(OF_ONE_Z))
    add("--dropout", type=share, default=0.3, metavar="SHARE", help="of hidden neurons, in training (%(default)s)")
    add("--optimizer", choices=_OPTIMIZERS, default="adam", help="rule of a step (%(default)s)")
    add("--learning-rate", type=positive_number, metavar="RATE", help="first one; it falls along a cosine")
    add("--batch-size", type=at_least(1), default=16, metavar="N", help="images of a mini-batch (%(default)s)")
    add(
        "--epochs",
        type=at_least(1),
        metavar="N",
        help=f"passes over the images ({_EPOCHS}, with --quick {_QUICK_EPOCHS})",
    )
    add("--seed", type=at_least(0), default=0, metavar="N", help="of weights and order (%(default)s)")
    add("--threads", type=at_least(1), metavar="N", help="by default as many as the process may use")
    add("--dtype", choices=DTYPES, default="float64", help="type of all numbers (%(default)s)")
    add("--data", metavar="FILE", help=".npz with X_train, y_train, X_test, y_test instead of scikit-learn's digits")
    add("--quick", action="store_true", help="fewer epochs, and a shorter table")
    add("--no-table", action="store_true", help="leave the comparison with n + 1 forward passes out")
    return parser


def _sizes(net: bp.Network) -> str:
    return "-".join(str(size) for size in net.sizes)
