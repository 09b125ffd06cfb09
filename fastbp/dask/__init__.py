"""Training on the machines of a Dask cluster; needs ``pip install "fastbp[dask]"``."""

try:
    import dask as _dask  # noqa: F401 # to see whether it is there
    import distributed as _distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastbp.dask needs Dask, which is not installed. Write: python -m pip install "fastbp[dask]"'
    ) from error

from fastbp.dask.estimators import DaskMLPClassifier, DaskMLPRegressor
from fastbp.dask.fit import fit
from fastbp.dask.memmaps import from_memmap
from fastbp.dask.prediction import predict
from fastbp.dask.warmup import Warmup

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor", "Warmup", "fit", "from_memmap", "predict"]
