"""One row at a time, in a user's compiled code and from Python, each call depending on the one before.

In compiled code: methods of `Network.compiled` beside what users write themselves (plain loops, `np.dot`), a jitted
`lax.scan` and FANN's function of C.  Then what a user's function takes to compile, and to come from Numba's cache.
"""

import sys

import pytest

from bench import driver, instruction_sets
from bench.agreement import OF_ONE_ROW
from bench.shapes import ONE_ROW

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

# of a row of the table: library, way
COMPILED = {
    "own loops": ("fastbp", "loops"),
    "own np.dot": ("fastbp", "dot"),
    "jax, scan": ("jax", "compiled"),
    "FANN": ("fann", "compiled"),
    "fastbp": ("fastbp", "compiled"),
}
PYTHON = {
    "torch": ("torch", "python"),
    "jax": ("jax", "python"),
    "onnxruntime": ("onnxruntime", "python"),
    "fastbp": ("fastbp", "python"),
}
ONLY_PREDICT = ("FANN", "onnxruntime")
TARGETS = {("compiled", "predict"): 5, ("compiled", "gradient"): 3, ("compiled", "step"): 2,
           ("python", "predict"): 5, ("python", "gradient"): 2, ("python", "step"): 5}  # fmt: skip
TURNS = 5
NAMES = {"predict": "outputs", "gradient": "cost and gradient", "step": "step of Adam"}


def measure_calls(where, ways, what, shape, contestant, workers, measure, reasons):
    """Time a row of a table."""
    if workers.quick and shape is not ONE_ROW[0]:
        pytest.skip("--quick takes the smallest network only")

    def why_not(chosen):
        if chosen in ONLY_PREDICT and what != "predict":
            return "it predicts only, or trains by another rule"
        if chosen == "FANN" and shape.dtype != "float32":
            return "its library of float64 is another one"
        return reasons(ways[chosen][0])

    name = f"{shape.network}, {shape.dtype}"
    measure(
        lambda chosen: workers.ready(
            ways[chosen][0], f"one_row_{what}", shape, part=f"{what} {chosen} {where}", way=ways[chosen][1]
        ),
        by=("contestant",),
        but=why_not,
        turns_of_each=TURNS,
        group=f"{NAMES[what]} {where}, {name}",
        name=contestant,
        kind=f"one row, {where}",
        what=NAMES[what],
        shape=name,
        target=TARGETS[where, what],
    )


shapes = pytest.mark.parametrize("shape", ONE_ROW, ids=lambda shape: f"{shape.network} {shape.dtype}")
whats = pytest.mark.parametrize("what", OF_ONE_ROW)


@pytest.mark.parametrize("contestant", COMPILED)
@shapes
@whats
def bench_in_compiled_code(what, shape, contestant, workers, measure, reasons):
    measure_calls("compiled", COMPILED, what, shape, contestant, workers, measure, reasons)


@pytest.mark.parametrize("contestant", PYTHON)
@shapes
@whats
def bench_from_python(what, shape, contestant, workers, measure, reasons):
    measure_calls("python", PYTHON, what, shape, contestant, workers, measure, reasons)


# ---- Compile time ----------------------------------------------------------------------------------------------------

_MODULE = """
import numba, numpy as np

@numba.njit(cache=True)
def simulate(n, net, x, out):
    first = x[0]
    for _ in range(n):
        net.predict(x, out)
        x[0] = first + 0.1 * out[0]

from bench.one_row_user_code import predict_by_loops as by_loops, predict_by_dot as by_dot

@numba.njit(cache=True, fastmath=True, error_model="numpy")
def simulate_by_loops(n, x, params, sizes, a, out):
    first = x[0]
    for _ in range(n):
        by_loops(x, params, sizes, a, out)
        x[0] = first + 0.1 * out[0]

@numba.njit(cache=True, fastmath=True, error_model="numpy")
def simulate_by_dot(n, x, W, b, out):
    first = x[0]
    for _ in range(n):
        out[:] = by_dot(x, W, b)
        x[0] = first + 0.1 * out[0]
"""
_BEFORE = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np, fastbp, user_code
net = fastbp.Network([4, 32, 16, 4], "tanh", dtype="float32", seed=0)
x, out = np.zeros(4, "float32"), np.zeros(4, "float32")
sizes, a = np.array([4, 32, 16, 4]), np.zeros((4, 32), "float32")
W, b = tuple(net.weights), tuple(net.biases)
"""
USER_CODE = {
    "fastbp": ("handle = net.compiled()", "user_code.simulate(1, handle, x, out)"),
    "own loops": ("", "user_code.simulate_by_loops(1, x, net.params, sizes, a, out)"),
    "own np.dot": ("", "user_code.simulate_by_dot(1, x, W, b, out)"),
    "net.compiled()": ("", "net.compiled()"),
}


class FirstCall:
    """A first call in a fresh process, with Numba's cache empty or filled."""

    def __init__(self, folder, variables, case, cached):
        folder.mkdir(exist_ok=True)
        (folder / "user_code.py").write_text(_MODULE, encoding="utf-8")
        self.folder, self.variables, self.cached, self.n = folder, variables, cached, 0
        before, self.timed = USER_CODE[case]
        self.before = _BEFORE.format(folder=str(folder)) + before
        self.facts = {}
        self.round()  # fastbp's own kernels are then on disk

    def round(self):
        self.n += not self.cached
        cache = {"NUMBA_CACHE_DIR": str(self.folder / f"cache {self.n}")}
        return driver.fresh_seconds(self.before, self.timed, self.variables | cache)


@pytest.mark.parametrize("cached", [False, True], ids=["compiled", "from the cache"])
@pytest.mark.parametrize("case", USER_CODE)
def bench_first_call(case, cached, workers, measure, tmp_path_factory):
    if workers.quick and (cached or case != "fastbp"):
        pytest.skip("--quick compiles one")
    variables = instruction_sets.environment(workers.wanted)
    folder = tmp_path_factory.mktemp("user code", numbered=True)
    measure(
        lambda chosen, is_cached: FirstCall(folder, variables, chosen, is_cached),
        by=("case", "cached"),
        but=lambda chosen, is_cached: "it is no function of a user's" if chosen[:3] == "net" and is_cached else None,
        turns_of_each=3,
        group="first call of a user's function",
        name=case,
        kind="user's function",
        shape="from the cache" if cached else "compiled",
        target=None,
        python=sys.version.split()[0],
    )
