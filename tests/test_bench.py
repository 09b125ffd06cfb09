"""The benchmarks' own logic: shapes, agreement, workers, and the report of a small saved result."""

import functools
import json
import math
import os
import subprocess

import numpy as np
import pytest

from bench import agreement, driver, estimators, nielsen_peers, registry, report, shapes, sweep_sections, tables
from bench.__main__ import main as measure_everything
from bench.peers import FastBP, flat
from bench.worker import TASKS
from tests.fresh import TIME_LIMIT

TINY = shapes.TRAINING[0]


# --- shapes -----------------------------------------------------------------------------------------------------------


SMALL = {name: shape for name, shape in shapes.ALL.items() if shape.n_params < 1_000_000}  # whose weights are made soon


@pytest.mark.parametrize("shape", SMALL.values(), ids=list(SMALL))
def test_shapes_are_consistent(shape):
    assert shape.rows % shape.batch == 0
    assert shape.n_params == sum((fan_in + 1) * fan_out for fan_in, fan_out in zip(shape.sizes, shape.sizes[1:]))  # noqa: B905
    assert 2 * shape.forward_flops <= shape.gradient_flops <= 3 * shape.forward_flops
    layers = shape.initial_layers()
    assert flat(layers).shape == (shape.n_params,)
    assert flat(layers).dtype == shape.dtype


def test_shapes_have_names_of_their_own():
    groups = (shapes.TRAINING, shapes.GRADIENT, shapes.PERTURBATION, shapes.PREDICTION, shapes.DIGITS, shapes.ONLINE)
    groups += (shapes.SWEEP, shapes.SMALL, [shapes.MILLION], shapes.NARROW, shapes.PRODUCTS)
    groups += (shapes.OF_OUTPUTS, [shapes.OF_SAMPLES, shapes.FIELD], shapes.LEAST_SQUARES, shapes.ONE_ROW)
    groups += (shapes.MANY, shapes.MANY_PREDICTED)
    assert len(shapes.ALL) == sum(map(len, groups))
    assert shapes.MILLION.n_params == 1_000_000
    assert shapes.TRAINING[2].name == "784-30-10, batch 10"
    assert shapes.TRAINING[-1].name == "4-32-16-4 tanh, full batch 10000"


def test_data_are_the_same_every_time():
    shape = shapes.PERTURBATION[0]
    again = shapes.Shape(shape.sizes, shape.batch, shape.rows, 1, shape.activation, dtype=shape.dtype)
    for left, right in zip(shape.data, again.data, strict=True):
        np.testing.assert_array_equal(left, right)


def test_bytes_of_a_step():
    shape = shapes.Shape((3, 2), batch=5, rows=10, target=1)
    # eight parameters ten times; five rows of three inputs twice, of two outputs four times
    assert shape.step_bytes == 4 * (8 * 10 + 5 * (3 * 2 + 2 * 4))


def test_a_shape_forgets_its_data():
    shape = shapes.Shape((3, 2), batch=5, rows=10, target=1)
    before = shape.data
    assert shape.data is before
    shape.forget()
    assert shape.data is not before
    np.testing.assert_array_equal(shape.data.X, before.X)
    shapes.Shape((3, 2), batch=5, rows=10, target=1).forget()  # which has made none


def test_an_epoch_is_a_part_or_whole():
    shape = shapes.Shape((2, 2), batch=10, rows=100, target=1)
    assert shape.epoch(3) == (30, 1)
    assert shape.epoch(10) == (100, 1)
    assert shape.epoch(20) == (100, 2)
    with pytest.raises(ValueError, match="15 steps are not a whole number of epochs of 10 steps"):
        shape.epoch(15)


# --- agreement --------------------------------------------------------------------------------------------------------


def test_equal_results_agree():
    agreement.check("a", [1.0, -2.0], "b", [1.0005, -2.001])


@pytest.mark.parametrize("got", [[1.0, -2.1], [math.nan, -2.0], [1.0, math.inf]])
def test_different_results_disagree(got):
    with pytest.raises(
        agreement.DisagreementError, match=r"^left and right disagree: .* against 1, -2; allowed is 0\.001"
    ):
        agreement.check("left", got, "right", [1.0, -2.0])


