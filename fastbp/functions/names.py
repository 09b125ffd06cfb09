"""Names of activations, losses and initializers: as types, and what other libraries call the same things."""

import difflib
from collections.abc import Iterable
from typing import Literal

ActivationName = Literal[
    "identity",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "softplus",
    "gelu",
    "silu",
    "sine",
    "exp",
]
OutputName = ActivationName | Literal["softmax"]
LossName = Literal["quadratic", "cross_entropy", "absolute", "huber", "log_cosh", "poisson", "quantile"]
InitializerName = Literal[
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "standard_normal",
    "scaled_normal",
    "zeros",
]
DTypeName = Literal["float32", "float64"]

# What scikit-learn, Keras, torch, jax, MATLAB and FANN call what has another name here, small letters and digits only,
# without "loss" at the end -> the names here: those of `Network`, and where they differ those of the estimators.
_ELSEWHERE: dict[str, tuple[str, ...]] = {
    # activations
    "linear": ("identity",),
    "purelin": ("identity",),
    "none": ("identity",),
    "logistic": ("sigmoid", "cross_entropy"),
    "sigmoid": ("logistic",),
    "expit": ("sigmoid", "logistic"),
    "logsig": ("sigmoid", "logistic"),
    "tansig": ("tanh",),
    "sigmoidsymmetric": ("tanh",),
    "poslin": ("relu",),
    "rectifier": ("relu",),
    "lrelu": ("leaky_relu",),
    "swish": ("silu",),
    "sin": ("sine",),
    "exponential": ("exp",),
    "logsoftmax": ("softmax",),
    # losses
    "mse": ("quadratic", "squared_error"),
    "meansquarederror": ("quadratic", "squared_error"),
    "squarederror": ("quadratic", "squared_error"),
    "squared": ("quadratic", "squared_error"),
    "leastsquares": ("quadratic", "squared_error"),
    "l2": ("quadratic", "squared_error"),
    "quadratic": ("squared_error",),
    "mae": ("absolute", "absolute_error"),
    "meanabsoluteerror": ("absolute", "absolute_error"),
    "absoluteerror": ("absolute", "absolute_error"),
    "absolute": ("absolute_error",),
    "l1": ("absolute", "absolute_error"),
    "log": ("cross_entropy",),
    "bce": ("cross_entropy",),
    "bcewithlogits": ("cross_entropy",),
    "ce": ("cross_entropy",),
    "nll": ("cross_entropy",),
    "binarycrossentropy": ("cross_entropy",),
    "categoricalcrossentropy": ("cross_entropy",),
    "sparsecategoricalcrossentropy": ("cross_entropy",),
    "softmaxcrossentropy": ("cross_entropy",),
    "sigmoidbinarycrossentropy": ("cross_entropy",),
    "smoothl1": ("huber",),
    "pinball": ("quantile",),
    "poissonnll": ("poisson",),
    # initializers
    "glorot": ("glorot_uniform", "glorot_normal"),
    "xavier": ("glorot_uniform", "glorot_normal"),
    "xavieruniform": ("glorot_uniform",),
    "xaviernormal": ("glorot_normal",),
    "he": ("he_uniform", "he_normal"),
    "kaiming": ("he_uniform", "he_normal"),
    "kaiminguniform": ("he_uniform",),
    "kaimingnormal": ("he_normal",),
    "lecun": ("scaled_normal",),
    "lecunnormal": ("scaled_normal",),
    # solvers
    "lbfgsb": ("lbfgs",),
}


def same_elsewhere(name: str, known: tuple[str, ...]) -> list[str]:
    """Return those of the known names that a name of another library, or another spelling, stands for.

    Examples
    --------
    >>> same_elsewhere("MSELoss", ("quadratic", "absolute")), same_elsewhere("Cross-Entropy", ("cross_entropy",))
    (['quadratic'], ['cross_entropy'])
    """
    key = _letters(name)
    short = key.removesuffix("loss")
    meant = {*_ELSEWHERE.get(key, ()), *_ELSEWHERE.get(short, ())}
    return [other for other in known if _letters(other) in (key, short)] or [other for other in known if other in meant]


def _letters(name: str) -> str:
    """Return a name without capitals and punctuation."""
    return "".join(character for character in name.lower() if character.isalnum())


def nearest(name: object, names: Iterable[str]) -> str:
    """Return the sentence that ends an error about an unknown name: all names, and first what may have been meant."""
    known = tuple(names)
    close = same_elsewhere(str(name), known) or difflib.get_close_matches(str(name).lower(), known, n=1)
    hint = f"Did you mean {' or '.join(map(repr, close))}? " if close else ""
    return f"{hint}Known names: {', '.join(known)}."
