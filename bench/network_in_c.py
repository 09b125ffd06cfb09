"""One row of a network in C: fastbp's file beside emlearn's and the C library FANN, all by one compiler.

    python -m bench.network_in_c [--compiler gcc] [--flags "-O3 -march=native"] [--turns 8]

Times are of one row in a loop over 1,000 rows, in turns, the shortest of all turns.  emlearn is asked of the
interpreter that FASTBP_PEER_PYTHON names, or of this one; FANN is Debian's libfann2, compiled by Debian.  Then come the
errors of networks of integers, fastbp's and FANN's, on the digits of scikit-learn.
"""

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastbp as bp
from bench import fann_peer
from fastbp.digits import embedded_digits

SHAPES = (
    ([4, 32, 16, 4], "tanh", "softmax"),
    ([64, 32, 16, 10], "tanh", "softmax"),
    ([64, 32, 16, 10], "sigmoid", "sigmoid"),
    ([784, 30, 10], "sigmoid", "sigmoid"),
)
N_ROWS, SECONDS = 1000, 0.02  # of a turn, at least
FLAGS = ("-std=c99", "-shared", "-fPIC")

_LOOP = "void rows(size_t n, const float *x, float *y) {{ for (; n > 0; n--, x += {n_in}, y += {n_out}) {call}; }}\n"
_EMLEARN = """
import json, sys
import emlearn, numpy
from emlearn.net import c_generate_net_loadable
a, W, b = json.load(sys.stdin)
code = c_generate_net_loadable(a, [numpy.array(w) for w in W], [numpy.array(v) for v in b], prefix="net")
print(json.dumps([emlearn.includedir, code]))
"""
_FANN = """
#include <stddef.h>
#include <string.h>
void rows_by(float *(*run)(void *, const float *), void *net, size_t n, const float *x, float *y, size_t n_in,
             size_t n_out)
{
    for (; n > 0; n--, x += n_in, y += n_out) memcpy(y, run(net, x), n_out * sizeof *y);
}
"""

Run = Callable[[np.ndarray, np.ndarray], None]


class Library:
    """A shared library made of a C file, in a folder that stays while it is loaded."""

    def __init__(self, command: list[str], text: str, *flags: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "all.c").write_text(text)
        subprocess.run([*command, *FLAGS, *flags, "all.c", "-lm", "-o", "all.so"], cwd=self.folder, check=True)
        self.functions = ctypes.CDLL(str(self.folder / "all.so"))

    def run(self, X: np.ndarray, Y: np.ndarray) -> None:
        """Call ``rows``."""
        pointers = (ctypes.c_void_p(a.ctypes.data) for a in (X, Y))
        self.functions.rows(ctypes.c_size_t(len(X)), *pointers)


def fastbp_file(command: list[str], net: bp.Network, exact: bool) -> Run:
    """The file of `to_c`."""
    with tempfile.TemporaryDirectory() as name:
        net.to_c(Path(name) / "net.c", exact=exact)
        text, header = (Path(name) / "net.c").read_text(), (Path(name) / "net.h").read_text()
    loop = _LOOP.format(n_in=net.sizes[0], n_out=net.sizes[-1], call="net_predict(x, y)")
    return Library(command, header + text.replace('#include "net.h"', "") + loop).run


def emlearn_file(command: list[str], net: bp.Network) -> Run:
    """What emlearn makes of the same weights; raises LookupError where it is not installed."""
    names = {"sigmoid": "logistic"}
    activations = [names.get(str(runs[0][0]), str(runs[0][0])) for runs in net.activations]
    data = json.dumps([activations, [W.tolist() for W in net.weights], [b.tolist() for b in net.biases]])
    python = os.environ.get("FASTBP_PEER_PYTHON", sys.executable)
    found = subprocess.run([python, "-c", _EMLEARN], input=data, capture_output=True, text=True)
    if found.returncode:
        raise LookupError("emlearn is not installed")
    folder, code = json.loads(found.stdout)
    call = f"(eml_net_infer(&net, x, {net.sizes[0]}), memcpy(y, net.activations2, {net.sizes[-1]} * sizeof *y))"
    loop = _LOOP.format(n_in=net.sizes[0], n_out=net.sizes[-1], call=call)
    return Library(command, f"#include <stddef.h>\n#include <string.h>\n{code}\n{loop}", f"-I{folder}", "-w").run


