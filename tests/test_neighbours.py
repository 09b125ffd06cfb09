"""The programs of docs/neighbours.md run, each section in a process of its own, where its library is there."""

import re
import subprocess
import sys
import warnings

import pytest

from tests.fresh import ROOT

PAGE = (ROOT / "docs" / "neighbours.md").read_text(encoding="utf-8")
NEEDS = {
    "skl2onnx": ["skl2onnx", "onnxruntime"],
    "skops": ["skops.io"],
    "Optuna": ["optuna"],
    "MLflow": ["mlflow.sklearn", "sqlalchemy", "alembic", "skops"],
    "SHAP": ["shap"],
    "dask-ml": ["dask_ml.wrappers"],
}


def sections():
    """The text below each heading of the page."""
    _, *parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_section_has_a_program():
    assert list(sections()) == list(NEEDS)
    for name, text in sections().items():
        assert "```python\n" in text, name
        assert re.search(rf"^\| {name} \|", PAGE, re.MULTILINE), name


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS)
def test_a_section_runs(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, when they are imported
        for module in NEEDS[name]:
            pytest.importorskip(module)
    program = "\n".join(re.findall(r"```python\n(.*?)```", sections()[name], re.DOTALL))
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
