"""What notebooks and terminals show of networks, histories and reports: the numbers of the object, and nothing else.

The HTML has no script, no colour of its own and no text that was not escaped, and needs no matplotlib.
"""

import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numba
import numpy as np
import pytest

import fastbp as bp
from fastbp.inspection.gradient_times import measure_gradient
from fastbp.system.tables import Table, curve, note

EVIL = '<script>alert("&")</script>'
LIMIT = 20_000  # bytes


class Parsed(HTMLParser):
    """Texts and tables of some HTML, in which every element is closed.

    Attributes
    ----------
    texts : list of str
    tables : list of list of list of str
    tags : list of (str, dict)
    """

    def __init__(self, source):
        super().__init__()
        self.texts, self.tables, self.tags, self.open = [], [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def parsed(shown):
    """The HTML of an object, after what holds for all."""
    source = shown if isinstance(shown, str) else shown._repr_html_()
    found = Parsed(source)
    assert len(source.encode()) < LIMIT
    for tag, attributes in found.tags:
        assert tag in {"div", "b", "table", "thead", "tbody", "tfoot", "tr", "th", "td", "br", "small"} | {
            *("svg", "title", "polyline", "circle"),
        }
        assert not any(name.startswith("on") or name in ("href", "src", "class", "id") for name in attributes)
        colors = [
            attributes.get("stroke"),
            attributes.get("fill"),
            *re.findall(r"color:([^;]*)", attributes.get("style", "")),
        ]
        assert set(colors) <= {None, "none", "currentColor", "inherit"}
        assert "#" not in str(attributes)
        assert "rgb" not in str(attributes)
    for table in found.tables:
        assert len({len(row) for row in table}) == 1
    return found


def points(found):
    """The points of each line of the curves."""
    lines = [attributes["points"] for tag, attributes in found.tags if tag == "polyline"]
    return [np.array([[float(number) for number in pair.split(",")] for pair in line.split()]) for line in lines]


X, Y = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40) % 4


def classifier(**settings):
    return bp.Network(
        [3, 5, 6, 4], [[("tanh", 3), ("relu", 2)], "relu"], "softmax", "cross_entropy", seed=0, **settings
    )


# ---- Tables and curves -----------------------------------------------------------------------------------------------


def test_a_table_as_text_and_as_html():
    table = Table(["layer", "n", "kind"], [["inputs", 12, "a"], ["<b>", 3, ""]], ["total", 15, ""], left=["kind"])
    assert table.text() == "layer    n  kind\ninputs  12  a\n<b>      3\ntotal   15"
    found = parsed(table.html())
    assert found.tables == [[["layer", "n", "kind"], ["inputs", "12", "a"], ["<b>", "3", ""], ["total", "15", ""]]]
    sides = [attributes["style"] for tag, attributes in found.tags if tag == "td"]
    assert sides[:3] == ["text-align:left", "text-align:right", "text-align:left"]


def test_everything_is_escaped():
    shown = note(EVIL, EVIL, Table([EVIL], [[EVIL]]), curve({EVIL: [1.0, 2.0]}))
    found = parsed(shown)
    assert "<script" not in shown
    assert found.texts.count(EVIL) == 4
    assert any(text.startswith(f"{EVIL}: axis from 1 to 2") for text in found.texts)


@pytest.mark.parametrize("n", [2, 3, 100, 5000])
def test_a_curve_goes_through_the_values(n):
    values = np.random.default_rng(n).normal(size=n)
    (line,) = points(parsed(note("", curve({"loss": values}))))
    assert len(line) <= 500
    assert all(left <= right for left, right in pairwise(line[:, 0]))
    assert line[0, 0] == 4
    assert line[-1, 0] == 236
    span = np.ptp(values)
    shown = values.min() + span * (60 - line[:, 1]) / 56
    np.testing.assert_allclose([shown.min(), shown.max()], [values.min(), values.max()], atol=2e-3 * span)
    if n <= 100:
        np.testing.assert_allclose(shown, values, atol=2e-3 * span)


