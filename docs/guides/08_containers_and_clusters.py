"""
Containers, clusters and read-only places
=========================================

For whoever takes fastbp from a laptop to a container, a cluster or a server. Afterwards you know where the compiled
kernels are kept, how to bring them into an image, what happens where nothing can be written, whose files are believed,
and how many threads a process takes, of which kind it may be.

The program starts a few processes of its own and looks at what they say. All it writes is in a temporary folder.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

import fastbp as bp

# %%
# Where the kernels are
# ---------------------
# The first fit, prediction or gradient compiles, about 10 seconds for each dtype, and what was compiled is kept in a
# folder. fastbp looks into these, in this order:
#
# 1. ``$FASTBP_CACHE_DIR/fastbp``, where that variable is set,
# 2. ``$NUMBA_CACHE_DIR/fastbp``, likewise,
# 3. the user's cache folder: ``$XDG_CACHE_HOME/fastbp`` or ``~/.cache/fastbp``, under Windows that of ``LOCALAPPDATA``,
# 4. a private folder among the temporary files.
#
# All are read up to the first that can be written to, and that one gets what is compiled. A file's name has a digest of
# fastbp's sources, of the versions of Python, Numba and llvmlite, of the processor and of the compiler's options: what
# was made for something else is never opened, so one folder may serve many machines and versions.
#
# Here are kernels that this machine has. They come into a folder of ours, as they come into an image:

net = bp.Network([2, 3, 1], activation="tanh", seed=0)
net.predict([[0.0, 1.0]])
net.predict_one(np.zeros(2))  # has a kernel of its own

folder = tempfile.TemporaryDirectory()
root = Path(folder.name)
root.chmod(0o755)
image = root / "image"
(image / "fastbp").mkdir(parents=True)
for path in (image, image / "fastbp"):
    path.chmod(0o755)  # whatever the umask is
variables = ("FASTBP_CACHE_DIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME")
places = [Path(os.environ[name]) for name in variables if os.environ.get(name)]
for place in [*places, Path.home() / ".cache"]:
    for kind in ("entry", "evaluator", "one_row"):
        for path in (place / "fastbp").glob(f"roots.{kind}.run-*.kernel"):
            shutil.copy(path, image / "fastbp")

# %%
# A process that uses them. ``HOME`` and the other variables point to nowhere, a place below a file that is no folder,
# so that there is nothing else to read or to write. Its log says whether it compiles.

nowhere = root / "a file"
nowhere.write_text("no folder")
PROGRAM = """
import logging, os, sys, tempfile
tempfile.tempdir = os.environ["TMPDIR"]  # nor is there a place for temporary files
logging.basicConfig(stream=sys.stdout, format="log: %(message)s")
logging.getLogger("fastbp").setLevel("INFO")
import numpy as np
import fastbp as bp
net = bp.Network([2, 3, 1], activation="tanh", seed=0)
net.fit([[0.0, 1.0], [1.0, 0.0]], [[1.0], [0.0]], epochs=5, seed=0)
print("output", net.predict_one(np.zeros(2)))
"""


def run(program: str, **environment: object) -> str:
    """Run a program in a process of its own; return what it prints."""
    lost = dict.fromkeys(
        (*variables, "HOME", "TMPDIR", "LOCALAPPDATA"), nowhere / "below"
    )
    paths = str(Path(bp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")
    found = {"PYTHONPATH": os.pathsep.join(paths)}  # the fastbp of this page
    changed = {
        name: str(value)
        for name, value in {**lost, **found, **environment}.items()
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **changed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.replace(folder.name, "...")  # without our folder's name


def show(output: str) -> None:
    """Print in lines that fit the page."""
    for line in output.splitlines():
        print(textwrap.fill(line, 80, subsequent_indent="     "))


run(PROGRAM, FASTBP_CACHE_DIR=image)  # compiles what the folder may lack
own = root / "own"
shutil.copytree(image, own)  # for later
kernels = sorted(path.name for path in (image / "fastbp").glob("*.kernel"))
print(f"{len(kernels)} files, for instance {kernels[0]}")

# %%
# A container, built and read-only
# --------------------------------
# Now nobody may write to the folder any more, as in an image that somebody else has built:

for path in (*(image / "fastbp").iterdir(), image / "fastbp", image):
    path.chmod(0o444 if path.is_file() else 0o555)
said = run(PROGRAM, FASTBP_CACHE_DIR=image)
show(said)
print("compiled:", said.count("Compiling"))
assert "Compiling" not in said
assert (
    sorted(path.name for path in (image / "fastbp").glob("*.kernel")) == kernels
)

# %%
# Nothing was compiled and nothing written. So a ``Dockerfile`` has the variable and one line more:
#
# .. code-block:: docker
#
#    FROM python:3.13-slim
#    RUN pip install fastbp
#    ENV FASTBP_CACHE_DIR=/opt/kernels
#    RUN python -m fastbp warmup --dtype float32
#    COPY serve.py .
#    USER 1000
#    CMD ["python", "serve.py"]
#
# root has compiled, and every user reads it; a root file system that is read-only does no harm. :func:`fastbp.warmup`
# is the same from Python. Three things spoil it:
#
# * **Another processor.** An image that is built on AVX-512 and runs on AVX2 compiles again where it runs. Build for
#   what all machines have, with both of these, in the image for building and for running:
#   ``ENV NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=`` (:doc:`/processors`).
# * **Another dtype.** ``--dtype float32`` has none of ``float64``; without it both are made.
# * **Functions of your own.** An :class:`fastbp.Activation` or :class:`fastbp.Loss` compiles in each process
#   that uses it.
#
# Where nothing can be written
# ----------------------------
# The folder loses the kernel of :meth:`fastbp.Network.predict_one`, a small one. There is no other place, so the
# process compiles it for itself, and the next one will again. It works, and the log says why it was slow.

(image / "fastbp").chmod(0o755)
for path in (image / "fastbp").glob("roots.one_row.run-*.kernel"):
    path.unlink()
(image / "fastbp").chmod(0o555)
said = run(PROGRAM, FASTBP_CACHE_DIR=image)
show(said)
is_root = hasattr(os, "geteuid") and os.geteuid() == 0
print("(root writes all the same)" if is_root else "(and nothing was kept)")
assert "Compiled kernels" in said
if os.name == "posix":
    assert (
        bool(list((image / "fastbp").glob("roots.one_row.run-*.kernel")))
        == is_root
    )

# %%
# ``log:`` lines come from Python's :mod:`logging`: ``fastbp.kernels.compiler`` says when it compiles,
# ``fastbp.kernels.cache_folders`` which place it passes over. A service that starts slowly should show both.
#
# Whose files are believed
# ------------------------
# A file of kernels is machine code, and whoever loads it runs it. So a folder counts only if it belongs to you or to
# root and nobody else can write to it, nor exchange it or a folder or link above it. Here the group may write:

shared = root / "for all of us"
shutil.copytree(own, shared)
(shared / "fastbp").chmod(0o775)
said = run(PROGRAM, FASTBP_CACHE_DIR=shared, NUMBA_CACHE_DIR=own)
show(said)
if os.name == "posix":
    assert "passed over" in said.splitlines()[0]

# %%
# The folder was passed over and the next one taken. On clusters this is the usual surprise: a project's folder with
# mode ``2775`` is a place for data, and none for kernels, nor is a folder below it. Take one in your home, or have the
# administrator fill a folder that belongs to root.
#
# How many threads
# ----------------
# A process takes as many as it may: the smallest of its affinity mask, the quota of its control groups, which is what
# ``docker run --cpus=2`` and Kubernetes' limits set, and ``OMP_NUM_THREADS``, ``NUMBA_NUM_THREADS`` and
# ``LOKY_MAX_CPU_COUNT``.

print(f"processors {os.cpu_count()}, threads {bp.get_num_threads()}")
with bp.num_threads(1):
    print(f"within the block {bp.get_num_threads()}")
    assert bp.get_num_threads() == 1

# %%
# Who works in a pool shares the processors with the others. Threads of joblib and of ``multiprocessing.pool`` have
# equal shares, and processes of a pool one each, unless they were told more. Here is what they get, and that they may
# all train at once, with the bits of a network that was trained alone:

rng = np.random.default_rng(0)
X = rng.normal(size=(200, 4))
Y = X[:, :1] * X[:, 1:2]


def train(seed: int) -> tuple[int, bytes]:
    """Train a network; return the threads that it may have, and all its bits."""
    net = bp.Network([4, 16, 1], activation="tanh", seed=seed)
    net.fit(X, Y, epochs=20, seed=seed)
    return bp.get_num_threads(), net.params.tobytes()


alone = [train(seed) for seed in range(4)]
with ThreadPool(4) as pool:
    together = pool.map(train, range(4))
print(
    "alone",
    [n for n, _ in alone],
    "in a pool of four threads",
    [n for n, _ in together],
)
assert [bits for _, bits in alone] == [bits for _, bits in together]
assert all(n <= max(1, bp.get_num_threads() // 2) for n, _ in together)

# %%
# Processes are tried in a program of its own: a fork after a training, and the workers of joblib, which scikit-learn
# starts for ``n_jobs=2``. No OpenMP runtime is below that could hang in a child.

WORKERS = """
import os
import joblib
import numpy as np
import fastbp as bp

