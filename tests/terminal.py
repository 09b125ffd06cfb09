"""A standard error that somebody looks at."""

import contextlib
import io


class Terminal(io.StringIO):
    """What is written to it, and that it is a terminal."""

    def isatty(self):
        return True


def terminal():
    """Put a terminal in place of standard error: ``with terminal() as shown: ... shown.getvalue()``."""
    return contextlib.redirect_stderr(Terminal())
