"""The model of a round on a cluster, at values worked out by hand, and the tables of the report."""

import math

import pytest

from bench import dask_model
from bench.dask_sections import dask_file_section, dask_overhead_section, dask_share_section
from tests.test_bench import record

KNOWN = dask_model.Coefficients(constant=0.01, task=0.002, byte=1e-9)


@pytest.mark.parametrize(
    ("n", "levels"), [(1, []), (2, [1]), (8, [1]), (9, [2, 1]), (64, [8, 1]), (65, [9, 2, 1]), (512, [64, 8, 1])]
)
def test_levels_of_the_tree(n, levels):
    assert dask_model.tree(n) == levels


def test_a_round_on_one_machine():
    # 8 partitions, a sum and the parameters: 10 tasks; 4 + 8 / 2 vectors of 400 bytes
    assert dask_model.features(100, 8) == (1.0, 10, 3200.0)
    assert dask_model.overhead_here(KNOWN, 100, 8) == pytest.approx(0.01 + 10 * 0.002 + 3200e-9)


@pytest.mark.parametrize(
    ("n_machines", "n_tasks", "n_levels", "transfers"),
    # tasks: partitions, sums, the parameters; transfers: two of the parameters to the cluster, log2 m to the workers,
    # seven for each level of the tree, two of the result
    [(8, 8 + 1 + 1, 1, 2 + 3 + 7 + 2), (64, 64 + 9 + 1, 2, 2 + 6 + 14 + 2), (512, 512 + 73 + 1, 3, 2 + 9 + 21 + 2)],
)
@pytest.mark.parametrize("line", [1e9, 1e10])
def test_a_round_on_many_machines(n_machines, n_tasks, n_levels, transfers, line):
    vector = 4e6 * (10 / line + 1e-9)
    expected = 0.01 + 0.002 * n_tasks + 0.5e-3 * (4 + 2 * n_levels) + vector * transfers
    assert dask_model.overhead(KNOWN, 1_000_000, n_machines, line) == pytest.approx(expected)
    assert dask_model.seconds(KNOWN, 1_000_000, n_machines, line, work=64.0) == pytest.approx(
        64 / n_machines + expected
    )


def test_the_fit_finds_coefficients_again():
    cases = [(67, 2), (67, 32), (101_770, 8), (987_210, 2), (987_210, 8)]
    rows = [{"n_params": p, "n_partitions": n, "least": dask_model.overhead_here(KNOWN, p, n)} for p, n in cases]
    assert dask_model.fitted(rows) == pytest.approx(KNOWN)


def test_the_table_has_every_cluster():
    header, _, *lines = dask_model.table(KNOWN).splitlines()
    assert [f" {m} machines " in header for m in (8, 64, 512)] == [True] * 3
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[:2] for row in cells] == [
        [params, line] for params in ("10,000", "1,000,000", "10,000,000") for line in ("1", "10")
    ]
    assert all(math.isfinite(float(cell.removesuffix(" s"))) for row in cells for cell in row[2:5])


def test_sections_of_the_report():
    shares = [
        record("dask share", "g", "local", 0.9, shape="work", target=0.9, turns=[1.0, 0.9, 1.2]),
        record("dask share", "g", "cluster", 1.0, shape="work", target=0.9, turns=[1.0, 1.2, 1.0]),
    ]
    row = dask_share_section({"benchmarks": shares}).splitlines()[-1]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["work", "900 ms", "1 s", "0.9", "1", "0.9"]
    overheads = [
        record(
            "dask overhead", "g", f"{n}", dask_model.overhead_here(KNOWN, p, n), shape=f"{p} {n}", network="net",
            n_params=p, n_partitions=n, target=0.04, turns=[0.05, 0.07, 0.06],
        )
        for p, n in [(67, 2), (67, 32), (101_770, 8), (987_210, 8)]
    ]  # fmt: skip
    text = dask_overhead_section({"benchmarks": overheads})
    assert "60 ms" in text
    assert "constant 10 ms, task 2 ms, byte 1 ns" in text
    assert dask_model.table(KNOWN) in text
    facts = {"averaged epoch, s": 2.0, "exact round, s": 3.0, "peak_mib": [300, 400], "before_mib": 150}
    text = dask_file_section({"benchmarks": [record("dask file", "g", "f", 5.0, shape="f", n_bytes=4e9, **facts)]})
    assert "| 4.0 GB |" in text
    assert " 300, 400 |" in text
