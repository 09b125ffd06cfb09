"""Imports and first calls, each in a fresh process of its own."""

import pytest

from bench import driver, instruction_sets

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

_NETWORK = """
import numpy as np, fastbp
net = fastbp.Network([4, 8, 2], dtype="float32", seed=0)
X, Y = np.ones((16, 4), "float32"), np.ones((16, 2), "float32")
"""
_FIT = "net.fit(X, Y, epochs=1)"
# name: (code that is not timed, code that is, seconds it may take)
CASES = {
    "import numpy, scipy.linalg, numba": ("", "import numpy, scipy.linalg, numba", None),
    "import sklearn.neural_network": ("", "import sklearn.neural_network", None),
    "import fastbp": ("", "import fastbp", 0.5),
    "first fit, kernels on disk": (_NETWORK, _FIT, 0.5),
    "second fit": (f"{_NETWORK}{_FIT}", _FIT, None),
}
QUICK = ("import fastbp", "first fit, kernels on disk")
COMPILED = "first fit ever, one dtype compiled"


class Fresh:
    """A statement that each round runs in a process of its own."""

    def __init__(self, variables, before, timed):
        self.variables, self.before, self.timed = variables, before, timed
        self.facts = {}  # a report says no more of it
        self.round()  # files that are read come from the disk's cache, kernels from fastbp's

    def round(self):
        return driver.fresh_seconds(self.before, self.timed, self.variables)


@pytest.mark.parametrize("name", CASES)
def bench_cold_start(name, workers, measure):
    variables = instruction_sets.environment(workers.wanted)
    measure(
        lambda chosen: Fresh(variables, *CASES[chosen][:2]),
        by=("name",),
        but=lambda chosen: "for comparison only" if workers.quick and chosen not in QUICK else None,
        turns_of_each=10,
        group="cold start",
        kind="cold start",
        shape=name,
        target=CASES[name][2],
    )


def bench_first_fit_ever(benchmark, workers, tmp_path):
    if workers.quick:
        pytest.skip("--quick compiles nothing")
    folders, variables = iter(range(10)), instruction_sets.environment(workers.wanted)

    def compile_everything():
        folder = tmp_path / str(next(folders))
        folder.mkdir(mode=0o700)
        driver.advance(driver.fresh_seconds(_NETWORK, _FIT, variables | {"FASTBP_CACHE_DIR": str(folder)}))

    benchmark.group = "cold start"
    benchmark.name = COMPILED
    benchmark.extra_info |= {"kind": "cold start", "shape": COMPILED, "target": 10.0}
    benchmark.pedantic(compile_everything, rounds=2)
