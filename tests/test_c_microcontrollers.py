"""Networks on microcontrollers: compiled by their compilers, run by an emulator of the processor, compared there.

The commands are those of docs/c.md.
"""

import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

import fastbp as bp
from fastbp.export.c_formulas import HAS_SAME_BITS
from tests import cases
from tests.c_compilers import STRICT, TIME_LIMIT, compilers, name_of, run

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "microcontroller"
PAGE = (ROOT / "docs" / "c.md").read_text(encoding="utf-8")
AS_IN_PYTHON = "rows of the test that are not as in Python: 0"


def needs(*programs):
    """Skip a test where a program is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"there is no {' and no '.join(missing)}")


needs_arm = needs("arm-none-eabi-gcc", "qemu-system-arm")
needs_avr = needs("avr-gcc", "qemu-system-avr")
FPU, NO_FPU = ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"], ["-mcpu=cortex-m0"]


def every_activation():
    """A network with two inputs and all activations at its outputs, and rows for it."""
    every = [(name, 1) for name in cases.ACTIVATION_NAMES]
    net = bp.Network([2, len(every)], output=every, dtype="float32", seed=2)
    rng = np.random.default_rng(0)
    return net, (rng.standard_normal((150, 2)) * rng.choice([1e-30, 1e-3, 1, 9], (150, 1))).astype("float32")


def commands(word):
    """The lines of a program of the page, in the shell's language, that a word is in."""
    program = next(text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if word in text)
    return [line.split() for line in program.replace("\\\n", " ").splitlines()]


def on_cortex_m(folder, processor):
    """Compile and run the example with net.c of a folder, on a processor; return what it prints."""
    shutil.copy(EXAMPLES / "cortex_m.c", folder)
    compiling, running = commands("qemu-system-arm")
    i = compiling.index("-mcpu=cortex-m4")
    assert compiling[i : i + 3] == FPU
    run([*compiling[:i], *processor, *STRICT, *compiling[i + 3 :]], folder)
    return run(running, folder)


@needs_arm
@pytest.mark.skipif(not HAS_SAME_BITS, reason="the kernels have no fused multiply-adds here")
@pytest.mark.parametrize("processor", [FPU, NO_FPU], ids=["with FPU", "without"])
def test_cortex_m_computes_the_same_bits(processor, tmp_path):
    net, X = every_activation()
    net.to_c(tmp_path / "net.c", test_vectors=X)
    printed = on_cortex_m(tmp_path, processor)
    assert printed.splitlines()[-1] == AS_IN_PYTHON
    outputs = np.array(re.findall(r"^output \d+: (\S+)$", printed, re.MULTILINE), np.float32)
    np.testing.assert_allclose(outputs, net.predict(np.array([[0.5, -1.0]], np.float32))[0], atol=1e-7)


@needs_arm
@pytest.mark.parametrize("exact", [True, False])
def test_cortex_m_takes_softmax_and_double(exact, tmp_path):
    dtype = "float32" if exact else "float64"  # whose exact multiply-add the library has not
    net = bp.Network([2, 16, 10], "gelu", "softmax", dtype=dtype, seed=3)
    net.to_c(tmp_path / "net.c", test_vectors=50, exact=exact)
    if exact:
        assert on_cortex_m(tmp_path, FPU).splitlines()[-1] == AS_IN_PYTHON
    else:
        command = [*commands("qemu-system-arm")[0], *STRICT]
        command = [word for word in command if word not in ("cortex_m.c", "-o", "net.elf", "-lm")]
        run([*command, "-c"], tmp_path)
        net.to_c(tmp_path / "net.c")
        said = run([*command, "-c"], tmp_path, fails=True)
        assert "fma of this library rounds twice: write this file with exact=False, or the network in float32" in said


def on_avr(folder, *further):
    """Compile and run the example with net.c of a folder; return the line that it prints."""
    shutil.copy(EXAMPLES / "avr.c", folder)
    compiling, running = commands("qemu-system-avr")
    run([*compiling, *STRICT, *further], folder)
    with subprocess.Popen(running, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as emulator:
        alarm = threading.Timer(TIME_LIMIT, emulator.kill)
        alarm.start()
        printed = emulator.stdout.readline()
        alarm.cancel()
        emulator.kill()  # a microcontroller's program never ends
    return printed.strip()


@needs_avr
def test_avr_is_within_the_bounds(tmp_path):
    net, X = every_activation()
    net.to_c(tmp_path / "net.c", test_vectors=X, exact=False)
    assert on_avr(tmp_path) == AS_IN_PYTHON


@needs_avr
def test_avr_refuses_what_it_cannot(tmp_path):
    command = [*commands("qemu-system-avr")[0][:4], "-c", "net.c"]
    assert command[0] == "avr-gcc"
    for net, keywords, message in (
        (
            bp.Network([2, 1], dtype="float32"),
            {},
            "there is no fused multiply-add here: write this file with exact=False",
        ),
        (bp.Network([2, 1]), {"exact": False}, "double must be a number of IEEE 754 with 64 bits"),
        (bp.Network([200, 80], dtype="float32"), {"exact": False}, "AVR reads only 64 KiB of flash"),
    ):
        net.to_c(tmp_path / "net.c", **keywords)
        assert message in run(command, tmp_path, fails=True)


# ---- Sizes -----------------------------------------------------------------------------------------------------------


def sizes_of(command, size, folder):
    """(text, data, bss) of net.c, and the stack of its function for users."""
    run([*command, "-Os", "-std=c99", "-fstack-usage", "-c", "net.c"], folder)
    numbers = run([size, "net.o"], folder).splitlines()[1].split()[:3]
    stack = re.search(r"net_predict\s+(\d+)\s", (folder / "net.su").read_text()).group(1)
    return [int(number) for number in numbers], int(stack)


MACHINES = {
    "cortex-m4": (["arm-none-eabi-gcc", "-mthumb", *FPU], "arm-none-eabi-size"),
    "avr": (["avr-gcc", "-mmcu=atmega2560"], "avr-size"),
    "here": (["gcc"], "size"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_sizes_are_as_reported(machine, tmp_path):
    command, size = MACHINES[machine]
    if shutil.which(command[0]) is None or shutil.which(size) is None:
        pytest.skip(f"there is no {command[0]} or no {size}")
    if machine == "here" and "gcc" not in map(name_of, compilers()):
        pytest.skip("there is no gcc")
    net = bp.Network([8, 40, 30, 3], "tanh", "softmax", dtype="float32", seed=1)
    report = net.to_c(tmp_path / "net.c", exact=machine != "avr")
    (text, data, bss), stack = sizes_of(command, size, tmp_path)
    assert report.constant_bytes == 4 * net.n_params
    assert report.buffer_bytes == 4 * (40 + 30 + (4 if "4 sums" in (tmp_path / "net.c").read_text() else 3))
    assert report.constant_bytes < text < report.constant_bytes + 4500
    assert (data, bss) == (0, 0)
    assert 4 * 70 <= stack < report.buffer_bytes + 200
