"""Networks in files: what `save` writes and `fastbp.load` reads.

A file holds the array ``params`` and a description: sizes, activations, loss and everything else that `Network` takes.
The description is made by `describe` and read by `rebuild`, which other kinds of files, such as those of estimators,
use for the network inside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastbp import validation
from fastbp.engine import parameters
from fastbp.functions.activations import OF_LAYERS
from fastbp.functions.own import Activation, Loss
from fastbp.model.definition import Definition, require_network
from fastbp.model.initializers import INITIALIZERS
from fastbp.model.model import Model, from_params
from fastbp.storage.arrays import write_arrays
from fastbp.storage.atomic import FileError
from fastbp.storage.content import FileContent
from fastbp.storage.streams import Destination

__all__ = ["describe", "rebuild", "save"]

OwnFunctions = Mapping[tuple[type, str], Activation | Loss]
_Net = TypeVar("_Net", bound=Model)

NETWORK_VERSION = 1  # of the description below; a release that adds a field adds 1, and still reads the earlier ones
_MOST_NEURONS = 1 << 48  # of a layer; the weights of a larger one would fit into no address space
MOST_LAYERS = 1 << 15  # more would take minutes of Python for each layer's tables and views
ESTIMATOR_VERSION = 1  # the same for what `fastbp.neural_network.files` adds to it
PIPELINE_VERSION = 1  # and for what `fastbp.neural_network.table_pipelines` adds to that
_FIELDS = (
    "sizes",
    "dtype",
    "activations",
    "loss",
    "initializer",
    "l2_penalty",
    "l1_penalty",
    "dropout",
)


def save(net: Model, path: Destination, subclass: str | None = None) -> None:
    """Write a network to a file, whole or not at all.

    The file is in the safetensors format.  It is written under a temporary name in the same folder, flushed to the
    disk and renamed: whoever opens `path` finds the old file or the new one, never a part, whatever happens meanwhile.

    Parameters
    ----------
    net : Network
        The network.  Of a subclass the file has only the name, nothing that the subclass adds; `load` makes a
        `Network` of it unless it is passed that class.  `feature_names` are saved, if they fit with all else into a
        header of 16 MiB; the state of its optimizer is not.  An `Activation` or
        `Loss` of your own is saved by its name only, since a file holds no code: pass it to `load` as well.
    path : str, os.PathLike or binary file object
        The file; by convention its name ends in ``.safetensors``.  One that exists is replaced and passes on its
        permissions; where it is a symbolic link, the file it points to is replaced.  To a file object, such as an
        `io.BytesIO`, an open file or a member of a zip file, the same bytes are written from where it stands on, once
        all of them are in memory; it need not seek, and stays open.  What it has taken before an error stays there.
    subclass : str, optional
        The name of the network's class, if that is a subclass of the user's.

    Raises
    ------
    TypeError, ValueError
        If `path` is no name that a file can have and no open binary file object, if a parameter is NaN or infinite, or
        if two functions of your own have one name.
    OSError
        If the folder does not exist, the disk is full, and so on.  A file that was there before is whole.

    Examples
    --------
    >>> import io, os, tempfile, fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "net.safetensors"))
    ...     twin = bp.load(os.path.join(folder, "net.safetensors"))
    >>> twin.predict([[0.5, -1.0]]) == net.predict([[0.5, -1.0]])
    array([[ True]])
    >>> file = io.BytesIO()
    >>> net.save(file)
    >>> bp.load(file.getvalue()).sizes
    (2, 3, 1)
    """
    require_network(net)
    optional = describe_names(net) if subclass is None else {"class": subclass, **describe_names(net)}
    write_arrays(path, "network", NETWORK_VERSION, describe(net), {"params": finite_params(net)}, optional=optional)


def restore(content: FileContent, kind: type[_Net], custom_functions: OwnFunctions) -> _Net:
    """Return the network that a file holds, as one of a class, or raise the error of that file."""
    optional = {"loss_parameter"} & set(content.description)  # only losses that have a parameter write it
    content.require_names(["params"], {*_FIELDS, *optional})
    net = rebuild(content, kind, content.description, "params", custom_functions)
    net.feature_names = names_of(content, net)
    return net


def describe_names(net: Definition) -> dict[str, Any]:
    """Return the names of the columns that a network was fitted on, for what a file may have, if it has any."""
    names: Any = net.feature_names  # which a user may have set
    if names is None:
        return {}
    is_listed = isinstance(names, Sequence | np.ndarray) and len(names) == net.sizes[0]
    if not is_listed or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"`net.feature_names` must be {net.sizes[0]} names to be saved, one for each input, or None; got {names!r}."
        )
    return {"feature_names": [str(name) for name in names]}


def names_of(content: FileContent, net: Definition) -> tuple[str, ...] | None:
    """Return these names from a file that may have them; earlier releases write none."""
    names = content.optional.get("feature_names")
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != net.sizes[0] or not all(isinstance(name, str) for name in names):
        content.fail(f"its `feature_names` must be {net.sizes[0]} names, one for each input.")
    return tuple(names)


def finite_params(net: Model) -> NDArray[Any]:
    """Return a network's parameters, or raise if one is NaN or infinite."""
    if not validation.all_finite(net.params):
        raise ValueError(
            "`net.params` must be finite to be saved, because a file with NaN or infinity would be taken for damaged."
        )
    return net.params


