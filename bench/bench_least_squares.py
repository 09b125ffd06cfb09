"""Nonlinear least squares: an iteration of Levenberg-Marquardt, one of L-BFGS, and fits down to a given error."""

import pytest

from bench import driver, least_squares_peers
from bench.shapes import LEAST_SQUARES

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

OWN = {"fastbp": "gain_ratio", "fastbp, trainlm's rule": "trainlm", "fastbp, mixed": "gain_ratio, mixed"}
CONTESTANTS = [*OWN, *least_squares_peers.PEERS]
LONG = ("jaxopt", "optimistix", "SciPy, LM", "torch-levenberg-marquardt")  # seconds an iteration of the largest problem
TO_GOAL = ["gain_ratio", "gain_ratio, mixed", "L-BFGS", "SciPy's L-BFGS", "Adam"]


@pytest.mark.parametrize("contestant", CONTESTANTS)
@pytest.mark.parametrize("shape", LEAST_SQUARES, ids=lambda shape: shape.name_with_rows)
def bench_levenberg_marquardt(shape, contestant, benchmark, workers, measure, reasons):
    if workers.quick and shape is not LEAST_SQUARES[0]:
        pytest.skip("--quick leaves out the large problems")

    def why_not(chosen):
        if shape is LEAST_SQUARES[2] and chosen in LONG:
            return "an iteration of the largest problem takes seconds"
        return reasons("fastbp" if chosen in OWN else chosen)

    def ready(chosen):
        if chosen in OWN:
            return workers.ready("fastbp", "least_squares", shape, part=chosen, method=OWN[chosen])
        return workers.ready(chosen, "least_squares", shape)

    measure(
        ready,
        by=("contestant",),
        but=why_not,
        group=f"an iteration of Levenberg-Marquardt, {shape.name_with_rows}",
        name=contestant,
        kind="Levenberg-Marquardt",
        shape=shape.name_with_rows,
        target=shape.target,
        n_params=shape.n_params,
    )


@pytest.mark.parametrize("method", ["L-BFGS", "SciPy's L-BFGS"])
@pytest.mark.parametrize("shape", LEAST_SQUARES[:2], ids=lambda shape: shape.name_with_rows)
def bench_lbfgs(shape, method, benchmark, workers, measure):
    measure(
        lambda chosen: workers.ready("fastbp", "least_squares", shape, part=chosen, method=chosen),
        by=("method",),
        group=f"an iteration of L-BFGS, {shape.name_with_rows}",
        name="fastbp" if method == "L-BFGS" else method,
        kind="L-BFGS",
        shape=shape.name_with_rows,
        target=3.3 if shape is LEAST_SQUARES[0] else 2,
        n_params=shape.n_params,
    )


@pytest.mark.parametrize("method", TO_GOAL)
@pytest.mark.parametrize("shape", LEAST_SQUARES[:2], ids=lambda shape: shape.name_with_rows)
def bench_to_goal(shape, method, benchmark, workers, measure):
    if workers.quick and shape is not LEAST_SQUARES[0]:
        pytest.skip("--quick leaves out the large problems")

    def why_not(chosen):
        if chosen == "Adam" and shape is not LEAST_SQUARES[0]:
            return "a constant learning rate does not come so far"
        return None

    measure(
        lambda chosen: workers.ready("fastbp", "to_goal", shape, part=f"goal {chosen}", method=chosen),
        by=("method",),
        but=why_not,
        turns_of_each=4,
        group=f"training to a mean squared error of {shape.goal:g}, {shape.name_with_rows}",
        name=method,
        kind="to a goal",
        shape=shape.name_with_rows,
        goal=shape.goal,
        target=5,
    )
