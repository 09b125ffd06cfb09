"""Rounds in turn: what is compared is measured in the same seconds, not one after the other.

On a machine that others use as well one minute may be half as fast as the next.  So the first row of a group prepares
all contestants of the group and lets them do a few rounds each, in turn, several times; each row then shows the
shortest round of each of its turns to pytest-benchmark, by `driver.worker_clock`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import driver


@dataclass
class Entry:
    """A contestant: what it has prepared, the shortest round of each of its turns, or why there are none."""

    ready: Any = None
    seconds: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def shortest(self) -> float:
        """Seconds of the shortest round of all."""
        return min(self.seconds)


def in_turn(prepare: Mapping[Hashable, Callable[[], Any]], turns: int, at_once: int) -> dict[Hashable, Entry]:
    """Prepare all contestants, then give each a turn of `at_once` rounds, `turns` times.

    What is prepared has a method `round`, which returns seconds.  A contestant that fails has its error in its entry,
    and the others go on without it.
    """
    entries: dict[Hashable, Entry] = {name: Entry() for name in prepare}

    def attempt(entry: Entry, call: Callable[[], Any]) -> Any:
        if entry.error is None:
            try:
                return call()
            except Exception as error:  # its own row will raise it
                entry.error = error
        return None

    for name, entry in entries.items():
        entry.ready = attempt(entry, prepare[name])
    for _ in range(turns):
        for entry in entries.values():
            took = attempt(entry, lambda entry=entry: driver.turn(entry.ready, at_once))
            if took is not None:
                entry.seconds.append(took)
    return entries


def show(benchmark: Any, entry: Entry) -> None:
    """Let pytest-benchmark time the turns of an entry again, by the clock that shows what their rounds took."""
    seconds = iter(entry.seconds)
    benchmark.extra_info["turns"] = list(entry.seconds)  # in turn with those of the other rows
    benchmark.pedantic(lambda: driver.advance(next(seconds)), rounds=len(entry.seconds))


class Contests:
    """The contests of a session, each held when its first row comes."""

    def __init__(self, at_once: int = driver.ROUNDS_AT_ONCE) -> None:
        self.at_once = at_once
        self._held: dict[Hashable, dict[Hashable, Entry]] = {}

    def entries(
        self, group: Hashable, prepare: Mapping[Hashable, Callable[[], Any]], turns: int
    ) -> dict[Hashable, Entry]:
        """The entries of all contestants of a group."""
        if group not in self._held:
            self._held[group] = in_turn(prepare, turns, self.at_once)
        return self._held[group]
