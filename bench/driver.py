"""The benchmark's side of the workers: starts them, asks for rounds, and shows their time to pytest-benchmark.

pytest-benchmark reads a clock before and after each round. `worker_clock` is that clock: it advances only by the
seconds that a worker measured itself, so that the statistics have those, and no time of pipes or of pytest.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import agreement, instruction_sets
from bench.registry import PEERS
from bench.shapes import ALL, Shape
from fastbp.system.processors import count_processors

REPOSITORY = Path(__file__).parent.parent
PEER_PYTHON = "FASTBP_PEER_PYTHON"  # the interpreter of torch and jax, where it is another one
_OTHER_INTERPRETER = ("torch", "jax", "optimistix", "jaxopt", "torch-levenberg-marquardt")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # XLA's
)
# Rounds of a turn: in the first one caches hold what another library left there, and threads are still asleep, which
# takes 784-128-10 a tenth longer, and jax up to twice as long.
ROUNDS_AT_ONCE = 3
ENOUGH = 0.3  # seconds of a turn after which no further round begins

_elapsed = 0.0


def worker_clock() -> float:
    """Seconds that workers have measured so far."""
    return _elapsed


def advance(seconds: float) -> None:
    """Let the clock show so much more."""
    global _elapsed
    _elapsed += seconds


def interpreter(library: str) -> str:
    """The Python that a library is measured with."""
    return os.environ.get(PEER_PYTHON, sys.executable) if library in _OTHER_INTERPRETER else sys.executable


def why_not(library: str, wanted: str = instruction_sets.NATIVE) -> str | None:
    """Return None, or the reason why a library cannot be measured with an instruction set."""
    return _why_not_installed(library) or instruction_sets.why_not(library, wanted)


def _why_not_installed(library: str) -> str | None:
    python = interpreter(library)
    if python == sys.executable:
        reason = PEERS[library].available()
    else:
        module = PEERS[library].module
        found = subprocess.run(
            [python, "-c", f"import importlib.util as u; print(u.find_spec({module!r}) is not None)"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        reason = None if "True" in found else f"{module} is not installed for {python}"
    if reason and library in _OTHER_INTERPRETER:
        reason += f"; {PEER_PYTHON} may name a Python that has it"
    return reason


@dataclass(frozen=True)
class Ready:
    """A worker that is prepared for rounds of a task."""

    worker: Worker
    part: str
    prepared: dict[str, Any]

    def round(self) -> float:
        """Do a round; its seconds for each unit, measured in the worker."""
        return self.worker.round(self.part)

    def timed_round(self) -> None:
        """Do a round and advance the clock by what the worker measured."""
        advance(self.round())

    @property
    def facts(self) -> dict[str, Any]:
        """What a report says of every row."""
        names = ("version", "first_call_s", "shows", "uses")
        facts = {name: self.prepared[name] for name in names}
        return facts | {"library": self.worker.library, "threads": self.worker.n_threads}


class Worker:
    """A process that measures one library with a fixed number of threads and an instruction set."""

    program = "bench.worker"

    def __init__(self, library: str, n_threads: int, wanted: str = instruction_sets.NATIVE) -> None:
        self.library, self.n_threads = library, n_threads
        environment = instruction_sets.environment(wanted) | dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
        self._process = subprocess.Popen(
            [interpreter(library), "-m", self.program, library, str(n_threads), wanted],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._shape: Shape | None = None
        self._ready: dict[str, tuple[tuple[Any, ...], Ready]] = {}  # of each part, with what was asked for

    def _signal(self, name: str) -> None:
        """Stop the process or let it go on; a worker that ends with this process is stopped safely on Linux only."""
        if sys.platform == "linux" and self._process.poll() is None:
            self._process.send_signal(signal.Signals[name])

    def _ask(self, **request: Any) -> dict[str, Any]:
        """Ask while the process runs; it is stopped in between.

        Threads that have nothing more to do still look for work for a while, OpenBLAS's for more than 100 ms, and took
        half of the processor from the library whose turn came next.
        """
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        self._signal("SIGCONT")
        pipes[0].write(json.dumps(request) + "\n")
        pipes[0].flush()
        line = pipes[1].readline()
        self._signal("SIGSTOP")
        if not line:
            raise RuntimeError(f"the worker of {self.library} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"in the worker of {self.library}:\n{answer['error']}")
        return answer

    def prepare(self, task: str, shape: Shape, seconds: float, options: dict[str, Any], part: str = "") -> Ready:
        """Get ready for rounds of a task, unless it is ready; other parts of the same shape stay so."""
        key = (task, shape, seconds, *options.items())
        if self._shape is not shape:
            self._ready.clear()
            self._shape = shape
        if part in self._ready and self._ready[part][0] == key:
            return self._ready[part][1]
        self._ready.pop(part, None)
        name = next(name for name, known in ALL.items() if known is shape)
        prepared = self._ask(do="prepare", task=task, shape=name, seconds=seconds, options=options, part=part)
        self._ready[part] = key, Ready(self, part, prepared)
        return self._ready[part][1]

    def round(self, part: str = "") -> float:
        """Do a round of a part; its seconds for each unit, measured in the worker."""
        return float(self._ask(do="round", part=part)["seconds"])

    def close(self) -> None:
        """End the process."""
        self.end()
        self._process.wait()

    def end(self) -> None:
        """Tell the process to end, without waiting for it."""
        self._signal("SIGCONT")
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # the worker has died with a request in the pipe
                    pipe.close()


def fresh_seconds(before: str, timed: str, variables: Mapping[str, str] | None = None) -> float:
    """Seconds that a statement takes in a fresh process, measured there; the statement before it is not counted.

    `variables` are the process's; by default those of this one.
    """
    code = f"import time\n{before}\nbegan = time.perf_counter()\n{timed}\nprint(time.perf_counter() - began)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY, env=variables
    )
    if done.returncode:
        raise RuntimeError(f"in a fresh process:\n{done.stderr}")
    return float(done.stdout)


class Workers:
    """All workers of a session, started when they are first needed.

    Parameters
    ----------
    quick : bool
        One short round each, with all threads; else several longer ones, with the number of threads that suits best.
    million : bool, default False
        Whether to measure what takes a quarter of an hour.
    wanted : {"native", "avx2", "avx512"}, default "native"
        The instruction set that all libraries use.
    """

    def __init__(self, quick: bool, million: bool = False, wanted: str = instruction_sets.NATIVE) -> None:
        self.quick, self.million, self.wanted = quick, million, wanted
        # Many short rounds: one of them will be undisturbed even on a machine that does other things as well.
        self.turns = 1 if quick else 8
        self.seconds = 0.005 if quick else 0.05  # of a round
        self.n_threads = count_processors()
        self.thread_counts = [self.n_threads] if quick or self.n_threads == 1 else [1, self.n_threads]
        self._workers: dict[tuple[str, int], Worker] = {}
        self._fingerprints: dict[tuple[str, Shape, str], Sequence[float]] = {}

    def get(self, library: str, n_threads: int) -> Worker:
        """The worker of a library with a number of threads."""
        key = (library, n_threads)
        if key not in self._workers:
            self._workers[key] = Worker(library, n_threads, self.wanted)
        return self._workers[key]

    def ready(
        self, library: str, task: str, shape: Shape, part: str = "", counts: Sequence[int] | None = None, **options: Any
    ) -> Ready:
        """The library's worker with the best number of threads, or of some counts, prepared, its result compared.

        A gradient by perturbation takes all threads: its passes are independent, and too slow to try twice.  What is
        done with one row takes one.
        """
        counts, is_slow = counts or self.thread_counts, task.startswith("many_")
        if task == "perturbation":
            counts = counts[-1:]
        elif task.startswith("one_row_"):
            counts = [1]
        candidates = [
            self.get(library, n_threads).prepare(task, shape, self.seconds, options, part) for n_threads in counts
        ]
        best = quickest(candidates, turns=1 if is_slow else 4)
        self._fingerprints[task, shape, library] = best.prepared["fingerprint"]
        self._compare(library, task, shape)
        return best

    def with_threads(self, library: str, task: str, shape: Shape, n_threads: int, part: str = "") -> Ready:
        """The library's worker with a given number of threads, prepared, its result compared with one thread's."""
        ready = self.get(library, n_threads).prepare(task, shape, self.seconds, {}, part)
        got = ready.prepared["fingerprint"]
        if n_threads > 1 and task == "threads":
            expected = self.with_threads(library, task, shape, 1, part).prepared["fingerprint"]
            if got != expected:
                raise agreement.DisagreementError(
                    f"{library} has other bits on {n_threads} threads than on one, {shape.name}."
                )
        elif task in ("sweep", "tiles", "blas"):
            agreement.check(library, got, "NumPy", agreement.reference(task, shape))
        return ready

    def _compare(self, library: str, task: str, shape: Shape) -> None:
        """Compare with NumPy, or where that would need a second training loop, with the next library."""
        if task in ("matrix_product", "copy"):
            return
        got = self._fingerprints[task, shape, library]
        if task not in ("training", "single_steps", "least_squares", "to_goal"):
            tolerance = agreement.tolerance(library, task)
            agreement.check(library, got, "NumPy", agreement.reference(task, shape), tolerance)
            return
        agreement.check_progress(library, got)
        if task in ("least_squares", "to_goal"):  # each goes its own way
            agreement.check(library, got[:1], "NumPy", agreement.reference("forward", shape))
            return
        other = "fastbp" if library == "scikit-learn" else "scikit-learn"
        if (task, shape, other) not in self._fingerprints:
            ready = self.get(other, self.thread_counts[-1]).prepare(task, shape, self.seconds, {})
            self._fingerprints[task, shape, other] = ready.prepared["fingerprint"]
        agreement.check(library, got, other, self._fingerprints[task, shape, other])

    def close(self) -> None:
        """End all workers."""
        close_all(self._workers.values())


def close_all(workers: Iterable[Worker]) -> None:
    """End processes side by side: some take seconds."""
    chosen = list(workers)
    for worker in chosen:
        worker.end()
    for worker in chosen:
        worker.close()


def turn(contestant: Any, at_once: int = ROUNDS_AT_ONCE) -> float:
    """The shortest of a few rounds one after the other: seconds; where they take long, fewer."""
    began, found = time.perf_counter(), [contestant.round()]
    while len(found) < at_once and time.perf_counter() - began < ENOUGH:
        found.append(contestant.round())
    return float(min(found))


def quickest(candidates: Sequence[Ready], turns: int) -> Ready:
    """The one with the shortest round of some turns, so that a disturbance meets all."""
    if len(candidates) == 1:
        return candidates[0]
    found = [[turn(candidate) for candidate in candidates] for _ in range(turns)]
    times = [min(times) for times in zip(*found, strict=True)]
    return candidates[times.index(min(times))]


class EstimatorWorker(Worker):
    """A process that measures one library's estimators."""

    program = "bench.estimators"

    def prepare_case(self, case: str, task: str, dtype: str, seconds: float) -> Ready:
        """Get ready for rounds of a task, unless it is ready."""
        key = (case, task, dtype)
        if "" not in self._ready or self._ready[""][0] != key:
            self._ready.clear()
            prepared = self._ask(do="prepare", case=case, task=task, dtype=dtype, seconds=seconds)
            self._ready[""] = key, Ready(self, "", prepared)
        return self._ready[""][1]

    def round(self, part: str = "") -> float:
        """Do a round; its seconds for each call."""
        return float(self._ask(do="round")["seconds"])


class EstimatorWorkers:
    """The processes of `bench_estimators`: for each library and task the one with the best number of threads."""

    def __init__(self, workers: Workers) -> None:
        self._settings = workers
        self._workers: dict[tuple[str, int], EstimatorWorker] = {}
        self._best: dict[tuple[str, ...], EstimatorWorker] = {}

    def ready(self, library: str, *job: str) -> Ready:
        """The library's worker with the best number of threads, prepared for (case, task, dtype)."""
        key, seconds = (library, *job), self._settings.seconds
        if key not in self._best:
            candidates = []
            for n_threads in self._settings.thread_counts:
                if (library, n_threads) not in self._workers:
                    self._workers[library, n_threads] = EstimatorWorker(library, n_threads, self._settings.wanted)
                candidates.append(self._workers[library, n_threads].prepare_case(*job, seconds=seconds))
            found = quickest(candidates, turns=1).worker
            assert isinstance(found, EstimatorWorker)
            self._best[key] = found
        return self._best[key].prepare_case(*job, seconds=seconds)

    def close(self) -> None:
        """End all processes."""
        close_all(self._workers.values())
