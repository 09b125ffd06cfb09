"""How benchmarks are asked in turn, and how they are held to an instruction set."""

import os
import subprocess
import sys
import time
import types
from pathlib import Path

import numba
import pytest
from llvmlite import binding

from bench import driver, instruction_sets, registry, shapes, turns, worker, ynnpack
from bench.__main__ import main as measure_everything
from bench.conftest import selected_rivals
from bench.instruction_sets import AVX2, AVX512, NATIVE, Words
from tests.fresh import TIME_LIMIT

TINY = shapes.TRAINING[0]


# --- in turn ----------------------------------------------------------------------------------------------------------


class Contestant:
    """Writes down when it is prepared and asked; its rounds take 1, 2, 3... seconds of its own kind."""

    def __init__(self, name, calls, unit):
        self.name, self.calls, self.unit, self.n_rounds = name, calls, unit, 0
        calls.append(f"prepare {name}")

    def round(self):
        self.calls.append(self.name)
        self.n_rounds += 1
        return self.n_rounds * self.unit


def contestants(calls, **units):
    return {name: lambda name=name, unit=unit: Contestant(name, calls, unit) for name, unit in units.items()}


def test_all_are_prepared_and_then_asked_in_turn():
    calls = []
    entries = turns.in_turn(contestants(calls, a=1, b=10, c=100), turns=3, at_once=1)
    assert calls == ["prepare a", "prepare b", "prepare c", *"abcabcabc"]
    assert {name: entry.seconds for name, entry in entries.items()} == {
        "a": [1, 2, 3],
        "b": [10, 20, 30],
        "c": [100, 200, 300],
    }
    assert entries["b"].shortest == 10


def test_of_a_turn_the_shortest_round_counts():
    calls = []
    entries = turns.in_turn(contestants(calls, a=1, b=-1), turns=2, at_once=2)
    assert calls == ["prepare a", "prepare b", *"aabbaabb"]
    assert entries["a"].seconds == [1, 3]
    assert entries["b"].seconds == [-2, -4]