def train():
    net = bp.Network([2, 16, 1], activation="tanh", seed=0)
    x = np.linspace(-1, 1, 400).reshape(-1, 2)
    net.fit(x, x[:, :1] ** 2, epochs=5, seed=0, n_threads=2)
    return net.params.tobytes()

print("with OMP_NUM_THREADS=1:", bp.get_num_threads())
before = train()
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        os._exit(0 if train() == before else 1)
    print("a fork has the same bits:", os.waitpid(child, 0)[1] == 0)
del os.environ["OMP_NUM_THREADS"]
jobs = (joblib.delayed(bp.get_num_threads)() for _ in range(2))
print("workers of joblib:", joblib.Parallel(n_jobs=2)(jobs))
"""
said = run(WORKERS, FASTBP_CACHE_DIR=own, TMPDIR=root, OMP_NUM_THREADS=1)
show(said)
assert "OMP_NUM_THREADS=1: 1\n" in said
assert "same bits: False" not in said

# %%
# The memory of a container counts like its processors. What cannot fit is refused before anything is allocated, where
# the system would end the process later and without a word:

try:
    bp.Network([10_000_000, 10_000_000, 1])
except MemoryError as error:
    show(str(error))

# %%
# A cluster with SLURM
# --------------------
# One job compiles, the others wait for it. Where a node has another processor, its first job compiles once more, into
# the same folder. A job that is ended and started again goes on from its checkpoint with the same bits.
#
# .. code-block:: bash
#
#    #!/bin/bash
#    #SBATCH --array=0-31
#    #SBATCH --cpus-per-task=4
#    #SBATCH --requeue
#    export FASTBP_CACHE_DIR=$HOME/kernels             # nobody else may write there
#    export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK       # where the cluster sets no affinity
#    srun python train.py --seed $SLURM_ARRAY_TASK_ID
#
# .. code-block:: bash
#
#    first=$(sbatch --parsable --wrap "FASTBP_CACHE_DIR=\$HOME/kernels python -m fastbp warmup")
#    sbatch --dependency=afterok:$first jobs.sh
#
# In ``train.py`` the fit has a file for each job, on a disk that outlives it:
#
# .. code-block:: python
#
#    net.fit(X, Y, epochs=500, seed=seed, checkpoint=f"{seed}.safetensors",
#            checkpoint_every=timedelta(minutes=5), resume=True)
#
# Thirty-two seeds of a small network are no reason for thirty-two jobs, by the way: :func:`fastbp.fit_many` trains them
# side by side in one call (:doc:`/many`).
#
# A Dask cluster
# --------------
# A plugin has the kernels ready on every worker, also on those that come later. Of each machine one process compiles,
# and the others wait for its files. A task takes one thread, because its worker runs one in each of its own.
#
# .. code-block:: python
#
#    import fastbp.dask
#    from dask.distributed import Client
#
#    client = Client("tcp://scheduler:8786")
#    client.register_plugin(fastbp.dask.Warmup("float32"))
#
# Training on rows that lie in the cluster is another page: :doc:`/dask`.
#
# In short
# --------
# * Set ``FASTBP_CACHE_DIR`` to a folder that only you or root may write to, and run ``python -m fastbp warmup`` there.
# * Read-only is fine. Nothing to write to is fine too, and slow at each start.
# * Files are never wrong, only missing: after an update, on another processor, the kernels are compiled again. Old ones
#   go by themselves, when there are more than 128 and nobody has used them for three days.
# * Threads follow the container. ``bp.set_num_threads`` or ``with bp.num_threads(n)`` say otherwise; the bits of
#   results do not depend on them.

for path in (
    image,
    image / "fastbp",
    shared,
    shared / "fastbp",
    own,
    own / "fastbp",
):
    path.chmod(0o755)
folder.cleanup()
