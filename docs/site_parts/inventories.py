"""Names of other projects that our pages link to, also where their sites cannot be reached when ours is built."""

import zlib

_SITES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
    "sklearn": "https://scikit-learn.org/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
}

# project, role, name, page ("$" at the end stands for the name)
_NAMES = """
python py:class int library/functions.html#$
python py:class float library/functions.html#$
python py:class bool library/functions.html#$
python py:class str library/stdtypes.html#$
python py:class list library/stdtypes.html#$
python py:class dict library/stdtypes.html#$
python py:class tuple library/stdtypes.html#$
python py:class bytes library/stdtypes.html#$
python py:class datetime.timedelta library/datetime.html#$
python py:class pathlib.Path library/pathlib.html#$
python py:class collections.abc.Callable library/collections.abc.html#$
python py:class collections.abc.Sequence library/collections.abc.html#$
python py:function callable library/functions.html#$
python py:data None library/constants.html#$
python py:data True library/constants.html#$
python py:data False library/constants.html#$
python py:exception ValueError library/exceptions.html#$
python py:exception TypeError library/exceptions.html#$
python py:exception MemoryError library/exceptions.html#$
python py:exception RuntimeError library/exceptions.html#$
python std:term sequence glossary.html#term-$
python std:term iterable glossary.html#term-$
python std:term generator glossary.html#term-$
python std:label bltin-boolean-values library/stdtypes.html#$
numpy std:term array_like glossary.html#term-$
numpy py:class numpy.ndarray reference/generated/numpy.ndarray.html#$
numpy py:class numpy.dtype reference/generated/numpy.dtype.html#$
numpy py:class numpy.random.RandomState reference/random/legacy.html#$
numpy py:class numpy.random.Generator reference/random/generator.html#$
scipy py:function scipy.optimize.minimize reference/generated/scipy.optimize.minimize.html#$
scipy py:function scipy.optimize.least_squares reference/generated/scipy.optimize.least_squares.html#$
scipy py:function scipy.integrate.solve_ivp reference/generated/scipy.integrate.solve_ivp.html#$
scipy py:class scipy.sparse.linalg.LinearOperator reference/generated/scipy.sparse.linalg.LinearOperator.html#$
sklearn py:class sklearn.neural_network.MLPClassifier modules/generated/sklearn.neural_network.MLPClassifier.html#$
sklearn py:class sklearn.neural_network.MLPRegressor modules/generated/sklearn.neural_network.MLPRegressor.html#$
sklearn py:class sklearn.model_selection.GridSearchCV modules/generated/sklearn.model_selection.GridSearchCV.html#$
sklearn py:class sklearn.pipeline.Pipeline modules/generated/sklearn.pipeline.Pipeline.html#$
matplotlib py:class matplotlib.axes.Axes api/_as_gen/matplotlib.axes.Axes.html#$
matplotlib py:class matplotlib.figure.Figure api/_as_gen/matplotlib.figure.Figure.html#$
"""


def mapping(folder):
    """Return the setting `intersphinx_mapping`: each site's own list of names, else ours, written into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sites = {}
    for project, address in _SITES.items():
        path = folder / f"{project}.inv"
        path.write_bytes(_inventory(project))
        sites[project] = (address, (None, str(path)))
    return sites


def _line(name, role, page):
    """Return a name's line: its title "-" is the name; a label of Python's documentation needs words."""
    priority, title = "-1" if role.startswith("std") else "1", "Boolean values" if role == "std:label" else "-"
    return f"{name} {role} {priority} {page} {title}\n"


def _inventory(project):
    """Return a file of names as Sphinx writes them: four lines, and one for each name, compressed."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    rows = [line.split() for line in _NAMES.split("\n") if line.startswith(f"{project} ")]
    body = "".join(_line(name, role, page) for _, role, name, page in rows)
    return head.encode() + zlib.compress(body.encode())
