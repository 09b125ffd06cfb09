"""Rounds in turn: what is compared is measured in the same minutes, not one after the other.

On a machine that others use as well one minute may be half as fast as the next.  So the first row of a group prepares
all contestants of the group and lets them do their rounds one by one, in turn; each row then shows its own rounds to
pytest-benchmark by `driver.worker_clock`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench import driver

# Seconds in which threads that have nothing more to do still look for work and disturb who comes next: OpenBLAS's for
# 2**26 cycles, some 25 ms.
PAUSE = 0.03


@dataclass
class Entry:
    """A contestant: what it has prepared, what its rounds took, or why it has none."""

    ready: Any = None
    seconds: list[float] = field(default_factory=list)
    error: Exception | None = None

    @property
    def shortest(self) -> float:
        """Seconds of the shortest round."""
        return min(self.seconds)


def in_turn(prepare: Mapping[Hashable, Callable[[], Any]], rounds: int, pause: float = 0.0) -> dict[Hashable, Entry]:
    """Prepare all contestants, then let each do one round, `rounds` times.

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
    for _ in range(rounds):
        for entry in entries.values():
            time.sleep(pause)
            took = attempt(entry, lambda entry=entry: entry.ready.round())
            if took is not None:
                entry.seconds.append(took)
    return entries


def show(benchmark: Any, entry: Entry) -> None:
    """Let pytest-benchmark time the rounds of an entry again, by the clock that shows what they took."""
    seconds = iter(entry.seconds)
    benchmark.extra_info["rounds"] = list(entry.seconds)  # in turn with those of the other rows
    benchmark.pedantic(lambda: driver.advance(next(seconds)), rounds=len(entry.seconds))


class Contests:
    """The contests of a session, each held when its first row comes."""

    def __init__(self, pause: float = PAUSE) -> None:
        self.pause = pause
        self._held: dict[Hashable, dict[Hashable, Entry]] = {}

    def entries(
        self, group: Hashable, prepare: Mapping[Hashable, Callable[[], Any]], rounds: int
    ) -> dict[Hashable, Entry]:
        """The entries of all contestants of a group."""
        if group not in self._held:
            self._held[group] = in_turn(prepare, rounds, self.pause if len(prepare) > 1 else 0.0)
        return self._held[group]