def test_training_must_move_the_cost():
    agreement.check_progress("a", [0.7, 0.6])
    with pytest.raises(
        agreement.DisagreementError, match=r"^a trained 20 steps, and the cost went from 0\.7 to 0\.699"
    ):
        agreement.check_progress("a", [0.7, 0.699])


def test_projections_see_a_single_changed_element():
    values = np.ones((10, 10))
    before = agreement.projections(values)
    values[3, 4] += 1.0
    assert min(abs(a - b) for a, b in zip(before, agreement.projections(values), strict=True)) > 1e-3


def fingerprint(name, peer):
    task = TASKS[name](peer)
    task.run(1)
    return task.fingerprint()


@pytest.mark.parametrize("task", ["prediction", "forward", "gradient"])
def test_fastbp_agrees_with_the_numpy_reference(task):
    shape = shapes.PERTURBATION[1]
    peer = FastBP(n_threads=1)
    peer.prepare(shape)
    agreement.check("fastbp", fingerprint(task, peer), "NumPy", agreement.reference(task, shape))


@pytest.mark.parametrize("library", ["fastbp", "fann"])
def test_online_training_agrees_with_a_plain_loop(library):
    shape = shapes.ONLINE[0]
    reason = registry.PEERS[library].available()
    if reason:
        pytest.skip(reason)
    peer = registry.PEERS[library](n_threads=1)
    peer.prepare(shape)
    before = peer.loss()
    got, expected = fingerprint("online", peer), agreement.reference("online", shape)
    agreement.check(library, got, "NumPy", expected)
    agreement.check_progress(library, [before, got[0]])


@pytest.mark.parametrize("library", ["fastbp", "scikit-learn"])
@pytest.mark.parametrize("shape", shapes.SMALL, ids=lambda shape: shape.name)
def test_single_steps_are_those_of_a_fit(shape, library):
    peer = registry.PEERS[library](n_threads=1)
    peer.prepare(shape)
    costs = fingerprint("training", peer)
    agreement.check_progress(library, costs)
    for _ in range(2):
        agreement.check(library, fingerprint("single_steps", peer), "a fit", costs)


def test_onnxruntime_agrees_with_the_numpy_reference():
    reason = registry.PEERS["onnxruntime"].available()
    if reason:
        pytest.skip(reason)
    peer, shape = registry.PEERS["onnxruntime"](n_threads=1), shapes.PREDICTION[0]
    peer.prepare(shape)
    agreement.check("onnxruntime", fingerprint("prediction", peer), "NumPy", agreement.reference("prediction", shape))


def test_the_sweep_agrees_with_the_numpy_reference():
    shape = shapes.SWEEP[13]
    peer = FastBP(n_threads=1)
    peer.prepare(shape)
    agreement.check("fastbp", fingerprint("sweep", peer), "NumPy", agreement.reference("sweep", shape))


def test_a_copy_copies_everything():
    for n_threads in (1, 3):
        peer = registry.PEERS["numpy"](n_threads)
        peer.prepare(shapes.TRAINING[3])
        peer.copy()
        assert (peer.destination == 1).all()
        assert peer.steps_per_copy == pytest.approx(1)
        peer.pool.shutdown()


@pytest.mark.parametrize("task", ["prediction", "gradient"])
def test_a_wrong_bias_does_not_agree(task):
    shape = shapes.PERTURBATION[1]
    peer = FastBP(n_threads=1)
    peer.prepare(shape)
    peer.net.biases[0][0] += 0.1
    with pytest.raises(agreement.DisagreementError):
        agreement.check("fastbp", fingerprint(task, peer), "NumPy", agreement.reference(task, shape))


