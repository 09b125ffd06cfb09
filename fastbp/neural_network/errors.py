"""What a fit that diverges raises, and scikit-learn's warnings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning

from fastbp.system import caller
from fastbp.training.state import TrainingDivergedError

# Filters that programs have for scikit-learn's warnings, such as `module="sklearn"` in its gallery, still work.
_MODULE = "sklearn.neural_network._multilayer_perceptron"


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


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Give a warning that scikit-learn gives as well, at the user's line and as from scikit-learn's module."""
    caller.warn(message, category, _MODULE)


def warn_of_column(y: NDArray[Any]) -> None:
    """Warn, as scikit-learn does, of targets that are one column."""
    if np.ndim(y) == 2 and np.shape(y)[1] == 1:
        warn(
            "A column-vector y was passed when a 1d array was expected. Please change the shape of y to (n_samples, ), "
            "for example using ravel().",
            DataConversionWarning,
        )
