"""What a picture shows is what the data say; axes are labelled; nothing is left behind."""

import inspect
import pydoc
import re
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest

import fastbp as bp
from fastbp.engine.frame import Frame
from fastbp.inspection.gradient_times import measure_gradient
from fastbp.kernels.roots import entry

plt = pytest.importorskip("matplotlib.pyplot")
import matplotlib  # noqa: E402 - behind the check that it is there

from fastbp import plotting  # noqa: E402

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(60, 2))
CLASSES = (POINTS[:, 0] > 0).astype(int)
PIXELS = RNG.random((40, 12))
DIGITS = np.arange(40) % 3


def boundary_network(n_outputs=1):
    output, loss = ("sigmoid", "cross_entropy") if n_outputs == 1 else ("softmax", "cross_entropy")
    return bp.Network([2, 4, n_outputs], "tanh", output, loss, seed=0)


def trained():
    """A network, its weights over the epochs and its history."""
    net = boundary_network()
    weights = bp.WeightHistory(net)
    history = net.fit(POINTS, CLASSES, 4, validation_data=(POINTS, CLASSES), seed=0, callbacks=[weights])
    return net, weights, history


class Estimator:
    """A classifier as scikit-learn's are from outside."""

    classes_ = np.array(["left", "right"])
    loss_curve_ = (3.0, 2.0, 1.0)
    coefs_ = (np.arange(24.0).reshape(12, 2),)

    def predict_proba(self, X):
        right = 1 / (1 + np.exp(-np.asarray(X)[:, 0]))
        return np.column_stack([1 - right, right])

    def __repr__(self):
        return "Estimator()"


def every_display(ax=None):
    """Draw each display; a generator of their names and the displays."""
    net, weights, history = trained()
    digits = bp.Network([12, 5, 3], output="softmax", loss="cross_entropy", seed=0)
    sample = POINTS[:1], [[1.0]]
    yield "history", plotting.HistoryDisplay.from_history(history, ax=ax)
    yield "weights", plotting.WeightHistoryDisplay.from_history(weights, ax=ax)
    yield "boundary", plotting.DecisionBoundaryDisplay.from_network(net, POINTS, CLASSES, ax=ax)
    yield "surface", plotting.ErrorSurfaceDisplay.from_network(net, POINTS, CLASSES, resolution=5, ax=ax)
    yield "activations", plotting.ActivationDisplay.from_names(["tanh", "relu"], ax=ax)
    yield "diagram", plotting.NetworkDisplay.from_network(net, *sample, ax=ax)
    yield "confusion", plotting.ConfusionDisplay.from_network(digits, PIXELS, DIGITS, ax=ax)
    yield "mistakes", plotting.MistakesDisplay.from_network(digits, PIXELS, DIGITS, shape=(3, 4), ax=ax)
    yield "first layer", plotting.FirstLayerDisplay.from_network(digits, shape=(3, 4), ax=ax)
    yield "times", plotting.GradientTimesDisplay.from_networks([net, digits], n_rows=2, ax=ax)
    found = bp.find_learning_rate(net, POINTS, CLASSES, n_steps=20, seed=0)
    yield "learning rates", plotting.LearningRateDisplay.from_range(found, ax=ax)
    yield "schedules", plotting.ScheduleDisplay.from_schedule([bp.OneCycle(0.1), bp.Cosine(0.1)], 50, ax=ax)


# ---- What all displays have in common --------------------------------------------------------------------------------


def test_displays_make_one_figure_each_and_keep_the_settings():
    before = dict(matplotlib.rcParams)
    for number, (name, display) in enumerate(every_display(), start=1):
        assert len(plt.get_fignums()) == number, name
        assert display.figure_ is display.ax_.figure, name
        display.figure_.canvas.draw()  # without a warning, for instance of a layout that does not fit
    assert dict(matplotlib.rcParams) == before
    plt.close("all")
    assert {type(display).__name__ for _, display in every_display()} == set(plotting.__all__)


def test_displays_draw_into_given_axes():
    figure, ax = plt.subplots()
    for name, display in every_display(ax):
        assert display.ax_ is ax, name
        assert display.figure_ is figure, name
        ax.clear()
    assert plt.get_fignums() == [figure.number]


def test_a_display_can_be_drawn_again():
    for name, display in every_display():
        _, ax = plt.subplots()
        assert display.plot(ax) is display, name
        assert display.ax_ is ax, name
        assert ax.has_data() or ax.texts, name
        plt.close("all")


def test_axes_are_labelled_with_units():
    without_axes = {"diagram", "mistakes", "first layer"}
    for name, display in every_display():
        labels = display.ax_.get_xlabel(), display.ax_.get_ylabel()
        if name in without_axes:
            assert not display.ax_.axison, name
        else:
            without_unit = {"epoch", "True label", "Predicted label", "feature 1", "feature 2", "step", "learning rate"}
            assert all(label in without_unit or label.endswith(")") for label in labels), (name, labels)


def test_every_picture_has_a_title_and_keeps_the_users():
    for name, display in every_display():
        assert display.ax_.get_title(), name
        assert type(display).__name__ in repr(display)
        assert display.ax_.get_title() in repr(display), name
    _, ax = plt.subplots()
    ax.set_title("mine")
    for name, display in every_display(ax):
        assert display.ax_.get_title() == "mine", name
        ax.clear()
        ax.set_title("mine")
    assert repr(plotting.HistoryDisplay([1.0])) == "<HistoryDisplay, not drawn yet>"
    assert repr(plotting.HistoryDisplay([1.0]).plot()) == (
        "<HistoryDisplay 'Learning curve': epoch and loss (mean cost per sample)>"
    )


def test_lines_differ_in_more_than_colour():
    for name, display in every_display():
        looks = {}
        for line in getattr(display, "lines_", []):
            look = line.get_linestyle(), line.get_marker()
            label = line.get_label()
            if not label.startswith("_"):
                assert look not in looks.values(), (name, label)
                looks[label] = look


