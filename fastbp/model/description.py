"""What a network is, as a table of its layers for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from fastbp.functions.own import Activation, Loss
from fastbp.model.definition import Definition
from fastbp.system.tables import Table, note

_HEAD = ("layer", "neurons", "activation", "dropout", "weights", "biases", "parameters")
_MOST_ROWS = 40  # of a very deep network the first and the last layers are shown


def activation_text(runs: Sequence[tuple[str | Activation, int]]) -> str:
    """Return the name of a layer's activation, or its names with counts.

    Examples
    --------
    >>> activation_text([("tanh", 3)]), activation_text([("tanh", 3), ("relu", 2)])
    ('tanh', '3 tanh, 2 relu')
    """
    names = [activation.name if isinstance(activation, Activation) else activation for activation, _ in runs]
    if len(runs) == 1:
        return names[0]
    return ", ".join(f"{count} {name}" for name, (_, count) in zip(names, runs, strict=True))


def layer_name(layer: int, n_layers: int) -> str:
    """Return what a layer is called: inputs for 0, ``layer 1``, and so on to output for the last of `n_layers`.

    Examples
    --------
    >>> [layer_name(i, 3) for i in range(3)]
    ['inputs', 'layer 1', 'output']
    """
    return "inputs" if layer == 0 else "output" if layer == n_layers - 1 else f"layer {layer}"


def loss_text(net: Definition) -> str:
    """Return the name of the loss, with its parameter if it has one."""
    name = net.loss.name if isinstance(net.loss, Loss) else net.loss
    return name if net.loss_parameter is None else f"{name} ({net.loss_parameter:g})"


def network_text(net: Definition) -> str:
    """Return the network as a table of its layers, for a terminal."""
    return "\n".join([_title(net), _layers(net).text(), _settings(net)])


def network_html(net: Definition) -> str:
    """Return the network as a table of its layers, for a notebook."""
    return note(_title(net), _layers(net), _settings(net))


def _title(net: Definition) -> str:
    sizes = [str(size) for size in net.sizes]
    more = ""
    if len(sizes) > _MOST_ROWS:
        sizes, more = [*sizes[:3], "...", *sizes[-3:]], f", {len(sizes)} layers"
    return f"{type(net).__name__} {'-'.join(sizes)}{more}"


def _layers(net: Definition) -> Table:
    """Return the table of the layers; columns that say nothing of this network are left out."""
    n_layers = len(net.sizes)
    rows: list[list[str]] = [["inputs", str(net.sizes[0]), "", "", "", "", ""]]
    for layer, (runs, fan_in, fan_out) in enumerate(zip(net.activations, net.sizes, net.sizes[1:], strict=False), 1):
        is_hidden = layer < n_layers - 1
        counts = [fan_in * fan_out, fan_out, (fan_in + 1) * fan_out]
        dropout = f"{net.dropout[layer - 1]:g}" if is_hidden else ""
        row = [layer_name(layer, n_layers), fan_out, activation_text(runs), dropout, *counts]
        rows.append([str(cell) for cell in row])
    if len(rows) > _MOST_ROWS:
        half, between = _MOST_ROWS // 2, len(rows) - _MOST_ROWS
        rows[half:-half] = [[f"({between} more)", *[""] * (len(_HEAD) - 1)]]
    foot = ["total", "", "", "", "", "", str(net.n_params)]
    kept = [i for i, name in enumerate(_HEAD) if name != "dropout" or any(net.dropout)]
    table = [[row[i] for i in kept] for row in (_HEAD, *rows, foot)]
    return Table(table[0], table[1:-1], table[-1], left=["activation"])


def _settings(net: Definition) -> str:
    """Return what holds for all layers in one line."""
    l2_penalty, l1_penalty = net.penalties
    return (
        f"loss {loss_text(net)}, L2 penalty {l2_penalty:g}, L1 penalty {l1_penalty:g}, {net.dtype.name}, "
        f"{net.n_params * net.dtype.itemsize} bytes of parameters"
    )