def test_long_rounds_are_not_repeated_in_a_turn(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr(driver.time, "perf_counter", lambda: next(now) * driver.ENOUGH / 2)
    calls = []
    turns.in_turn(contestants(calls, a=1), turns=1, at_once=9)
    assert calls == ["prepare a", *"aa"]  # looked at the clock after the first and after the second


def test_a_contestant_that_fails_leaves_the_others_alone():
    calls = []
    several = contestants(calls, a=1, c=1) | {"b": lambda: 1 / 0, "d": lambda: None}
    entries = turns.in_turn(several, turns=2, at_once=1)
    assert isinstance(entries["b"].error, ZeroDivisionError)
    assert isinstance(entries["d"].error, AttributeError)  # in its first round
    assert calls == ["prepare a", "prepare c", *"acac"]
    assert entries["a"].error is None


def test_a_contest_is_held_once():
    calls = []
    contests = turns.Contests(at_once=1)
    first = contests.entries("group", contestants(calls, a=1, b=1), turns=2)
    assert contests.entries("group", contestants(calls, a=1, b=1), turns=2) is first
    assert calls == ["prepare a", "prepare b", *"abab"]
    contests.entries("other", contestants(calls, a=1), turns=1)
    assert calls[-2:] == ["prepare a", "a"]


def test_a_row_shows_its_own_rounds():
    shown = []

    def pedantic(function, rounds):
        for _ in range(rounds):
            before = driver.worker_clock()
            function()
            shown.append(driver.worker_clock() - before)

    benchmark = types.SimpleNamespace(extra_info={}, pedantic=pedantic)
    turns.show(benchmark, turns.Entry(seconds=[0.5, 0.25, 2.0]))
    assert shown == pytest.approx([0.5, 0.25, 2.0])
    assert benchmark.extra_info["turns"] == [0.5, 0.25, 2.0]


def test_rivals_are_the_selected_rows_that_differ_in_the_library():
    def row(function, **params):
        return types.SimpleNamespace(path="f", originalname=function, callspec=types.SimpleNamespace(params=params))

    rows = [row("step", shape=shape, library=library) for shape in (1, 2) for library in ("fastbp", "jax")]
    rows += [row("step", shape=1, library="torch"), row("other", shape=1, library="scipy")]
    rows.append(types.SimpleNamespace(path="f", originalname="without parameters"))
    rows[0].session = types.SimpleNamespace(items=rows)
    assert selected_rivals(rows[0], ("library",)) == [("fastbp",), ("jax",), ("torch",)]
    assert selected_rivals(rows[0], ("shape", "library"))[2:4] == [(2, "fastbp"), (2, "jax")]


def test_parts_of_one_shape_are_ready_together():
    worker = driver.Worker("products", 1)
    try:
        shape = shapes.PRODUCTS[1]
        ready = [worker.prepare(task, shape, 0.001, {}, part=task) for task in ("tiles", "blas")]
        assert [each.round() > 0 for each in ready] == [True, True]
        assert worker.prepare("tiles", shape, 0.001, {}, part="tiles") is ready[0]
        assert worker.prepare("tiles", shapes.PRODUCTS[3], 0.001, {}, part="tiles") is not ready[0]
        with pytest.raises(RuntimeError, match="KeyError: 'blas'"):  # of another shape than now
            ready[1].round()
    finally:
        worker.close()


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are stopped on Linux only")


def state(process_id):
    """The letter of a process's state; None if there is none."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return None


def wait_for(process_id, states):
    deadline = time.monotonic() + TIME_LIMIT
    while state(process_id) not in states:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@ON_LINUX
def test_a_worker_that_is_not_asked_is_stopped():
    worker = driver.Worker("numpy", 1)
    try:
        ready = worker.prepare("copy", TINY, 0.001, {})
        for _ in range(2):
            wait_for(worker._process.pid, "T")
            assert ready.round() > 0
    finally:
        worker.close()
    assert worker._process.returncode == 0


@ON_LINUX
def test_a_stopped_worker_ends_with_the_process_that_asks():
    code = (
        "from bench import driver, shapes\n"
        "worker = driver.Worker('numpy', 1)\n"
        "worker.prepare('copy', shapes.TRAINING[0], 0.001, {})\n"
        "print(worker._process.pid, flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=driver.REPOSITORY
    ) as asks:
        process_id = int(asks.stdout.readline())
        wait_for(process_id, "T")
        asks.kill()
    wait_for(process_id, (None, "Z"))


@pytest.mark.parametrize("task", ["tiles", "blas"])
def test_both_ways_multiply(task):
    workers = driver.Workers(quick=True)
    try:
        workers.with_threads("products", task, shapes.PRODUCTS[7], 1)  # compared with NumPy
    finally:
        workers.close()


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the kernels are not compiled")
@pytest.mark.parametrize("way", ["multiply_by_tiles", "multiply_by_blas"])
def test_no_product_is_called_from_python(way):
    peer = registry.PEERS["products"](1)
    peer.prepare(shapes.PRODUCTS[0])
    multiply, before = getattr(peer, way), sys.gettrace()
    multiply(1)  # which compiles it

    def lines(n):
        """Lines of Python that n products take."""
        events = []

        def trace(frame, event, argument):
            events.append(event)
            return trace

        sys.settrace(trace)
        try:
            multiply(n)
        finally:
            sys.settrace(before)
        return len(events)

    assert lines(50) == lines(1)


class Compiling:
    """A library on a clock of its own: 1 us a step, 50 us a call, and 0.3 s for each number of steps that is new."""

    def __init__(self, compiles):
        self.compiles_each_shape, self.now, self.known = compiles, 0.0, set()

    def prepare(self, shape):
        self.shape = shape

    def restart(self):
        pass

    def loss(self):
        return 0.0

    def version(self):
        return "1"

    def run_steps(self, n, shuffle):
        self.now += 50e-6 + 1e-6 * n + (0.3 if self.compiles_each_shape and n not in self.known else 0.0)
        self.known.add(n)


@pytest.mark.parametrize("compiles", [False, True])
def test_rounds_are_long_and_compile_nothing(compiles, monkeypatch):
    peer, seconds = Compiling(compiles), 2e-3
    monkeypatch.setattr(worker, "time", types.SimpleNamespace(perf_counter=lambda: peer.now))
    server = worker.Server(peer)
    units = server.prepare("training", f"training: {shapes.TRAINING[0].name}", seconds)["units"]
    took = units * server.round()["seconds"]
    assert took == pytest.approx(50e-6 + 1e-6 * units)
    assert 0.9 * seconds < took < 1.1 * seconds


# --- instruction sets -------------------------------------------------------------------------------------------------

FEATURES = {"sse2": True, "avx2": True, "fma": True, "avx512f": True, "avx512vl": True, "avx512dq": True,
            "avx512bw": True, "avx512vnni": True, "xop": False}  # fmt: skip
ALSO = {"XLA_FLAGS": "--xla_other=1 --xla_cpu_max_isa=AVX", "GLIBC_TUNABLES": "glibc.a=1", "OPENBLAS_CORETYPE": "Zen",
        "HOME": "there", "NUMBA_CPU_NAME": "generic"}  # fmt: skip


@pytest.fixture
def processor(monkeypatch):
    """Pretends to be a processor with AVX-512, or without."""

    def pretend(has_avx512=True):
        found = {name: present and (has_avx512 or "avx512" not in name) for name, present in FEATURES.items()}
        monkeypatch.setattr(instruction_sets, "_features", lambda: found)

    pretend()
    return pretend


@pytest.mark.usefixtures("processor")
def test_variables_that_hold_to_avx2():
    found = instruction_sets.environment(AVX2, ALSO)
    assert found["XLA_FLAGS"] == "--xla_other=1 --xla_cpu_max_isa=AVX2"
    assert found["GLIBC_TUNABLES"].startswith("glibc.a=1:glibc.cpu.hwcaps=-AVX512F,-AVX512VL")
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert found["NUMBA_CPU_NAME"] == "haswell"
    features = found["NUMBA_CPU_FEATURES"].split(",")
    assert {"+avx2", "+fma", "-avx512f", "-avx512vnni", "-xop"} <= set(features)
    assert not [feature for feature in features if feature.startswith("+avx512")]
    assert (found["ATEN_CPU_CAPABILITY"], found["ONEDNN_MAX_CPU_ISA"]) == ("avx2", "AVX2")
    assert found["HOME"] == "there"


@pytest.mark.usefixtures("processor")
def test_variables_that_let_use_avx512():
    found = instruction_sets.environment(AVX512, ALSO)
    assert found == {
        "HOME": "there",
        "XLA_FLAGS": "--xla_other=1",
        "GLIBC_TUNABLES": "glibc.a=1",
        "OPENBLAS_CORETYPE": "SkylakeX",
    }
    assert instruction_sets.environment(NATIVE, ALSO) == ALSO


def test_without_avx512_nothing_is_held(processor):
    processor(has_avx512=False)
    found = instruction_sets.environment(AVX2, ALSO)
    assert found == {"HOME": "there", "XLA_FLAGS": "--xla_other=1", "GLIBC_TUNABLES": "glibc.a=1"}
    assert instruction_sets.why_not_here(AVX2) is None
    assert instruction_sets.why_not_here(NATIVE) is None
    assert instruction_sets.why_not("onnxruntime", AVX2) is None


def test_a_set_that_the_processor_lacks_is_an_error(processor, capsys, tmp_path):
    assert instruction_sets.why_not_here(AVX512) is None
    processor(has_avx512=False)
    assert measure_everything(["--isa", "avx512", "--results", str(tmp_path / "found.json")]) == 2
    assert (
        capsys.readouterr().err
        == "bench: nothing is measured: this processor has no AVX-512: its instruction set is AVX2\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("processor")
def test_a_library_that_cannot_be_held_has_a_reason():
    text = "onnxruntime cannot be held to AVX2 on a processor with AVX-512"
    assert driver.why_not("fastbp", AVX2) is None
    assert instruction_sets.why_not("onnxruntime", AVX2) == text
    assert instruction_sets.why_not("onnxruntime", AVX512) is None


def test_every_library_has_its_row():
    assert set(registry.PEERS) == set(instruction_sets.LIBRARIES)


SAYS_AVX2, SAYS_AVX512, SAYS_NOTHING = Words(AVX2, "a: AVX2"), Words(AVX512, "b: AVX-512"), Words(None, "c: nothing")


@pytest.mark.parametrize(
    ("wanted", "present", "said", "record", "text"),
    [
        (NATIVE, AVX512, [SAYS_AVX2, SAYS_AVX512], None, "a: AVX2; b: AVX-512"),
        (AVX512, AVX512, [SAYS_AVX512, SAYS_NOTHING], None, "b: AVX-512; c: nothing"),
        (AVX2, AVX2, [SAYS_NOTHING], None, "c: nothing"),
        (AVX2, AVX512, [SAYS_AVX2], None, "a: AVX2"),  # words are enough
        (AVX2, AVX512, [SAYS_NOTHING], [], "c: nothing; kernel: no AVX-512"),  # the record is enough
    ],
)
def test_what_is_shown_is_accepted(wanted, present, said, record, text):
    assert instruction_sets.judged("lib", wanted, present, said, record) == text


@pytest.mark.parametrize(
    ("wanted", "present", "said", "record", "reason"),
    [
        (AVX512, AVX512, [SAYS_AVX2, SAYS_AVX512], None, r"a: AVX2\.$"),
        (AVX2, AVX512, [SAYS_AVX512], [], r"b: AVX-512\.$"),
        (AVX2, AVX512, [SAYS_AVX2], ["two", "one", "two"], r"the kernel saw AVX-512 in its threads one, two\.$"),
        (AVX2, AVX512, [SAYS_AVX2, SAYS_NOTHING], None, r"it cannot show it: a: AVX2; c: nothing, and the kernel kee"),
    ],
)
def test_another_set_or_none_is_refused(wanted, present, said, record, reason):
    title = instruction_sets.title(wanted)
    with pytest.raises(
        instruction_sets.WrongInstructionSetError, match=rf"^lib is to be measured with {title}, but {reason}"
    ):
        instruction_sets.judged("lib", wanted, present, said, record)


def test_the_record_of_the_kernel_is_read(tmp_path):
    for name, elapsed in (("never", -1), ("long-ago", 9000), ("now", 40)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "comm").write_text(f"{name}\n")
        (folder / "arch_status").write_text(f"AVX512_elapsed_ms:\t{elapsed}\n")
    assert instruction_sets.threads_with_avx512(5.0, tmp_path) == ["now"]
    assert instruction_sets.threads_with_avx512(0.01, tmp_path) == []
    (tmp_path / "now" / "arch_status").unlink()
    assert instruction_sets.threads_with_avx512(5.0, tmp_path) is None


ON_X86 = pytest.mark.skipif(instruction_sets.of_processor() not in (AVX2, AVX512), reason="a processor with AVX2")
WITH_AVX512 = pytest.mark.skipif(
    instruction_sets.of_processor() != AVX512 or instruction_sets.threads_with_avx512(0.0) is None,
    reason="a processor with AVX-512, of which Linux keeps a record",
)


def prepared(library, wanted, task, shape):
    worker = driver.Worker(library, 1, wanted)
    try:
        return worker.prepare(task, shape, 0.001, {}).prepared
    finally:
        worker.close()


@ON_X86
def test_a_worker_with_another_set_is_refused(monkeypatch):
    variables = os.environ | {"OPENBLAS_CORETYPE": "Haswell"}
    monkeypatch.setattr(instruction_sets, "environment", lambda wanted: variables)
    with pytest.raises(RuntimeError, match=r"scipy is to be measured with AVX-512, but BLAS: Haswell"):
        prepared("scipy", AVX512, "matrix_product", TINY)


@WITH_AVX512
def test_a_worker_that_is_not_held_is_refused(monkeypatch):
    variables = os.environ | {"OPENBLAS_CORETYPE": "SkylakeX"}
    monkeypatch.setattr(instruction_sets, "environment", lambda wanted: variables)
    with pytest.raises(RuntimeError, match=r"scipy is to be measured with AVX2, but BLAS: SkylakeX"):
        prepared("scipy", AVX2, "matrix_product", TINY)


@WITH_AVX512
def test_a_library_that_says_nothing_is_seen_by_the_kernel():
    if registry.PEERS["onnxruntime"].available():
        pytest.skip("onnxruntime is not installed")
    with pytest.raises(RuntimeError, match=r"onnxruntime is to be measured with AVX2, but the kernel saw AVX-512 in"):
        prepared("onnxruntime", AVX2, "prediction", shapes.PREDICTION[1])


@WITH_AVX512
@pytest.mark.parametrize(
    ("library", "task"),
    [
        ("scipy", "matrix_product"),
        ("numpy", "copy"),
        ("torch", "sweep"),
        ("jax", "sweep"),
        ("scikit-learn", "training"),
    ],
)
@pytest.mark.parametrize("wanted", [AVX2, AVX512])
def test_workers_are_held_and_show_it(library, task, wanted):
    reason = driver.why_not(library, wanted)
    if reason:
        pytest.skip(reason)
    shape = shapes.TRAINING[2]  # whose products are not too small for a library's fast way
    found = prepared(library, wanted, task, shape)
    assert found["uses"] == [wanted]
    assert found["shows"].endswith("; kernel: no AVX-512") == (wanted == AVX2)


def test_symbols_of_a_library_are_found(tmp_path):
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine()
    module = binding.parse_assembly(
        'target triple = "x86_64-unknown-linux-gnu"\n'
        "define i32 @first() {\n  ret i32 1\n}\ndefine i32 @second() {\n  ret i32 2\n}\n"
    )
    path = tmp_path / "object"
    path.write_bytes(machine.emit_object(module))
    found = ynnpack.symbols(path, "first", "second", "third", "econd")
    assert set(found) == {"first", "second"}
    assert found["first"] < found["second"]
    path.write_bytes(b"something else" * 100)
    assert ynnpack.symbols(path, "first") == {}


@pytest.mark.parametrize("option", [["--isa", "avx1024"]])
def test_an_unknown_set_is_an_error(option):
    with pytest.raises(SystemExit, match="2"):
        measure_everything(option)


def test_a_set_that_the_processor_lacks_is_an_error_of_pytest_too(processor):
    from bench import conftest

    processor(has_avx512=False)
    config = types.SimpleNamespace(getoption=lambda name, default=None: AVX512)
    with pytest.raises(pytest.UsageError, match=r"^--isa: this processor has no AVX-512"):
        conftest.pytest_configure(config)
