"""One library in a process of its own, timed by its own clock.

``python -m bench.worker LIBRARY THREADS INSTRUCTION_SET`` reads one JSON request a line from standard input and answers
each with one line on standard output:

* ``{"do": "prepare", "task": TASK, "shape": SHAPE, "options": {...}, "seconds": S}`` builds the network, runs the task
  once, and answers with a fingerprint of the result, the time of the first call beyond a second one (compilation and
  the like), the number of units (steps or calls) that a round of about S seconds has, and what shows the instruction
  set that was used; another one than that of the command line is an error;
* ``{"do": "round"}`` does a round and answers with its seconds for each unit.

With ``"part": NAME`` in both, several tasks of one shape are ready at once, each by its name.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from bench import (
    agreement,
    derivative_peers,
    derivative_references,
    instruction_sets,
    least_squares_peers,
    many,
    one_row,
    shapes,
)
from bench.peers import Peer, flat
from bench.registry import PEERS

LEAST_STEPS = 10  # of a round of training, so that the fixed cost of an epoch stays small beside them
_PR_SET_PDEATHSIG = 1  # Linux's prctl: the signal that a process gets when its parent ends
WHOLE_FITS = ("many_fit", "many_validated")  # a round is one of them, the same each time
LONG = 2.0  # seconds; a gradient by perturbation that takes longer is not repeated without need


@dataclass
class Task:
    """Something to time: `run(n)` does n units of it, after `restart()`."""

    run: Callable[[int], Any]
    fingerprint: Callable[[], list[float]]
    restart: Callable[[], Any]
    n_first: int = 1  # units of the first call
    share: float = 1.0  # of a unit, that is done for it


def training(peer: Peer, **options: Any) -> Task:
    """Adam's steps over shuffled mini-batches; every round begins at the initial weights."""

    def fingerprint() -> list[float]:
        peer.restart()
        before = peer.loss()
        peer.run_steps(shapes.AGREEMENT_STEPS, shuffle=False)
        return [before, peer.loss()]

    return Task(lambda n: peer.run_steps(n, shuffle=True), fingerprint, peer.restart, shapes.AGREEMENT_STEPS)


def single_steps(peer: Peer, **options: Any) -> Task:
    """Adam's steps on all rows, each a call of its own that gives its cost."""

    def fingerprint() -> list[float]:
        peer.restart()
        before = peer.loss()
        peer.single_steps(shapes.AGREEMENT_STEPS)
        return [before, peer.loss()]

    return Task(peer.single_steps, fingerprint, peer.restart, shapes.AGREEMENT_STEPS)


def threads(peer: Peer, **options: Any) -> Task:
    """The same steps; the fingerprint is of the bits of all parameters after some of them."""
    task = training(peer)

    def fingerprint() -> list[float]:
        peer.restart()
        peer.run_steps(shapes.AGREEMENT_STEPS, shuffle=True)
        return list(map(float, hashlib.sha256(flat(peer.layers()).tobytes()).digest()))

    return Task(task.run, fingerprint, task.restart, task.n_first)


def sweep(peer: Peer, **options: Any) -> Task:
    """The same steps; the fingerprint is of the outputs of a few rows, because the steps of large shapes take long."""
    X = peer.shape.data.X[: agreement.SWEEP_ROWS]

    def fingerprint() -> list[float]:
        peer.restart()
        return agreement.projections(peer.predict(X))

    return Task(training(peer).run, fingerprint, peer.restart, n_first=2)


def online(peer: Any, **options: Any) -> Task:
    """Epochs of plain gradient descent, sample by sample; a unit is a sample."""

    def fingerprint() -> list[float]:
        peer.restart()
        peer.run_online()
        return [peer.loss(), *agreement.projections(peer.predict(peer.shape.data.X))]

    return Task(lambda n: peer.run_online(), fingerprint, peer.restart, peer.shape.rows)


def _calls(call: Callable[[], Any], fingerprint: Callable[[Any], list[float]]) -> Task:
    """Calls whose results are all the same: the last one is fingerprinted."""
    results: list[Any] = [None]

    def run(n: int) -> None:
        for _ in range(n):
            results[0] = call()

    return Task(run, lambda: fingerprint(results[0]), lambda: None)


