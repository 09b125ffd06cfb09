"""Estimators as C: what a classifier has beside its network's function."""

from __future__ import annotations

import functools
from string import Template
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted, validate_data

from fastbp.export.c_fixed_point import write_c
from fastbp.export.c_source import CFile, CReport, literal, quoted
from fastbp.export.fixed_report import FixedPointReport
from fastbp.neural_network.gradients import SPARSE_FORMATS
from fastbp.storage.atomic import PathLike
from fastbp.validation.matrix_like import MatrixLike
from fastbp.validation.sparse_rows import as_dense, sparse_rows

__all__ = ["CWriter"]


class CWriter:
    """The method of an estimator that writes it as C."""

    @overload
    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: None = None,
        test_vectors: int | MatrixLike = 0,
        exact: bool = True,
    ) -> CReport: ...

    @overload
    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: Literal["q15", "q31", "auto"],
        calibration: MatrixLike | None = None,
        input_range: tuple[ArrayLike, ArrayLike] | None = None,
        tolerance: float | None = None,
        test_vectors: int | MatrixLike = 0,
    ) -> FixedPointReport: ...

    def to_c(
        self,
        path: PathLike,
        name: str | None = None,
        *,
        format: Literal["q15", "q31", "auto"] | None = None,
        calibration: MatrixLike | None = None,
        input_range: tuple[ArrayLike, ArrayLike] | None = None,
        tolerance: float | None = None,
        test_vectors: int | MatrixLike = 0,
        exact: bool = True,
    ) -> CReport | FixedPointReport:
        """Write the fitted estimator as a C99 file and its header.

        They have the network's function ``NAME_predict``, in fixed point ``NAME_predict_q``, whose outputs are those of
        `predict` for a regressor.  A classifier has in addition

        * ``int NAME_class(x)``: the place in `classes_` of what `predict` returns; for several labels at once
          ``void NAME_labels(x, unsigned char *labels)`` with 0 or 1 for each;
        * ``void NAME_proba(x, p)``: what `predict_proba` returns;
        * the classes as a comment, and where ``NAME_CLASS_NAMES`` is defined as strings ``NAME_class_names``.

        Parameters
        ----------
        path : str or os.PathLike
            The C file, whose name ends in ``.c``; the header ``.h`` lies beside it.
        name, format, calibration, input_range, tolerance, test_vectors, exact
            As for `fastbp.Network.to_c`.

        Returns
        -------
        CReport or FixedPointReport
            What was written; in fixed point also the binary points and the errors.  Its ``buffer_bytes`` are those of
            the network's function; ``NAME_class`` and ``NAME_labels`` have one more array, of its outputs.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError, OSError
            As `fastbp.Network.to_c`.

        Examples
        --------
        >>> import os, tempfile
        >>> from fastbp.neural_network import MLPClassifier
        >>> X, y = [[0.0, 0.0], [1.0, 1.0]], ["no", "yes"]
        >>> model = MLPClassifier(hidden_layer_sizes=(5,), solver="lbfgs", random_state=1).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = model.to_c(os.path.join(folder, "model.c"), format="q15", calibration=X)
        >>> report.format, report.agreement
        ('q15', 1.0)
        """
        check_is_fitted(self)
        add, net = functools.partial(_add, self), self.network_  # type: ignore[attr-defined]
        if calibration is not None:
            calibration = _checked(self, calibration)
        if not isinstance(test_vectors, int | np.integer):
            test_vectors = _checked(self, test_vectors)
        return write_c(net, path, name, format, calibration, input_range, tolerance, test_vectors, exact, add)


