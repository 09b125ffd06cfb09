"""
How it is built
===============

For whoever carries fastbp on, or mends something in it. Afterwards you know its rooms and which may import which, you
have followed a call from ``net.fit`` to the kernel and back, and you know where an activation, a loss or an optimizer
goes, how to run the kernels in a debugger, and what the tests compare with.

What stands outside of ``__all__`` may change at any time. This page uses it, because it is about it; a program of yours
should not. :doc:`/contributing` has the rules, this page the tour.
"""

import ast
import functools
import inspect
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp as bp

# %%
# Rooms and floors
# ----------------
# A *room* is a folder of the package, or a file beside them. Imports point down only: a file imports from its own room
# and from rooms below, also for types and within functions. So whoever reads a room needs to know what is below it, and
# nothing of what is above. Here the floors come from the imports themselves; a room stands as low as they let it.

PACKAGE = Path(bp.__file__).parent
lines: dict[str, int] = {}
imports: dict[str, set[str]] = {}


def room_of(module: str, name: str) -> str:
    """Return the room of what ``from module import name`` imports."""
    first = module.split(".")[1:2] or [name]
    return (
        first[0]
        if (PACKAGE / first[0]).is_dir()
        or (PACKAGE / f"{first[0]}.py").exists()
        else "__init__"
    )


for path in PACKAGE.rglob("*.py"):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    source = path.read_text(encoding="utf-8")
    lines[room] = lines.get(room, 0) + source.count("\n")
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.ImportFrom)
            and (node.module or "").split(".")[0] == "fastbp"
        ):
            imports.setdefault(room, set()).update(
                room_of(node.module, alias.name) for alias in node.names
            )
        elif isinstance(node, ast.Import) and any(
            alias.name == "fastbp" for alias in node.names
        ):
            imports.setdefault(room, set()).add("__init__")
for room in lines:
    imports[room] = imports.get(room, set()) - {room}


@functools.cache
def floor(room: str) -> int:
    """Return the floor of a room: one above all that it imports."""
    return 1 + max((floor(below) for below in imports[room]), default=-1)


assert all(
    floor(below) < floor(room) for room in lines for below in imports[room]
)
for room in sorted(lines, key=floor, reverse=True):
    print(f"{floor(room):2} {room:15} {lines[room]:6} lines")

# %%
# The same as a picture, with the lines of code in each room. An arrow is an import that does not follow from others:
# who imports ``training`` stands above ``engine`` in any case.


@functools.cache
def all_below(room: str) -> frozenset[str]:
    """Return every room that a room imports, also by way of others."""
    return frozenset().union(
        imports[room], *(all_below(below) for below in imports[room])
    )


fig, ax = plt.subplots(figsize=(8, 9), layout="constrained")
floors = [
    sorted(room for room in lines if floor(room) == i)
    for i in range(1 + max(map(floor, lines)))
]
place = {}
for i, rooms in enumerate(floors):
    for j, room in enumerate(rooms):
        place[room] = (j - (len(rooms) - 1) / 2) * 2.2 + 0.5 * (-1) ** i, i
boxes = {}
for room, (x, y) in place.items():
    look = {"boxstyle": "round", "facecolor": "white", "edgecolor": "gray"}
    label = f"{room}\n{lines[room]:,}"
    text = ax.text(x, y, label, ha="center", va="center", zorder=3, bbox=look)
    boxes[room] = text.get_bbox_patch()
for room in lines:
    for below in imports[room]:
        if not any(below in all_below(other) for other in imports[room]):
            look = {"arrowstyle": "->", "color": "steelblue"}
            look |= {"patchA": boxes[room], "patchB": boxes[below]}
            ax.annotate(
                "",
                xy=place[below],
                xytext=place[room],
                zorder=2,
                arrowprops=look,
            )
ax.set(yticks=range(len(floors)), ylabel="floor", xticks=[])
ax.set(xlim=(-5, 5), ylim=(-0.6, len(floors) - 0.4))
ax.spines[["top", "right", "bottom"]].set_visible(False)