def prediction(peer: Peer, **options: Any) -> Task:
    """Outputs of the whole data, from a NumPy array to a NumPy array."""
    X = peer.shape.data.X
    return _calls(lambda: peer.predict(X), agreement.projections)


def forward(peer: Peer, **options: Any) -> Task:
    """The cost of the whole data."""
    return _calls(peer.forward, lambda cost: [cost])


def gradient(peer: Peer, **options: Any) -> Task:
    """The cost of the whole data and its gradient."""
    return _calls(peer.value_and_grad, lambda grad: agreement.projections(flat(grad)))


def least_squares(peer: Any, *, method: str = "") -> Task:
    """Iterations of a method for nonlinear least squares; every round begins at the initial weights."""
    iterate = least_squares_peers.iterations(peer, method)

    def fingerprint() -> list[float]:
        peer.restart()
        before = peer.loss()
        iterate(least_squares_peers.FIRST)
        return [before, peer.loss()]

    return Task(iterate, fingerprint, peer.restart, least_squares_peers.FIRST)


def to_goal(peer: Any, *, method: str) -> Task:
    """Training down to a given error."""

    def run(n: int) -> None:
        for _ in range(n):
            peer.restart()
            least_squares_peers.to_goal(peer, method)

    def fingerprint() -> list[float]:
        peer.restart()
        before = peer.loss()
        run(1)
        return [before, peer.loss()]

    return Task(run, fingerprint, peer.restart)


def _derivative(what: str) -> Callable[..., Task]:
    def task(peer: Peer, *, by_hand: bool = False) -> Task:
        call, read = derivative_peers.derivative(peer, what, by_hand=by_hand)
        return _calls(call, lambda result: derivative_references.fingerprint(what, read(result)))

    return task


def _one_row(what: str) -> Callable[..., Task]:
    def task(peer: Peer, *, way: str) -> Task:
        chain = one_row.chain(peer, what, way)
        return Task(chain.calls, lambda: one_row.fingerprint(chain), chain.restart)

    return task


def _many(what: str) -> Callable[..., Task]:
    def task(peer: Peer, *, way: str) -> Task:
        together = many.of(peer, way)
        call = {"many_fit": together.fit, "many_predict": together.predict, "many_validated": together.validated}[what]

        def run(n: int) -> None:
            for _ in range(n):
                call()

        return Task(run, lambda: many.fingerprint(together, what), together.restart, share=together.share)

    return task


def perturbation(peer: Any, **options: Any) -> Task:
    """The gradient by perturbation; the options are those of `finite_difference_gradient`."""
    return _calls(lambda: peer.perturbation(**options), agreement.projections)


def matrix_product(peer: Any, **options: Any) -> Task:
    """A product of two square matrices."""
    return _calls(peer.multiply, lambda result: [])


def tiles(peer: Any, **options: Any) -> Task:
    """The same product by fastbp's kernel."""
    return Task(peer.multiply_by_tiles, peer.fingerprint, peer.restart)


def blas(peer: Any, **options: Any) -> Task:
    """The same product by SciPy's BLAS."""
    return Task(peer.multiply_by_blas, peer.fingerprint, peer.restart)


def copy(peer: Any, **options: Any) -> Task:
    """A copy of as many bytes as a training step moves; a unit is a step's share of it."""
    return Task(lambda n: [peer.copy() for _ in range(max(1, round(n / peer.steps_per_copy)))], list, peer.restart)


def digits(peer: Any, **options: Any) -> Task:
    """Epochs on digits; every round begins with the same random numbers."""
    return Task(peer.run_epochs, peer.fingerprint, peer.restart)


TASKS: dict[str, Callable[..., Task]] = {
    function.__name__: function
    for function in (
        *(training, single_steps, threads, sweep, online),
        *(prediction, forward, gradient, perturbation, digits),
        *(matrix_product, copy, tiles, blas),
        *(least_squares, to_goal),
    )
} | {what: _derivative(what) for what in agreement.DERIVATIVES}
TASKS |= {f"one_row_{what}": _one_row(what) for what in agreement.OF_ONE_ROW}
TASKS |= {what: _many(what) for what in agreement.OF_MANY}