def test_other_axes_than_axes_are_refused():
    with pytest.raises(TypeError) as caught:
        plotting.HistoryDisplay([1.0]).plot("here")
    assert str(caught.value) == "`ax` must be matplotlib axes, such as plt.subplots()[1], or None; got 'here'."
    assert plt.get_fignums() == []


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    _, _, history = trained()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = 'Pictures need matplotlib, which is not installed: python -m pip install "fastbp[plot]"'
    with pytest.raises(ImportError) as caught:
        history.plot()
    assert str(caught.value) == message
    with pytest.raises(ImportError) as caught:
        next(iter(every_display()))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "draw",
    [
        lambda net: plotting.FirstLayerDisplay.from_network(net),
        lambda net: plotting.NetworkDisplay.from_network(net, [[1.0]], [[1.0]]),
        lambda net: plotting.DecisionBoundaryDisplay.from_network(net, POINTS),
        lambda net: plotting.ErrorSurfaceDisplay.from_network(net, POINTS, CLASSES),
        lambda net: plotting.ActivationDisplay.from_network(net),
        lambda net: plotting.ConfusionDisplay.from_network(net, PIXELS, DIGITS),
        lambda net: plotting.MistakesDisplay.from_network(net, PIXELS, DIGITS),
        lambda net: plotting.GradientTimesDisplay.from_networks([net]),
    ],
)
def test_something_else_than_a_network_is_refused(draw):
    with pytest.raises(TypeError) as caught:
        draw(Estimator())
    expected = "`net` must be a fastbp.Network; got Estimator(). An estimator goes to `from_estimator`."
    assert str(caught.value) == expected


def words(text):
    """A text as one line, without the bars at the margin of `help`."""
    return " ".join(text.replace("|", " ").split())


@pytest.mark.parametrize("name", plotting.__all__)
def test_the_documentation_of_a_display_is_whole(name):
    """Also what all displays share, which their sources name instead of repeating it."""
    display = getattr(plotting, name)
    whole = pydoc.plain(pydoc.render_doc(display))
    assert re.findall(r"\{\w+\}", whole) == []
    assert re.search(r"Attributes\n.*\n.*ax_ : matplotlib axes\n.*\n.*figure_ : matplotlib figure\n", whole)
    makers = [member for key, member in inspect.getmembers(display) if key.startswith("from_")]
    for method in [*makers, display.plot]:
        text = inspect.getdoc(method)
        assert words(text) in words(whole)
        assert re.search(r"^(\w+, )*ax(, \w+)*( : matplotlib axes, optional)?$", text, re.MULTILINE)
        assert f"Returns\n-------\n{name if method in makers else 'Display'}\n    " in text
        assert text.endswith("\nImportError\n    If matplotlib is not installed.")


def test_a_display_of_ones_own_keeps_its_documentation():
    class Picture(plotting.HistoryDisplay):
        """A picture of {one's own}.

        {legend}
        """

    class Silent(plotting.HistoryDisplay):
        pass

    assert inspect.getdoc(Picture) == "A picture of {one's own}.\n\n{legend}"
    assert Silent.__doc__ is None
    assert type(Silent([1.0]).plot()) is Silent


# ---- Learning curves and weights -------------------------------------------------------------------------------------


def test_curves_are_those_of_the_history():
    _, _, history = trained()
    display = plotting.HistoryDisplay.from_history(history)
    training, validation = display.lines_
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(training.get_ydata(), history.loss)
    np.testing.assert_array_equal(validation.get_ydata(), history.val_loss)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["training", "validation", f"best, epoch {history.best_epoch + 1}"]
    assert history.plot().get_ylabel() == "loss (mean cost per sample)"


def test_other_quantities_are_drawn_too():
    display = plotting.HistoryDisplay([0.5, 1.0], [0.4, 0.9], quantity="accuracy (share of samples)").plot()
    assert display.ax_.get_ylabel() == "accuracy (share of samples)"
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), [0.4, 0.9])


def test_curve_of_an_estimator():
    display = plotting.HistoryDisplay.from_estimator(Estimator())
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), [3.0, 2.0, 1.0])
    with pytest.raises(AttributeError) as caught:
        plotting.HistoryDisplay.from_estimator(3)
    assert str(caught.value) == (
        "`estimator` must be fitted and have a `loss_curve_`, which the solvers sgd and adam leave; got 3."
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curves_of_an_estimator_with_validation_data():
    from fastbp.neural_network import MLPRegressor

    settings = {"hidden_layer_sizes": (4,), "max_iter": 6, "random_state": 0}
    for early_stopping in (False, True):
        model = MLPRegressor(**settings, early_stopping=early_stopping)
        model.fit(POINTS[:40], POINTS[:40, 0], eval_set=(POINTS[40:], POINTS[40:, 0]))
        display = plotting.HistoryDisplay.from_estimator(model)
        np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)
        np.testing.assert_array_equal(display.lines_[1].get_ydata(), model.validation_loss_curve_)
        texts = ["training", "validation"]
        if early_stopping:
            texts += [f"best score, epoch {1 + np.argmax(model.validation_scores_)}", "validation score"]
            np.testing.assert_array_equal(display.score_line_.get_ydata(), model.validation_scores_)
        assert legend_texts(display) == texts
        assert (display.score_ax_ is not None) == early_stopping


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_scores_of_early_stopping_have_an_axis_of_their_own():
    from sklearn.neural_network import MLPClassifier as Theirs

    from fastbp.neural_network import MLPClassifier, MLPRegressor

    settings = {"hidden_layer_sizes": (4,), "max_iter": 6, "random_state": 0, "early_stopping": True}
    for kind, targets, what in (
        (MLPRegressor, POINTS[:, 0], "R²"),
        (MLPClassifier, CLASSES, "accuracy"),
        (Theirs, CLASSES, "accuracy"),
    ):
        model = kind(**settings).fit(POINTS, targets)
        display = plotting.HistoryDisplay.from_estimator(model)
        best = f"best score, epoch {1 + np.argmax(model.validation_scores_)}"
        assert legend_texts(display) == ["training", "validation score", best]
        assert display.score_ax_.get_ylabel() == f"validation score ({what})"
        np.testing.assert_array_equal(display.score_line_.get_xdata(), 1 + np.arange(len(model.validation_scores_)))
        np.testing.assert_array_equal(display.score_line_.get_ydata(), model.validation_scores_)
        np.testing.assert_array_equal(display.lines_[0].get_ydata(), model.loss_curve_)


def test_every_weight_has_a_line():
    _, weights, _ = trained()
    display = plotting.WeightHistoryDisplay.from_history(weights)
    assert len(display.lines_) == 17
    for line, values in zip(display.lines_, weights.values.T, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2, 3, 4])
        np.testing.assert_array_equal(line.get_ydata(), values)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["W1", "b1", "W2", "b2"]


def test_a_sample_of_the_weights_is_drawn():
    _, weights, _ = trained()
    display = plotting.WeightHistoryDisplay.from_history(weights, sample=5, seed=1)
    assert len(display.lines_) == 5
    for line, name in zip(display.lines_, display.names, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), weights.values[:, weights.names.index(name)])


