"""`Warmup`: a plugin that has every worker ready before its first task."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

from fastbp.functions.names import DTypeName
from fastbp.kernels.compiler.cache_folders import folders
from fastbp.validation.numbers import FloatDType
from fastbp.warmup import dtype_names, warmup

# Several times what all kernels take on a busy machine.  Whoever has waited that long compiles as well: a lock can only
# save time.
_MOST_SECONDS = 120.0


class Warmup(WorkerPlugin):
    """Have the kernels compiled on each worker, or loaded from the disk, before its first task.

    Without it the first task that fits or predicts compiles for some seconds on every worker at once. With it one
    process of each machine compiles, the others wait for it and load what it has written, and so do workers that join
    the cluster later, and those that are started again.

    Parameters
    ----------
    dtypes : dtype, or list, tuple or set of dtypes, default ("float32", "float64")
        The dtypes of the networks that will be used, as for `fastbp.warmup`.

    Raises
    ------
    ValueError
        If `dtypes` are others, or none.

    See Also
    --------
    fastbp.warmup : What it does on each worker, and where the kernels are kept.

    Notes
    -----
    The processes of a machine wait for each other where they keep kernels in the same folder, as they do unless the
    environment variable ``FASTBP_CACHE_DIR`` differs, and where the system has ``flock``, as Linux and macOS have.
    Elsewhere each of them compiles.

    Examples
    --------
    >>> import fastbp.dask
    >>> from dask.distributed import Client
    >>> client = Client(processes=False, dashboard_address=":0")
    >>> said = client.register_plugin(fastbp.dask.Warmup("float64"))
    >>> [answer["status"] for answer in said.values()]
    ['OK']
    >>> client.close()
    """

    name = "fastbp-warmup"

    def __init__(self, dtypes: FloatDType | Collection[FloatDType] = ("float32", "float64")) -> None:
        self.dtypes = dtype_names(dtypes)

    async def setup(self, worker: Worker) -> None:
        """Compile or load the kernels, in a thread, so that the worker answers meanwhile."""
        await asyncio.to_thread(_warm_up, self.dtypes)


def _warm_up(dtypes: list[DTypeName]) -> None:
    with _one_after_the_other():
        warmup(dtypes)


@contextmanager
def _one_after_the_other() -> Iterator[None]:
    """Wait until no other process fills the folder of compiled kernels, then keep the others waiting."""
    with ExitStack() as stack:
        for folder in folders():
            if folder.is_writable:
                stack.enter_context(folder.turn(_MOST_SECONDS))
        yield
