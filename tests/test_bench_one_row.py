"""The benchmarks of one row: every library in every way makes the same calls."""

import numba
import numpy as np
import pytest

from bench import agreement, one_row, one_row_peers, registry, report, shapes
from bench.bench_compiled import COMPILED, ONLY_PREDICT, PYTHON
from tests.test_bench import RESULTS, cells, record

SHAPE = shapes.ONE_ROW[0]
WAYS = {library_way: name for ways in (COMPILED, PYTHON) for name, library_way in ways.items()}


@pytest.mark.parametrize("what", agreement.OF_ONE_ROW)
@pytest.mark.parametrize(
    ("library", "way"),
    [pytest.param(*names, marks=[pytest.mark.slow] * ("dot" in names)) for names in WAYS],  # BLAS compiles for 10 s
)
def test_every_way_agrees_with_the_numpy_reference(library, way, what):
    if numba.config.DISABLE_JIT and way == "compiled":
        pytest.skip("nothing is compiled")
    reason = registry.PEERS[library].available()
    if reason:
        pytest.skip(reason)
    if WAYS[library, way] in ONLY_PREDICT and what != "predict":
        pytest.skip("it predicts only")
    if way in ("dot", "loops") and what != "step":
        pytest.skip("its steps have that, and it takes seconds to compile")
    peer = registry.PEERS[library](n_threads=1)
    peer.prepare(SHAPE)
    chain = one_row.chain(peer, what, way)
    for _ in range(2):  # it begins afresh
        agreement.check(library, one_row.fingerprint(chain), "NumPy", one_row.reference(what, SHAPE), tolerance=1e-4)


@pytest.mark.parametrize("what", agreement.OF_ONE_ROW)
def test_calls_depend_on_each_other(what):
    """The reference by hand: the second call has another input, and a step other parameters."""
    one, two = (one_row._Reference(SHAPE, what) for _ in range(2))
    for chain, n in ((one, 1), (two, 2)):
        chain.restart()
        chain.calls(n)
    assert not np.allclose(one.result(), two.result(), rtol=1e-4)
    x, layers = SHAPE.data.X[:1].astype(float), SHAPE.initial_layers()
    first = shapes.outputs(SHAPE, layers, x)[0]
    returned = first[0] if what == "predict" else 0.5 * ((first - SHAPE.data.Y[0]) ** 2).sum()
    assert (one.result()[0]) == pytest.approx(returned)
    if what != "step":
        x[0, 0] += 0.1 * returned
        second = shapes.outputs(SHAPE, layers, x)[0]
        expected = second[0] if what == "predict" else 0.5 * ((second - SHAPE.data.Y[0]) ** 2).sum()
        assert two.result()[0] == pytest.approx(expected)


def test_the_gradient_of_the_reference_is_a_slope():
    chain = one_row._Reference(SHAPE, "gradient")
    chain.restart()
    chain.calls(1)
    slopes = [agreement._slope(SHAPE, direction) for direction in agreement.directions(SHAPE.n_params)]
    np.testing.assert_allclose(agreement.directions(SHAPE.n_params) @ chain.result()[1:], slopes, rtol=1e-6, atol=1e-8)


def test_every_other_library_has_its_way():
    assert set(WAYS) == {*one_row_peers.WAYS, *(("fastbp", way) for way in ("python", "compiled", "loops", "dot"))}


def test_the_report_has_its_sections():
    rows = [
        record("one row, compiled", "g", name, seconds, what="outputs", shape="2-4, float32", target=5)
        for name, seconds in (("own loops", 8e-7), ("jax, scan", 2e-7), ("fastbp", 1e-7))
    ]
    rows += [
        record("one row, python", "g", name, seconds, what="step of Adam", shape="2-4, float32", target=5)
        for name, seconds in (("torch", 2e-4), ("fastbp", 2.5e-6))
    ]
    rows += [
        record("user's function", "g", name, seconds, shape=shape, target=None)
        for name, shape, seconds in (("fastbp", "compiled", 0.3), ("fastbp", "from the cache", 0.005))
    ]
    text = report.render(RESULTS | {"benchmarks": rows})
    assert cells(text, "outputs")[1:] == ["2-4, float32", "800 ns", "200 ns", "100 ns", "2", "-", "8", "5"]
    assert cells(text, "step of Adam")[1:] == ["2-4, float32", "200 us", "2.5 us", "80", "-", "5"]
    assert cells(text, "fastbp")[1:] == ["300 ms", "5 ms"]