# %%
# ``tests/house.py`` has this plan as rules, with the floors as they are meant, and ``tests/test_house.py`` holds the
# sources against them: who may import matplotlib, who may write a file, who knows the kernels' tables, at most 400
# lines in a file and 60 in a function. Each rule is tried on a violation, too.
#
# Three storeys
# -------------
# A call goes down through three storeys of another kind:
#
# * **API**, all rooms above ``kernels``: plain Python that checks, converts, allocates and reports. It never loops over
#   numbers.
# * **Roots**, ``kernels/roots``: the compiled functions that Python calls. With ``jobs`` and ``layers`` below them they
#   loop over batches and layers and share work between threads.
# * **Leaves**, ``kernels/matrix``, ``functions``, ``optimizers``, ``vectors``, ``machine``: they do one thing to
#   arrays. They never check, allocate or raise, for all of that has been done.
#
# A call, followed down
# ---------------------
# A network is three things: a description, one flat vector of parameters ``[W1 b1 W2 b2 ...]``, and views into it.

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
net = bp.Network(
    [3, 5, 2], activation=[[("tanh", 4), ("relu", 1)]], loss="huber", seed=0
)
assert all(
    np.shares_memory(net.params, view) for view in [*net.weights, *net.biases]
)
assert np.array_equal(net.params[:15].reshape(3, 5), net.weights[0])
assert np.array_equal(net.params[15:20], net.biases[0])

# %%
# Now ``net.fit`` is watched: which functions of these rooms are called, in the order of their first call, each as far
# to the right as it is deep. Calls within one room, constructors and properties of the network are left out.

ROOMS = ("network", "training", "validation", "model", "engine")
seen: list[tuple[int, str]] = []
stack: list[str] = []


def watch(frame, event, _) -> None:
    """Note a call of Python's, if it enters another room of fastbp."""
    name = frame.f_globals.get("__name__", "")
    if not name.startswith("fastbp."):
        return
    if event == "call":
        room, call = (
            name.split(".")[1],
            f"{name.removeprefix('fastbp.')}.{frame.f_code.co_qualname}",
        )
        is_known = any(call == known for _, known in seen)
        is_small = any(
            part in call for part in ("__", "<", "Definition.", "Model.")
        )
        if (
            room in ROOMS
            and stack[-1:] != [room]
            and not is_small
            and not is_known
        ):
            seen.append((len(stack), call))
        stack.append(room)
    elif event == "return" and stack:
        stack.pop()


adam = bp.Adam()
before = sys.getprofile()
sys.setprofile(watch)
try:
    net.fit(X, Y, epochs=2, batch_size=10, optimizer=adam, seed=0)
finally:
    sys.setprofile(before)
for depth, call in seen:
    print("  " * depth + call)
assert any(call == "engine.frame.Frame.train" for _, call in seen)

# %%
# Down to here all is Python, and it ends at ``engine``: what happens below is one call of a compiled function, which no
# profiler of Python's sees. What does it get?
#
# What a kernel is told
# ---------------------
# First a ``Problem``: the network without its parameters. Activations and the loss are codes by now, numbers that never
# get another meaning.

from fastbp.model.definition import problem_of

problem = problem_of(net)
print("sizes   ", problem.sizes, problem.dtype)
for layer, segments in enumerate(problem.segments):
    for segment in segments:
        print(
            f"layer {layer}: neurons {segment.begin} to {segment.end - 1}",
            f"have activation {segment.code}",
        )
print("loss    ", problem.loss[0], "with parameter", problem.loss_parameter)

# %%
# Of it a ``Frame`` is made: tables that describe the work, and memory for it, allocated once and kept for the next
# call. Only the room ``engine`` fills the tables, and only kernels read them. A place in a table has a name:

from fastbp.engine.problem_frames import make_frame
from fastbp.kernels.tables import layer as in_layer
from fastbp.kernels.tables import plan as in_plan

frame = make_frame(problem, batch_rows=100, n_rows=100, gradient=True)
columns = {
    name: place
    for name, place in vars(in_layer).items()
    if isinstance(place, int) and name != "LAYER_COLUMNS"
}
print(
    f"{'layer':14}"
    + "".join(f"{i:8}" for i in range(len(frame.workspace.layers)))
)
for name, place in columns.items():
    print(
        f"{name:14}"
        + "".join(f"{value:8}" for value in frame.workspace.layers[:, place])
    )
assert (
    frame.workspace.layers[0, in_layer.Z]
    == frame.workspace.layers[0, in_layer.A]
)
for name in (
    "N_LAYERS",
    "BLOCK_ROWS",
    "MODE",
    "N_PIECES",
    "N_PARAMS",
    "SLOT_SIZE",
):
    print(f"plan {name:11} {frame.workspace.plan[getattr(in_plan, name)]:8}")

# %%
# z and a of the first layer begin at one place where the derivative can be had from a alone, so that no second array is
# read. A frame is pointed to the rows, and runs a *task*:

from fastbp.kernels.roots import entry
from fastbp.model.checks import checked_data

rows, targets, _ = checked_data(net, X, Y, None)
frame.set_data(rows, targets)
cost, gradient = frame.value_and_grad(net.params)
print(
    "task",
    entry.VALUE_AND_GRAD,
    "of run" + str(inspect.signature(entry.run.py_func)),
)
print(f"cost {cost:.6f}, gradient of {gradient.size} numbers")
expected_cost, expected_gradient = net.value_and_grad(X, Y)
assert cost == expected_cost
assert np.array_equal(gradient, expected_gradient)

# %%
# ``task`` says what is to be done, ``slot`` who does it: 0 is the leader, the thread that called; others help. All
# tables and vectors come as addresses in one array, so that Numba has seven arguments to unpack and not thirty.
#
# Below the door
# --------------
# With ``NUMBA_DISABLE_JIT=1`` the same kernels are plain Python, every leaf of explicit vector instructions has a twin
# in NumPy, and a breakpoint, a ``print`` or a profiler works in all of them. That is how to find a mistake in a kernel.
# Here a process of that kind tells which kernels it runs for one gradient, and that the numbers are the same.

PROGRAM = """
import sys
import numpy as np
import fastbp as bp
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(100, 3)), rng.normal(size=(100, 2))
net = bp.Network([3, 5, 2], activation=[[("tanh", 4), ("relu", 1)]], loss="huber", seed=0)
net.fit(X, Y, epochs=2, batch_size=10, optimizer=bp.Adam(), seed=0)
ROOMS = "roots", "jobs", "layers", "matrix", "functions"
seen, stack = [], []
def watch(frame, event, _):
    name = frame.f_globals.get("__name__", "")
    if name.startswith("fastbp.kernels."):
        if event == "call":
            call = name.removeprefix("fastbp.kernels.") + "." + frame.f_code.co_name
            is_shown = name.split(".")[2] in ROOMS and call not in seen
            if is_shown and len(stack) < 7:
                seen.append(call)
                print("  " * len(stack) + call)
            stack.append(call)
        elif event == "return" and stack:
            stack.pop()
sys.setprofile(watch)
cost, gradient = net.value_and_grad(X, Y)
sys.setprofile(None)
print("numbers", cost, *gradient)
"""
done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    env={
        **os.environ,
        "NUMBA_DISABLE_JIT": "1",
        "PYTHONPATH": str(PACKAGE.parent),
    },
    capture_output=True,
    text=True,
    check=False,
)
assert done.returncode == 0, done.stderr
calls, _, numbers = done.stdout.partition("numbers ")
print(calls)
plain = np.array(numbers.split(), float)
print(
    f"largest difference to the compiled ones: {abs(plain - [cost, *gradient]).max():.0e}"
)
assert np.allclose(plain, [cost, *gradient], rtol=1e-10, atol=1e-12)

# %%
# Read the kernels in this order: ``tables`` (how a network looks to them), ``layers/net`` and ``layers/samples`` (what
# is read of it, and of the data), ``layers/passes`` (the four equations on one block of rows), ``layers/weight_steps``
# (what follows a gradient), ``jobs/regions`` and ``jobs/features`` (how threads share them), ``jobs/leader``,
# ``roots/entry``.
#
# After an edit in ``kernels`` the next call compiles, about 10 seconds for each dtype.
#
# Why the bits do not depend on the threads
# -----------------------------------------
# How a gradient is cut follows from the sizes and the rows of a mini-batch. The function that decides does not even
# know how many threads there are:

from fastbp.engine.cutting import gradient_pieces, most_pieces

modes = {
    in_plan.BY_ROWS: "rows through the whole network, a gradient each",
    in_plan.BY_NEURONS: "layers cut along their neurons",
    in_plan.BY_FEATURES: "the first layer cut along its inputs",
}
print("arguments:", *inspect.signature(gradient_pieces).parameters)
assert not any(
    "thread" in name for name in inspect.signature(gradient_pieces).parameters
)
for sizes, batch in (
    ([2, 16, 2], 32),
    ([4, 32, 16, 4], 10_000),
    ([784, 30, 10], 10),
    ([784, 512, 512, 10], 128),
):
    mode, n_pieces = gradient_pieces(sizes, batch)
    network, most = (
        "-".join(map(str, sizes)),
        most_pieces(sizes, mode, n_pieces),
    )
    print(
        f"{network:>15}, {batch:6} rows: at most {most:2} pieces, {modes[mode]}"
    )

