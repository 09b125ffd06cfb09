"""`Session`: what one call does on a cluster: it computes, holds what is used again, and leaves nothing behind."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from dask import delayed
from distributed import Client, Future, LocalCluster, get_client
from numpy.typing import NDArray

from fastbp.engine.threads import thread_count

_PIECE_BYTES = 4 << 20  # of a vector that goes to the scheduler in one message: half of what Dask warns of

_Kind = TypeVar("_Kind")


@contextmanager
def session_on(client: Client | None) -> Iterator[Session]:
    """Give a session on a client, by default the current one; where there is none, on a cluster that ends with it."""
    if client is None:
        try:
            client = get_client()
        except ValueError:
            with _own_client() as own:
                yield from _session(own)
            return
    if not isinstance(client, Client):
        raise TypeError(f"`client` must be a distributed.Client or None; got {type(client).__name__}.")
    if client.asynchronous:
        raise ValueError(
            "`client` must be synchronous, because a fit waits for its rounds; got an asynchronous one. Make another "
            "one for it: Client(client.scheduler.address)."
        )
    yield from _session(client)


@contextmanager
def _own_client() -> Iterator[Client]:
    """Give the client of a cluster within this process, which shares memory with its worker."""
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=thread_count(None),
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=None,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _session(client: Client) -> Iterator[Session]:
    session = Session(client)
    try:
        yield session
    finally:
        session.end()


class Session:
    """The work of one call on a cluster.

    Parameters
    ----------
    client : Client
        A synchronous client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._token = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._held = list[Future]()

    def name(self, what: str) -> str:
        """Return a key that nobody else has; the dashboard shows what it begins with."""
        return f"{what}-{self._token}-{next(self._numbers)}"

    def task(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what will be computed: a pure function of values, futures and other such tasks."""
        return delayed(function, pure=False, traverse=False)(*arguments, dask_key_name=self.name(function.__name__))

    def result(self, task: Any) -> Any:
        """Compute a task, and return what it returns."""
        future = self.client.compute(task)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def hold(self, tasks: Sequence[Any]) -> list[Future]:
        """Have tasks computed, and what they return kept on the workers until the session ends."""
        futures = self.client.compute(list(tasks))
        self._held += futures
        return list(futures)

    def constant(self, value: Any) -> Future:
        """Have a value at hand for the workers until the session ends, small enough for one message."""
        future = self.client.submit(same, value, key=self.name("constant"), pure=False)
        self._held.append(future)
        return future

    def vector(self, values: NDArray[Any]) -> Any:
        """Return a future of a vector, which Dask can make again if a worker dies; the values may change meanwhile."""
        n_pieces = max(1, -(-values.nbytes // _PIECE_BYTES))
        pieces = [
            self.client.submit(same, piece.copy(), key=self.name("vector"), pure=False)
            for piece in np.array_split(values, n_pieces)
        ]
        if n_pieces == 1:
            return pieces[0]
        return self.client.submit(np.concatenate, pieces, key=self.name("vector"), pure=False)

    def end(self) -> None:
        """Let go of everything."""
        self._held.clear()


def same(value: _Kind) -> _Kind:
    """Return what is given: the task of a value that the client has."""
    return value
