"""Handwritten digits to train on: those that come with scikit-learn, or a file of the user's.

Both are returned with pixels from 0 to 1, split into training and test rows.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastbp.validation.numbers import FloatDType

__all__ = ["Digits", "embedded_digits", "read_digits", "read_npz"]

_KEYS = ("X_train", "y_train", "X_test", "y_test")
_TEST_SHARE = 0.25
_SPLIT_SEED = 0  # one split for all runs, so that their accuracies can be compared


class Digits(NamedTuple):
    """Images and labels.

    Attributes
    ----------
    X_train, X_test : ndarray, shape (n, n_pixels)
        Images, one a row, pixels from 0 to 1.
    y_train, y_test : ndarray of int64, shape (n,)
        Classes, counted from 0.
    name : str
        Where they come from.

    Examples
    --------
    >>> digits = embedded_digits()
    >>> digits.X_train.shape, digits.y_train.shape
    ((1347, 64), (1347,))
    """

    X_train: NDArray[Any]
    y_train: NDArray[np.int64]
    X_test: NDArray[Any]
    y_test: NDArray[np.int64]
    name: str

    @property
    def n_classes(self) -> int:
        """One more than the largest label."""
        return int(self.y_train.max()) + 1


def embedded_digits(dtype: FloatDType = "float64") -> Digits:
    """Return scikit-learn's 1797 images of 8 x 8 pixels, a quarter of each class for the test.

    Parameters
    ----------
    dtype : {'float64', 'float32'}
        Type of the images.

    Returns
    -------
    Digits
        The same split at every call.

    References
    ----------
    Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998.

    Examples
    --------
    >>> digits = embedded_digits()
    >>> digits.X_train.shape, digits.X_test.shape, digits.n_classes
    ((1347, 64), (450, 64), 10)
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    X, y = load_digits(return_X_y=True)
    X = (X / 16.0).astype(dtype)  # grey levels 0 to 16
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=_TEST_SHARE, random_state=_SPLIT_SEED, stratify=y
    )
    return Digits(X_train, y_train, X_test, y_test, "scikit-learn's handwritten digits")


def read_digits(path: str | PathLike[str], dtype: FloatDType = "float64") -> Digits:
    """Read images from an ``.npz`` file laid out like MNIST's.

    Parameters
    ----------
    path : path
        A file with arrays `X_train`, `y_train`, `X_test`, `y_test`: uint8 images (n, n_pixels) or (n, height, width)
        with pixels from 0 to 255, and integer labels (n,) counted from 0.
    dtype : {'float64', 'float32'}
        Type of the images.

    Returns
    -------
    Digits
        Pixels divided by 255.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is something else than described; the message is one line.

    Examples
    --------
    >>> import os, tempfile
    >>> images, labels = np.zeros((20, 5, 5), np.uint8), np.arange(20) % 10
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "tiny.npz")
    ...     np.savez(path, X_train=images, y_train=labels, X_test=images, y_test=labels)
    ...     read_digits(path).X_train.shape
    (20, 25)
    """
    arrays = read_npz(Path(path), _KEYS)
    images = {key: _images(arrays[key], key, path) for key in ("X_train", "X_test")}
    labels = {key: _labels(arrays[key], key, path, len(images[f"X{key[1:]}"])) for key in ("y_train", "y_test")}
    train, test = images["X_train"], images["X_test"]
    if train.shape[1] != test.shape[1]:
        raise ValueError(
            f"{path}: images must have as many pixels for training as for the test; got {train.shape[1]} and "
            f"{test.shape[1]}"
        )
    n_classes = int(labels["y_train"].max()) + 1
    if n_classes < 2 or labels["y_test"].max() >= n_classes:
        raise ValueError(
            f"{path}: y_train must have at least two classes, and all that y_test has; its largest label is "
            f"{n_classes - 1}, that of y_test {labels['y_test'].max()}"
        )
    scaled = [(X / np.array(255, dtype)).astype(dtype, copy=False) for X in (train, test)]
    return Digits(scaled[0], labels["y_train"], scaled[1], labels["y_test"], Path(path).name)


def read_npz(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an ``.npz`` file by their names; objects, which could run code, are refused.

    Parameters
    ----------
    path : Path
        The file.
    keys : sequence of str
        The names.

    Returns
    -------
    dict of str to ndarray
        The arrays.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is something else, or lacks one of them; the message is one line.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "one.npz")
    ...     np.savez(path, X=np.zeros(2))
    ...     read_npz(path, ["X"])
    {'X': array([0., 0.])}
    """
    with path.open("rb") as file:
        if file.read(4) not in (b"PK\x03\x04", b"PK\x05\x06"):  # what a zip file begins with, and an empty one
            raise ValueError(f"{path} is not an .npz file; numpy.savez writes one")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as archive:
                missing = [key for key in keys if key not in archive.files]
                if missing:
                    raise ValueError(
                        f"{path} must hold the arrays {', '.join(keys)}; {', '.join(missing)} is missing, found: "
                        f"{', '.join(archive.files) or 'nothing'}"
                    )
                return {key: _array(archive, key, path) for key in keys}
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{path} is a damaged .npz file: {error}") from error


def _array(archive: Any, key: str, path: Path) -> NDArray[Any]:
    """Read one array."""
    try:
        array = archive[key]
    except (ValueError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else "too large"
        raise ValueError(f"{path}: {key} cannot be read: {reason}") from error
    if not isinstance(array, np.ndarray):  # a member that is no .npy file comes as bytes
        raise ValueError(f"{path}: {key} is not an array")
    return array


def _images(images: NDArray[Any], key: str, path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Return checked images as (n, n_pixels)."""
    if images.dtype != np.uint8 or images.ndim not in (2, 3) or images.size == 0:
        raise ValueError(
            f"{path}: {key} must hold uint8 images of shape (n, n_pixels) or (n, height, width), none of them 0; got "
            f"{images.dtype} {images.shape}"
        )
    return images.reshape(len(images), -1)


def _labels(labels: NDArray[Any], key: str, path: str | PathLike[str], n_images: int) -> NDArray[np.int64]:
    """Return checked labels (n,)."""
    if labels.dtype.kind not in "iu" or labels.shape != (n_images,):
        raise ValueError(
            f"{path}: {key} must hold one integer label for each of the {n_images} images, shape ({n_images},); got "
            f"{labels.dtype} {labels.shape}"
        )
    # A network has an output for each label up to the largest one.
    if labels.min() < 0 or labels.max() > 999:
        raise ValueError(f"{path}: {key} must hold labels from 0 to 999; got {labels.min()} to {labels.max()}")
    return labels.astype(np.int64)