def fann_library(command: list[str], net: bp.Network) -> Run:
    """FANN's network with the same weights; raises LookupError where it is not installed or has no such network."""
    (fann, ann), library = fann_peer.like_fastbp(net), Library(command, _FANN)
    run = ctypes.cast(fann.fann_run, ctypes.c_void_p)

    def rows(X: np.ndarray, Y: np.ndarray) -> None:
        pointers = (run, ctypes.c_void_p(ann), ctypes.c_size_t(len(X)))
        ends = (ctypes.c_void_p(a.ctypes.data) for a in (X, Y))
        widths = (ctypes.c_size_t(n) for n in (X.shape[1], Y.shape[1]))
        library.functions.rows_by(*pointers, *ends, *widths)

    return rows


def seconds_of(run: Run, X: np.ndarray, Y: np.ndarray) -> float:
    """Seconds of a row, in one turn."""
    n, passed, began = 0, 0.0, time.perf_counter()
    while n == 0 or passed < SECONDS:
        run(X, Y)
        n += len(X)
        passed = time.perf_counter() - began
    return passed / n


def times_and_distances(command: list[str], turns: int) -> None:
    """Print a line for each network."""
    print(f"{' '.join(command)}; nanoseconds a row; in brackets the largest distance from `predict`")
    for sizes, activation, output in SHAPES:
        net = bp.Network(sizes, activation, output, dtype="float32", seed=0)
        X = np.random.default_rng(0).standard_normal((N_ROWS, sizes[0])).astype(np.float32)
        expected, ways, texts = net.predict(X), {}, []
        makers: dict[str, Callable[[], Run]] = {
            "fastbp": lambda net=net: fastbp_file(command, net, True),
            "fastbp, exact=False": lambda net=net: fastbp_file(command, net, False),
            "emlearn": lambda net=net: emlearn_file(command, net),
            "FANN": lambda net=net: fann_library(command, net),
        }
        for name, make in makers.items():
            try:
                ways[name] = make()
            except LookupError as reason:
                texts.append(f"{name}: {reason}")
        times, distances = {}, {}
        for name, run in ways.items():
            Y = np.zeros_like(expected)
            run(X, Y)
            distances[name] = float(np.abs(Y - expected).max())
            times[name] = np.inf
        for _ in range(turns):
            for name, run in ways.items():
                times[name] = min(times[name], seconds_of(run, X, Y))
        texts += [f"{name} {1e9 * times[name]:.0f} [{distances[name]:.0e}]" for name in ways]
        print(f"{'-'.join(map(str, sizes))} {activation}, {output}: {'; '.join(texts)}", flush=True)


def errors_of_integers() -> None:
    """Print a line for each way to have integers."""
    digits = embedded_digits("float32")
    net = bp.Network([64, 32, 10], "sigmoid", "sigmoid", loss="cross_entropy", dtype="float32", seed=0)
    net.fit(digits.X_train, np.eye(10, dtype=np.float32)[digits.y_train], epochs=60, seed=0)
    expected = net.predict(digits.X_test)
    print(f"64-32-10 sigmoid, sigmoid in integers; errors of {len(expected)} rows against `predict`")

    def line(name: str, outputs: np.ndarray, n_bytes: int) -> None:
        errors = np.abs(outputs - expected)
        same = (outputs.argmax(axis=1) == expected.argmax(axis=1)).mean()
        print(
            f"{name}: at most {errors.max():.2g}, on average {errors.mean():.2g}; same class {100 * same:.1f} %; "
            f"{n_bytes} bytes of weights and tables",
            flush=True,
        )

    try:
        outputs, point, n_bytes = fann_peer.integers_of(net, digits.X_test)
        line(f"FANN, 32 bits, decimal point {point}", outputs, n_bytes)
    except LookupError as reason:
        print(f"FANN: {reason}")
    for form in ("q15", "q31"):
        with tempfile.TemporaryDirectory() as folder:
            report = net.to_c(Path(folder) / "net.c", format=form, calibration=digits.X_train)
        line(form, report.predict(digits.X_test), report.constant_bytes)


def main(compiler: str, flags: str, turns: int) -> None:
    """Print all figures."""
    times_and_distances([compiler, *flags.split()], turns)
    errors_of_integers()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--compiler", default="gcc" if shutil.which("gcc") else "clang", help="gcc or clang (%(default)s)"
    )
    parser.add_argument("--flags", default="-O3 -march=native", help="for the compiler (%(default)s)")
    parser.add_argument("--turns", type=int, default=8, help="turns of each library (%(default)s)")
    main(**vars(parser.parse_args()))
