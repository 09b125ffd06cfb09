"""A soak test: ``python -m tests.soak --minutes 10`` trains and predicts in threads and watches the memory.

It fails if the resident memory grows by 1 MB or more over the last half of the time, or if a result has other bits
than the first one of its kind.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import fastbp as bp

MOST_GROWTH = 1_000_000  # bytes


def resident_bytes():
    """What the process has in memory, from Linux, without what the C library keeps for the next allocation."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def kinds_of_work(folder):
    """Functions that do a bit of everything and return bytes that must be the same every time."""
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((3000, 20)), rng.integers(5, size=3000)
    X4 = X.astype("f4")
    shared = bp.Network([20, 150, 5], "tanh", "softmax", "cross_entropy", seed=0)

    def train(dtype, inputs, **arguments):
        net = bp.Network([20, 40, 5], "relu", "softmax", "cross_entropy", dtype=dtype, seed=0, dropout=0.1)
        net.fit(inputs, labels, epochs=2, seed=0, **arguments)
        return net.params.tobytes()

    def checkpointed():
        path = os.path.join(folder, f"checkpoint-{threading.get_ident()}")
        train("float64", X, checkpoint=path)
        return train("float64", X, checkpoint=path, resume=True)

    def saved():
        path = os.path.join(folder, f"net-{threading.get_ident()}")
        shared.save(path)
        return bp.load(path).predict(X).tobytes()

    return [
        lambda: train("float64", X, n_threads=2),
        lambda: train("float32", X4, optimizer=bp.SGD(0.1, momentum=0.9), batch_size=500),
        lambda: shared.predict(X, n_threads=2).tobytes(),
        lambda: shared.predict(X[:1]).tobytes(),
        lambda: shared.value_and_grad(X, labels)[1].tobytes(),
        lambda: bp.finite_difference_gradient(shared, X[:4], labels[:4], reuse_layers=True).gradient.tobytes(),
        lambda: shared.trace(X[:50], labels[:50]).layers[0].dW.tobytes(),
        checkpointed,
        saved,
    ]


def soak(seconds, n_threads=4):
    """Work in threads; return the resident memory at half time and at the end, and how much was done."""
    wrong, counts = [], [0] * n_threads
    measuring, over = threading.Event(), threading.Event()
    meeting = threading.Barrier(n_threads + 1, timeout=100)
    with tempfile.TemporaryDirectory() as folder:
        kinds = kinds_of_work(folder)
        expected = [kind() for kind in kinds]

        def work(thread):
            i = thread
            while not over.is_set():
                kind = i % len(kinds)
                if kinds[kind]() != expected[kind]:
                    wrong.append(kind)
                i += 1
                counts[thread] += 1
                if measuring.is_set():
                    meeting.wait()  # everybody is here: nothing runs while the memory is measured
                    meeting.wait()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(n_threads)]
        for thread in threads:
            thread.start()
        sizes = []
        for half in range(2):
            time.sleep(seconds / 2)
            measuring.set()
            meeting.wait()
            sizes.append(resident_bytes())
            measuring.clear()
            if half == 1:
                over.set()
            meeting.wait()
        for thread in threads:
            thread.join()
    if wrong:
        raise SystemExit(f"work of kind {wrong[0]} had other bits than before")
    return *sizes, sum(counts)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=4)
    options = parser.parse_args(arguments)
    half, end, count = soak(60 * options.minutes, options.threads)
    print(f"{count} pieces of work; resident {half / 1e6:.1f} MB at half time, {end / 1e6:.1f} MB at the end")
    return int(end - half >= MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