def test_too_many_weights_are_refused_and_a_sample_is_offered():
    net = bp.Network([784, 30, 10], seed=0)
    with pytest.raises(ValueError, match="sample") as caught:
        plotting.WeightHistoryDisplay.from_history(bp.WeightHistory(net))
    assert str(caught.value) == (
        "`weight_history` has 23860 parameters, and lines can be told apart for 1000 at most; got 23860 to draw. "
        "sample=100 draws a hundred of them, chosen at random."
    )
    assert len(plotting.WeightHistoryDisplay.from_history(bp.WeightHistory(net), sample=100).lines_) == 100


def test_a_history_of_losses_is_no_history_of_weights():
    _, _, history = trained()
    with pytest.raises(TypeError) as caught:
        plotting.WeightHistoryDisplay.from_history(history)
    assert str(caught.value) == (
        "`weight_history` must be a bp.WeightHistory that was among the callbacks of a fit; got History."
    )


# ---- Decision boundary -----------------------------------------------------------------------------------------------


def test_boundary_of_two_classes():
    net, _, _ = trained()
    display = plotting.DecisionBoundaryDisplay.from_network(net, POINTS, CLASSES, grid_resolution=7, eps=0.25)
    boundary = display.boundary_
    assert type(boundary).__module__.startswith("sklearn.")
    grid = np.column_stack([boundary.xx0.ravel(), boundary.xx1.ravel()])
    np.testing.assert_array_equal(boundary.response.ravel(), net.predict(grid)[:, 0])
    np.testing.assert_allclose(grid.min(axis=0), POINTS.min(axis=0) - 0.25)
    for label, points in enumerate(display.points_):
        np.testing.assert_array_equal(points.get_offsets(), POINTS[label == CLASSES])


def test_boundary_of_three_classes_has_hatches():
    net = boundary_network(3)
    display = plotting.DecisionBoundaryDisplay.from_network(net, POINTS, class_names=("a", "b", "c"))
    boundary = display.boundary_
    grid = np.column_stack([boundary.xx0.ravel(), boundary.xx1.ravel()])
    np.testing.assert_array_equal(boundary.response.ravel(), net.predict(grid).argmax(axis=1))
    assert len({tuple(region.hatches) for region in boundary.surface_}) == 3
    assert display.points_ == []
    assert legend_texts(display) == ["a", "b", "c"]


def five_classes():
    """A softmax network that is sure of itself, and points of its classes."""
    net = bp.Network([2, 6, 5], "tanh", "softmax", "cross_entropy", seed=3)
    net.params = 6 * np.random.default_rng(35).normal(size=net.n_params)
    points = np.random.default_rng(8).uniform(-3, 3, (400, 2))
    return net, points, net.predict(points).argmax(axis=1)


def test_every_point_lies_in_the_region_of_its_class():
    """By matplotlib's own test of points and paths."""
    net, points, classes = five_classes()
    assert len(set(classes.tolist())) == 5
    display = plotting.DecisionBoundaryDisplay.from_network(net, points, grid_resolution=400)
    scores = np.sort(net.predict(points), axis=1)
    is_clear = scores[:, -1] > 0.99  # away from the lines
    assert is_clear.sum() > 200
    for label, region in enumerate(display.boundary_.surface_):
        inside = np.zeros(len(points), bool)
        for path in region.get_paths():
            inside |= path.contains_points(points)
        np.testing.assert_array_equal(inside[is_clear], classes[is_clear] == label)


def test_no_corner_between_regions_is_white():
    """Where many regions meet within a cell of the grid, none of them reaches the corner."""
    angles = 2 * np.pi * np.arange(12) / 12
    net = bp.Network([2, 12], output="softmax", loss="cross_entropy", seed=0)
    net.weights[0] = [np.cos(angles), np.sin(angles)]
    display = plotting.DecisionBoundaryDisplay.from_network(net, POINTS, grid_resolution=10)
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[::-1]
    frame = display.ax_.get_window_extent()
    inside = pixels[int(frame.y0) + 2 : int(frame.y1) - 2, int(frame.x0) + 2 : int(frame.x1) - 2, :3]
    assert not (inside == 255).all(axis=-1).any()
    assert display.ax_.get_xlim() == (display.boundary_.xx0.min(), display.boundary_.xx0.max())


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_lines_between_classes_are_smooth(n_outputs):
    """Of a network without hidden layers they are straight, however sure it is of its classes."""
    output = "sigmoid" if n_outputs == 1 else "softmax"
    net = bp.Network([2, n_outputs], output=output, loss="cross_entropy")
    net.params = [30.0, -50.0, 7.0] if n_outputs == 1 else [0.0, 30.0, 0.0, -50.0, 0.0, 7.0]
    display = plotting.DecisionBoundaryDisplay.from_network(net, POINTS)
    lines = [c for c in display.ax_.collections if isinstance(c, matplotlib.contour.QuadContourSet) and not c.filled]
    (line,) = lines
    x, y = np.concatenate([path.vertices for path in line.get_paths()]).T
    assert len(x) > 50
    np.testing.assert_allclose(30 * x - 50 * y + 7, 0, atol=1e-9)


def test_legend_of_many_classes_hides_nothing():
    net, points, classes = five_classes()
    names = ("one", "two", "three", "four", "a rather long name")
    display = plotting.DecisionBoundaryDisplay.from_network(net, points, classes, class_names=names)
    assert legend_texts(display) == list(names)
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert legend.x0 >= display.ax_.bbox.x1
    assert legend.x1 <= display.figure_.bbox.x1
    _, ax = plt.subplots()  # whose figure has no room beside
    beside = display.plot(ax).ax_.get_legend().get_window_extent()  # the axes make room, as for a colour bar
    assert ax.bbox.x1 <= beside.x0 < beside.x1 <= display.figure_.bbox.x1