# %%
# Threads take pieces by tickets, and who comes late finds none left. Each piece writes to a place of its own, and the
# places are added in their order. So who did which piece, and when, cannot be seen in the sum. In NumPy:

parts = [rng.normal(size=1000).astype("float32") for _ in range(16)]
sums = set()
for _ in range(20):
    places = np.zeros(16, "float32")
    for piece in rng.permutation(16):  # the order in which threads come to them
        places[piece] = parts[piece].sum()
    sums.add(float(np.add.accumulate(places)[-1]))
in_order_of_arrival = {
    float(
        np.add.accumulate(
            [parts[piece].sum() for piece in rng.permutation(16)]
        )[-1]
    )
    for _ in range(20)
}
print(
    f"added by place {len(sums)} result,",
    f"added as they come {len(in_order_of_arrival)} results",
)
assert len(sums) == 1 < len(in_order_of_arrival)

# %%
# A job never waits for a thread that has not come: the leader does what nobody takes. So there is no pool that could
# hang, a fork starts helpers of its own, and any number of Python threads may train at once.
#
# Adding something
# ----------------
# These are the files that an activation, a loss or an optimizer of the library touches. The tests that are there take
# it in by themselves, or fail and say which table lacks it.

ADDED = {
    "an activation": [
        "kernels/tables/codes.py: the next free code",
        "kernels/functions/activations.py: value and derivative, side by side",
        "kernels/jobs/known_codes.py: that the kernels know it",
        "kernels/layers/moves.py: if the derivative jumps",
        "engine/lanes.py: if networks side by side may have it",
        "functions/activations.py: one row of facts",
        "functions/names.py: its name as a type",
        "export/onnx.py: its formula",
        "export/onnx_functions.py: its values",
        "export/c_templates.py: its formula in C",
        "export/c_bound.py: its values",
    ],
    "a loss": [
        "kernels/tables/codes.py: the next free code",
        "kernels/functions/losses.py: value and derivative, side by side",
        "kernels/jobs/known_codes.py: that the kernels know it",
        "functions/losses.py: one row of facts",
        "functions/names.py: its name as a type",
        "neural_network/parameters.py: its name in scikit-learn",
    ],
    "an optimizer": [
        "kernels/optimizers/updates.py: a code, a leaf with its formula, a branch",
        "kernels/jobs/known_codes.py: that the kernels know it",
        "training/optimizers.py: a class that checks its hyper-parameters",
        "__init__.py: its name",
    ],
}
for what, files in ADDED.items():
    print(what)
    for line in files:
        assert (PACKAGE / line.partition(":")[0]).exists(), line
        print("    " + line)

# %%
# Beside these come docstrings, ``README.md`` and the tests' own oracles: ``tests/reference_formulas.py`` has the
# obvious formula and ``tests/cases.py`` one row, which puts it into every test of activations, losses or optimizers.
# ``CONTRIBUTING.md`` has the full list, also for an optimizer of all rows and for a root. Who needs a function for one
# program only writes an :class:`fastbp.Activation` or :class:`fastbp.Loss` and edits nothing:
# :ref:`sphx_glr_auto_examples_14_own_activation.py`.
#
# What the tests compare with
# ---------------------------
# A test that compares fastbp with fastbp finds half of the mistakes. So there are oracles that know nothing of it:
#
# * ``tests/reference.py``: networks, optimizers and training in explicit loops of NumPy, formula by formula;
# * ``tests/complex_step.py`` and differences of fourth order: derivatives that nobody derived;
# * the sum over all paths of a tiny network, from the definition of the derivative;
# * ``tests/jets.py``: Taylor series, for second and higher derivatives; mpmath, for the functions' last digits;
# * torch, jax, SciPy, scikit-learn, ONNX Runtime and C compilers, where they are installed;
# * the kernels as plain Python, and compiled for other processors.
#
# And there are those that damage things: ``tests/fuzz_files.py`` and its kin, signals at random instructions, forks in
# the middle of a compilation, disks that are full. :ref:`sphx_glr_auto_guides_07_how_far_to_trust_it.py` runs some of
# the oracles before your eyes, :doc:`/trust` lists what is promised and by which test.
#
# Where to begin
# --------------
# ``python -m pytest`` in a copy of the repository, then one line of ``kernels/layers/passes.py`` changed on purpose:
# see what notices. The house rules in ``CONTRIBUTING.md`` are short, and each has a reason.