class Server:
    """Answers requests about one library."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.prepared: shapes.Shape | None = None
        self.parts: dict[str, tuple[Task, int]] = {}  # with the units of a round

    def prepare(
        self, task: str, shape: str, seconds: float, options: dict[str, Any] | None = None, part: str = ""
    ) -> dict[str, Any]:
        """Get ready for rounds."""
        chosen = shapes.ALL[shape]
        if self.prepared is not chosen:
            if self.prepared is not None:
                self.prepared.forget()
            self.parts.clear()
            self.peer.prepare(chosen)
            self.prepared = chosen
        self.peer.restart()
        self.task = TASKS[task](self.peer, **(options or {}))
        first = self._time(self._first_call)
        is_long = task == "perturbation" and first > LONG
        second = first if is_long else self._time(self._first_call)
        fingerprint = self.task.fingerprint()
        units = self._units(chosen, task, second / self.task.n_first, seconds)
        self.parts[part] = self.task, units
        if not (is_long or task in WHOLE_FITS):
            # Rounds in advance: a short call is mostly its fixed cost, so that a round has room for more.
            for _ in range(2 if self.peer.compiles_each_shape else 1):  # the first one may compile this number of steps
                unit_s = self.round(part)["seconds"]
            units = self._units(chosen, task, unit_s, seconds)
            self.parts[part] = self.task, units
            if self.peer.compiles_each_shape:
                self.round(part)  # and this one the new number
        return {
            "fingerprint": fingerprint,
            "first_call_s": max(0.0, first - second),
            "units": units,
            "version": self.peer.version(),
        }

    def _first_call(self) -> None:
        self.task.restart()
        self.task.run(self.task.n_first)

    def _units(self, shape: shapes.Shape, task: str, unit_s: float, seconds: float) -> int:
        """Units of a round of about `seconds`; for training a part of an epoch, or all epochs of the shape's round."""
        if task == "digits":
            return int(self.peer.epochs_per_round)
        if task == "online":
            return shape.rows
        if task in WHOLE_FITS:
            return 1
        affordable = max(1, int(seconds / unit_s))
        if task == "least_squares":
            return min(max(affordable, least_squares_peers.FIRST), least_squares_peers.MOST)
        if task not in ("training", "threads", "sweep"):
            return affordable
        affordable = max(affordable, LEAST_STEPS)
        if affordable >= shape.steps_per_round:
            return shape.steps_per_round
        return affordable if shape.is_full_batch else min(affordable, shape.rows // shape.batch)

    def round(self, part: str = "") -> dict[str, Any]:
        """Time one round."""
        task, units = self.parts[part]
        task.restart()
        return {"seconds": self._time(lambda: task.run(units)) / (units * task.share)}

    @staticmethod
    def _time(call: Callable[[], Any]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began


def serve(server: Any, requests: TextIO, answers: TextIO, library: str, wanted: str) -> None:
    """Answer until the requests end; what is prepared must have used the instruction set that is wanted."""
    instruction_sets.prepare_process(library, wanted)
    for line in requests:
        request = json.loads(line)
        do = request.pop("do")
        began = time.perf_counter()
        try:
            answer = {"prepare": server.prepare, "round": server.round}[do](**request)
            if do == "prepare":
                answer |= instruction_sets.shown(library, wanted, time.perf_counter() - began)
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def answer_from(server_class: Callable[[str, int], Any]) -> None:
    """Serve the library named on the command line."""
    library, n_threads, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if sys.platform == "linux":
        # A stopped process would stay for ever if the one that asks is killed.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # The answers get the original standard output for themselves: libraries print as well.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(server_class(library, n_threads), sys.stdin, answers, library, wanted)


if __name__ == "__main__":
    answer_from(lambda library, n_threads: Server(PEERS[library](n_threads)))