def test_an_axis_of_many_orders_is_logarithmic():
    (line,) = points(parsed(note("", curve({"loss": [1e-4, 1e-2, 1.0]}))))
    np.testing.assert_allclose(line[:, 1], [60, 32, 4])
    assert "loss: logarithmic axis from 0.0001 to 1" in curve({"loss": [1e-4, 1e-2, 1.0]})
    assert "loss: axis from 1 to 49" in curve({"loss": [1.0, 49.0]})
    assert "loss: axis from -1 to 100" in curve({"loss": [-1.0, 100.0]})


def test_two_curves_have_one_axis_and_differ_in_their_dashes():
    drawn = curve({"loss": [4.0, 2.0], "val_loss": [3.0, 1.0]})
    found = parsed(note("", drawn))
    first, second = points(found)
    np.testing.assert_allclose([*first[:, 1], *second[:, 1]], [4, 60 - 56 / 3, 60 - 112 / 3, 60], atol=0.05)
    dashes = [attributes.get("stroke-dasharray") for tag, attributes in found.tags if tag == "polyline"]
    assert dashes == [None, "5 3"]
    assert "loss solid, val_loss dashed: axis from 1 to 4" in drawn


@pytest.mark.parametrize(
    ("values", "n_lines", "n_dots"),
    [
        ([1.0, 2.0, np.nan, 3.0, 4.0], 2, 0),
        ([1.0, np.inf, 3.0, -np.inf, 4.0, 5.0], 1, 2),
        ([1.0], 0, 1),
        ([2.0, 2.0, 2.0], 1, 0),
        ([1e308, -1e308], 1, 0),
        ([5e-324, 1e308], 1, 0),
        ([0.0, 0.0], 1, 0),
    ],
)
def test_curves_with_gaps_and_at_the_limits(values, n_lines, n_dots):
    found = parsed(note("", curve({"loss": values})))
    assert [sum(tag == kind for tag, _ in found.tags) for kind in ("polyline", "circle")] == [n_lines, n_dots]
    for line in points(found):
        assert ((line >= 0) & (line <= [240, 64])).all()


@pytest.mark.parametrize("lines", [{}, {"loss": []}, {"loss": [np.nan, np.inf]}])
def test_nothing_finite_is_no_curve(lines):
    assert curve(lines) == ""
    assert "<svg" not in note("title", curve(lines))


# ---- Networks --------------------------------------------------------------------------------------------------------


def test_a_network_is_a_table_of_its_layers():
    net = classifier(dropout=[0.25, 0.0], l2_penalty=1e-4)
    assert str(net) == (
        "Network 3-5-6-4\n"
        "layer    neurons  activation      dropout  weights  biases  parameters\n"
        "inputs         3\n"
        "layer 1        5  3 tanh, 2 relu     0.25       15       5          20\n"
        "layer 2        6  relu                  0       30       6          36\n"
        "output         4  softmax                       24       4          28\n"
        "total                                                               84\n"
        "loss cross_entropy, L2 penalty 0.0001, L1 penalty 0, float64, 672 bytes of parameters"
    )
    found = parsed(net)
    (table,) = found.tables
    assert [row[0] for row in table] == ["layer", "inputs", "layer 1", "layer 2", "output", "total"]
    assert [int(row[1]) for row in table[1:-1]] == list(net.sizes)
    assert [int(row[-1]) for row in table[2:-1]] == [
        W.size + b.size for W, b in zip(net.weights, net.biases, strict=True)
    ]
    assert int(table[-1][-1]) == net.n_params
    assert found.texts[0] == "Network 3-5-6-4"
    assert found.texts[-1] == str(net).splitlines()[-1]
    assert repr(net) == "<Network 3-5-6-4, loss cross_entropy, 84 parameters, float64>"


def test_functions_of_ones_own_are_named_and_escaped():
    own = bp.Activation("<i>&amp;", numba.njit(lambda z: 2 * z), numba.njit(lambda z: 2.0))

    class Mine(bp.Network):
        pass

    net = Mine([1, 2, 1], own, loss="huber", loss_parameter=0.5, dtype="float32", seed=0)
    found = parsed(net)
    assert found.tables[0][2][2] == "<i>&amp;"
    assert found.texts[0] == "Mine 1-2-1"
    assert found.texts[-1] == "loss huber (0.5), L2 penalty 0, L1 penalty 0, float32, 28 bytes of parameters"