def test_the_published_code_and_its_twin_agree():
    shape = shapes.DIGITS[0]
    for peer_class in nielsen_peers.PEERS.values():
        peer = peer_class(n_threads=1)
        peer.prepare(shape)
        agreement.check(peer.name, peer.fingerprint(), "published", agreement.reference("digits", shape))
    peer.net.weights[0][0, 400] += 1.0
    changed = agreement.projections(np.concatenate([w.ravel() for w in [*peer.net.weights, *peer.net.biases]]))
    with pytest.raises(agreement.DisagreementError):
        agreement.check(peer.name, changed, "published", agreement.reference("digits", shape))


# --- workers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers():
    group = driver.Workers(quick=True)
    yield group
    group.close()


def test_a_worker_trains_and_is_compared_with_scikit_learn(workers):
    worker = workers.ready("fastbp", "training", TINY)
    assert shapes.AGREEMENT_STEPS <= worker.prepared["units"] <= TINY.steps_per_round
    assert worker.prepared["first_call_s"] >= 0
    before = driver.worker_clock()
    worker.timed_round()
    assert 0 < driver.worker_clock() - before < 1e-3  # seconds for each step, not for the round


def test_other_bits_on_more_threads_are_an_error(workers):
    one = workers.with_threads("fastbp", "threads", TINY, 1)
    assert workers.with_threads("fastbp", "threads", TINY, 2).prepared["fingerprint"] == one.prepared["fingerprint"]
    one.prepared["fingerprint"][0] += 1
    with pytest.raises(agreement.DisagreementError, match=r"^fastbp has other bits on 2 threads than on one, 2-4-4-2"):
        workers.with_threads("fastbp", "threads", TINY, 2)


@pytest.mark.usefixtures("in_time")
def test_a_fresh_process_is_timed():
    assert driver.fresh_seconds("import time; time.sleep(0.3)", "time.sleep(0.1)") >= 0.1
    variables = os.environ | {"PAUSE": "0.01"}
    assert driver.fresh_seconds("import os, time", "time.sleep(float(os.environ['PAUSE']))", variables) >= 0.01
    with pytest.raises(RuntimeError, match=r"^in a fresh process:\n(.*\n)*ZeroDivisionError"):
        driver.fresh_seconds("", "1 / 0")


def test_an_error_in_a_worker_is_raised_here(workers):
    worker = workers.get("scipy", 1)
    with pytest.raises(RuntimeError, match=r"in the worker of scipy:\n(.*\n)*.*AttributeError"):
        worker.prepare("perturbation", TINY, 0.01, {})


def test_a_worker_that_dies_is_an_error(workers):
    worker = workers.get("scipy", 1)
    worker._process.kill()
    with pytest.raises((RuntimeError, BrokenPipeError)):
        worker.round()


def test_a_library_that_is_missing_has_a_reason(monkeypatch):
    assert driver.why_not("fastbp") is None
    assert driver.why_not("scikit-learn") is None
    monkeypatch.setattr("bench.peers.Torch.module", "no_such_module")
    monkeypatch.delenv(driver.PEER_PYTHON, raising=False)
    assert (
        driver.why_not("torch") == "no_such_module is not installed; FASTBP_PEER_PYTHON may name a Python that has it"
    )


# --- the report -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["fit", "predict 1 row"])
def test_both_estimators_give_one_fingerprint(task):
    answers = []
    for library in estimators.MODULES:
        server = estimators.Server(library)
        answers.append(server.prepare("diabetes 10-100-1", task, "float64", seconds=0.001))
        assert server.round()["seconds"] > 0
    agreement.check("one", answers[0]["fingerprint"], "other", answers[1]["fingerprint"], tolerance=1e-8)


def record(kind, group, name, seconds, **info):
    full_name = "-".join(map(str, (group, name, info.get("shape"), info.get("threads"))))
    stats = {"min": seconds}
    return {"group": group, "name": name, "fullname": full_name, "stats": stats, "extra_info": {"kind": kind, **info}}


def training(name, seconds):
    info = {
        "shape": "784-30-10, batch 10",
        "flops": 954_000,
        "bytes": 970_000,
        "target": 3,
        "threads": 2,
        "version": "1.0",
    }
    return record("training step", "training step 784-30-10, batch 10", name, seconds, first_call_s=0.5, **info)


