"""The examples with libraries of the extra `ecosystem` run where their library is there, and draw their pictures."""

import os
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tests.test_examples import EXAMPLES, check_pictures, load

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # which are those of other libraries


def imported(*names):
    """Skip the test unless there are such modules; what they warn of when they are imported is theirs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in names:
            pytest.importorskip(name)


def test_pruned_by_optuna(tmp_path, capsys):
    imported("optuna", "matplotlib")
    import optuna

    verbosity = optuna.logging.get_verbosity()
    try:
        found = load("23_pruned_by_optuna").main(tmp_path, trials=12, epochs=8)
    finally:
        optuna.logging.set_verbosity(verbosity)
    check_pictures("23_pruned_by_optuna", tmp_path)
    lengths = [len(trial.intermediate_values) for trial in found.study.trials]
    is_pruned = [trial.state == optuna.trial.TrialState.PRUNED for trial in found.study.trials]
    assert 0 < sum(is_pruned) < 12
    assert not any(is_pruned[:5])
    assert all(length == 8 for length, early in zip(lengths, is_pruned, strict=True) if not early)
    assert found.n_epochs == sum(lengths) < 12 * 8
    assert found.accuracy > 0.9
    assert f"12 trials, {sum(is_pruned)} given up early: {found.n_epochs} epochs" in capsys.readouterr().out


def test_logged_by_mlflow(tmp_path):
    """As a program, because MLflow keeps the address of its record in the process and in its environment."""
    imported("mlflow", "mlflow.onnx", "mlflow.sklearn", "sqlalchemy", "alembic", "onnxruntime", "skops", "matplotlib")
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent)}
    result = subprocess.run(
        [sys.executable, EXAMPLES / "24_logged_by_mlflow.py", tmp_path / "pictures", "--epochs", "5"],
        capture_output=True,
        text=True,
        timeout=500,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    check_pictures("24_logged_by_mlflow", tmp_path / "pictures")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]  # nothing of MLflow's is left
    assert "the estimator has the same bits: True" in result.stdout
    (difference,) = re.findall(r"in onnxruntime differs by (\S+)", result.stdout)
    assert float(difference) < 1e-13
    assert "best of 3 learning rates: 0.03," in result.stdout


def test_explained_by_shap(tmp_path, capsys):
    imported("shap", "matplotlib")
    found = load("25_explained_by_shap").main(tmp_path, patients=10)
    check_pictures("25_explained_by_shap", tmp_path)
    np.testing.assert_allclose(found.by_shap.sum(axis=1), found.total, atol=1e-10)
    np.testing.assert_allclose(found.by_gradients.sum(axis=1), found.total, atol=1e-3)
    assert np.corrcoef(found.by_shap.ravel(), found.by_gradients.ravel())[0, 1] > 0.95
    assert found.n_rows[0] > 50 * found.n_rows[1]
    assert f"SHAP looked at {found.n_rows[0]} rows" in capsys.readouterr().out


def test_blocks_of_dask_ml(tmp_path, capsys):
    imported("dask_ml.wrappers", "matplotlib")
    found = load("26_blocks_of_dask_ml").main(tmp_path, blocks=4, passes=20)
    check_pictures("26_blocks_of_dask_ml", tmp_path)
    assert found.has_same_bits
    assert found.accuracy[-1] > 0.9
    assert found.accuracy[-1] > found.accuracy[0] + 0.2
    assert f"accuracy {found.accuracy[-1]:.3f} on other rows" in capsys.readouterr().out
