"""A large network as a row of boxes, one for each layer, with its counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

_LETTER = 0.085  # inches of a letter at 9 points, on average
_LINE = 0.17  # inches from one line to the next
_LEAST_BOX, _LEAST_GAP = 0.9, 0.75  # inches
_MOST_LINES = 4  # of a box
_LONGEST_LINE = 20  # letters
_ABOVE, _BELOW = 0.3, 0.3  # inches for the name of a layer, and for its biases


class LayerBoxes:
    """The texts and places of the boxes, in inches.

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes, inputs first.
    activations : sequence of str
        What is said of the activation of each layer of weights; may be empty.
    most : int
        Boxes, an odd number; of a deeper network the first and the last layers have one each.

    Attributes
    ----------
    size : (float, float)
        Width and height of the drawing.
    """

    def __init__(self, sizes: Sequence[int], activations: Sequence[str], most: int = 9) -> None:
        self._texts = [[_counted(sizes[0], "input")]]
        for i, size in enumerate(sizes[1:]):
            named = activations[i] if activations else ""
            self._texts.append([_counted(size, "neuron"), *_wrapped(named)])
        last = len(sizes) - 1
        self._names = ["inputs", *(f"layer {i}" for i in range(1, last)), "outputs"]
        self._biases = ["", *(_counted(size, "bias") for size in sizes[1:])]
        counts = [fan_in * fan_out for fan_in, fan_out in pairwise(sizes)]
        self._weights = [f"{count:,}\nweight{'s' if count > 1 else ''}" for count in counts]
        if len(sizes) > most:
            self._leave_out(sizes, most // 2)
        widths = [max(map(len, [*lines, below, name])) for lines, below, name in self._columns()]
        self._widths = [max(_LEAST_BOX, _LETTER * width + 0.2) for width in widths]
        longest = [max(map(len, text.split("\n"))) for text in self._weights]
        self._gaps = [max(_LEAST_GAP, _LETTER * length + 0.3) for length in longest]
        self._high = max(0.7, _LINE * max(map(len, self._texts)) + 0.25)
        self.size = sum(self._widths) + sum(self._gaps) + 0.2, self._high + _ABOVE + _BELOW + 0.1

    def _columns(self) -> Any:
        return zip(self._texts, self._biases, self._names, strict=True)

    def _leave_out(self, sizes: Sequence[int], half: int) -> None:
        """Put one box into the place of the layers in the middle, `half` of them left at either side."""
        middle = slice(half, len(sizes) - half)
        n_out = len(sizes) - 2 * half
        n_params = sum((a + 1) * b for a, b in zip(sizes[half - 1 :], sizes[half : len(sizes) - half], strict=False))
        self._texts[middle] = [[f"{n_out} layers", f"{n_params:,}", "parameters"]]
        self._names[middle], self._biases[middle] = ["..."], [""]
        self._weights[half - 1 : len(sizes) - half] = ["", self._weights[len(sizes) - half - 1]]

    def draw(self, ax: Any, scale: float) -> list[Any]:
        """Draw into axes whose unit is an inch times `scale`, and return the arrows."""
        from matplotlib.patches import FancyArrowPatch, Rectangle

        x, arrows, grey = 0.1, [], "0.25"
        middle = {"ha": "center", "va": "center", "fontsize": 9 * scale}
        for i, (lines, below, name) in enumerate(self._columns()):
            width = self._widths[i]
            box = Rectangle((x, -self._high / 2), width, self._high, facecolor="white", edgecolor="black", zorder=3)
            ax.add_patch(box)
            centre = x + width / 2
            ax.text(centre, 0, "\n".join(lines), zorder=4, color="black", **middle)
            ax.text(centre, self._high / 2 + _ABOVE / 2, name, color=grey, **middle)
            ax.text(centre, -self._high / 2 - _BELOW / 2, below, color=grey, **middle)
            x += width
            if i < len(self._gaps):
                gap = self._gaps[i]
                looks: dict[str, Any] = {
                    "arrowstyle": "-|>",
                    "mutation_scale": 12 * scale,
                    "color": "black",
                    "shrinkA": 0,
                    "shrinkB": 0,
                }
                arrows.append(ax.add_patch(FancyArrowPatch((x, 0), (x + gap, 0), **looks)))
                above = middle | {"va": "bottom", "linespacing": 1.1, "fontsize": 8 * scale}
                ax.text(x + gap / 2 - 0.04, 0.05, self._weights[i], color=grey, **above)
                x += gap
        ax.set_xlim(0, self.size[0])
        ax.set_ylim(-self.size[1] / 2, self.size[1] / 2)
        return arrows


def _counted(count: int, what: str) -> str:
    """Return a number with its noun."""
    plural = "biases" if what == "bias" else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def _wrapped(text: str) -> list[str]:
    """Return the names of activations, a line for each, as many as a box has room for."""
    lines = [line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 3]}..." for line in text.split(", ")]
    if len(lines) > _MOST_LINES - 1:
        lines = [*lines[: _MOST_LINES - 2], f"and {len(lines) - _MOST_LINES + 2} more"]
    return [line.replace("$", r"\$") for line in lines if line]
