"""`Session`: what one call does on a cluster: it computes, holds what is used again, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import numpy as np
from distributed import Client, Future, LocalCluster, as_completed, get_client, get_worker, rejoin, secede
from distributed.protocol import pickle
from numpy.typing import NDArray

from fastbp.dask.failures import explain, require_connection
from fastbp.dask.graphs import Planned, compute
from fastbp.dask.worker import give_up, run_for
from fastbp.engine.threads import thread_count

_PIECE_BYTES = 4 << 20  # of a vector that goes to the scheduler in one message: half of what Dask warns of
_LOOK = 1.0  # seconds between two looks at the connection while a result is waited for
_PATIENCE = 5.0  # seconds that the workers have to say that they give up
_SMALL = 1 << 16  # bytes of a vector that goes with each task: a message of its own would take some 5 ms

_Kind = TypeVar("_Kind")
_finding = (
    threading.Lock()
)  # two tasks of a worker may ask for its client at once, and Dask gives one that is not ready


@contextmanager
def session_on(client: Client | None) -> Iterator[Session]:
    """Give a session on a client, by default the current one; where there is none, on a cluster that ends with it."""
    client = _current_client() if client is None else client
    if client is None:
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
    with _out_of_the_way():
        yield from _session(client)


def _current_client() -> Client | None:
    with _finding:
        try:
            return get_client()
        except ValueError:
            return None


@contextmanager
def _out_of_the_way() -> Iterator[None]:
    """Let another task have this thread's place if a task makes the call, which might otherwise wait for itself."""
    has_left = _leave()
    try:
        yield
    finally:
        if has_left:
            rejoin()


def _leave() -> bool:
    """Leave the place; False where there is no task, or it has done so already."""
    try:
        get_worker()
        secede()
    except (ValueError, KeyError):
        return False
    return True


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
            silence_logs=logging.CRITICAL,  # nobody asked for a cluster
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # Closing sometimes leaves behind a wait whose result nobody asks for, of which asyncio would tell the console.
        client.loop.asyncio_loop.set_exception_handler(lambda loop, context: None)  # of the cluster's own thread
        yield client


def _session(client: Client) -> Iterator[Session]:
    session = Session(client)
    try:
        yield session
        if session.is_interrupted:  # by a Ctrl-C of which the call has made a warning
            session.give_up()
    except BaseException:
        session.give_up()
        raise
    finally:
        session.end()


