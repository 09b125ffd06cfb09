"""A network leaves Python: the same bits from a program in C.

A small network learns a sine wave and is written as a C file. A C program of a few lines reads numbers, calls the
network and prints what it says, and its outputs are compared with Python's. What to look for: they are the same in
every bit, from every compiler that is here. Written with ``exact=False``, for processors without fused multiply-adds,
the last bits differ.

Run: ``python examples/17_a_network_in_c.py [folder for the picture] [--epochs 2000]``; without a C compiler (gcc,
clang, or that of ``pip install ziglang``) it writes the files and says so.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import fastbp as bp

X = np.linspace(-3, 3, 500, dtype=np.float32)[:, None]
Y = np.sin(X)

PROGRAM = """\
#include <stdio.h>
#include "net.h"

int main(void)
{
    float x[NET_N_INPUTS], y[NET_N_OUTPUTS];

    while (scanf("%a", &x[0]) == 1) {
        net_predict(x, y);
        printf("%a\\n", (double)y[0]);
    }
    return 0;
}
"""


def compilers() -> list[list[str]]:
    """Commands of the C compilers that are here."""
    found = [[name] for name in ("gcc", "clang") if shutil.which(name)]
    if not found and importlib.util.find_spec("ziglang"):
        found = [[sys.executable, "-m", "ziglang", "cc"]]
    return found


def outputs_in_c(compiler: list[str], folder: Path) -> np.ndarray:
    """Compile the program with the network in a folder, and let it compute all outputs."""
    program = str(folder / "program")
    subprocess.run([*compiler, "-std=c99", "-O2", "main.c", "net.c", "-lm", "-o", program], cwd=folder, check=True)
    numbers = "\n".join(float(x).hex() for x in X[:, 0])  # hexadecimal, so that no bit is lost on the way
    printed = subprocess.run([program], input=numbers, capture_output=True, text=True, check=True).stdout
    return np.array([[float.fromhex(line)] for line in printed.split()], np.float32)


def main(pictures: Path | None = None, epochs: int = 2000) -> dict[str, Any]:
    """Train, write C, compile, run and compare."""
    net = bp.Network([1, 16, 16, 1], "tanh", dtype="float32", seed=0)
    net.fit(X, Y, epochs=epochs, batch_size=50, optimizer=bp.Adam(0.003), seed=1)
    predicted, numbers = net.predict(X), {}
    for exact in (True, False):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            report = net.to_c(folder / "net.c", exact=exact)
            (folder / "main.c").write_text(PROGRAM)
            print(
                f"exact={exact}: {report.constant_bytes} bytes of constants, arrays of {report.buffer_bytes} bytes"
                f"{'' if compilers() else '; there is no C compiler here'}"
            )
            for compiler in compilers():
                outputs = outputs_in_c(compiler, folder)
                same = int((outputs.view(np.uint32) == predicted.view(np.uint32)).sum())
                print(f"    {compiler[-1]}: {same} of {len(X)} outputs have Python's bits")
                numbers[compiler[-1], exact] = outputs
    if pictures is not None:
        draw(pictures, predicted, numbers)
    return {"predicted": predicted, "in C": numbers}


def draw(pictures: Path, predicted: np.ndarray, numbers: dict[tuple[str, bool], np.ndarray]) -> None:
    """Draw the wave, and how far C is from Python."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    above.plot(X, Y, color="#0072B2", label="sin x")
    above.plot(X, predicted, "--", color="#D55E00", label="the network")
    above.set_ylabel("output")
    above.legend(frameon=False)
    for (_, exact), outputs in list(numbers.items()):
        distance = 1e7 * (outputs.astype(np.float64) - predicted)
        style = {"color": "#009E73", "label": "exact"} if exact else {"color": "#CC79A7", "label": "exact=False"}
        below.plot(X, distance, "-" if exact else ".", markersize=3, **style)
    below.set_xlabel("x")
    below.set_ylabel("C - Python (1e-7)")
    if numbers:
        handles, labels = below.get_legend_handles_labels()
        once = dict(zip(labels, handles, strict=True))
        below.legend(once.values(), once.keys(), frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    pictures.mkdir(parents=True, exist_ok=True)
    figure.savefig(pictures / "17_a_network_in_c.png", dpi=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="?", type=Path, help="folder for the picture; without it none is drawn")
    parser.add_argument("--epochs", type=int, default=2000, help="passes over the points (%(default)s)")
    main(**vars(parser.parse_args()))
