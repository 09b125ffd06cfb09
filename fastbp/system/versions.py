"""Which versions of other libraries fastbp was tried with, said where one has lost what fastbp needs of it."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Iterator

__all__ = ["TRIED", "explained"]

# Library: the oldest version, which is pyproject.toml's lower bound, and the newest that was seen by
# `python -m tests.with_versions`; newer ones may well work, too.
TRIED = {
    "numba": ("0.62", "0.68"),
    "numpy": ("2.0", "2.5"),
    "scikit-learn": ("1.7", "1.9"),
    "scipy": ("1.13", "1.18"),
}
_LIBRARIES = {"sklearn": "scikit-learn", "llvmlite": "numba"}  # the one that is installed for it


@contextlib.contextmanager
def explained(own_version: str) -> Iterator[None]:
    """Say of an import that fails in another library which versions of it work.

    Parameters
    ----------
    own_version : str
        fastbp's version.

    Raises
    ------
    ImportError
        If a library lacks something; if it is not there at all, Python's own error says so.

    Examples
    --------
    >>> with explained("0.1"):
    ...     from sklearn.base import NoSuchThing  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ImportError: fastbp 0.1 works with scikit-learn 1.7 to 1.9 and perhaps newer, and here is ...
    """
    try:
        yield
    except (ImportError, AttributeError) as error:
        owner = error.name if isinstance(error, ImportError) else getattr(error.obj, "__name__", "")
        name = str(owner)
        top = name.partition(".")[0]
        library = _LIBRARIES.get(top, top)
        if library not in TRIED or (name == top and isinstance(error, ModuleNotFoundError)):
            raise
        oldest, newest = TRIED[library]
        raise ImportError(
            f"fastbp {own_version} works with {library} {oldest} to {newest} and perhaps newer, and here is {library} "
            f"{importlib.metadata.version(library)}, of which it cannot use all: {error}. Another {library} or a newer "
            "fastbp cures that.",
            name=name,
        ) from error