class Session:
    """The work of one call on a cluster.

    Parameters
    ----------
    client : Client
        A synchronous client.

    Attributes
    ----------
    is_interrupted : bool
        Whether Ctrl-C came while something was computed, which the workers may still be at.
    """

    def __init__(self, client: Client) -> None:
        self.client, self.is_interrupted = client, False
        self._token = uuid.uuid4().hex[:12]
        self._numbers = itertools.count()
        self._held = list[Future]()
        self._made: weakref.WeakSet[Future] = weakref.WeakSet()

    def name(self, what: str) -> str:
        """Return a key that nobody else has; the dashboard shows what it begins with."""
        return f"{what}-{self._token}-{next(self._numbers)}"

    def task(self, function: Callable[..., Any], *arguments: Any) -> Planned:
        """Return what will be computed: a pure function of values, futures and other such tasks."""
        return Planned(self.name(function.__name__), run_for, self._token, function, *arguments)

    def result(self, task: Any, parts: Sequence[Any] = ()) -> Any:
        """Compute a task, and return what it returns.

        Parameters
        ----------
        task : Planned
            The task.
        parts : sequence of Planned or Future
            What it needs of each partition, so that an error can name the one where it is from.

        Raises
        ------
        RuntimeError
            If the cluster, or what it held, is gone.
        Exception
            What the task, or a task that it needs, has raised.
        """
        with self._explaining():
            (future,) = self._compute([task])
            try:
                error = self._wait_for(future)
                if error is not None and parts:
                    self._name_partition(error, parts)
                return future.result()
            finally:  # and not by the garbage collector: each look that found nothing has put it into a cycle
                _let_go(future)

    def hold(self, tasks: Sequence[Any]) -> list[Future]:
        """Have tasks computed, and what they return kept on the workers until the session ends."""
        with self._explaining():
            futures = self._compute(tasks)
        self._held += futures
        return futures

    def constant(self, value: Any) -> Future:
        """Have a value at hand for the workers until the session ends."""
        pickled = pickle.dumps(value)
        if len(pickled) <= _PIECE_BYTES:
            future = self._submit("constant", same, value)
        else:  # an estimator, with the parameters of a large network
            cuts = range(0, len(pickled), _PIECE_BYTES)
            pieces = [self._submit("constant", same, pickled[cut : cut + _PIECE_BYTES]) for cut in cuts]
            future = self._submit("constant", put_together, pieces)
        self._held.append(future)
        return future

    def vector(self, values: NDArray[Any]) -> Any:
        """Return a vector or a future that Dask can make again if a worker dies; the values may change meanwhile."""
        n_pieces = max(1, -(-values.nbytes // _PIECE_BYTES))
        if values.nbytes <= _SMALL:
            return values.copy()
        pieces = [self._submit("vector", same, piece.copy()) for piece in np.array_split(values, n_pieces)]
        return pieces[0] if n_pieces == 1 else self._submit("vector", np.concatenate, pieces)

    def _compute(self, tasks: Sequence[Any]) -> list[Future]:
        require_connection(self.client)
        futures = compute(self.client, tasks)
        self._made.update(futures)
        return futures

    def _submit(self, name: str, function: Callable[..., Any], argument: Any) -> Future:
        with self._explaining():
            require_connection(self.client)
            future = self.client.submit(function, argument, key=self.name(name), pure=False)
            self._made.add(future)
            return future

    def _wait_for(self, future: Future) -> Exception | None:
        """Wait until a task is over, one way or the other; return what it has raised."""
        while True:
            try:
                error: Exception | None = future.exception(timeout=_LOOK)
                return error
            except TimeoutError:
                require_connection(self.client)

    def _name_partition(self, error: Exception, parts: Sequence[Any]) -> None:
        """Note in an error that comes from making a partition which one that is."""
        if str(error).startswith("In partition ") or hasattr(error, "__notes__"):
            return
        is_held = isinstance(parts[0], Future)
        futures = list(parts) if is_held else self._compute(parts)  # one has failed, which Dask does not try again
        for future in as_completed(futures, loop=self.client.loop):
            if future.status == "error":
                error.add_note(f"It was raised in making partition {futures.index(future)}.")
                return

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        """Say of errors of Dask's what has happened."""
        try:
            yield
        except Exception as error:
            raise explain(error, self.client, self._held) from None
        except BaseException:
            self.is_interrupted = True
            raise

    def give_up(self) -> None:
        """Have the workers end what they do for this session, so that they are free; an error of this is no matter."""
        if self.client.status != "running":
            return
        self._release()  # and not `Client.cancel`: if others have cancelled a task already, that breaks the connection
        with suppress(Exception):
            self.client.sync(_give_up, self.client, self._token, callback_timeout=_PATIENCE)

    def end(self) -> None:
        """Let go of everything, whoever still refers to it."""
        self._release()
        self._held.clear()

    def _release(self) -> None:
        for future in list(self._made):
            _let_go(future)
        if self.client.status == "running":
            with suppress(Exception):
                self.client.sync(asyncio.sleep, 0, callback_timeout=_PATIENCE)  # until the client has done so


def _let_go(future: Future) -> None:
    """Say that nobody here needs a result any more; once more, it says nothing."""
    with suppress(RuntimeError):  # the client's loop has ended
        future.release()


async def _give_up(client: Client, token: str) -> None:
    """Ask all workers, also while their threads compute."""
    await client.run(give_up, token, on_error="ignore")


def put_together(pieces: Sequence[bytes]) -> Any:
    """Return the value of which these are the pickle: the task of one that is too large for a message."""
    return pickle.loads(b"".join(pieces))


def same(value: _Kind) -> _Kind:
    """Return what is given: the task of a value that the client has."""
    return value