# --- description ------------------------------------------------------------------------------------------------------


def describe(net: Model) -> dict[str, Any]:
    """Return everything but the parameters, in plain values, as `rebuild` reads it.

    Parameters
    ----------
    net : Network
        Any network whose functions of the user's own have different names.

    Returns
    -------
    dict
        Sizes, dtype, activations, loss, initializer, penalties and dropout.

    Raises
    ------
    ValueError
        If two different functions of the user's own have one name, or there are more than 32768 layers.

    Examples
    --------
    >>> import fastbp as bp
    >>> describe(bp.Network([2, 3, 1], "tanh"))["activations"]
    [[['tanh', 3]], [['identity', 1]]]
    """
    own: dict[tuple[type, str], Activation | Loss] = {}
    if len(net.sizes) - 1 > MOST_LAYERS:
        raise ValueError(
            f"A network must have at most {MOST_LAYERS} layers to be saved, because a file with more is refused as "
            f"hostile; it has {len(net.sizes) - 1}."
        )

    def plain(function: str | Activation | Loss) -> str | dict[str, str]:
        if isinstance(function, str):
            return function
        key = (type(function), function.name)
        if own.setdefault(key, function) != function:
            raise ValueError(
                f"Functions of your own must have different names to be saved; two have the name {function.name!r}."
            )
        return {"custom": function.name}

    l2_penalty, l1_penalty = net.penalties
    return {
        "sizes": list(net.sizes),
        "dtype": net.dtype.name,
        "activations": [[[plain(name), count] for name, count in runs] for runs in net.activations],
        "loss": plain(net.loss),
        "initializer": net.initializer,
        "l2_penalty": l2_penalty,
        "l1_penalty": l1_penalty,
        "dropout": list(net.dropout),
        **({} if net.loss_parameter is None else {"loss_parameter": net.loss_parameter}),
    }


def rebuild(
    content: FileContent,
    kind: type[_Net],
    description: Mapping[str, Any],
    params: str,
    custom_functions: OwnFunctions,
) -> _Net:
    """Return the network of a description, with the array named `params` of the same file.

    Parameters
    ----------
    content : FileContent
        The file.
    kind : type
        The class that it is to be of; its constructor is not called.
    description : mapping
        What `describe` returned: the file's description, or a part of it.
    params : str
        The name of the array that holds the parameters.
    custom_functions : mapping
        A user's functions by type and name.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    FileError
        If something of it does not fit.

    Examples
    --------
    >>> import numpy as np, fastbp as bp
    >>> description = describe(bp.Network([1, 1]))
    >>> content = FileContent("x", "network", 1, description, {"params": np.array([2.0, 1.0])})
    >>> rebuild(content, bp.Network, description, "params", {}).predict([[10.0]])
    array([[21.]])
    """
    sizes, dtype, layers = (description.get(key) for key in ("sizes", "dtype", "activations"))
    if not isinstance(sizes, list) or not all(map(_is_size, sizes)) or len(sizes) < 2:
        content.fail(f"its `sizes` must be two or more positive integers; they are {sizes!r}.")
    if dtype not in ("float32", "float64"):
        content.fail(f"its `dtype` must be 'float32' or 'float64'; it is {dtype!r}.")
    if len(sizes) - 1 > MOST_LAYERS:
        content.fail(f"its `sizes` say that it has {len(sizes) - 1} layers; at most {MOST_LAYERS} are allowed.")
    vector = content.take(params, (parameters.count_params(sizes),), dtype)
    if not isinstance(description.get("initializer"), str) or description["initializer"] not in INITIALIZERS:
        content.fail(f"its `initializer` is unknown: {description.get('initializer')!r}.")
    if not isinstance(layers, list) or len(layers) != len(sizes) - 1 or not all(map(_is_runs, layers)):
        content.fail("its `activations` must be a list of [name, count] for each layer.")

    def function(form: type, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = custom_functions.get((form, str(value.get("custom"))))
        if found is None:
            content.fail(
                f"its network has the bp.{form.__name__} {value.get('custom')!r}, and a file holds no code. Pass it: "
                "load(path, custom_functions=[...])."
            )
        return found

    runs = [[(function(Activation, name), count) for name, count in layer] for layer in layers]
    is_whole = runs[-1] in [[(name, sizes[-1])] for name in OF_LAYERS]
    try:
        return from_params(
            kind,
            vector,
            sizes,
            activation=runs[:-1],
            output=runs[-1][0][0] if is_whole else runs[-1],
            loss=function(Loss, description.get("loss")),
            loss_parameter=description.get("loss_parameter"),  # only of the losses that have one
            **{key: description.get(key) for key in ("initializer", "l2_penalty", "l1_penalty", "dropout")},
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        content.fail(f"its network is impossible: {error}", error)


def _is_size(value: Any) -> bool:
    """Whether it can be the size of a layer: positive, and not so long that Python refuses to print a product."""
    return type(value) is int and 0 < value < _MOST_NEURONS


def _is_runs(layer: Any) -> bool:
    """Whether it is a list of [name, count], as far as its form goes."""
    return isinstance(layer, list) and all(
        isinstance(run, list) and len(run) == 2 and isinstance(run[0], str | dict) and type(run[1]) is int
        for run in layer
    )
