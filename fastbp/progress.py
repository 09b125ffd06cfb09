"""A progress bar on standard error, for those who ask for one."""

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
    """Give the function that moves the bar, or one that does nothing."""
    if not wanted or sys.stderr is None:  # a program without a console, such as pythonw's, has none
        yield lambda units, /, **shown: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit=unit, initial=begun) as bar:

        def advance(units: int, /, **shown: str) -> None:
            if shown:
                bar.set_postfix(shown, refresh=False)
            bar.update(units)

        yield advance
