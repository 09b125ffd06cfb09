"""What a fit that diverges raises."""

from fastbp.trainer import TrainingDivergedError


class FitDivergedError(TrainingDivergedError, ValueError):
    """The loss became NaN or infinite; the model keeps finite weights, those from before that epoch.

    It is a `ValueError`, which scikit-learn raises, and fastbp's own `TrainingDivergedError`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.neural_network import FitDivergedError, MLPRegressor
    >>> X = np.linspace(-1e3, 1e3, 50).reshape(-1, 1)
    >>> try:
    ...     MLPRegressor(solver="sgd", learning_rate_init=10.0, random_state=0).fit(X, X.ravel() ** 2)
    ... except FitDivergedError:
    ...     print("scale the inputs")
    scale the inputs
    """


# scikit-learn's own sentence, so that programs that look for it find it.
_NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)


def diverged(where: str) -> FitDivergedError:
    """Return the error of a fit whose loss became NaN or infinite."""
    return FitDivergedError(
        f"{_NON_FINITE} The loss became NaN or infinite in {where}; the model keeps its last finite weights. Try "
        "inputs scaled to mean 0 and variance 1 (`StandardScaler`), a smaller `learning_rate_init`, or `clip_norm=1.0`."
    )