def perturbation(n_params, name, seconds, **info):
    shape = f"shape of {n_params}"
    return record("perturbation", f"gradient of {n_params}", name, seconds, n_params=n_params, shape=shape, **info)


def sweep(width, batch, seconds_per_flop):
    info = {"shape": f"{width}-{width}, batch {batch}", "width": width, "batch": batch, "flops": 1000 * width * batch}
    return record("sweep", "sweep", f"width {width}", seconds_per_flop * info["flops"], threads=2, **info)


RESULTS = {
    "machine_info": {"cpu": {"brand_raw": "Some processor", "count": 2}, "python_version": "3.12.0"},
    "datetime": "2030-01-02T03:04:05",
    "benchmarks": [
        training("fastbp", 20e-6),
        training("scikit-learn", 252e-6),
        training("jax", 72e-6),
        record("matrix product", "matrix product 2048", "scipy", 0.1, flops=2 * 2048**3, threads=2),
        record("matrix product", "matrix product 2048", "scipy", 0.2, flops=2 * 2048**3, threads=1),
        record("copy", "copy", "numpy", 10e-6, shape="784-30-10, batch 10", bytes=970_000, threads=1),
        record("threads", "threads", "1 thread", 3e-4, shape="784-128-10, batch 64", target=None, threads=1),
        record("threads", "threads", "2 threads", 2e-4, shape="784-128-10, batch 64", target=1.7, threads=2),
        record("online", "online", "fann", 0.2e-6, shape="2-4-4-1", target=1),
        record("online", "online", "fastbp", 0.1e-6, shape="2-4-4-1", target=1),
        record("cold start", "cold start", "import fastbp", 0.4, shape="import fastbp", target=0.5),
        *(
            sweep(width, batch, seconds_per_flop)
            for width, batch, seconds_per_flop in [(2, 1, 3e-9), (4, 1, 2e-9), (2, 4, 1e-9), (4, 4, 1.8e-9)]
        ),
        *(
            record(
                "narrow", "narrow", name, width * s, shape=f"16-{width}-4", family="16-w-4", width=width, flops=flops
            )
            for width, flops in ((10, 1200), (30, 1200))
            for name, s in (("fastbp", 1e-7), ("jax", 1e-6))
        ),
        *(
            record("product", "product", name, seconds, shape="8 x 8 x 8, float32", flops=1024, target=1.0)
            for name, seconds in (("fastbp", 1e-7), ("scipy", 2e-7))
        ),
        record("forward", "forward", "fastbp", 1e-3, shape="784-30-10, 1000 rows"),
        record("gradient", "gradient", "fastbp", 2e-3, shape="784-30-10, 1000 rows", ratio=2.0, theory=2.03),
        *(
            row
            for n_params in (6, 600)
            for row in (
                perturbation(n_params, "backpropagation", 1e-5),
                perturbation(
                    n_params,
                    "perturbation",
                    1e-5 * n_params / 3,
                    ratio=n_params / 3,
                    theory=(n_params + 1) / 3,
                    pass_over_forward=1.1,
                ),
            )
        ),
        record("predict", "predict 4-2, 1 row", "fastbp", 2.5e-6, shape="4-2, 1 row"),
        record("predict", "predict 4-2, 1 row", "jax", 9e-6, shape="4-2, 1 row"),
        record("published code", "epoch", "published code", 0.43, shape="784-30-10", target=None, threads=1),
        record("published code", "epoch", "fastbp.nielsen", 0.02, shape="784-30-10", target=15, threads=1),
        *(
            record(
                "estimators", "digits", name, seconds, shape="digits, fit", target=4.0, first_call_s=0.2, version="1.0"
            )
            for name, seconds in (("fastbp", 0.01), ("scikit-learn", 0.15))
        ),
    ],
}


