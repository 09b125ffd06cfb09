"""Pipelines for tables: scikit-learn makes numbers of named columns, an estimator of fastbp's learns from them.

Numbers that are missing become the median of their column, with a further column that tells them, and all are
standardised.  Words become one column for each that was there in training; others are zeros in all of these.

A file of such a pipeline holds no code and no pickle: the names, medians, means and words are enough to make
scikit-learn's objects again.  They are fitted on two rows that have those medians and those columns with something
missing, and then given the means and scales, all of which are attributes that scikit-learn documents.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from fastbp.neural_network.files import base_of, describe_estimator
from fastbp.neural_network.files import restore as restore_estimator
from fastbp.neural_network.table_columns import LARGEST, as_numbers, as_words, import_pandas
from fastbp.storage.arrays import write_arrays
from fastbp.storage.atomic import PathLike
from fastbp.storage.content import FileContent
from fastbp.storage.networks import ESTIMATOR_VERSION, PIPELINE_VERSION, OwnFunctions

__all__ = ["make_columns", "restore", "save", "states_of"]

_FIELDS = ("estimator", "kind", "numbers", "medians", "has_missing", "means", "scales", "words", "categories")


def make_columns(numbers: list[str], words: list[str], categories: list[list[str]]) -> ColumnTransformer:
    """Return what makes numbers of the named columns of a data frame, not yet fitted.

    Parameters
    ----------
    numbers, words : list of str
        The names of the columns of numbers, and of those of words.
    categories : list of lists of str
        For each column of words those that get a column of their own.

    Returns
    -------
    ColumnTransformer
        The columns of other names are passed over, and the order in which they stand does not matter.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"town": ["Oslo", "Rome"], "age": [20, 40], "more": [0, 0]})
    >>> make_columns(["age"], ["town"], [["Oslo", "Rome"]]).fit_transform(frame)
    array([[-1.,  1.,  0.],
           [ 1.,  0.,  1.]])
    """
    scaled = Pipeline(
        [
            ("convert", FunctionTransformer(as_numbers)),
            ("impute", SimpleImputer(strategy="median", add_indicator=True)),
            ("scale", StandardScaler()),
        ]
    )
    encoder = OneHotEncoder(
        categories=[np.array(known, dtype=object) for known in categories], handle_unknown="ignore", sparse_output=False
    )
    encoded = Pipeline([("convert", FunctionTransformer(as_words)), ("encode", encoder)])
    branches = [("numbers", scaled, list(numbers)), ("words", encoded, list(words))]
    return ColumnTransformer([branch for branch in branches if branch[2]])


def states_of(columns: ColumnTransformer) -> dict[str, Any]:
    """Return the names of a fitted `make_columns` and what it has learned, in plain values.

    Examples
    --------
    >>> import pandas as pd
    >>> states_of(make_columns(["age"], [], []).fit(pd.DataFrame({"age": [20, 40]})))["means"]
    [30.0]
    """
    states: dict[str, Any] = {name: [] for name in _FIELDS if name not in ("estimator", "kind")}
    for name, fitted, names in columns.transformers_:
        if name == "numbers":
            imputer, scaler = fitted.named_steps["impute"], fitted.named_steps["scale"]
            missing = set(imputer.indicator_.features_.tolist())
            states |= {"numbers": names, "medians": imputer.statistics_.tolist()}
            states |= {"has_missing": [i in missing for i in range(len(names))]}
            states |= {"means": scaler.mean_.tolist(), "scales": scaler.scale_.tolist()}
        elif name == "words":
            known = fitted.named_steps["encode"].categories_
            states |= {"words": names, "categories": [words.tolist() for words in known]}
    return states


def save(pipeline: Pipeline, path: PathLike) -> None:
    """Write a fitted pipeline of `make_columns` and an estimator, whole or not at all; `fastbp.load` reads it.

    Parameters
    ----------
    pipeline : Pipeline
        With the steps ``columns`` and ``network``.
    path : str or os.PathLike
        The file.  One that exists is replaced.

    Raises
    ------
    TypeError, ValueError, OSError
        As an estimator's `save`.
    """
    estimator = pipeline.named_steps["network"]
    inner, arrays = describe_estimator(estimator)
    description = {"kind": base_of(estimator)._kind_of_file, "estimator": inner}
    description |= states_of(pipeline.named_steps["columns"])
    write_arrays(path, "pipeline", PIPELINE_VERSION, description, arrays)


# --- reading ----------------------------------------------------------------------------------------------------------


def restore(content: FileContent, bases: dict[str, type], functions: OwnFunctions) -> Pipeline:
    """Return the pipeline that a file holds, or raise the error of that file.

    Parameters
    ----------
    content : FileContent
        The file.
    bases : dict
        The estimators' classes by the kinds of their files.
    functions : mapping
        A user's functions by type and name.
    """
    content.require_names(["params"], _FIELDS)
    found, kind = content.description, content.description["kind"]
    if not isinstance(kind, str) or kind not in bases or not isinstance(found["estimator"], dict):
        content.fail("its estimator must be a classifier or a regressor.")
    inner = FileContent(content.path, kind, ESTIMATOR_VERSION, found["estimator"], content.arrays)
    columns = _columns_again(content)
    estimator = restore_estimator(inner, bases[kind], bases[kind], functions)
    width = len(found["means"]) + sum(len(words) for words in found["categories"])
    if estimator.n_features_in_ != width or hasattr(estimator, "feature_names_in_"):
        content.fail(f"its {kind} must have {width} inputs without names, as many as its columns make.")
    return Pipeline([("columns", columns), ("network", estimator)])


def _columns_again(content: FileContent) -> ColumnTransformer:
    """Return the fitted `make_columns` of a file."""
    found = content.description
    _require_lists(content)
    numbers, words, means = found["numbers"], found["words"], np.array(found["means"], dtype=np.float64)
    columns = make_columns(numbers, words, found["categories"])
    two_rows = {name: [median, median] for name, median in zip(numbers, found["medians"], strict=True)}
    two_rows |= {
        name: [median, math.nan]
        for name, median, has in zip(numbers, found["medians"], found["has_missing"], strict=True)
        if has
    }
    two_rows |= {name: [""] * 2 for name in words}
    columns.fit(import_pandas().DataFrame(two_rows))
    if numbers:
        scaler = columns.named_transformers_["numbers"].named_steps["scale"]
        scaler.mean_, scaler.scale_ = means, np.array(found["scales"], dtype=np.float64)
        scaler.var_ = scaler.scale_**2
    return columns


def _require_lists(content: FileContent) -> None:
    """Raise unless the columns of a file are possible."""
    found = content.description
    names = _strings(content, "numbers") + _strings(content, "words")
    if not names or len(set(names)) != len(names):
        content.fail("its columns must have names, different from each other.")
    count = len(found["numbers"])
    has = found["has_missing"]
    if not isinstance(has, list) or len(has) != count or not all(isinstance(value, bool) for value in has):
        content.fail(f"its `has_missing` must be {count} times true or false.")
    for field, length in (("medians", count), ("means", count + sum(has)), ("scales", count + sum(has))):
        _floats(content, field, length)
    if not all(abs(median) < LARGEST for median in found["medians"]):
        content.fail(f"its `medians` must be below {LARGEST:g}.")
    if not all(scale > 0 for scale in found["scales"]):
        content.fail("its `scales` must be above 0.")
    known = found["categories"]
    if not isinstance(known, list) or len(known) != len(found["words"]):
        content.fail("its `categories` must be a list for each column of words.")
    for words in known:
        if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
            content.fail("its `categories` must be lists of words.")
        if len(set(words)) != len(words):
            content.fail("its `categories` must be different from each other.")


def _strings(content: FileContent, field: str) -> list[str]:
    """Return a field that must be a list of words."""
    values = content.description[field]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        content.fail(f"its `{field}` must be a list of names.")
    return list(values)


def _floats(content: FileContent, field: str, length: int) -> NDArray[np.float64]:
    """Return a field that must be a list of finite numbers, which JSON's reader has seen to, of a length."""
    values = content.description[field]
    if not isinstance(values, list) or len(values) != length or not all(type(value) is float for value in values):
        content.fail(f"its `{field}` must be {length} numbers.")
    return np.array(values, dtype=np.float64)
