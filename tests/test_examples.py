"""Each example runs, and its numbers are right."""

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import fastbp as bp
from fastbp.export.c_formulas import HAS_SAME_BITS

EXAMPLES = Path(__file__).parents[1] / "examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("[0-9]*.py"))


@functools.cache  # some compile functions of their own
def load(name: str) -> ModuleType:
    """Import an example, whose name is no module's because it begins with a digit."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(value: float, printed: str) -> bool:
    """Whether a value, rounded to the digits of a printed number, is that number."""
    return f"{value:.{len(printed.partition('.')[2])}f}" == printed


def test_examples_are_numbered_from_one_and_named_in_their_readme() -> None:
    assert [int(name[:2]) for name in PROGRAMS] == list(range(1, 27))
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in PROGRAMS:
        assert f"]({name}.py)" in text, name


# ---- Small systems, worked by hand -----------------------------------------------------------------------------------


def test_two_neurons(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = load("01_two_neurons").main(steps=1)
    trace = numbers["trace"]
    hidden, output = trace.layers
    assert shown(hidden.z[0, 0], "-0.25")
    assert shown(hidden.a[0, 0], "-0.2449")
    assert shown(output.a[0, 0], "0.42")
    assert shown(trace.cost, "0.17")
    assert shown(output.a[0, 0] - 1, "-0.58")
    assert shown(output.delta[0, 0], "-0.14")
    assert shown(hidden.delta[0, 0], "-0.066")
    steps = [-0.1 * step for step in (*hidden.dW[:, 0], hidden.db[0], output.dW[0, 0], output.db[0])]
    for step, printed in zip(steps, ("-0.0060", "0.00066", "0.0066", "-0.0035", "0.014"), strict=True):
        assert shown(step, printed)
    for weight, printed in zip(numbers["params"], ("0.5940", "-0.0993", "0.3066", "0.4965", "-0.1859"), strict=True):
        assert shown(weight, printed)
    assert numbers["perturbed"].n_passes == 6
    np.testing.assert_allclose(-0.1 * numbers["perturbed"].gradient, steps, rtol=1e-5)
    printed_text = capsys.readouterr().out
    for weight in ("0.3066", "0.5940", "-0.0993", "-0.1859", "0.4965"):
        assert f"{weight}\n" in printed_text


def test_two_neurons_take_many_steps(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = load("01_two_neurons").main(steps=40)
    assert capsys.readouterr().out.count("hidden neuron") == 40
    assert numbers["params"][4] > 0.1  # the output bias, from -0.2: the output comes nearer to its target


def test_one_weight() -> None:
    numbers = load("02_one_weight").main(steps=12)
    assert shown(numbers["output"], "0.32")
    assert shown(numbers["delta"], "0.12")
    assert shown(numbers["gradient"], "0.096")
    for rate, w in numbers["paths"].items():
        # the distance to the optimum shrinks by 1 - rate x^2 at each step
        np.testing.assert_allclose(w - 0.25, 0.15 * (1 - 0.64 * rate) ** np.arange(13), atol=1e-15)


def test_two_associations() -> None:
    numbers = load("03_two_associations").main()
    np.testing.assert_allclose(numbers["w"], numbers["solution"], atol=1e-6)
    np.testing.assert_array_equal(numbers["path"][0], [-0.8, -1.6])
    assert numbers["cost"] < 1e-12


def test_deltas_as_amplifiers() -> None:
    numbers = load("04_deltas_as_amplifiers").main()
    np.testing.assert_allclose(numbers["deltas at (-1.0, 0.0)"], [-4, 0], atol=1e-14)
    np.testing.assert_allclose(numbers["deltas at (-0.5, 1.5)"], [-3, 3], atol=1e-14)
    assert numbers["hidden delta"] == pytest.approx(-4 / 5)
    assert numbers["hidden delta"] * 5 / 4 == pytest.approx(-1)
    assert numbers["change"] == pytest.approx(-1 + 1 / 16)  # the second order is the square of 1/5 times 5/4
    assert numbers["difference"] < 1e-8


# ---- Systems that learn ----------------------------------------------------------------------------------------------


def test_half_moons_have_three_regimes(capsys: pytest.CaptureFixture[str]) -> None:
    runs = load("05_half_moons").main()
    fast, middle, slow = runs[0.5], runs[0.05], runs[0.01]
    assert fast.net.n_params == 37
    assert fast.weights.values.shape == (61, 37)
    assert fast.first_perfect is None
    assert abs(fast.accuracy[-10:] - 0.5).max() < 0.05
    assert middle.first_perfect is not None
    assert 10 <= middle.first_perfect <= 50
    assert slow.first_perfect is not None
    assert slow.first_perfect > 100
    assert slow.plateau > 90
    np.testing.assert_array_equal([middle.accuracy[-1], slow.accuracy[-1]], 1.0)
    assert capsys.readouterr().out.count("100 % on both sets in epoch") == 2


def test_handwritten_digits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FASTBP_MNIST", raising=False)
    results = load("06_handwritten_digits").main(epochs=10)
    assert results["accuracy"] > 0.85
    assert results["improved"] > 0.9
    printed = capsys.readouterr().out
    assert "Epoch 9: " in printed
    assert f"Accuracy on evaluation data: {results['right'][-1]} / 450" in printed


@pytest.mark.slow
@pytest.mark.skipif("FASTBP_MNIST" not in os.environ, reason="FASTBP_MNIST does not name a file with MNIST digits")
def test_mnist_digits_reach_91_percent() -> None:
    results = load("06_handwritten_digits").main(epochs=30)
    assert results["accuracy"] >= 0.91
    assert results["improved"] >= 0.92


def test_photographs_are_recalled_from_noise() -> None:
    results = load("07_photographs").main()
    assert results["difference"] < 1e-15
    assert results["history"].stopped_by == "tolerance"
    for before, after in results["errors"]:
        assert 0.28 < before < 0.32
        assert after < before / 40


def test_photographs_are_2500_pixels_by_default() -> None:
    example = load("07_photographs")
    X = example.photographs()
    assert X.shape == (2, 2500)
    assert -0.5 <= X.min() < X.max() <= 0.5
    assert example.rms(X[0] - X[1]) > 0.1


def test_logistic_hidden_layer() -> None:
    results = load("08_logistic_hidden_layer").main()
    assert results["difference"] < 1e-15
    assert results["history"].stopped_by == "tolerance"
    assert results["norm"] <= 1e-4
    np.testing.assert_allclose(results["outputs"], [[0, 0], [1, 1], [1, 1], [0, 2]], atol=5e-3)


def test_overfitting() -> None:
    example = load("09_overfitting")
    fits = example.main(epochs=12_000)
    x, y, x_val, y_val = example.data()
    small, good, large, stopped, penalised = fits.values()
    error, error_val = (
        np.array([((fit.net.predict(X) - Y) ** 2).mean() / 2 for fit in fits.values()])
        for X, Y in ((x, y), (x_val, y_val))
    )
    assert error[0] > 2 * error[1]  # too small a network does not even learn the training points
    assert error[2] < 0.75 * error[1]  # the large one learns their noise,
    assert error_val[2] > 1.15 * error_val[1]  # and pays for it
    assert large.history.val_loss[-1] > 1.2 * large.history.val_loss.min()  # the curve turns up
    assert stopped.history.stopped_by == "early_stopping"
    assert error_val[3] == pytest.approx(stopped.history.val_loss.min(), rel=1e-12)  # the best weights came back
    assert error_val[4] < 0.9 * error_val[2]
    assert penalised.squared_weights < 0.1 * large.squared_weights
    assert small.net.sizes[1] < good.net.sizes[1] < large.net.sizes[1]


def test_neurons_in_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = load("10_neurons_in_trouble").main()
    assert f"{numbers['slope']:.1e}" == "3.1e-07"
    reports = numbers["reports"]
    assert reports["healthy"].ok
    assert sum(layer.saturated.size for layer in reports["saturated"].layers) >= 8
    assert sum(layer.dead.size for layer in reports["dead"].layers) >= 8
    assert reports["starved"].layers[0].starved
    assert str(reports["dead"]) in capsys.readouterr().out


# ---- What gradients cost, and other people's programs ----------------------------------------------------------------


def test_cost_of_a_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("11_cost_of_a_gradient")
    numbers = example.main(largest=3)
    assert [times.n_params for times in numbers["times"]] == [5, 30, 160]
    assert max(numbers["differences"].values()) < 1e-6
    counted = [by_counting for _, by_counting in numbers["ratios"]]
    assert all(2 <= passes <= 3 for passes in counted)
    assert example.passes_by_counting((5, 5)) == 2  # one layer needs no errors passed back
    assert example.passes_by_counting((1, 1000, 1000)) == pytest.approx(3, abs=1e-2)
    assert "1314 passes" in capsys.readouterr().out


def test_slow_ways() -> None:
    curves = load("12_slow_ways").main(steps=400)
    search, perturbation, backpropagation = curves.values()
    np.testing.assert_allclose(perturbation.loss, backpropagation.loss, rtol=1e-3)
    assert perturbation.passes[-1] == 34 * 400
    assert backpropagation.passes[-1] == 3 * 400
    assert backpropagation.loss[-1] < 0.05 * backpropagation.loss[0]
    assert len(search.loss) == len(search.seconds) == len(search.passes) == 401
    assert search.passes[-1] == 60 * 400 * 2 / 4
    assert (np.diff(search.seconds) > 0).all()


def test_scikit_learn_drop_in() -> None:
    results = load("13_scikit_learn_drop_in").main(epochs=20)
    (ours, accuracy, _), (theirs, their_accuracy, _) = results["fastbp"], results["scikit-learn"]
    assert accuracy > 0.95
    assert abs(accuracy - their_accuracy) < 0.02
    np.testing.assert_allclose(ours[-1].loss_curve_, theirs[-1].loss_curve_, rtol=1e-3)


def test_own_activation() -> None:
    numbers = load("14_own_activation").main()
    assert numbers["before"] > 0.1
    assert numbers["after"] < 1e-6


def test_second_derivatives(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("15_second_derivatives")
    numbers = example.main()
    newton, trust = numbers["results"].values()
    np.testing.assert_allclose(newton.x, trust.x, atol=1e-3)
    assert np.linalg.norm(trust.jac) < 1e-8
    assert max(newton.nit, trust.nit) < 50
    net = numbers["net"]
    H = np.array([net.hvp(example.X, example.Y, e) for e in np.eye(net.n_params)])
    eigenvalues = np.linalg.eigvalsh((H + H.T) / 2)
    np.testing.assert_allclose(numbers["largest"], eigenvalues[:-4:-1], rtol=1e-8)
    assert numbers["smallest"] == pytest.approx(eigenvalues[0], rel=1e-6)
    assert eigenvalues[0] > 0
    assert f"{eigenvalues[-1]:.4f}" in capsys.readouterr().out


def test_poisson_equation(capsys: pytest.CaptureFixture[str]) -> None:
    found = load("16_poisson_equation").main(iterations=1500)
    assert found.costs[0] > 50
    assert found.costs.min() < 0.05
    assert found.error < 0.02
    assert f"largest error on the square {found.error:.1e}" in capsys.readouterr().out


# ---- Inside compiled code --------------------------------------------------------------------------------------------


def test_learned_dynamics(capsys: pytest.CaptureFixture[str]) -> None:
    found = load("18_learned_dynamics").main(starts=50)
    truth, by_scipy, by_steps = found.paths.values()
    assert np.abs(by_scipy - by_steps).max() < 1e-5
    assert np.abs(by_scipy - truth)[:500].max() < 0.1  # half of the time
    assert np.ptp(truth[:, 0]) > 1.5
    assert np.abs(found.drift).max() < 0.1
    states = np.array([[1.0, 2.0], [0.5, 0.5]])
    np.testing.assert_allclose(found.net.predict(states), [[-1, 0], [0.25, -0.25]], atol=0.1)
    assert "Runge-Kutta: 200000 slopes in" in capsys.readouterr().out


def test_balanced_pole(capsys: pytest.CaptureFixture[str]) -> None:
    found = load("19_balanced_pole").main()
    assert found.lengths[:20].mean() < 60
    assert found.lengths[-100:].mean() > 400
    assert found.tested.mean() > 400
    assert f"the last 100 {found.lengths[-100:].mean():.0f}" in capsys.readouterr().out


def test_a_network_in_c(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("17_a_network_in_c")
    numbers = example.main(epochs=100)
    printed = capsys.readouterr().out
    assert "1284 bytes of constants, arrays of 128 bytes" in printed
    assert len(numbers["in C"]) == 2 * len(example.compilers())
    for (_, exact), outputs in numbers["in C"].items():
        np.testing.assert_allclose(outputs, numbers["predicted"], rtol=0, atol=0 if exact and HAS_SAME_BITS else 3e-6)
    if not numbers["in C"]:
        assert "there is no C compiler here" in printed


# ---- Many at once ----------------------------------------------------------------------------------------------------


def test_many_networks(capsys: pytest.CaptureFixture[str]) -> None:
    example = load("20_many_networks")
    found = example.main(networks=30, epochs=200)
    gap, near = example.in_gap(found.x), example.near(found.x)
    error = np.abs(np.median(found.predicted, axis=0) - example.curve(found.x))
    spread = found.predicted.std(axis=0)
    assert error[near].mean() < 0.1
    assert spread[gap].mean() > 3 * spread[near].mean()
    lost = example.lost(found.losses)
    assert lost[0] == 0
    assert lost[-1] > 0.5
    medians = np.median(found.losses, axis=1)
    assert medians[example.best(found.losses)] < 0.2 * medians[0]
    (X, Y), seed = found.points, 7  # one of them trained alone
    rng = np.random.default_rng(1)
    rows = [rng.integers(len(X), size=len(X)) for _ in range(seed + 1)][seed]
    net = bp.Network([1, 16, 16, 1], "tanh", seed=seed)
    net.fit(X[rows], Y[rows], epochs=200, batch_size=16, optimizer=bp.Adam(0.01), seed=seed)
    np.testing.assert_array_equal(found.predicted[seed], net.predict(found.x[:, None])[:, 0])
    assert f"best learning rate: {example.RATES[example.best(found.losses)]:.2g}" in capsys.readouterr().out


def test_searches_on_dask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And its picture, since a cluster takes seconds to start."""
    pytest.importorskip("distributed")
    pytest.importorskip("matplotlib")
    example = load("22_searches_on_dask")
    found = example.main(tmp_path, points=6, partitions=12)
    check_pictures("22_searches_on_dask", tmp_path)
    X, y = load_digits(return_X_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        alone = clone(found.search).fit(X / 16, y)
    for name in ("param_learning_rate_init", "mean_test_score", "std_test_score"):
        np.testing.assert_array_equal(found.search.cv_results_[name], alone.cv_results_[name])
    assert found.search.best_score_ > 0.9
    assert found.accuracy[-1] > 0.9
    assert found.accuracy[-1] == (found.predicted == found.labels).mean()
    X, y = (values.compute() for values in example.rows(12, seed=0))
    net = example.MLPClassifier((32, 32), batch_size=50, learning_rate_init=0.01, random_state=0)
    for first in range(0, len(X), example.ROWS):
        for _ in range(20):
            net.partial_fit(X[first : first + example.ROWS], y[first : first + example.ROWS], classes=[0, 1])
    np.testing.assert_array_equal(found.net.network_.params, net.network_.params)
    assert f"accuracy {found.accuracy[-1]:.3f}" in capsys.readouterr().out


# ---- As programs -----------------------------------------------------------------------------------------------------


def test_an_example_is_a_program(tmp_path: Path) -> None:
    program = EXAMPLES / "02_one_weight.py"
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    pictures = tmp_path / "pictures"
    result = subprocess.run(
        [sys.executable, "-W", "error", program, pictures, "--steps", "5"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment,
    )
    assert "gradient 0.096" in result.stdout
    assert result.stderr == ""
    assert [path.name for path in pictures.iterdir()] == ["02_one_weight.png"]


SMALLER = {
    "05_half_moons": {},
    "06_handwritten_digits": {"epochs": 2},
    "07_photographs": {"pixels": 10},
    "09_overfitting": {"epochs": 50},
    "11_cost_of_a_gradient": {"largest": 2},
    "12_slow_ways": {"steps": 20},
    "13_scikit_learn_drop_in": {"epochs": 2},
    "16_poisson_equation": {"iterations": 20},
    "17_a_network_in_c": {"epochs": 20},
    "18_learned_dynamics": {"starts": 5},
    "19_balanced_pole": {"episodes": 40},
    "20_many_networks": {"networks": 10, "epochs": 5},
    "21_a_cluster": {"epochs": 2},
}


# What is drawn above, and in `test_examples_of_neighbours`.
DRAWN_ELSEWHERE = ("22", "23", "24", "25", "26")


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name[:2] not in DRAWN_ELSEWHERE])
def test_examples_draw_their_pictures(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.delenv("FASTBP_MNIST", raising=False)
    load(name).main(tmp_path, **SMALLER.get(name, {}))
    check_pictures(name, tmp_path)


def check_pictures(name: str, folder: Path) -> None:
    """Hold what an example drew against what its readme shows."""
    written = sorted(path.name for path in folder.iterdir())
    assert written
    shown_in_readme = {path.name for path in (EXAMPLES / "pictures").glob(f"{name[:2]}_*.png")}
    assert shown_in_readme <= set(written)
    for path in folder.iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