def test_of_a_deep_network_the_ends_are_shown():
    net = bp.Network([2] * 2000, seed=0)
    assert len(str(net).splitlines()) == 45
    assert "(1960 more)" in str(net)
    assert str(net).startswith("Network 2-2-2-...-2-2-2, 2000 layers\n")
    assert len(parsed(net).tables[0]) == 43


# ---- Histories -------------------------------------------------------------------------------------------------------


def test_a_history_has_its_figures_and_curves():
    history = classifier().fit(X, Y, epochs=30, validation_data=(X, Y), seed=0)
    found = parsed(history)
    ((_, *rows),) = found.tables
    for name, *numbers in rows:
        values = getattr(history, name)
        np.testing.assert_allclose([float(number) for number in numbers], [values[0], values[-1], values.min()], 1e-5)
    assert [row[0] for row in rows] == ["loss", "learning_rate", "val_loss"]
    assert "history of 30 epochs, stopped by epochs" in found.texts
    assert f"best epoch {history.best_epoch} (from 0)" in found.texts
    assert f"{history.seconds.sum():.3g} seconds in all" in found.texts
    assert [len(line) for line in points(found)] == [30, 30]


def test_a_history_without_epochs_and_one_of_a_whole_batch_optimizer():
    assert parsed(classifier().fit(X, Y, epochs=0)).texts == ["history of 0 epochs, stopped by epochs"]
    history = classifier().fit(X, Y, epochs=5, batch_size=None, optimizer=bp.LBFGS())
    ((_, *rows),) = parsed(history).tables
    assert {row[0] for row in rows} == set(history.as_dict()) - {"seconds"}
    assert next(row for row in rows if row[0] == "learning_rate")[1:] == ["nan", "nan", "nan"]


def test_html_needs_no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    parsed(classifier().fit(X, Y, epochs=2, seed=0))


# ---- Reports ---------------------------------------------------------------------------------------------------------


def test_a_gradient_report():
    report = bp.check_gradient(classifier(), X, Y)
    found = parsed(report)
    ((_, *rows),) = found.tables
    for (_, n_params, n_checked, n_at_kinks, *errors), layer in zip(rows, report.layers, strict=True):
        assert (int(n_params), int(n_checked), int(n_at_kinks)) == (layer.n_params, layer.n_checked, layer.n_at_kinks)
        np.testing.assert_allclose([float(error) for error in errors], [layer.weight_error, layer.bias_error], 0.06)
    assert found.texts[: len(report._head())] == report._head()
    assert str(report).startswith("\n".join(report._head()))


def test_a_diagnosis_and_a_watch():
    net = classifier()
    net.biases[1] = np.full(6, -100.0)
    report = bp.diagnose(net, X)
    found = parsed(report)
    ((_, *rows),) = found.tables
    assert [int(row[1]) for row in rows] == [layer.n_neurons for layer in report.layers]
    assert [int(row[2]) for row in rows] == [layer.saturated.size for layer in report.layers]
    assert [int(row[3]) for row in rows] == [layer.dead.size for layer in report.layers] == [0, 6, 0]
    assert [row[7] for row in rows] == [layer.activation for layer in report.layers]
    assert set(report.advice) <= set(found.texts)
    assert repr(report.layers[1]) == "<LayerDiagnosis: 6 neurons, relu, 0 saturated, 6 dead, not starved>"
    watch = bp.DiagnosticWatch(X)
    parsed(watch)
    net.fit(X, Y, epochs=20, callbacks=[watch], seed=0)
    found = parsed(watch)
    ((_, *rows),) = found.tables
    assert [int(row[0]) for row in rows] == [epoch for epoch in watch.epochs for _ in range(3)][-40:]
    assert "(the last 40 of 60 rows)" in found.texts
    assert len(points(found)) == 2


