"""Pictures; the only module that imports matplotlib, and it does so when a picture is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.history import History


def plot_history(history: History, ax: Any = None) -> Any:
    """Draw training and validation loss against the epoch.

    Parameters
    ----------
    history : History
        What `Network.fit` returned.
    ax : matplotlib axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib axes
        The axes, for titles and limits; nothing is shown or saved here.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed: python -m pip install 'fastbp[plot]'."
        ) from error

    if ax is None:
        ax = Figure(figsize=(6, 4), layout="constrained").add_subplot()
    epochs = range(1, len(history) + 1)
    ax.plot(epochs, history.loss, color="black", label="training")
    if history.val_loss.size:
        ax.plot(epochs, history.val_loss, color="black", linestyle="--", label="validation")
        best = history.best_epoch
        if best is not None:
            ax.plot(best + 1, history.val_loss[best], "ko", label=f"lowest, epoch {best + 1}")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (mean cost per sample)")
    ax.legend(frameon=False)
    return ax
