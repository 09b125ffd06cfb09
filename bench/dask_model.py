"""What a round on a cluster costs, on paper: ``python -m bench.dask_model PICTURE``.

A round sends P parameters to m machines, each of which takes a gradient of its share of the rows, and adds up n
gradients, one of each partition, by a tree of tasks of eight branches:

    seconds = work / m  +  round  +  task * T  +  latency * D  +  B * (vectors sent + vectors added)

with T tasks, which the one scheduler handles one after the other, D levels of the tree, and B seconds for a vector
between two machines.  The parameters are one task; Dask's workers get them from those that have them, which doubles
the number of owners with each transfer: log2 m of them.  A task that adds up fetches at most seven vectors over its own
machine's line, and the result goes to the scheduler and to the client.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BRANCHES = 8  # of fastbp.dask.rows
BITS = 10.0  # on the line for each byte, with what the protocols add
LATENCY = 0.5e-3  # seconds of a message between two machines of one room
MACHINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
SHOWN = (8, 64, 512)
PARAMETERS = (10_000, 1_000_000, 10_000_000)
LINES = (1e9, 1e10)
LONG = 60.0  # seconds of work that one machine has with a round


class Coefficients(NamedTuple):
    """Seconds of a round, of a task, and of a byte that is copied within one machine."""

    constant: float
    task: float
    byte: float


def tree(n: int) -> list[int]:
    """Tasks of each level that adds up."""
    levels = []
    while n > 1:
        n = -(-n // BRANCHES)
        levels.append(n)
    return levels


def features(n_params: int, n_partitions: int) -> tuple[float, float, float]:
    """What the coefficients are multiplied with on one machine: 1, tasks, and bytes that go between processes."""
    n_tasks = n_partitions + sum(tree(n_partitions)) + 1
    vectors = 4 + n_partitions / 2 + sum(tree(n_partitions)[:-1])
    return 1.0, n_tasks, 4.0 * n_params * vectors


def fitted(measured: Sequence[dict[str, Any]]) -> Coefficients:
    """Coefficients by least squares of the relative errors of the shortest rounds, none below zero."""
    from scipy.optimize import nnls

    seconds = np.array([row["least"] for row in measured])
    rows = np.array([features(row["n_params"], row["n_partitions"]) for row in measured])
    scale = rows.max(axis=0)
    solution, _ = nnls(rows / scale / seconds[:, None], np.ones(len(seconds)))
    return Coefficients(*map(float, solution / scale))


def overhead_here(known: Coefficients, n_params: int, n_partitions: int) -> float:
    """Seconds of a round without work, on one machine with two worker processes."""
    return float(np.dot(known, features(n_params, n_partitions)))


def overhead(known: Coefficients, n_params: int, n_machines: int, bits_per_second: float) -> float:
    """Seconds of a round beside its work, on machines with one partition each."""
    levels = tree(n_machines)
    n_tasks = n_machines + sum(levels) + 1
    vector = 4.0 * n_params * (BITS / bits_per_second + known.byte)
    fetched = sum(min(BRANCHES, before) - 1 for before in [n_machines, *levels][: len(levels)])
    transfers = 2 + math.ceil(math.log2(n_machines)) + fetched + 2
    return known.constant + known.task * n_tasks + LATENCY * (4 + 2 * len(levels)) + vector * transfers


def seconds(known: Coefficients, n_params: int, n_machines: int, bits_per_second: float, work: float = LONG) -> float:
    """Seconds of a round of so many seconds of work on one machine."""
    return work / n_machines + overhead(known, n_params, n_machines, bits_per_second)


def table(known: Coefficients) -> str:
    """What a round costs, as Markdown."""
    lines = ["| parameters | Gbit/s | " + " | ".join(f"{m} machines" for m in SHOWN) + " | best of 1 to 1024 |"]
    lines.append("|---:|---:|" + "---:|" * (len(SHOWN) + 1))
    for n_params in PARAMETERS:
        for line in LINES:
            costs = [overhead(known, n_params, m, line) for m in SHOWN]
            best = min(MACHINES, key=lambda m: seconds(known, n_params, m, line))
            texts = [f"{cost:.2g} s" for cost in costs]
            texts.append(f"{best}: {LONG / seconds(known, n_params, best, line):.0f} times")
            lines.append(f"| {n_params:,} | {line / 1e9:.0f} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def draw(known: Coefficients, path: Path) -> None:
    """How many times faster machines are than one, for rounds of a minute."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, line in zip(figure.subplots(1, 2, sharey=True), LINES, strict=True):
        axes.loglog(MACHINES, MACHINES, "k:", linewidth=1, label="no overhead")
        for n_params, style, grey in zip(PARAMETERS, ("o-", "s--", "^-."), ("0", "0.35", "0.6"), strict=True):
            times = [LONG / seconds(known, n_params, m, line) for m in MACHINES]
            axes.loglog(MACHINES, times, style, color=grey, markersize=4, label=f"{n_params:,} parameters")
        axes.set(xlabel="machines", title=f"{line / 1e9:.0f} Gbit/s", ylim=(0.8, 1100))
        axes.set_xticks([1, 8, 64, 512], ["1", "8", "64", "512"])
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("times faster than one machine")
    figure.axes[0].legend(fontsize="small")
    figure.suptitle("computed: rounds that take one machine a minute", fontsize=9)
    figure.savefig(path, dpi=100)


# two worker processes on two cores of an Intel Xeon, AVX-512, 2026-11-27, by `python -m bench -k bench_dask_overhead`
MEASURED = Coefficients(constant=0.00773, task=0.00274, byte=2.38e-09)


def main(path: Path) -> None:
    """Print the table of the measured coefficients, and draw the picture."""
    print(table(MEASURED))
    draw(MEASURED, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