def test_finite_differences_and_a_random_search():
    net = classifier()
    result = bp.finite_difference_gradient(net, X, Y)
    ((_, *rows),) = parsed(result).tables
    values = dict(rows)
    assert int(values["parameters"]) == net.n_params
    assert int(values["forward passes"]) == result.n_passes
    assert float(values["cost"]) == pytest.approx(result.cost, rel=1e-5)
    assert float(values["Euclidean norm of the gradient"]) == pytest.approx(np.linalg.norm(result.gradient), rel=1e-5)
    assert float(values["largest derivative, in magnitude"]) == pytest.approx(np.abs(result.gradient).max(), rel=1e-5)
    search = bp.random_weight_search(net, X, Y, n_steps=50, seed=0)
    found = parsed(search)
    values = dict(found.tables[0][1:])
    assert (int(values["steps"]), int(values["steps kept"])) == (50, search.n_accepted)
    assert float(values["last loss"]) == pytest.approx(search.loss[-1], rel=1e-5)
    assert len(points(found)[0]) == len(search.loss)


def test_a_learning_rate_range():
    found = bp.find_learning_rate(classifier(), X, Y, n_steps=60, seed=0)
    shown = parsed(found)
    values = dict(shown.tables[0][1:])
    assert float(values["suggestion"]) == pytest.approx(found.suggestion, rel=5e-3)
    assert float(values["lowest loss"]) == pytest.approx(found.losses.min(), rel=1e-5)
    rates = found.learning_rates
    steps = f"{len(rates)} steps from {rates[0]:.3g} to {rates[-1]:.3g}"
    assert repr(found) == f"<LearningRateRange: {steps}, suggestion {found.suggestion:.3g}>"
    assert shown.texts[0] == f"learning rate range: {steps}"
    empty = bp.LearningRateRange(np.empty(0), np.empty(0), np.nan)
    assert repr(empty) == "<LearningRateRange: 0 steps, suggestion nan>"
    assert parsed(empty).tables == [[["quantity", "value"], ["suggestion", "nan"]]]


def test_a_trace():
    trace = classifier().trace(X, Y)
    assert repr(trace) == f"<Trace of 40 samples through 3-5-6-4, cost {trace.cost:.6g}>"
    assert repr(trace.layers[1]) == "<LayerTrace: 40 samples, 5 inputs, 6 neurons>"
    ((_, *rows),) = parsed(trace).tables
    for (_, n_neurons, *numbers), layer in zip(rows, trace.layers, strict=True):
        assert int(n_neurons) == layer.a.shape[1]
        expected = [np.abs(values).mean() for values in (layer.z, layer.a, layer.delta)]
        expected += [np.linalg.norm(values) for values in (layer.dW, layer.db)]
        np.testing.assert_allclose([float(number) for number in numbers], expected, 6e-3)


def test_reports_of_c_files(tmp_path):
    report = classifier(dtype="float32").to_c(tmp_path / "b.c")
    values = dict(parsed(report).tables[0][1:])
    assert values["file"] == report.source
    assert int(values["bytes of constants"]) == report.constant_bytes
    assert int(values["bytes of buffers"]) == report.buffer_bytes
    fixed = bp.Network([3, 5, 2], "tanh", seed=0).to_c(tmp_path / "fixed.c", format="q15", calibration=X)
    facts, layers = parsed(fixed).tables
    assert int(dict(facts[1:])["bytes of constants"]) == fixed.constant_bytes
    assert float(dict(facts[1:])["largest error of an output"]) == pytest.approx(fixed.max_error.max(), rel=0.05)
    assert [(int(point), int(cut)) for _, point, cut in layers[1:]] == list(zip(fixed.points, fixed.n_cut, strict=True))


def test_times_are_short_and_in_seconds():
    times = measure_gradient(bp.Network([2, 1], seed=0), 2, with_perturbation=False)
    ((_, *rows),) = parsed(times).tables
    assert rows[0] == ["parameters", "3"]
    assert float(rows[1][1]) == pytest.approx(1e6 * times.forward, rel=6e-3)
    assert rows[-1][1] == "nan"