_PLAIN = set(b" !#$%&'()*+,-./:;<=>@[]^_`{|}~") | {byte for byte in range(128) if chr(byte).isalnum()}
_CLASS = Template("""\
int ${P}_class(const $T *x)
{
    $T y[${M}_N_OUTPUTS];
    int j, best = 0;
    ${P}_$predict(x, y);
    for (j = 1; j < ${M}_N_OUTPUTS; j++) best = y[j] > y[best] ? j : best;
    return best;
}

void ${P}_proba(const $T *x, $T *p)
{
    ${P}_$predict(x, p);
}""")
_CLASS_OF_TWO = Template("""\
int ${P}_class(const $T *x)
{
    $T y[1];
    ${P}_$predict(x, y);
    return $positive;
}

void ${P}_proba(const $T *x, $T *p)
{
    ${P}_$predict(x, p + 1);
    p[0] = $rest;
}""")
_LABELS = Template("""\
void ${P}_labels(const $T *x, unsigned char *labels)
{
    $T y[${M}_N_OUTPUTS];
    int j;
    ${P}_$predict(x, y);
    for (j = 0; j < ${M}_N_OUTPUTS; j++) labels[j] = y[j] > $half;
}

void ${P}_proba(const $T *x, $T *p)
{
    ${P}_$predict(x, p);
}""")


def _checked(estimator: Any, X: MatrixLike) -> Any:
    """Return rows that have passed scikit-learn's checks, in the network's dtype."""
    valid = validate_data(estimator, X, accept_sparse=SPARSE_FORMATS, dtype=estimator.network_.dtype, reset=False)
    return as_dense(sparse_rows(valid)) if sparse.issparse(valid) else valid


def _add(estimator: Any, file: CFile, c_type: str, point: int | None) -> None:
    """Add to the file what the estimator knows beside its network, whose numbers are floats if `point` is None."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        file.comment += ["Inputs:", *(f"  x[{i}] {quoted(str(name))}" for i, name in enumerate(names))]
    if not is_classifier(estimator):
        return
    labels, width = [str(label) for label in estimator.classes_.tolist()], estimator.network_.sizes[-1]
    kind = estimator._label_binarizer.y_type_
    text = _LABELS if kind == "multilabel-indicator" else _CLASS if width > 1 else _CLASS_OF_TWO
    words = {"P": file.name, "M": file.macro, "T": c_type, "predict": "predict" if point is None else "predict_q"}
    words |= _numbers(c_type, point)
    words["positive"] = "y[0] > {half}".format(**words) if len(labels) > 1 else "0 * (y[0] > 0)"  # an only class
    file.add(text.substitute(words))
    name = (
        "void ${P}_labels(const $T *x, unsigned char *labels);" if text is _LABELS else "int ${P}_class(const $T *x);"
    )
    strings = ", ".join(map(_string, labels))
    file.declarations += [
        f"#define {file.macro}_N_CLASSES {len(labels)}",
        *(f"/* class {i}: {quoted(label)} */" for i, label in enumerate(labels)),
        Template(name).substitute(words),
        f"/* Probabilities p[0] to p[{1 if text is _CLASS_OF_TWO else width - 1}]. */",
        f"void {file.name}_proba(const {c_type} *x, {c_type} *p);",
        f"#ifdef {file.macro}_CLASS_NAMES",
        f"static const char *const {file.name}_class_names[{len(labels)}] = {{{strings}}};",
        "#endif",
    ]


def _numbers(c_type: str, point: int | None) -> dict[str, Any]:
    """Return how a half and one minus a probability are written."""
    if point is None:
        return {"half": literal(0.5, c_type), "rest": f"{literal(1.0, c_type)} - p[1]"}
    limit, one = 2 ** (int(c_type[3:-2]) - 1) - 1, 1 << point
    return {"half": one // 2, "rest": f"({c_type})(p[1] > 0 ? {limit} - p[1] + {one - limit} : {min(one, limit)})"}


def _string(text: str) -> str:
    r"""Return a string of C with the bytes of a text as UTF-8.

    Examples
    --------
    >>> print(_string('10" \u00f6'))
    "10\042 \303\266"
    """
    letters = text.encode("utf-8", "replace")
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in letters) + '"'
