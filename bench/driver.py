"""The benchmark's side of the workers: starts them, asks for rounds, and shows their time to pytest-benchmark.

pytest-benchmark reads a clock before and after each round. `worker_clock` is that clock: it advances only by the
seconds that a worker measured itself, so that the statistics have those, and no time of pipes or of pytest.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import agreement
from bench.registry import PEERS
from bench.shapes import ALL, Shape

REPOSITORY = Path(__file__).parent.parent
PEER_PYTHON = "FASTBP_PEER_PYTHON"  # the interpreter of torch and jax, where it is another one
_OTHER_INTERPRETER = ("torch", "jax")
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # XLA's
)

_elapsed = 0.0


def worker_clock() -> float:
    """Seconds that workers have measured so far."""
    return _elapsed


def _advance(seconds: float) -> None:
    global _elapsed
    _elapsed += seconds


def interpreter(library: str) -> str:
    """The Python that a library is measured with."""
    return os.environ.get(PEER_PYTHON, sys.executable) if library in _OTHER_INTERPRETER else sys.executable


def why_not(library: str) -> str | None:
    """Return None, or the reason why a library cannot be measured."""
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


class Worker:
    """A process that measures one library with a fixed number of threads."""

    program = "bench.worker"

    def __init__(self, library: str, n_threads: int) -> None:
        self.library, self.n_threads = library, n_threads
        environment = os.environ | dict.fromkeys(_THREAD_VARIABLES, str(n_threads))
        self._process = subprocess.Popen(
            [interpreter(library), "-m", self.program, library, str(n_threads)],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.prepared: dict[str, Any] = {}
        self._key: tuple[Any, ...] = ()

    def _ask(self, **request: Any) -> dict[str, Any]:
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        pipes[0].write(json.dumps(request) + "\n")
        pipes[0].flush()
        line = pipes[1].readline()
        if not line:
            raise RuntimeError(f"the worker of {self.library} ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"in the worker of {self.library}:\n{answer['error']}")
        return answer

    def prepare(self, task: str, shape: Shape, seconds: float, options: dict[str, Any]) -> None:
        """Get ready for rounds of a task, unless it is ready."""
        key = (task, shape, seconds, *options.items())
        if key == self._key:
            return
        self._key = ()
        name = next(name for name, known in ALL.items() if known is shape)
        self.prepared = self._ask(do="prepare", task=task, shape=name, seconds=seconds, options=options)
        self._key = key

    def round(self) -> float:
        """Do a round; its seconds for each unit, measured in the worker."""
        return float(self._ask(do="round")["seconds"])

    def timed_round(self) -> None:
        """Do a round and advance the clock by what the worker measured."""
        _advance(self.round())

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # the worker has died with a request in the pipe
                    pipe.close()
        self._process.wait()


def fresh_seconds(before: str, timed: str, **environment: str) -> float:
    """Seconds that a statement takes in a fresh process, measured there; the statement before it is not counted."""
    code = f"import time\n{before}\nbegan = time.perf_counter()\n{timed}\nprint(time.perf_counter() - began)\n"
    variables = os.environ | environment
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY, env=variables
    )
    if done.returncode:
        raise RuntimeError(f"in a fresh process:\n{done.stderr}")
    return float(done.stdout)


def timed_fresh_process(before: str, timed: str, **environment: str) -> None:
    """Run a statement in a fresh process and advance the clock by the seconds measured there."""
    _advance(fresh_seconds(before, timed, **environment))


class Workers:
    """All workers of a session, started when they are first needed.

    Parameters
    ----------
    quick : bool
        One short round each, with all threads; else several longer ones, with the number of threads that suits best.
    million : bool, default False
        Whether to measure what takes a quarter of an hour.
    """

    def __init__(self, quick: bool, million: bool = False) -> None:
        self.quick, self.million = quick, million
        # Many short rounds: one of them will be undisturbed even on a machine that does other things as well.
        self.rounds = 1 if quick else 20
        self.seconds = 0.005 if quick else 0.05  # of a round
        self.n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.thread_counts = [self.n_threads] if quick or self.n_threads == 1 else [1, self.n_threads]
        self._workers: dict[tuple[str, int], Worker] = {}
        self._fingerprints: dict[tuple[str, Shape, str], Sequence[float]] = {}

    def get(self, library: str, n_threads: int) -> Worker:
        """The worker of a library with a number of threads."""
        key = (library, n_threads)
        if key not in self._workers:
            self._workers[key] = Worker(library, n_threads)
        return self._workers[key]

    def ready(self, library: str, task: str, shape: Shape, **options: Any) -> Worker:
        """The library's worker with the best number of threads, prepared, its result compared.

        A gradient by perturbation takes all threads: its passes are independent, and too slow to try twice.
        """
        candidates = []
        for n_threads in self.thread_counts if task != "perturbation" else self.thread_counts[-1:]:
            candidates.append(self.get(library, n_threads))
            candidates[-1].prepare(task, shape, self.seconds, options)
        best = candidates[0]
        if len(candidates) > 1:
            # in turn, so that a disturbance meets both
            rounds = [[worker.round() for worker in candidates] for _ in range(8)]
            times = [min(times) for times in zip(*rounds, strict=True)]
            best = candidates[times.index(min(times))]
        self._fingerprints[task, shape, library] = best.prepared["fingerprint"]
        self._compare(library, task, shape)
        return best

    def with_threads(self, library: str, task: str, shape: Shape, n_threads: int) -> Worker:
        """The library's worker with a given number of threads, prepared, its result compared with one thread's."""
        worker = self.get(library, n_threads)
        worker.prepare(task, shape, self.seconds, {})
        got = worker.prepared["fingerprint"]
        if n_threads > 1 and task == "threads":
            expected = self.with_threads(library, task, shape, 1).prepared["fingerprint"]
            if got != expected:
                raise agreement.DisagreementError(
                    f"{library} has other bits on {n_threads} threads than on one, {shape.name}."
                )
        elif task == "sweep":
            agreement.check(library, got, "NumPy", agreement.reference(task, shape))
        return worker

    def _compare(self, library: str, task: str, shape: Shape) -> None:
        """Compare with NumPy, or where that would need a second training loop, with the next library."""
        if task in ("matrix_product", "copy"):
            return
        got = self._fingerprints[task, shape, library]
        if task not in ("training", "single_steps"):
            agreement.check(library, got, "NumPy", agreement.reference(task, shape))
            return
        agreement.check_progress(library, got)
        other = "fastbp" if library == "scikit-learn" else "scikit-learn"
        if (task, shape, other) not in self._fingerprints:
            worker = self.get(other, self.thread_counts[-1])
            worker.prepare(task, shape, self.seconds, {})
            self._fingerprints[task, shape, other] = worker.prepared["fingerprint"]
        agreement.check(library, got, other, self._fingerprints[task, shape, other])

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()


class EstimatorWorker(Worker):
    """A process that measures one library's estimators."""

    program = "bench.estimators"

    def prepare_case(self, case: str, task: str, dtype: str, seconds: float) -> None:
        """Get ready for rounds of a task, unless it is ready."""
        key = (case, task, dtype)
        if key != self._key:
            self._key = ()
            self.prepared = self._ask(do="prepare", case=case, task=task, dtype=dtype, seconds=seconds)
            self._key = key


class EstimatorWorkers:
    """The processes of `bench_estimators`: for each library and task the one with the best number of threads."""

    def __init__(self, workers: Workers) -> None:
        self._settings = workers
        self._workers: dict[tuple[str, int], EstimatorWorker] = {}
        self._best: dict[tuple[str, ...], EstimatorWorker] = {}

    def ready(self, library: str, *job: str) -> EstimatorWorker:
        """The library's worker with the best number of threads, prepared for (case, task, dtype)."""
        key = (library, *job)
        if key not in self._best:
            candidates = []
            for n_threads in self._settings.thread_counts:
                if (library, n_threads) not in self._workers:
                    self._workers[library, n_threads] = EstimatorWorker(library, n_threads)
                candidates.append(self._workers[library, n_threads])
                candidates[-1].prepare_case(*job, seconds=self._settings.seconds)
            self._best[key] = min(candidates, key=lambda worker: min(worker.round() for _ in range(2)))
        worker = self._best[key]
        worker.prepare_case(*job, seconds=self._settings.seconds)
        return worker

    def close(self) -> None:
        """End all processes."""
        for worker in self._workers.values():
            worker.close()
