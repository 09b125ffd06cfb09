"""A progress bar on standard error, for those who ask for one and look at it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves the bar by some units; the keywords are shown behind it."""

    def __call__(self, units: int, /, **shown: str) -> None:
        """Move the bar."""


@contextmanager
def progress_bar(total: int, unit: str, *, wanted: bool, begun: int = 0) -> Iterator[Advance]:
    """Give the function that moves the bar, or one that does nothing.

    There is no bar in a file or a pipe, nor where a program has no standard error, as under pythonw.
    """
    if not wanted or sys.stderr is None or getattr(sys.stderr, "closed", False):
        yield lambda units, /, **shown: None
        return
    from tqdm.auto import tqdm

    # A notebook's bar is no text, and what it has for a standard error need not be a terminal.
    in_notebook = any(base.__module__ == "tqdm.notebook" for base in tqdm.__mro__)
    with tqdm(total=total, unit=unit, initial=begun, disable=False if in_notebook else None) as bar:

        def advance(units: int, /, **shown: str) -> None:
            if shown:
                bar.set_postfix(shown, refresh=False)
            bar.update(units)

        yield advance