def legend_texts(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_axes_have_the_names_of_the_features(library):
    frames = pytest.importorskip(library)
    from fastbp.neural_network import MLPClassifier

    frame = frames.DataFrame({"petal length (cm)": POINTS[:, 0], "petal width (cm)": POINTS[:, 1]})
    model = MLPClassifier((3,), max_iter=5, random_state=0).fit(frame, CLASSES)
    display = plotting.DecisionBoundaryDisplay.from_estimator(model, frame, CLASSES, grid_resolution=5)
    assert display.ax_.get_xlabel() == "petal length (cm)"
    assert display.ax_.get_ylabel() == "petal width (cm)"
    grid = np.column_stack([display.boundary_.xx0.ravel(), display.boundary_.xx1.ravel()])
    expected = model.predict_proba(frames.DataFrame(dict(zip(frame.columns, grid.T, strict=True))))[:, 1]
    np.testing.assert_array_equal(display.boundary_.response.ravel(), expected)


def test_boundary_of_an_estimator():
    labels = np.where(CLASSES == 1, "right", "left")
    display = plotting.DecisionBoundaryDisplay.from_estimator(Estimator(), POINTS, labels, grid_resolution=5)
    expected = 1 / (1 + np.exp(-display.boundary_.xx0))
    np.testing.assert_allclose(display.boundary_.response, expected)
    assert [points.get_label() for points in display.points_] == ["left", "right"]
    np.testing.assert_array_equal(display.points_[1].get_offsets(), POINTS[CLASSES == 1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (bp.Network([3, 1], seed=0), POINTS),
            "A decision boundary is drawn over two features; got a model with 3.",
        ),
        (
            (boundary_network(), POINTS, CLASSES + 1),
            "`y` must hold one of the classes 0, 1 for each of the 60 rows; got 2.",
        ),
        (
            (boundary_network(), POINTS, CLASSES[:5]),
            "`y` must hold one of the classes 0, 1 for each of the 60 rows; got the shape (5,).",
        ),
    ],
)
def test_wrong_arguments_of_a_boundary(arguments, message):
    with pytest.raises(ValueError, match=r".") as caught:
        plotting.DecisionBoundaryDisplay.from_network(*arguments)
    assert str(caught.value) == message


def test_wrong_names_and_estimators_of_a_boundary():
    with pytest.raises(ValueError, match="names") as caught:
        plotting.DecisionBoundaryDisplay.from_network(boundary_network(), POINTS, class_names=("a",))
    assert str(caught.value) == "`class_names` must have one name for each of the 2 classes; got ['a']."
    with pytest.raises(TypeError) as caught:
        plotting.DecisionBoundaryDisplay.from_estimator(3, POINTS)
    assert str(caught.value) == "`estimator` must be a fitted classifier with `predict_proba`; got 3."


# ---- Error surface ---------------------------------------------------------------------------------------------------


def test_surface_is_the_cost_and_the_path_is_the_weights():
    net, weights, _ = trained()
    before = net.params.copy()
    display = plotting.ErrorSurfaceDisplay.from_network(
        net, POINTS, CLASSES, parameters=(12, 3), path=weights, resolution=4
    )
    np.testing.assert_array_equal(net.params, before)
    np.testing.assert_array_equal(display.path, weights.values[:, [12, 3]])
    for i, j in np.ndindex(4, 4):
        net.params[[12, 3]] = display.first[j], display.second[i]
        assert display.cost[i, j] == pytest.approx(net.loss_value(POINTS, CLASSES), rel=1e-12)
    assert display.ax_.get_xlabel() == "W2[0, 0] (no unit)"
    assert display.ax_.get_ylabel() == "W1[0, 3] (no unit)"
    np.testing.assert_array_equal(np.column_stack(display.ax_.lines[0].get_data()), display.path)
    assert display.first[0] < display.path[:, 0].min()
    assert display.path[:, 0].max() < display.first[-1]


def tasks_of_kernels(monkeypatch):
    """A list to which each call of the kernels from here on adds its task."""
    tasks, run = [], Frame.run

    def noted(frame, task, *arguments, **options):
        tasks.append(task)
        return run(frame, task, *arguments, **options)

    monkeypatch.setattr(Frame, "run", noted)
    return tasks


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_surface_needs_costs_only_and_has_their_bits(monkeypatch, dtype):
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(50, 3)).astype(dtype), rng.normal(size=(50, 2)).astype(dtype)
    settings = {"l2_penalty": 0.01, "l1_penalty": 0.003, "loss_parameter": 0.7, "dropout": 0.1}
    net = bp.Network([3, 7, 2], "tanh", loss="huber", dtype=dtype, seed=0, **settings)
    before = net.params.copy()
    tasks = tasks_of_kernels(monkeypatch)
    display = plotting.ErrorSurfaceDisplay.from_network(net, X, Y, parameters=(4, 30), resolution=6)
    assert tasks == [entry.COST] * 36
    np.testing.assert_array_equal(net.params, before)
    for i, j in np.ndindex(6, 6):
        net.params[[4, 30]] = display.first[j], display.second[i]
        assert display.cost[i, j] == net.loss_value(X, Y)


def test_surface_within_given_limits():
    net, _, _ = trained()
    limits = ((-1.0, 1.0), (-2.0, 3.0))
    display = plotting.ErrorSurfaceDisplay.from_network(net, POINTS, CLASSES, limits=limits, resolution=3)
    np.testing.assert_array_equal(display.first, [-1, 0, 1])
    np.testing.assert_array_equal(display.second, [-2, 0.5, 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"parameters": (1, 17)},
            "`parameters` must be two different indices into the 17 of `Network.params`; got (1, 17).",
        ),
        ({"parameters": 3}, "`parameters` must be two different indices into the 17 of `Network.params`; got 3."),
        ({"path": [1.0, 2.0]}, "`path` must have shape (n_points, 2), one point at least; got (2,)."),
        (
            {"path": bp.WeightHistory(boundary_network(), sample=1, seed=0)},
            "`path` must have recorded both parameters; it has not [0, 1]. Record without `sample`.",
        ),
    ],
)
def test_wrong_arguments_of_a_surface(arguments, message):
    with pytest.raises(ValueError, match=r".") as caught:
        plotting.ErrorSurfaceDisplay.from_network(boundary_network(), POINTS, CLASSES, **arguments)
    assert str(caught.value) == message
    assert plt.get_fignums() == []


# ---- Activations and the drawing of a network ------------------------------------------------------------------------


def test_activations_are_drawn_with_their_derivatives():
    display = plotting.ActivationDisplay.from_names(["sigmoid", "tanh", "sine"], limits=(-3, 3))
    z, a = display.z, 1 / (1 + np.exp(-display.z))
    expected = [a, a * (1 - a), np.tanh(z), 1 - np.tanh(z) ** 2, np.sin(z), np.cos(z)]
    for line, values in zip(display.lines_, expected, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), z)
        np.testing.assert_allclose(line.get_ydata(), values, atol=1e-12)
    assert display.lines_[1].get_label() == "derivative of sigmoid"


def test_activations_of_a_network_are_drawn_once_each():
    net = bp.Network([2, 4, 3, 3], [[("tanh", 2), ("relu", 2)], "tanh"], "softmax", "cross_entropy", seed=0)
    assert list(plotting.ActivationDisplay.from_network(net).curves) == ["tanh", "relu"]