def cells(text, begins):
    """The cells of the table row that begins so."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {begins}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_report_compares_with_the_best_other_library():
    row = cells(report.render(RESULTS), "784-30-10, batch 10")
    assert row[:8] == ["784-30-10, batch 10", "252 us", "-", "72 us", "20 us", "3.6", "-", "3"]
    assert row[8:10] == ["2", "500 ms"]


def test_the_report_compares_with_the_machine():
    text = report.render(RESULTS | {"benchmarks": [r for r in RESULTS["benchmarks"] if "784-128" not in str(r)]})
    row = cells(text[text.index("## Roofline") :], "784-30-10, batch 10")
    assert row == ["784-30-10, batch 10", "2", "0.954", "0.97", "5.55 us", "10 us", "20 us", "47.7", "28%", "50%"]
    assert "matrix product 2048, 1 thread: 85.9 GFLOP/s." in text


def test_the_report_names_cliffs():
    found = [r for r in RESULTS["benchmarks"] if r["extra_info"]["kind"] == "sweep"]
    ((small, large, factor),) = sweep_sections.cliffs(found)
    assert (small["extra_info"]["width"], large["extra_info"]["width"]) == (2, 4)
    assert small["extra_info"]["batch"] == large["extra_info"]["batch"] == 4
    assert factor == pytest.approx(1.8)
    text = report.render(RESULTS)
    assert "- 4-4, batch 4: 1.80 times the time per flop of 2-2, batch 4" in text
    assert cells(text, "4 ")[1:] == ["8 us", "28.8 us"]
    smooth = report.render(RESULTS | {"benchmarks": found[:2]})
    assert "No shape takes 1.5 times as long for a flop as its smaller neighbour." in smooth


def test_the_report_has_every_section():
    text = report.render(RESULTS)
    assert "Some processor, 2 cores, Python 3.12.0, 2030-01-02" in text
    assert "Versions: fastbp 1.0, scikit-learn 1.0, jax 1.0" in text
    row = cells(text, "784-30-10, 1000 rows")
    assert row == ["784-30-10, 1000 rows", "fastbp", "1 ms", "2 ms", "2", "2.03", "-", "-"]
    assert cells(text, "shape of 600")[1:] == ["600", "10 us", "2 ms", "200", "200", "1.1", "-", "-"]
    assert cells(text, "4-2, 1 row")[1:] == ["2.5 us", "-", "-", "9 us", "-", "3.6", "-"]
    assert cells(text, "784-128-10, batch 64")[1:] == ["1 thread", "300 us", "-", "-", "-"]
    assert cells(text, "784-128-10, batch 64 | 2")[1:] == ["2 threads", "200 us", "1.5", "-", "1.7"]
    assert cells(text, "2-4-4-1")[1:] == ["200 ns", "100 ns", "2", "-", "1"]
    assert cells(text, "import fastbp")[1:] == ["400 ms", "500 ms"]
    assert cells(text, "published code")[2:] == ["430 ms", "-", "-", "-", "1"]
    assert cells(text, "fastbp.nielsen ")[2:] == ["20 ms", "21.5", "-", "15", "1"]
    assert cells(text, "digits, fit")[1:] == ["150 ms", "10 ms", "15", "-", "4", "200 ms"]


def test_the_report_has_narrow_networks_and_products():
    text = report.render(RESULTS)
    assert cells(text, "16-30-4")[1:] == ["30 us", "3 us", "10", "-", "2500"]
    assert "- 16-30-4: 3.00 times the time per flop of 16-10-4" in text
    assert cells(text, "8 x 8 x 8, float32")[1:] == ["5.12", "10.2", "2", "-", "1"]


def timed(name, *seconds):
    """A training step whose rounds took so long."""
    made = training(name, min(seconds))
    made["extra_info"]["turns"] = list(seconds)
    return made


def a_run(*own, sets=None):
    machine = {"cpu": {"brand_raw": "P"}} | ({} if sets is None else {"instruction_set": sets})
    rows = [timed("fastbp", *own), timed("jax", 3.0, 3.0, 3.0), timed("torch", 10.0, 2.0, 10.0)]
    return RESULTS | {"machine_info": machine, "benchmarks": rows}


def test_ratios_are_of_the_best_times_and_of_each_turn():
    row = {record["name"]: record for record in a_run(1.0, 2.0, 4.0)["benchmarks"]}
    assert tables.speed_up(row) == 2.0  # the shortest of all: 2 / 1
    assert tables.median_ratio(row) == 1.0  # the median of 3 / 1, 2 / 2, 3 / 4
    assert tables.median_ratio(row, "jax") == 1.0 / 3.0 * 2.0  # of 1 / 3, 2 / 3, 4 / 3
    del row["torch"]["extra_info"]["turns"]
    assert tables.median_ratio(row) is None
    assert tables.median_ratio({"fastbp": row["fastbp"]}) is None


def test_of_several_runs_the_median_of_their_medians_counts():
    together = report.merged([a_run(1.0, 2.0, 4.0), a_run(0.5, 0.5, 0.5), a_run(4.0, 4.0, 4.0)])
    assert tables.medians(together, "training step") == {"784-30-10, batch 10": 1.0}  # of 1, 6, 0.75
    row = cells(report.render(together), "784-30-10, batch 10")
    assert row[5:8] == ["4", "2, 4, 0.5", "1"]  # 2 / 0.5, each run's own, the median


def test_the_report_says_which_processor_and_instruction_set():
    sets = {"wanted": "avx2", "processor": "avx512", "llvm": "znver5"}
    run = a_run(1.0, sets=sets)
    run["machine_info"]["cpu"] |= {"family": 26, "model": 2}
    held = "P (family 26, model 2, to LLVM znver5), held to AVX2 instead of AVX-512"
    assert tables.machine_text(run) == held
    assert report.render(run).count(held) == 2  # at the beginning, and under the heading of the table
    assert tables.machine_text(a_run(1.0, sets=sets | {"wanted": "native"})) == "P, native instruction set, AVX-512"
    assert tables.machine_text(a_run(1.0, sets=sets | {"processor": "avx2"})) == "P, AVX2"


def test_the_report_says_what_libraries_showed():
    run = a_run(1.0)
    for made, used in zip(run["benchmarks"], ("avx2", "avx512", "avx2"), strict=True):
        made["extra_info"] |= {"library": f"of {made['name']}", "shows": f"words {used}", "uses": [used]}
    text = report.render(run)
    assert "- of fastbp: words avx2\n- of jax: words avx512\n- of torch: words avx2\n" in text
    assert "**Not all libraries used the same set: AVX2 and AVX-512.**" in text
    run["benchmarks"][1]["extra_info"]["uses"] = ["avx2"]
    assert "Not all libraries" not in report.render(run)


def test_runs_of_different_sets_are_not_put_together(tmp_path, capsys):
    sets = {"wanted": "avx2", "processor": "avx512", "llvm": "znver5"}
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, wanted in zip(paths, ("avx2", "avx512"), strict=True):
        path.write_text(json.dumps(a_run(1.0, sets=sets | {"wanted": wanted})))
    assert report.main(list(map(str, paths))) == 2
    assert "P, held to AVX2 instead of AVX-512 and P, AVX-512 cannot be put together" in capsys.readouterr().err


def test_a_part_of_the_results_is_reported_too():
    part = RESULTS | {"benchmarks": [training("fastbp", 20e-6)]}
    text = report.render(part)
    assert cells(text, "784-30-10, batch 10")[1:6] == ["-", "-", "-", "20 us", "-"]
    assert "Predict" not in text
    sweep_only = [r for r in RESULTS["benchmarks"] if r["extra_info"]["kind"] == "sweep"]
    assert "Versions" not in report.render(RESULTS | {"benchmarks": sweep_only})


def test_the_report_is_written_with_pictures(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    assert report.main([str(path)]) == 0
    text = (tmp_path / "results.md").read_text()
    assert text in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    for kind in ("perturbation", "training-step", "sweep", "narrow"):
        picture = f"results-{kind}.png"
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
        assert f"]({picture})" in text


@pytest.mark.parametrize("jax", [5e-6, 72e-6])
def test_bars_begin_at_fastbps_own_time(jax, monkeypatch):
    """Their lengths are the logarithms of their numbers, also where another library is faster."""
    pytest.importorskip("matplotlib")
    from matplotlib.patches import Rectangle

    from bench import pictures

    drawn = []
    monkeypatch.setattr(pictures.Figure, "savefig", lambda figure, *arguments, **named: drawn.append(figure))
    rows = [training("fastbp", 10e-6), training("scikit-learn", 250e-6), training("jax", jax)]
    pictures.draw_speed_up({"benchmarks": rows, "machine_info": {}}, None)
    (axes,) = drawn[0].axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    np.testing.assert_allclose(ends, [(1, 25), (1, jax / 10e-6)])
    assert (axes.get_xlim()[0] == 1) == (jax > 10e-6)


def test_several_runs_are_put_together(tmp_path):
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    slower_jax = {"benchmarks": [training("fastbp", 10e-6), training("scikit-learn", 300e-6), training("jax", 80e-6)]}
    for path, results in zip(paths, (RESULTS, RESULTS | slower_jax), strict=True):
        path.write_text(json.dumps(results))
    assert report.main([*map(str, paths), "--folder", str(tmp_path / "both"), "--name", "two"]) == 0
    text = (tmp_path / "both" / "two.md").read_text()
    assert "the shortest of several rounds in the runs that measured them, 2 at most" in text
    row = cells(text, "784-30-10, batch 10")
    assert row[:9] == ["784-30-10, batch 10", "252 us", "-", "72 us", "10 us", "7.2", "3.6, 8", "-", "3"]
    assert cells(text, "784-128-10, batch 64 | 2")[1:] == ["2 threads", "200 us", "1.5", "-", "1.7"]
    roofline = text[text.index("## Roofline") :]
    assert cells(roofline, "784-30-10, batch 10")[6] == "20 us"  # beside the rate of its own run


def test_something_else_than_results_is_status_2(tmp_path, capsys):
    path = tmp_path / "results.json"
    path.write_text("{}")
    assert report.main([str(path)]) == 2
    assert "holds no results of the benchmarks" in capsys.readouterr().err


def test_times_have_three_digits_and_a_unit():
    texts = [tables.time_text(value) for value in (None, 2e-9, 1.234e-6, 999.9e-6, 0.0456, 12.3)]
    assert texts == ["-", "2 ns", "1.23 us", "1 ms", "45.6 ms", "12.3 s"]


# --- one command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def in_time(monkeypatch):
    monkeypatch.setattr(subprocess, "run", functools.partial(subprocess.run, timeout=TIME_LIMIT))


@pytest.mark.usefixtures("in_time")
def test_one_command_measures_and_writes_the_report(tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # beside another worker pytest-benchmark measures nothing
    path = tmp_path / "folder" / "found.json"
    assert measure_everything(["--quick", "-k", "bench_threads and 784-128", "--results", str(path)]) == 0
    text = path.with_suffix(".md").read_text()
    assert "## Threads" in text
    assert text in capfd.readouterr().out


def test_one_command_measures_several_times(tmp_path, monkeypatch):
    def measure(path, options):
        path.write_text(json.dumps(a_run(*(1.0, 2.0, 4.0) if "1" in path.name else (0.5, 0.5, 0.5))))
        return 1 if "2" in path.name else 0

    monkeypatch.setattr("bench.__main__._measure", measure)
    assert measure_everything(["--runs", "2", "--results", str(tmp_path / "both.json")]) == 1  # as the worst of them
    assert {path.name for path in tmp_path.glob("*.*") if path.suffix != ".png"} == {
        "both-1.json", "both-2.json", "both.md",
    }  # fmt: skip
    assert cells((tmp_path / "both.md").read_text(), "784-30-10, batch 10")[5:8] == ["4", "2, 4", "3.5"]


@pytest.mark.usefixtures("in_time")
def test_one_command_fails_where_nothing_is_measured(tmp_path):
    assert measure_everything(["--quick", "-k", "no_such_benchmark", "--results", str(tmp_path / "found.json")]) != 0
    assert not list(tmp_path.glob("*.md"))
