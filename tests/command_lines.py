"""What tests of the command line share: running it, and small tables in files."""

import numpy as np
from sklearn.datasets import load_diabetes, load_iris

from fastbp.__main__ import main


def run(capsys, *words):
    """Exit status, standard output, standard error."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def iris():
    """scikit-learn's irises: numbers, some missing, words, some missing, and the species as a word."""
    data = load_iris(as_frame=True)
    frame = data.frame.drop(columns="target")
    frame.columns = ["sepal length", "sepal width", "petal length", "petal width"]
    frame.loc[[5, 70, 120], "petal width"] = np.nan
    frame["soil"] = np.random.default_rng(0).choice(["sand", "clay", "loam"], len(frame))
    frame.loc[[7, 80], "soil"] = None
    frame["is wild"] = np.arange(len(frame)) % 3 == 0
    frame["species"] = data.target_names[data.target]
    return frame


def diabetes():
    """scikit-learn's patients: ten numbers, and one to be predicted."""
    return load_diabetes(as_frame=True, scaled=False).frame