def test_softmax_has_no_curve():
    with pytest.raises(ValueError, match="softmax") as caught:
        plotting.ActivationDisplay.from_names("softmax")
    assert str(caught.value) == "`names` must be functions of one z; softmax is one of the whole layer."


def two_neurons():
    net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid")
    net.params = [0.6, -0.1, 0.3, 0.5, -0.2]
    return net


def texts(display):
    return [text.get_text() for text in display.ax_.texts]


def test_drawing_of_the_two_neurons():
    display = plotting.NetworkDisplay.from_network(two_neurons(), [[-0.9, 0.1]], [[1.0]])
    assert {"x1\n-0.9", "a -0.24\n$\\delta$ -0.066", "a 0.42\n$\\delta$ -0.14", "b 0.3", "b -0.2"} <= set(
        texts(display)
    )
    assert {"0.6", "-0.1", "0.5"} <= set(texts(display))
    assert [arrow.get_linestyle() for arrow in display.arrows_] == ["-", "--", "-"]
    widths = np.array([arrow.get_linewidth() for arrow in display.arrows_])
    np.testing.assert_allclose((widths - 0.6) / 3.4, np.array([0.6, 0.1, 0.5]) / 0.6)
    assert display.ax_.get_title() == "arrows: weights, forward; solid +, dashed -; cost 0.168"


def test_drawing_of_the_steps():
    display = plotting.NetworkDisplay.from_network(
        two_neurons(), [[-0.9, 0.1]], [[1.0]], arrows="steps", learning_rate=0.1
    )
    assert {"-0.006", "+0.00066", "-0.0035", "b +0.0066", "b +0.014"} <= set(texts(display))
    assert [arrow.get_linestyle() for arrow in display.arrows_] == ["--", "-", "--"]
    np.testing.assert_allclose(display.numbers[1][0], [[-0.00346]], rtol=1e-4)


def covered(first, second, height):
    """Whether two texts cover each other: lines of points through their middles come too near."""
    return np.linalg.norm(first[:, None] - second, axis=-1).min() < 0.8 * height


@pytest.mark.parametrize("sizes", [(3, 4, 2), (4, 6, 3), (2, 2, 4, 3, 2), (2, 3, 3, 3, 1), (2, 12, 1)])
@pytest.mark.parametrize("arrows", ["weights", "steps"])
@pytest.mark.parametrize("is_given", [False, True])
def test_numbers_of_a_drawing_do_not_cover_each_other(sizes, arrows, is_given):
    rng = np.random.default_rng(len(sizes))
    net = bp.Network(sizes, "tanh", seed=0)
    sample = rng.normal(size=(1, sizes[0])), rng.normal(size=(1, sizes[-1]))
    ax = plt.subplots(figsize=(7, 5))[1] if is_given else None
    settings = {"arrows": arrows, "learning_rate": 0.1, "detail": "weights"}
    display = plotting.NetworkDisplay.from_network(net, *sample, **settings, ax=ax)
    display.figure_.canvas.draw()
    lines = []
    for text in display.ax_.texts:
        middle = np.array(display.ax_.transData.transform(text.get_position()))
        angle = np.radians(text.get_rotation())  # on the screen as well, where both axes have one scale
        text.set_rotation(0)
        box = text.get_window_extent()
        if text.get_va() == "top":
            middle[1] -= box.height / 2
        along = np.linspace(-0.5, 0.5, 15)[:, None] * max(box.width - box.height, 0)
        if "\n" not in text.get_text() and text.get_va() != "bottom":
            lines.append((middle + along * [np.cos(angle), np.sin(angle)], box.height, text.get_text()))
    assert len(lines) == net.n_params
    for i, (first, height, what) in enumerate(lines):
        for second, _, other in lines[:i]:
            assert not covered(first, second, height), (what, other)


@pytest.mark.parametrize(
    ("arguments", "detail", "message"),
    [
        (
            (bp.Network([10, 7], seed=0), np.zeros((1, 10)), np.zeros((1, 7))),
            "weights",
            "`net` must have at most 60 weights to be drawn with its numbers; got 70. detail='auto' draws larger ones.",
        ),
        (
            (bp.Network([2, 31, 7], seed=0), np.zeros((1, 2)), np.zeros((1, 7))),
            "neurons",
            "`net` must have at most 30 neurons a layer to be drawn neuron by neuron; got 31. detail='auto' draws "
            "larger ones.",
        ),
        (
            (two_neurons(),),
            "neurons",
            "`X` and `Y` must be a sample for detail='neurons'. Without one, 'layers' can be drawn.",
        ),
        ((two_neurons(),), "all", "`detail` must be 'auto', 'weights', 'neurons' or 'layers'; got 'all'."),
        (
            (two_neurons(), [[0.0, 0.0]]),
            "auto",
            "`X` and `Y` must be given together, as the sample to draw, or not at all.",
        ),
        (
            (two_neurons(), np.zeros((3, 2)), np.zeros((3, 1))),
            "auto",
            "`X` must have one row, the sample to draw; got 3.",
        ),
    ],
)
def test_what_cannot_be_drawn(arguments, detail, message):
    with pytest.raises(ValueError, match=r".") as caught:
        plotting.NetworkDisplay.from_network(*arguments, detail=detail)
    assert str(caught.value) == message
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("sizes", "detail"),
    [
        ((3, 4, 2), "weights"),
        ((2, 12, 1), "weights"),
        ((8, 8, 8, 8, 8), "neurons"),
        ((8, 8), "neurons"),
        ((9, 8), "layers"),
        ((8, 8, 8, 8, 8, 8), "layers"),
        ((2,) * 9, "layers"),
        ((13, 1), "layers"),
        ((784, 64, 10), "layers"),
    ],
)
def test_the_detail_of_a_drawing_is_what_can_be_read(sizes, detail):
    net = bp.Network(sizes, "tanh", seed=0)
    sample = np.ones((1, sizes[0])), np.ones((1, sizes[-1]))
    display = plotting.NetworkDisplay.from_network(net, *sample)
    assert display.detail_ == detail
    n_arrows = len(sizes) - 1 if detail == "layers" else sum(W.size for W in net.weights)
    assert len(display.arrows_) == n_arrows
    assert plotting.NetworkDisplay.from_network(net).detail_ == "layers"
    assert plotting.NetworkDisplay.from_network(net, *sample, detail="layers").detail_ == "layers"
    small = plt.subplots(figsize=(1.5, 1.5))[1]
    assert plotting.NetworkDisplay.from_network(net, *sample, ax=small).detail_ == "layers"


