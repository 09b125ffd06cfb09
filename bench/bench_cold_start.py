"""Imports and first calls, each in a fresh process of its own."""

import pytest

from bench import driver

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


def measure(benchmark, name, target, rounds, before, timed, **environment):
    benchmark.group = "cold start"
    benchmark.name = name
    benchmark.extra_info |= {"kind": "cold start", "shape": name, "target": target}
    benchmark.pedantic(driver.timed_fresh_process, (before, timed), environment, rounds=rounds)


@pytest.mark.parametrize("name", CASES)
def bench_cold_start(name, benchmark, workers):
    if workers.quick and name not in QUICK:
        pytest.skip("--quick leaves out what is measured for comparison only")
    before, timed, target = CASES[name]
    driver.fresh_seconds(before, timed)  # files that are read come from the disk's cache, kernels from fastbp's
    measure(benchmark, name, target, 1 if workers.quick else 10, before, timed)


def bench_first_fit_ever(benchmark, workers, tmp_path):
    if workers.quick:
        pytest.skip("--quick compiles nothing")
    folders = iter(range(10))

    def fresh_folder():
        folder = tmp_path / str(next(folders))
        folder.mkdir(mode=0o700)
        return (_NETWORK, _FIT), {"FASTBP_CACHE_DIR": str(folder)}

    benchmark.group = "cold start"
    benchmark.name = COMPILED
    benchmark.extra_info |= {"kind": "cold start", "shape": COMPILED, "target": 10.0}
    benchmark.pedantic(driver.timed_fresh_process, setup=fresh_folder, rounds=2)
