"""What has happened to a cluster, in words, where Dask has an error of its own for it."""

from __future__ import annotations

from collections.abc import Sequence

from distributed import CancelledError, Client, Future, Status
from distributed.scheduler import KilledWorker

_LOST = {"lost dependencies", "already forgotten"}  # the scheduler's reasons for tasks that nobody can compute
_AFTER = "A network in training is as after its last finished epoch."


def require_connection(client: Client) -> None:
    """Raise if a client has no connection to its scheduler.

    Raises
    ------
    RuntimeError
        If so.  Nothing waits for another connection: what the scheduler kept for the client is gone with the old one.
    """
    if client.status != "running":
        raise RuntimeError(_closed() if _was_closed(client) else _gone())


def explain(error: Exception, client: Client, held: Sequence[Future]) -> Exception:
    """Return what to raise instead of an error that came from a client.

    Parameters
    ----------
    error : Exception
        The error.
    client : Client
        The client.
    held : sequence of Future
        What the workers were to keep.
    """
    if type(error) in (TypeError, ValueError) and str(error).startswith("In partition "):
        return type(error)(str(error))  # without the traceback: the user's rows are wrong, not what was done with them
    if client.status != "running":
        return RuntimeError(_closed() if _was_closed(client) else _gone())
    if isinstance(error, KilledWorker):
        return RuntimeError(
            f"A task was given up because {error.allowed_failures + 1} workers died of it, one after the other; most "
            "likely they had too little memory. Make the partitions smaller or the workers' memory larger, write "
            f"persist=False where it is not yet so, and look into the workers' logs. {_AFTER}"
        )
    if not isinstance(error, CancelledError):
        return error
    reasons = {_reason(error), *(_reason_of(future) for future in held if future.cancelled())}
    if "scheduler-restart" in reasons:
        return RuntimeError(
            f"The cluster was restarted by `Client.restart`, and what the workers held is gone. {_AFTER}"
        )
    if "scheduler-connection-lost" in reasons:
        return RuntimeError(_gone())
    if not reasons <= _LOST:
        return RuntimeError(
            f"The tasks were cancelled, by `Client.cancel` or by another owner of the cluster. {_AFTER}"
        )
    return RuntimeError(
        "Data that only a worker had are lost, because it died or was restarted and Dask cannot make them again: it "
        "has no tasks for what `Client.scatter` brings. Read them in tasks instead, such as those of "
        f"dask.array.from_array or dask.dataframe.read_parquet. {_AFTER}"
    )


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "unknown"))


def _reason_of(future: Future) -> str:
    """Return why a future was cancelled."""
    try:
        future.result()  # which does not wait
    except CancelledError as error:
        return _reason(error)
    return "unknown"


def _was_closed(client: Client) -> bool:
    """Whether a client has been closed while its scheduler was there, as far as one can know."""
    cluster = getattr(client.cluster, "status", None)
    return client.status in ("closing", "closed") and cluster not in (Status.closing, Status.closed, Status.failed)


def _closed() -> str:
    return f"The client was closed before the work on its cluster was done. {_AFTER}"


def _gone() -> str:
    return (
        "The scheduler has ended or cannot be reached, and with it what the workers held. Start a cluster again; a fit "
        f"with `checkpoint` goes on from there with resume=True. {_AFTER}"
    )
