"""No text of any picture covers another, is covered by a legend, or is cut off by the figure's border.

What counts are the texts that matplotlib draws, tick labels and those of legends included, by their boxes on an Agg
canvas; boxes of slanted texts are slanted too.
"""

import string

import numpy as np
import pytest

import fastbp as bp

plt = pytest.importorskip("matplotlib.pyplot")
from matplotlib.legend import Legend  # noqa: E402 - behind the check that it is there
from matplotlib.text import Text  # noqa: E402

from fastbp import plotting  # noqa: E402
from fastbp.plotting import display as display_module  # noqa: E402

RNG = np.random.default_rng(0)
_INK = 0.7  # share of a text's height that letters fill: the rest is for accents and from line to line
LONG = [
    f"{letter}: an unreasonably long name of a class, such as {letter * 5} in a table of Linnaeus"
    for letter in string.ascii_lowercase
]
SHORT = list(string.ascii_lowercase)
NEWSGROUPS = [
    *("alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "rec.sport.baseball"),
    *("sci.electronics", "talk.politics.mideast", "soc.religion.christian"),
]


# ---- What is looked for ----------------------------------------------------------------------------------------------


def drawn_texts(figure):
    """All texts that a figure draws once its layout is settled."""
    figure.canvas.draw()
    found, draw = {}, Text.draw

    def noted(text, renderer):
        if text.get_visible() and text.get_text().strip():
            found[id(text)] = text
        return draw(text, renderer)

    Text.draw = noted
    try:
        figure.canvas.draw()
    finally:
        Text.draw = draw
    return list(found.values())


def corners(text):
    """The corners (4, 2) of a text, in pixels."""
    whole, angle = text.get_window_extent(), text.get_rotation()
    box = whole
    if angle % 90:
        text.set_rotation(0)
        box = text.get_window_extent()
        text.set_rotation(angle)  # on the screen as well, where both axes have one scale
    n_lines = 1 + text.get_text().count("\n")
    wide, high = np.array(box.size) / 2
    if angle % 180 == 90:
        wide -= (1 - _INK) * wide / n_lines
    else:
        high -= (1 - _INK) * high / n_lines
    turn = np.radians(angle if angle % 90 else 0)
    sides = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.array([(whole.x0 + whole.x1) / 2, (whole.y0 + whole.y1) / 2])
    return middle + np.array([[-wide, -high], [wide, -high], [wide, high], [-wide, high]]) @ sides


def overlap(first, second):
    """Whether two rectangles have more than a line in common: no side of either lies between them."""
    for shape in (first, second):
        for side in np.diff(shape[:3], axis=0):
            axis = np.array([-side[1], side[0]]) / (np.linalg.norm(side) or 1.0)
            one, other = first @ axis, second @ axis
            if min(one.max(), other.max()) - max(one.min(), other.min()) < 0.5:
                return False
    return True


def near_pairs(shapes):
    """The pairs of shapes whose upright boxes overlap, which are few."""
    if not shapes:
        return []
    low, high = np.min(shapes, axis=1), np.max(shapes, axis=1)
    is_near = ((low[:, None] < high) & (low < high[:, None])).all(axis=-1)
    return np.argwhere(np.triu(is_near, 1)).tolist()


def faults(figure):
    """What is wrong with a figure's texts."""
    texts = drawn_texts(figure)
    shapes = [corners(text) for text in texts]
    legends = [legend for legend in figure.findobj(Legend) if legend.get_visible()]
    of_legends = {id(text) for legend in legends for text in [*legend.get_texts(), legend.get_title()]}
    border = figure.bbox
    found = []
    for text, shape in zip(texts, shapes, strict=True):
        if (shape < [border.x0 - 1, border.y0 - 1]).any() or (shape > [border.x1 + 1, border.y1 + 1]).any():
            found.append(f"cut off: {text.get_text()!r}")
    for i, j in near_pairs(shapes):
        if overlap(shapes[i], shapes[j]):
            found.append(f"on each other: {texts[i].get_text()!r} and {texts[j].get_text()!r}")
    for legend in legends:
        box = legend.get_window_extent()
        shape = np.array([[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]])
        if box.x0 < border.x0 - 1 or box.y0 < border.y0 - 1 or box.x1 > border.x1 + 1 or box.y1 > border.y1 + 1:
            found.append("legend cut off")
        for text, other in zip(texts, shapes, strict=True):
            if id(text) not in of_legends and overlap(shape, other):
                found.append(f"under the legend: {text.get_text()!r}")
    return found


# ---- That it is found ------------------------------------------------------------------------------------------------


def test_texts_on_each_other_are_found():
    figure, ax = plt.subplots()
    assert faults(figure) == []
    ax.text(0.5, 0.5, "here")
    ax.text(0.5, 0.5, "there")
    assert faults(figure) == ["on each other: 'here' and 'there'"]


def test_slanted_texts_are_taken_as_they_lie():
    figure, ax = plt.subplots()
    for x in (0.4, 0.5):
        ax.text(x, 0.3, "a rather long text", rotation=60, rotation_mode="anchor")
    assert faults(figure) == []
    ax.text(0.41, 0.3, "another text", rotation=60, rotation_mode="anchor")
    assert faults(figure) != []


def test_texts_and_legends_that_are_cut_off_are_found():
    figure, ax = plt.subplots()
    ax.set_xticks([0.0, 1.0], ["a", "a name that does not fit into the figure"])
    assert faults(figure) == ["cut off: 'a name that does not fit into the figure'"]
    ax.set_xticks([])
    ax.plot([0, 1], label="b" * 40)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    assert faults(figure) == [f"cut off: {'b' * 40!r}", "legend cut off"]


def test_a_text_under_a_legend_is_found():
    figure, ax = plt.subplots()
    ax.plot([0, 1], label="line")
    ax.legend(loc="center")
    ax.text(0.47, 0.46, "x")
    assert "under the legend: 'x'" in faults(figure)


def test_scikit_learns_own_matrix_has_faults():
    from sklearn.metrics import ConfusionMatrixDisplay

    counts = np.eye(len(NEWSGROUPS), dtype=int)
    figure = ConfusionMatrixDisplay(counts, display_labels=NEWSGROUPS).plot().figure_
    found = faults(figure)
    assert any(fault.startswith("on each other") for fault in found)
    assert any(fault.startswith("cut off") for fault in found)


def test_without_their_care_pictures_have_faults(monkeypatch):
    monkeypatch.setattr(display_module, "fit_into_figure", lambda ax: None)
    figure, ax = plt.subplots()
    plotting.WeightHistoryDisplay(np.zeros((3, 2)), ["W1[0, 0]", "a long name of some weights, perhaps"]).plot(ax)
    assert any(fault.startswith("cut off") for fault in faults(figure))


# ---- The pictures ----------------------------------------------------------------------------------------------------


def points_of(n_classes):
    """Points of classes that lie on a circle, and a classifier that knows them without being trained."""
    net = bp.Network([2, n_classes], output="softmax", loss="cross_entropy", seed=0)
    angles = 2 * np.pi * np.arange(n_classes) / n_classes
    net.weights[0] = 3 * np.array([np.cos(angles), np.sin(angles)])
    points = RNG.normal(size=(150, 2))
    return net, points, net.predict(points).argmax(axis=1)


def boundary(names):
    if len(names) == 2:
        net, points = bp.Network([2, 1], output="sigmoid", loss="cross_entropy", seed=0), RNG.normal(size=(50, 2))
        classes = (net.predict(points)[:, 0] > 0.5).astype(int)
    else:
        net, points, classes = points_of(len(names))
    return lambda ax: plotting.DecisionBoundaryDisplay.from_network(
        net, points, classes, class_names=tuple(names), grid_resolution=40, ax=ax
    )


def boundary_of_frame(ax):
    pandas = pytest.importorskip("pandas")
    net, points, classes = points_of(3)
    frame = pandas.DataFrame(dict(zip(LONG[:2], points.T, strict=True)))
    return plotting.DecisionBoundaryDisplay.from_network(net, frame, classes, grid_resolution=20, ax=ax)


def confusion(names, most=40):
    n = len(names)
    counts = RNG.integers(0, most, (n, n)) + most * np.eye(n, dtype=int)
    return lambda ax: plotting.ConfusionDisplay(counts, names).plot(ax)


def mistakes(names, n_images):
    outputs, y = RNG.random((60, len(names))), RNG.integers(len(names), size=60)
    pixels = RNG.random((60, 64))
    return lambda ax: plotting.MistakesDisplay.from_predictions(
        pixels, y, outputs, class_names=names, n_images=n_images, ax=ax
    )


def network(*sizes, activation="tanh", **settings):
    net = bp.Network(sizes, activation, seed=0)
    net.params = RNG.normal(size=net.n_params)
    sample = RNG.normal(size=(1, sizes[0])), RNG.normal(size=(1, sizes[-1]))
    return lambda ax: plotting.NetworkDisplay.from_network(net, *sample, **settings, ax=ax)


def history(training, validation=(), **settings):
    return lambda ax: plotting.HistoryDisplay(training, validation, **settings).plot(ax)


def weights(n_layers):
    names = [f"{kind}{layer + 1}[0]" for layer in range(n_layers) for kind in "Wb"]
    values = RNG.normal(size=(5, len(names))).cumsum(axis=0)
    return lambda ax: plotting.WeightHistoryDisplay(values, names).plot(ax)


def surface(*, with_path, is_flat=False):
    net = bp.Network([1, 1], seed=0)
    if is_flat:
        X, Y = [[0.0]], [[0.0]]
        return lambda ax: plotting.ErrorSurfaceDisplay(*np.eye(2), np.zeros((2, 2)), None, ("W", "b")).plot(ax)
    X, Y = [[0.0], [1.0], [2.0]], [[1.0], [3.0], [4.0]]
    path = RNG.normal(size=(20, 2)).cumsum(axis=0) if with_path else None
    return lambda ax: plotting.ErrorSurfaceDisplay.from_network(net, X, Y, path=path, resolution=25, ax=ax)


def activations(names):
    z = np.linspace(-4, 4, 81)
    curves = {name: (np.tanh(z + i), 1 - np.tanh(z + i) ** 2) for i, name in enumerate(names)}
    return lambda ax: plotting.ActivationDisplay(z, curves).plot(ax)


def first_layer(n_neurons):
    return lambda ax: plotting.FirstLayerDisplay(RNG.normal(size=(n_neurons, 4, 4))).plot(ax)


def times(n_params):
    seconds = 1e-6 * np.asarray(n_params, float)
    return lambda ax: plotting.GradientTimesDisplay(n_params, seconds, seconds * (np.asarray(n_params) + 1)).plot(ax)


def rates(low, high):
    values = np.geomspace(low, high, 50)
    losses = 2 + np.log(values / low) ** 2
    return lambda ax: plotting.LearningRateDisplay(values, losses, values[20]).plot(ax)


def schedules(names, **settings):
    kinds = [bp.OneCycle(0.1), bp.Cosine(0.2, warmup_steps=10), bp.Step(0.05, 20), bp.InverseScaling(0.3)]
    named = {name: kinds[i % 4] for i, name in enumerate(names)}
    return lambda ax: plotting.ScheduleDisplay.from_schedule(named, 100, **settings, ax=ax)


PICTURES = {
    "history, one epoch": history([0.5]),
    "history, small losses": history(np.geomspace(3e-9, 1e-9, 200), np.geomspace(4e-9, 2e-9, 200), best_epoch=199),
    "history, large losses": history([3e12, 2e12], [4e12, 3e12], best_epoch=1),
    "history, score": history([3.0, 2.0, 1.0], score=[0.123, 0.5, 0.25], score_quantity="accuracy", best_epoch=1),
    "history, all": history([3.0, 2.0], [4.0, 3.0], score=[0.1, 0.2], score_quantity="accuracy", best_epoch=1),
    "weights of 2 layers": weights(2),
    "weights of 25 layers": weights(25),
    "boundary of 2 classes": boundary(SHORT[:2]),
    "boundary of 2 classes, long": boundary(LONG[:2]),
    "boundary of 5 classes": boundary(SHORT[:5]),
    "boundary of 5 classes, long": boundary(LONG[:5]),
    "boundary of 26 classes, long": boundary(LONG),
    "boundary of a frame": boundary_of_frame,
    "surface": surface(with_path=False),
    "surface with a path": surface(with_path=True),
    "surface, flat": surface(with_path=False, is_flat=True),
    "activation": activations(["tanh"]),
    "activations, 3": activations(["tanh", "relu", "softplus"]),
    "activations, 12 long": activations(LONG[:12]),
    "network 2-1-1": network(2, 1, 1),
    "network 3-4-2": network(3, 4, 2),
    "network 4-6-3, steps": network(4, 6, 3, arrows="steps"),
    "network 7-8": network(7, 8),
    "network 8-8": network(8, 8),
    "network 8-8-8-8-8": network(8, 8, 8, 8, 8),
    "network 1-8-2-8-1": network(1, 8, 2, 8, 1),
    "network 784-512-512-10": network(784, 512, 512, 10),
    "network of 30 layers": network(*[20] * 30),
    "network with many activations": network(
        4, 60, 10, activation=[[(name, 10) for name in ("tanh", "relu", "leaky_relu", "softplus", "sigmoid", "sine")]]
    ),
    "network 3-4-2, boxes": network(3, 4, 2, detail="layers"),
    "confusion of 2": confusion(["benign", "malignant"]),
    "confusion of 8": confusion(NEWSGROUPS),
    "confusion of 10, many samples": confusion(range(10), 10**6),
    "confusion of 18": confusion(SHORT[:18]),
    "confusion of 5, long": confusion(LONG[:5]),
    "confusion of 18, long": confusion(LONG[:18]),
    "mistake": mistakes(SHORT, 1),
    "mistakes": mistakes(SHORT, 15),
    "mistakes, long": mistakes(LONG, 12),
    "first layer of 3": first_layer(3),
    "first layer of 400": first_layer(400),
    "times": times([5, 160, 10**6]),
    "times, alike": times([40, 45]),
    "learning rates": rates(1e-6, 10.0),
    "learning rates, alike": rates(0.2, 0.3),
    "schedule": schedules(["OneCycle"]),
    "schedules, 12 long": schedules(LONG[:12], log=True),
}
PLACES = {
    "new": lambda: None,
    "given": lambda: plt.subplots()[1],
    "one of two": lambda: plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")[1][0],
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", PICTURES)
def test_every_text_can_be_read(name, place):
    display = PICTURES[name](PLACES[place]())
    assert faults(display.figure_) == []


def test_every_display_is_among_the_pictures():
    kinds = {type(PICTURES[name](None)).__name__ for name in ("activation", "boundary of 2 classes", "confusion of 2")}
    plt.close("all")
    others = ("first layer of 3", "history, one epoch", "learning rates", "mistake", "network 2-1-1", "schedule")
    kinds |= {type(PICTURES[name](None)).__name__ for name in (*others, "surface", "times", "weights of 2 layers")}
    assert kinds == set(plotting.__all__)
