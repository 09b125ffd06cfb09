"""``python -m fastbp``: train on handwritten digits, check the gradient, and time it against n + 1 forward passes.

``python -m fastbp warmup`` only compiles the kernels.  The command ``fastbp`` is the same.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import fastbp as bp
from fastbp.digits import Digits, embedded_digits, read_digits
from fastbp.functions.activations import OF_ONE_Z
from fastbp.inspection.gradient_times import measure_gradient
from fastbp.validation.arrays import DTYPES
from fastbp.warmup import ALL_KERNELS, FIRST_USE

_PROGRAM = "python -m fastbp" if __name__ == "__main__" else "fastbp"  # as it was called

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


class _UsageError(Exception):
    """The options or the file are wrong; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, without the summary of all options."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process, so that `main` may be called from Python."""
        raise _UsageError(message)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the main job.

    Parameters
    ----------
    argv : sequence of str, optional
        Options; by default those of the command line.

    Returns
    -------
    int
        Exit status: 0, 1 if training diverged or the gradient is wrong, 2 for wrong options or a wrong file, 130 after
        Ctrl-C.
    """
    try:
        words = sys.argv[1:] if argv is None else argv
        status = _compile_ahead(words[1:]) if words[:1] == ["warmup"] else _run(_parser().parse_args(words))
        sys.stdout.flush()
        return status
    except _UsageError as error:
        return _fail(f"error: {error}", 2)
    except bp.TrainingDivergedError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except SystemExit as leave:  # after --help and --version
        return int(leave.code or 0)
    except BrokenPipeError:  # the reader of the output, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(message: str, status: int) -> int:
    print(f"fastbp: {message}", file=sys.stderr)
    return status


def _run(options: argparse.Namespace) -> int:
    """Load, train, check, compare."""
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
    with _slow_start_explained():
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
            raise _UsageError(f"{options.data} cannot be opened: {error.strerror or error}") from error
        except ValueError as error:
            raise _UsageError(str(error)) from error
    if options.batch_size > len(digits.X_train):
        raise _UsageError(
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
        f"{len(history)} epochs of {options.optimizer} with learning rate {rate:g} in {_time(seconds)}, "
        f"{_time(seconds / steps)} for a step of {options.batch_size} images"
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
            f"{_sizes(net):>12}{net.n_params:8}{_time(times.backpropagation):>12}{_time(times.perturbation):>15}"
            f"{times.perturbation / times.backpropagation:9.1f}{(net.n_params + 1) / 3:14.1f}"
        )


# --- the first calls --------------------------------------------------------------------------------------------------


def _compile_ahead(argv: Sequence[str]) -> int:
    """Compile the kernels, or load them from the disk, and say how long it took."""
    parser = _Parser(
        prog=f"{_PROGRAM} warmup",
        description="Compile all kernels and keep them on disk, so that no later call has to wait for it.",
        allow_abbrev=False,
    )
    parser.add_argument("--dtype", choices=DTYPES, help="of the networks that will be used (both)")
    dtype = parser.parse_args(argv).dtype
    with _slow_start_explained(ALL_KERNELS):
        for name in DTYPES if dtype is None else (dtype,):
            print(f"{name}: ready after {_time(bp.warmup(name)[name])}", flush=True)
    return 0


class _Explanation(logging.Handler):
    """Say once why nothing happens, when the first kernel is compiled."""

    def __init__(self, seconds: str) -> None:
        super().__init__(logging.INFO)
        self._is_said, self._seconds = False, seconds

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        if not self._is_said:
            self._is_said = True
            what = "compiling the kernels; they are kept on disk, so this happens once and takes"
            print(f"{what} {self._seconds} for each dtype", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _slow_start_explained(seconds: str = FIRST_USE) -> Iterator[None]:
    """Say that kernels are compiled, if they are."""
    logger, explanation = logging.getLogger("fastbp.kernels.compiler"), _Explanation(seconds)
    level = logger.level
    logger.addHandler(explanation)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(explanation)


# --- options and texts ------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Train a network on handwritten digits, check its gradient, and compare the time of one gradient "
        f"by backpropagation with that of n + 1 forward passes. `{_PROGRAM} warmup` only compiles the kernels.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"fastbp {bp.__version__}")
    add("--hidden", type=_layer_sizes, default=[200], metavar="SIZES", help="hidden layers: 200, or 128,64")
    add("--activation", choices=OF_ONE_Z, default="relu", metavar="NAME", help=", ".join(OF_ONE_Z))
    add("--dropout", type=_share, default=0.3, metavar="SHARE", help="of hidden neurons, in training (%(default)s)")
    add("--optimizer", choices=_OPTIMIZERS, default="adam", help="rule of a step (%(default)s)")
    add("--learning-rate", type=_positive_number, metavar="RATE", help="first one; it falls along a cosine")
    add("--batch-size", type=_at_least(1), default=16, metavar="N", help="images of a mini-batch (%(default)s)")
    add(
        "--epochs",
        type=_at_least(1),
        metavar="N",
        help=f"passes over the images ({_EPOCHS}, with --quick {_QUICK_EPOCHS})",
    )
    add("--seed", type=_at_least(0), default=0, metavar="N", help="of weights and order (%(default)s)")
    add("--threads", type=_at_least(1), metavar="N", help="by default as many as the process may use")
    add("--dtype", choices=DTYPES, default="float64", help="type of all numbers (%(default)s)")
    add("--data", metavar="FILE", help=".npz with X_train, y_train, X_test, y_test instead of scikit-learn's digits")
    add("--quick", action="store_true", help="fewer epochs, and a shorter table")
    add("--no-table", action="store_true", help="leave the comparison with n + 1 forward passes out")
    return parser


def _layer_sizes(text: str) -> list[int]:
    """Return sizes from text such as 128,64."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"must be sizes above 0 such as 100 or 128,64; got {text!r}")
    return [int(part) for part in parts]


def _at_least(least: int) -> Callable[[str], int]:
    """Return a converter of integers."""

    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise argparse.ArgumentTypeError(f"must be an integer of at least {least}; got {text!r}")
        return number

    return convert


def _positive_number(text: str) -> float:
    """Return a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text!r}")
    return number


def _share(text: str) -> float:
    """Return a number in [0, 1)."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 <= number < 1.0:
        raise argparse.ArgumentTypeError(f"must be a number of at least 0 and below 1; got {text!r}")
    return number


def _sizes(net: bp.Network) -> str:
    return "-".join(str(size) for size in net.sizes)


def _time(seconds: float) -> str:
    """Return a time with three digits and the unit that fits."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * length:  # which three digits would round to 1000 of the smaller unit
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


if __name__ == "__main__":
    sys.exit(main())