def test_boxes_have_the_counts_of_each_layer():
    net = bp.Network([784, 64, 1, 10], [[("tanh", 60), ("relu", 4)], "sine"], "softmax", "cross_entropy", seed=0)
    display = plotting.NetworkDisplay.from_network(net)
    assert texts(display) == [
        *("784 inputs", "inputs", "", "50,176\nweights"),
        *("64 neurons\n60 tanh\n4 relu", "layer 1", "64 biases", "64\nweights"),
        *("1 neuron\nsine", "layer 2", "1 bias", "10\nweights"),
        *("10 neurons\nsoftmax", "outputs", "10 biases"),
    ]
    assert display.ax_.get_title() == f"784-64-1-10: {net.n_params:,} parameters"


def test_in_narrow_axes_a_deep_network_has_fewer_boxes():
    net = bp.Network([20] * 30, seed=0)
    counts = []
    for width in (4, 10, 20):
        ax = plt.subplots(figsize=(width, 4))[1]
        counts.append(len(plotting.NetworkDisplay.from_network(net, ax=ax).arrows_))
    assert counts == [4, 6, 8]


@pytest.mark.parametrize("n_layers", [9, 10, 11, 40])
def test_boxes_of_a_deep_network_leave_none_of_its_parameters_out(n_layers):
    sizes = [3 + i % 4 for i in range(n_layers)]
    net = bp.Network(sizes, "tanh", seed=0)
    display = plotting.NetworkDisplay.from_network(net)
    shown = texts(display)
    numbers = [int(text.split()[0]) for text in shown if re.fullmatch(r"\d+\s(weights|bias|biases)", text)]
    numbers += [int(text.split("\n")[1]) for text in shown if "layers\n" in text]
    assert sum(numbers) == net.n_params
    assert any(text.startswith(f"{n_layers - 8} layers") for text in shown) == (n_layers > 9)


def test_arrows_are_weights_or_steps():
    with pytest.raises(ValueError, match="arrows") as caught:
        plotting.NetworkDisplay.from_network(two_neurons(), [[0.0, 0.0]], [[1.0]], arrows="errors")
    assert str(caught.value) == "`arrows` must be 'weights' or 'steps'; got 'errors'."


# ---- Digits ----------------------------------------------------------------------------------------------------------


