"""Rounds on a Dask cluster of processes of one thread, beside one process with as many threads.

Long rounds and predictions are measured in turn; rounds with next to no work show what a round costs beside it.
`--large` adds 4 GB of rows, with workers of 1 GiB.
"""

import pytest

from bench import agreement, driver

pytestmark = pytest.mark.benchmark(timer=driver.worker_clock)

dask_cases = pytest.importorskip("bench.dask_cases", reason="dask is not installed", exc_type=ImportError)
WAYS = (dask_cases.LOCAL, dask_cases.CLUSTER)
TARGET, MOST = 0.9, 0.040  # share of the local speed; seconds of a round with next to no work
TURNS = 5


class DaskWorker(driver.EstimatorWorker):
    """A process that measures one way; one with a cluster goes on while it is not asked, as its workers do."""

    program = "bench.dask_cases"

    def _signal(self, name):
        """Leave the process alone."""


@pytest.fixture(scope="module")
def ways(workers):
    """The process of each way."""
    started = {way: DaskWorker("fastbp", workers.n_threads, workers.wanted) for way in WAYS}
    yield started
    driver.close_all(started.values())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", [*dask_cases.SHARES, *dask_cases.QUICK_SHARES], ids=lambda case: case.name)
def bench_dask_share(case, way, workers, ways, measure):
    if workers.quick != case.is_quick:
        pytest.skip("--quick takes few rows, and only it")

    def ready(chosen):
        prepared = ways[chosen].prepare_case(case.name, chosen, "float32", workers.seconds)
        if chosen == dask_cases.CLUSTER and case.what != dask_cases.AVERAGED:  # which is another result
            theirs = ways[WAYS[0]].prepare_case(case.name, WAYS[0], "float32", workers.seconds)
            agreement.check(chosen, prepared.prepared["fingerprint"], WAYS[0], theirs.prepared["fingerprint"])
        return prepared

    measure(
        ready, by=("way",), also=[(each,) for each in WAYS], turns_of_each=TURNS,
        group=f"dask, {case.name}", kind="dask share", shape=case.name, target=TARGET,
    )  # fmt: skip


@pytest.mark.parametrize("way", [dask_cases.CLUSTER])
@pytest.mark.parametrize("case", dask_cases.OVERHEADS, ids=lambda case: case.name)
def bench_dask_overhead(case, way, workers, ways, measure):
    if workers.quick and not case.is_quick:
        pytest.skip("--quick takes the smallest network only")
    measure(
        lambda chosen: ways[chosen].prepare_case(case.name, chosen, "float32", workers.seconds),
        by=("way",), turns_of_each=TURNS, group="dask, rounds with next to no work", name=case.name,
        kind="dask overhead", shape=case.name, network=case.network, n_params=case.n_params,
        n_partitions=case.n_partitions, target=MOST if case.n_params == 101_770 and case.n_partitions <= 8 else None,
    )  # fmt: skip


@pytest.mark.parametrize("way", [dask_cases.CLUSTER])
def bench_dask_larger_than_memory(way, workers, ways, measure, request):
    if not request.config.getoption("--large"):
        pytest.skip("--large asks for it")
    case = dask_cases.LARGE

    class Last:
        """What was done while it was prepared: an epoch of each kind takes long enough."""

        def __init__(self, prepared):
            self.found = prepared.prepared["facts"]
            self.facts = prepared.facts | self.found

        def round(self):
            return self.found[f"{dask_cases.AVERAGED}, s"] + self.found[f"{dask_cases.EXACT}, s"]

    measure(
        lambda chosen: Last(ways[chosen].prepare_case(case.name, chosen, "float32", workers.seconds)),
        by=("way",), turns_of_each=1, group="dask, larger than memory", name=case.name,
        kind="dask file", shape=case.name, n_bytes=4 * case.n_rows * case.sizes[0],
    )  # fmt: skip
