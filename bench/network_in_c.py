"""One row of a network in C: fastbp's file beside emlearn's and the C library FANN, all by one compiler.

    python -m bench.network_in_c [--compiler gcc] [--turns 8]

Times are of one row in a loop over 1,000 rows, in turns, the shortest of all turns; the processor's own instructions,
-O3. emlearn is asked of the interpreter that FASTBP_PEER_PYTHON names, or of
this one; FANN is Debian's libfann2.
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
from bench.fann_peer import Fann, _library

SHAPES = (
    ([4, 32, 16, 4], "tanh", "softmax"),
    ([64, 32, 16, 10], "tanh", "softmax"),
    ([64, 32, 16, 10], "sigmoid", "sigmoid"),
    ([784, 30, 10], "sigmoid", "sigmoid"),
)
N_ROWS, SECONDS = 1000, 0.02  # of a turn, at least
FLAGS = ["-std=c99", "-O3", "-march=native", "-shared", "-fPIC"]

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

    def __init__(self, compiler: str, text: str, *flags: str) -> None:
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "all.c").write_text(text)
        command = [compiler, *FLAGS, *flags, "all.c", "-lm", "-o", "all.so"]
        subprocess.run(command, cwd=self.folder, check=True)
        self.functions = ctypes.CDLL(str(self.folder / "all.so"))

    def run(self, X: np.ndarray, Y: np.ndarray) -> None:
        """Call ``rows``."""
        pointers = (ctypes.c_void_p(a.ctypes.data) for a in (X, Y))
        self.functions.rows(ctypes.c_size_t(len(X)), *pointers)


def fastbp_file(compiler: str, net: bp.Network, exact: bool) -> Run:
    """The file of `to_c`."""
    with tempfile.TemporaryDirectory() as name:
        net.to_c(Path(name) / "net.c", exact=exact)
        text, header = (Path(name) / "net.c").read_text(), (Path(name) / "net.h").read_text()
    loop = _LOOP.format(n_in=net.sizes[0], n_out=net.sizes[-1], call="net_predict(x, y)")
    return Library(compiler, header + text.replace('#include "net.h"', "") + loop).run


def emlearn_file(compiler: str, net: bp.Network) -> Run:
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
    return Library(compiler, f"#include <stddef.h>\n#include <string.h>\n{code}\n{loop}", f"-I{folder}", "-w").run


def fann_library(compiler: str, net: bp.Network) -> Run:
    """FANN's network of the same shape, with random weights."""
    if Fann.available() is not None or str(net.activations[-1][0][0]) != "sigmoid":
        raise LookupError("FANN is not installed, or has no such network")
    fann, library = _library(), Library(compiler, _FANN)
    ann = fann.fann_create_standard_array(len(net.sizes), (ctypes.c_uint * len(net.sizes))(*net.sizes))
    for layer in ("hidden", "output"):
        getattr(fann, f"fann_set_activation_function_{layer}")(ann, 3)
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


def main(compiler: str, turns: int) -> None:
    """Print a line for each network."""
    print(f"{compiler} {' '.join(FLAGS[:3])}; nanoseconds a row; in brackets the largest distance from `predict`")
    for sizes, activation, output in SHAPES:
        net = bp.Network(sizes, activation, output, dtype="float32", seed=0)
        X = np.random.default_rng(0).standard_normal((N_ROWS, sizes[0])).astype(np.float32)
        expected, ways, texts = net.predict(X), {}, []
        makers: dict[str, Callable[[], Run]] = {
            "fastbp": lambda net=net: fastbp_file(compiler, net, True),
            "fastbp, exact=False": lambda net=net: fastbp_file(compiler, net, False),
            "emlearn": lambda net=net: emlearn_file(compiler, net),
            "FANN": lambda net=net: fann_library(compiler, net),
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
        for name in ways:
            distance = "its own weights" if name == "FANN" else f"{distances[name]:.0e}"
            texts.append(f"{name} {1e9 * times[name]:.0f} [{distance}]")
        print(f"{'-'.join(map(str, sizes))} {activation}, {output}: {'; '.join(texts)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--compiler", default="gcc" if shutil.which("gcc") else "clang", help="gcc or clang (%(default)s)"
    )
    parser.add_argument("--turns", type=int, default=8, help="turns of each library (%(default)s)")
    main(**vars(parser.parse_args()))