def test_confusion_counts_every_sample():
    y, predictions = np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 2, 2, 0])
    display = plotting.ConfusionDisplay.from_predictions(y, predictions, classes=range(3))
    np.testing.assert_array_equal(display.counts, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])
    assert {where: text.get_text() for where, text in display.text_.items()} == {
        (0, 0): "1",
        (0, 1): "1",
        (1, 1): "1",
        (2, 0): "1",
        (2, 2): "2",
    }
    np.testing.assert_array_equal(display.image_.get_array(), [[0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert display.ax_.get_title() == "accuracy 0.667, 4 of 6 correct"


NEWSGROUPS = [
    "alt.atheism", "comp.graphics", "comp.os.ms-windows.misc", "comp.sys.ibm.pc.hardware", "rec.sport.baseball",
    "sci.electronics", "talk.politics.mideast", "soc.religion.christian",
]  # fmt: skip


@pytest.mark.parametrize("names", [NEWSGROUPS, range(10), ["benign", "malignant"], range(26)], ids=len)
@pytest.mark.parametrize("is_given", [False, True])
def test_confusion_of_many_and_of_long_names_can_be_read(names, is_given):
    n = len(names)
    counts = np.random.default_rng(0).integers(0, 40, (n, n)) + 3000 * np.eye(n, dtype=int)
    ax = plt.subplots(figsize=(9, 8), layout="constrained")[1] if is_given else None
    display = plotting.ConfusionDisplay(counts, names).plot(ax)
    assert type(display.confusion_).__module__.startswith("sklearn.")
    display.figure_.canvas.draw()
    canvas, ax = display.figure_.bbox, display.ax_
    for label in (*ax.get_xticklabels(), *ax.get_yticklabels(), ax.xaxis.label, ax.yaxis.label):
        box = label.get_window_extent()
        assert canvas.x0 <= box.x0 < box.x1 <= canvas.x1, label
        assert canvas.y0 <= box.y0 < box.y1 <= canvas.y1, label
    labels = ax.get_xticklabels()
    if labels[0].get_rotation() == 0:
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    else:
        assert {(label.get_rotation(), label.get_ha()) for label in labels} == {(45.0, "right")}
    cell = ax.bbox.width / n
    assert max(text.get_window_extent().width for text in display.text_.values()) < cell


def test_confusion_of_a_network_and_of_an_estimator():
    class Thirds:
        classes_ = np.array(["a", "b", "c"])

        def predict(self, X):
            return np.full(len(X), "a")

    net = bp.Network([12, 3], output="softmax", loss="cross_entropy", seed=0)
    display = plotting.ConfusionDisplay.from_network(net, PIXELS, DIGITS)
    np.testing.assert_array_equal(display.counts.sum(axis=0), np.bincount(net.predict(PIXELS).argmax(axis=1)))
    display = plotting.ConfusionDisplay.from_estimator(Thirds(), PIXELS, Thirds.classes_[DIGITS])
    np.testing.assert_array_equal(display.counts[:, 0], np.bincount(DIGITS))
    assert [tick.get_text() for tick in display.ax_.get_yticklabels()] == ["a", "b", "c"]


def test_labels_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="`y`") as caught:
        plotting.ConfusionDisplay.from_predictions([0, 3], [0, 1], classes=range(3))
    assert str(caught.value) == "`y` must hold one of the classes 0, 1, 2 for each of the 2 rows; got 3."
    with pytest.raises(ValueError, match="`predictions`") as caught:
        plotting.ConfusionDisplay.from_predictions(["a", "b"], ["a"], classes=["a", "b"])
    assert str(caught.value) == (
        "`predictions` must hold one of the classes a, b for each of the 2 rows; got the shape (1,)."
    )
    with pytest.raises(ValueError, match="`outputs`") as caught:
        plotting.MistakesDisplay.from_predictions(np.zeros((2, 4)), [0, 1], [0.2, 0.9])
    assert str(caught.value) == ("`outputs` must have shape (n_samples, n_classes) with the 2 samples of X; got (2,).")


def test_one_output_is_the_second_of_two_classes():
    net = boundary_network()
    counts = plotting.ConfusionDisplay.from_network(net, POINTS, CLASSES).counts
    is_second = net.predict(POINTS)[:, 0] > 0.5
    np.testing.assert_array_equal(counts[:, 1], [(is_second & (k == CLASSES)).sum() for k in (0, 1)])


def test_the_worst_mistakes_come_first():
    outputs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    y = np.array([0, 0, 1, 0])  # right; wrong by 0.6; wrong by 0.2; wrong by 0.4
    X = np.arange(16.0).reshape(4, 4)
    display = plotting.MistakesDisplay.from_predictions(X, y, outputs, n_images=10)
    np.testing.assert_array_equal(display.labels, [0, 0, 1])
    np.testing.assert_array_equal(display.predictions, [1, 1, 0])
    np.testing.assert_allclose(display.margins, [0.6, 0.4, 0.2])
    for image, row in zip(display.images_, (1, 3, 2), strict=True):
        np.testing.assert_array_equal(image.get_array(), X[row].reshape(2, 2))
    assert texts(display) == ["0 as 1", "0 as 1", "1 as 0"]


@pytest.mark.parametrize("names", [NEWSGROUPS, range(8)], ids=["long", "short"])
@pytest.mark.parametrize("n_images", [1, 3, 12])
@pytest.mark.parametrize("is_given", [False, True])
def test_titles_of_mistakes_do_not_cover_each_other(names, n_images, is_given):
    rng = np.random.default_rng(n_images)
    outputs, y = rng.random((40, 8)), rng.integers(8, size=40)
    ax = plt.subplots(figsize=(9, 6))[1] if is_given else None
    display = plotting.MistakesDisplay.from_predictions(
        rng.random((40, 64)), y, outputs, class_names=names, n_images=n_images, ax=ax
    )
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    assert len(boxes) == n_images
    assert not any(first.overlaps(second) for first, second in combinations(boxes, 2))
    images = [image.get_window_extent() for image in display.images_]
    assert not any(box.overlaps(image) for box in boxes for image in images)


def test_no_mistakes_are_no_images():
    display = plotting.MistakesDisplay.from_predictions(np.zeros((2, 4)), [0, 1], np.eye(2))
    assert display.images_ == []


def test_mistakes_of_an_estimator():
    y = np.array(["left", "left", "right"])
    display = plotting.MistakesDisplay.from_estimator(Estimator(), [[2.0] * 4, [1.0] * 4, [3.0] * 4], y)
    np.testing.assert_array_equal(display.images[:, 0, 0], [2.0, 1.0])
    assert texts(display) == ["left as right", "left as right"]


def test_first_layer_as_images():
    net = bp.Network([12, 5, 3], seed=0)
    display = plotting.FirstLayerDisplay.from_network(net, shape=(3, 4))
    for neuron, image in enumerate(display.images_):
        np.testing.assert_array_equal(image.get_array(), net.weights[0][:, neuron].reshape(3, 4))
        assert image.get_clim() == (-np.abs(net.weights[0]).max(), np.abs(net.weights[0]).max())
    assert display.figure_.axes[1].get_ylabel() == "weight (no unit)"
    assert plotting.FirstLayerDisplay.from_estimator(Estimator(), shape=(4, 3)).images.shape == (2, 4, 3)


def test_wrong_shapes_of_images():
    net = bp.Network([12, 5, 3], seed=0)
    for shape, what in ((None, "square"), ((5, 2), "(5, 2)")):
        with pytest.raises(ValueError, match="`shape`") as caught:
            plotting.FirstLayerDisplay.from_network(net, shape=shape)
        assert str(caught.value) == f"`shape` must be (height, width) with 12 pixels in all; {what} does not fit."
    with pytest.raises(ValueError, match="neurons") as caught:
        plotting.FirstLayerDisplay.from_network(bp.Network([4, 401, 1], seed=0))
    assert str(caught.value) == (
        "The first layer must have at most 400 neurons to be drawn; got 401. FirstLayerDisplay(images).plot() draws a "
        "choice of them."
    )
    with pytest.raises(AttributeError) as no_coefs:
        plotting.FirstLayerDisplay.from_estimator(3)
    assert str(no_coefs.value) == "`estimator` must be fitted and have `coefs_`; got 3."


# ---- Times -----------------------------------------------------------------------------------------------------------


def test_times_are_drawn_as_given():
    display = plotting.GradientTimesDisplay([5, 98], [1e-6, 2e-6], [3e-6, 4e-4]).plot()
    perturbation, backpropagation, theory = (line.get_ydata() for line in display.lines_)
    np.testing.assert_array_equal(perturbation, [3e-6, 4e-4])
    np.testing.assert_array_equal(backpropagation, [1e-6, 2e-6])
    np.testing.assert_allclose(theory, [2e-6, 66e-6])
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [5, 98])


def test_times_of_networks_are_measured():
    nets = [bp.Network(sizes, activation="tanh", seed=0) for sizes in ([2, 1, 1], [8, 12, 4])]
    display = plotting.GradientTimesDisplay.from_networks(nets, n_rows=3)
    np.testing.assert_array_equal(display.n_params, [5, 160])
    assert (display.perturbation > 0).all()
    assert (display.backpropagation > 0).all()
    before = nets[0].params.copy()
    times = measure_gradient(nets[0], 3, n_threads=1)
    assert times.n_params == 5
    assert min(times.forward, times.backpropagation, times.perturbation) > 0
    assert np.isnan(measure_gradient(nets[0], 3, with_perturbation=False).perturbation)
    np.testing.assert_array_equal(nets[0].params, before)


# ---- Learning rates --------------------------------------------------------------------------------------------------


def test_a_learning_rate_range_is_drawn_with_its_suggestion():
    found = bp.find_learning_rate(boundary_network(), POINTS, CLASSES, n_steps=40, seed=0)
    display = found.plot()
    assert type(display) is plotting.LearningRateDisplay
    np.testing.assert_array_equal(display.line_.get_xdata(), found.learning_rates)
    np.testing.assert_array_equal(display.line_.get_ydata(), found.losses)
    assert display.suggestion_.get_xdata() == [found.suggestion] * 2
    assert legend_texts(display) == ["loss", f"suggestion {found.suggestion:.2g}"]
    assert display.ax_.get_xscale() == "log"
    _, ax = plt.subplots()
    assert found.plot(ax).ax_ is ax
    empty = plotting.LearningRateDisplay([0.1, 0.2], [3.0, 2.0]).plot()
    assert empty.suggestion_ is None
    assert legend_texts(empty) == ["loss"]


def test_a_history_is_no_learning_rate_range():
    _, _, history = trained()
    with pytest.raises(TypeError) as caught:
        plotting.LearningRateDisplay.from_range(history)
    assert str(caught.value) == (
        "`found` must be what bp.find_learning_rate returned; got History. Other rates and losses go to "
        "LearningRateDisplay(learning_rates, losses).plot()."
    )


def test_schedules_are_drawn_step_by_step():
    one, other = bp.OneCycle(0.5), bp.Step(0.1, 10)
    display = plotting.ScheduleDisplay.from_schedule(one, 30)
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), np.arange(30))
    np.testing.assert_array_equal(line.get_ydata(), one(np.arange(30), 30))
    assert display.ax_.get_title() == "Learning rate schedule"
    display = plotting.ScheduleDisplay.from_schedule({"mine": one, "yours": other}, 30, log=True)
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), other(np.arange(30), 30))
    assert legend_texts(display) == ["mine", "yours"]
    assert display.ax_.get_yscale() == "log"
    _, ax = plt.subplots()
    assert display.plot(ax).ax_.get_yscale() == "log"
    several = plotting.ScheduleDisplay.from_schedule([other, one, bp.Step(0.2, 10)], 30)
    assert list(several.curves) == ["Step 1", "OneCycle", "Step 2"]
    assert len(plotting.ScheduleDisplay.from_schedule(one, 1).lines_) == 1


