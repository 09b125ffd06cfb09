"""The command by its first word, and how it ends: what went wrong is one line, and an exit status of its kind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import fastbp as bp
from fastbp.command_line import compiling, demo, info
from fastbp.command_line.options import UsageError

__all__ = ["main"]

_COMMANDS = ("demo", "train", "predict", "info", "warmup")


def main(argv: Sequence[str] | None = None, program: str = "fastbp") -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The command's name and its options; by default those of the command line.  Without a name it is `demo`.
    program : str
        What was typed to call it, for the texts of ``--help``.

    Returns
    -------
    int
        Exit status: 0, 1 if training diverged or the gradient is wrong, 2 for wrong options or a wrong file, 130 after
        Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _command(words, program)
        if sys.stdout is not None:  # None where it was closed before Python began
            sys.stdout.flush()
        return status
    except UnicodeEncodeError as error:
        return _fail(f"error: standard output cannot show {error.object[error.start]!r}; set PYTHONIOENCODING=utf-8", 2)
    except UsageError as error:
        return _fail(f"error: {error}", 2)
    except bp.TrainingDivergedError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except SystemExit as leave:  # after --help and --version
        return int(leave.code or 0)
    except BrokenPipeError:  # the reader of the output, such as head, has gone
        _forget_output()
        return 1
    except MemoryError as error:
        return _fail(f"error: there is not enough memory: {str(error).rstrip('.')}", 2)
    except OSError as error:  # of files there are errors of their own
        _forget_output()
        return _fail(f"error: standard output cannot be written: {error.strerror or error}", 2)


def _forget_output() -> None:
    """Have what is still to be written go nowhere, so that the end of Python does not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _command(words: list[str], program: str) -> int:
    """Run the command that the first word names; options alone are those of the demonstration."""
    if not words or words[0].startswith("-"):
        return demo.run(words, program, is_named=False)
    name, *options = words
    if name not in _COMMANDS:
        raise UsageError(f"the command must be one of {', '.join(_COMMANDS)}; got {name!r}")
    return _runner(name)(options, program)


def _runner(name: str) -> Callable[[Sequence[str], str], int]:
    """Return what runs a command; each loads the libraries that it needs."""
    if name == "train":
        from fastbp.command_line import train

        return train.run
    if name == "predict":
        from fastbp.command_line import predict

        return predict.run
    others = {"demo": demo.run, "info": info.run, "warmup": compiling.compile_ahead}
    return others[name]


def _fail(message: str, status: int) -> int:
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message)  # of any file's name
    print(f"fastbp: {line}", file=sys.stderr)
    return status
