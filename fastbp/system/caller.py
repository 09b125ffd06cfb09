"""Warnings that point at a line of the user's program, however deep below it they arise."""

from __future__ import annotations

import sys
import warnings

__all__ = ["warn"]

# Packages and modules whose frames are passed over: fastbp's own; those of scikit-learn, whose wrappers, pipelines and
# searches call fastbp; joblib, through which they do so; and the standard library's context managers.
_PASSED_OVER = frozenset({"fastbp", "sklearn", "joblib", "contextlib"})


def warn(message: str, category: type[Warning] = UserWarning, module: str | None = None) -> None:
    """Warn as if the nearest line of the user's program did.

    `warnings.warn` has no `stacklevel` that fits every way from there to here, and its `skip_file_prefixes` came with
    Python 3.12 and leaves no choice of the module.

    Parameters
    ----------
    message : str
        What to say.
    category : type
        Class of the warning.
    module : str, optional
        The module that filters of warnings look at; by default the user's own.

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn("the loss is not finite")
    >>> print(caught[0].message)
    the loss is not finite
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED_OVER:
        frame = frame.f_back
    names = frame.f_globals
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        module or names.get("__name__") or "<unknown>",
        names.setdefault("__warningregistry__", {}),  # of what was said already, line by line
    )