class Short(bp.Schedule):
    """One rate, however many are asked for."""

    def __call__(self, steps, horizon):
        return np.array([0.1])

    def __repr__(self):
        return "Short()"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (0.1, 10),
            TypeError,
            "`schedule` must be a schedule such as bp.OneCycle(0.1), or a list or dict of them, one at least; got 0.1.",
        ),
        (
            ([], 10),
            TypeError,
            "`schedule` must be a schedule such as bp.OneCycle(0.1), or a list or dict of them, one at least; got "
            "none.",
        ),
        (
            ({"mine": bp.Step}, 10),
            TypeError,
            "`schedule` must be a schedule such as bp.OneCycle(0.1), or a list or dict of them, one at least; got "
            "<class 'fastbp.training.schedules.Step'>.",
        ),
        ((bp.OneCycle(0.1), 0), ValueError, "`n_steps` must be at least 1; got 0."),
        ((bp.OneCycle(0.1), 2.5), TypeError, "`n_steps` must be an integer of at least 1; got 2.5."),
        (
            (Short(), 3),
            ValueError,
            "`schedule` must return a learning rate for each of the 3 steps; got the shape (1,) from Short().",
        ),
    ],
)
def test_wrong_schedules(arguments, error, message):
    with pytest.raises(error) as caught:
        plotting.ScheduleDisplay.from_schedule(*arguments)
    assert str(caught.value) == message
    assert plt.get_fignums() == []


# ---- What all pictures are drawn with --------------------------------------------------------------------------------


def test_names_are_kept_short_and_are_no_formulas():
    from fastbp.plotting.canvas import shortened

    assert shortened(3) == "3"
    assert shortened("a  b\nc") == "a b c"
    assert shortened("x" * 36) == "x" * 36
    assert len(shortened("x" * 37)) == 36
    figure, ax = plt.subplots()
    ax.set_xlabel(shortened("from $5 to $10"))
    figure.canvas.draw()
    assert shortened("_private") == " _private"  # a legend leaves names with an underscore out
    display = plotting.ActivationDisplay(np.arange(3.0), {"_f": (np.zeros(3), np.zeros(3))}).plot()
    assert legend_texts(display) == [" _f", "derivative of  _f"]


def test_axes_are_moved_only_if_something_would_be_cut_off():
    _, ax = plt.subplots()
    before = ax.get_position().bounds
    plotting.HistoryDisplay([3.0, 2.0]).plot(ax)
    assert ax.get_position().bounds == before
    plotting.WeightHistoryDisplay(np.zeros((3, 1)), ["a name with some letters"]).plot(ax)
    assert ax.get_position().width < before[2]


@pytest.mark.parametrize("frames", ["pandas", None])
def test_axes_of_a_network_are_named_by_its_data(frames):
    net = boundary_network()
    names = ("feature 1", "feature 2")
    data = POINTS
    if frames:
        names = ("petal length (cm)", "petal width (cm)")
        data = pytest.importorskip(frames).DataFrame(dict(zip(names, POINTS.T, strict=True)))
        net.fit(data, CLASSES, epochs=1, seed=0)
    for X in (data, POINTS):  # the network knows the names as well
        ax = plotting.DecisionBoundaryDisplay.from_network(net, X, CLASSES, grid_resolution=4).ax_
        assert (ax.get_xlabel(), ax.get_ylabel()) == names
    if frames:
        numbered = pytest.importorskip(frames).DataFrame(POINTS)
        ax = plotting.DecisionBoundaryDisplay.from_network(boundary_network(), numbered, grid_resolution=4).ax_
        assert ax.get_xlabel() == "feature 1"


def test_costs_that_are_the_same_everywhere_have_no_lines():
    net = bp.Network([1, 1], initializer="zeros")
    display = plotting.ErrorSurfaceDisplay(np.arange(3.0), np.arange(3.0), np.zeros((3, 3)), None, ("a", "b")).plot()
    assert display.contours_ is None
    assert plotting.ErrorSurfaceDisplay.from_network(net, [[1.0]], [[1.0]], resolution=5).contours_ is not None


# ---- Estimators of scikit-learn --------------------------------------------------------------------------------------


def test_displays_take_scikit_learns_estimators():
    from sklearn.neural_network import MLPClassifier

    names = np.where(CLASSES == 1, "right", "left")
    model = MLPClassifier((3,), solver="sgd", max_iter=3, tol=0, random_state=0)
    with pytest.warns(UserWarning, match="Maximum iterations"):
        model.fit(POINTS, names)
    history = plotting.HistoryDisplay.from_estimator(model)
    np.testing.assert_array_equal(history.lines_[0].get_ydata(), model.loss_curve_)
    boundary = plotting.DecisionBoundaryDisplay.from_estimator(model, POINTS, names, grid_resolution=4).boundary_
    grid = np.column_stack([boundary.xx0.ravel(), boundary.xx1.ravel()])
    np.testing.assert_array_equal(boundary.response.ravel(), model.predict_proba(grid)[:, 1])
    counts = plotting.ConfusionDisplay.from_estimator(model, POINTS, names).counts
    assert np.trace(counts) == round(model.score(POINTS, names) * len(POINTS))
    mistakes = plotting.MistakesDisplay.from_estimator(model, POINTS, names, n_images=100, shape=(1, 2))
    assert len(mistakes.images) == len(POINTS) - np.trace(counts)
    layer = plotting.FirstLayerDisplay.from_estimator(model, shape=(1, 2))
    np.testing.assert_array_equal(layer.images[:, 0].T, model.coefs_[0])
