"""The model of a round's cost on paper, at values worked out by hand, and the report of the measurements."""

import math

import pytest

pytest.importorskip("distributed")

from bench import dask_model, dask_rounds

KNOWN = dask_model.Coefficients(constant=0.01, task=0.002, byte=1e-9)


def test_the_tree_has_eight_branches():
    assert [dask_model.tree(n) for n in (1, 2, 8, 9, 64, 65)] == [[], [1], [1], [2, 1], [8, 1], [9, 2, 1]]


def test_the_cost_of_a_round_on_eight_machines():
    # 8 gradients, 1 sum, 1 vector of parameters; the sum fetches 7 vectors; 3 transfers spread the parameters
    vector = 4e6 * (10 / 1e9 + 1e-9)
    expected = 0.01 + 0.002 * 10 + 0.5e-3 * 6 + vector * (2 + 3 + 7 + 2)
    assert dask_model.overhead(KNOWN, 1_000_000, 8, 1e9) == pytest.approx(expected)
    assert dask_model.seconds(KNOWN, 1_000_000, 8, 1e9, work=40.0) == pytest.approx(5.0 + expected)


def test_coefficients_are_found_again():
    rows = [
        {"n_params": p, "n_partitions": n, "least": dask_model.overhead_here(KNOWN, p, n)}
        for p in (100, 100_000, 1_000_000)
        for n in (2, 8, 32)
    ]
    assert dask_model.fitted(rows) == pytest.approx(KNOWN)


def test_the_table_has_all_machines_lines_and_sizes():
    lines = dask_model.table(KNOWN).splitlines()
    assert lines[0].startswith("| parameters | Gbit/s | 8 machines | 64 machines | 512 machines |")
    wanted = [[f"{p:,}", str(speed)] for p in (10**4, 10**6, 10**7) for speed in (1, 10)]
    assert [[cell.strip() for cell in line.split("|")[1:3]] for line in lines[2:]] == wanted


def test_more_machines_stop_to_pay():
    costs = [dask_model.seconds(KNOWN, 10_000, m, 1e9) for m in dask_model.MACHINES]
    best = dask_model.MACHINES[costs.index(min(costs))]
    assert 1 < best < dask_model.MACHINES[-1]
    assert best == pytest.approx(math.sqrt(dask_model.LONG / KNOWN.task), rel=1.0)


def test_the_report_says_what_was_measured():
    found = [
        {"network": "4-8-3", "n_params": p, "n_partitions": n, "least": 0.02 * n, "median": 0.03 * n}
        for p, n in ((67, 2), (67, 8), (100_000, 8))
    ]
    shares = [dask_rounds.Shares("exact round", 5000, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0])]
    large = {
        "n_rows": 10_000_000,
        "before": [170, 168],
        "after": [401, 400],
        "averaged": [5.0, 6.0],
        "exact": [4.0, 4.5],
    }
    text = dask_rounds.report("native", found, shares, large)
    assert "| exact round | 5,000 | 2.00 s | 2.00 s | 1.00 (0.50 to 1.50) |" in text
    assert "10,000,000 rows of 100 in a file, 4.0 GB" in text
    assert "largest resident memory of a worker 401 MiB, before the fits 170 MiB" in text
    assert "| 4-8-3 | 67 | 8 | 160 ms | 240 ms |" in text
