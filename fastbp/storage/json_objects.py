"""JSON from strangers: one object, with distinct keys, finite numbers and few levels."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

__all__ = ["NotJsonError", "json_object"]

_MOST_LEVELS = 64  # of lists and objects in each other; what fastbp writes has some ten


class NotJsonError(ValueError):
    """What is wrong with a text; its subject is the text."""


def json_object(text: str) -> dict[str, Any]:
    """Return a JSON object with distinct keys and finite numbers, which does not nest deeply.

    Parameters
    ----------
    text : str
        Anything.

    Raises
    ------
    NotJsonError
        If it is something else.

    Examples
    --------
    >>> json_object('{"a": [1, 2.5]}')
    {'a': [1, 2.5]}
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands there twice")
        return found

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number")

    def finite(word: str) -> float:
        number = float(word)
        return number if math.isfinite(number) else refuse(word)

    try:
        value = json.loads(text, object_pairs_hook=distinct, parse_constant=refuse, parse_float=finite)
    except RecursionError as error:
        raise NotJsonError("nests too deeply.") from error
    except ValueError as error:
        raise NotJsonError(f"is not valid JSON: {error}.") from error
    if not isinstance(value, dict):
        raise NotJsonError(f"must be a JSON object; it is a {type(value).__name__}.")
    if _is_deep(value):
        raise NotJsonError("nests too deeply.")
    return value


def _is_deep(value: Any) -> bool:
    """Whether a value nests deeper than any that is written, so that a message with it would overflow the stack."""
    level = [value]
    for _ in range(_MOST_LEVELS):
        containers = [item for item in level if isinstance(item, list | dict) and item]
        level = [item for part in containers for item in (part.values() if isinstance(part, dict) else part)]
        if not level:
            return False
    return True
