"""Handwritten digits with the network of the textbooks: 784-30-10, sigmoid, quadratic cost, mini-batches of 10, rate 3.

What to look for: some 70 % of the test digits after the first epoch, above 91 % after 30, trained on 10,000 images;
about 95 % when trained on 50,000.

Run: ``python examples/handwritten_digits.py PATH [epochs]`` with the path of an ``.npz`` file that holds the arrays
X_train, y_train, X_test, y_test: images of 784 pixels from 0 to 255, and their digits.
"""

import sys

import numpy as np

import fastbp as bp


def accuracy(net: bp.Network, X: np.ndarray, y: np.ndarray) -> float:
    """Return the share of images whose largest output is their digit."""
    return float((net.predict(X).argmax(axis=1) == y).mean())


def main(path: str, epochs: int = 30) -> float:
    """Train, print the accuracy on the test images after each epoch, and return the last one."""
    with np.load(path) as data:
        X_train, X_test = (np.float32(data[name]) / np.float32(255) for name in ("X_train", "X_test"))
        y_train, y_test = (data[name] for name in ("y_train", "y_test"))
    net = bp.Network(
        [784, 30, 10],
        activation="sigmoid",
        output="sigmoid",
        loss="quadratic",
        initializer="standard_normal",
        dtype="float32",
        seed=0,
    )

    def report(net: bp.Network, history: bp.History) -> None:
        print(f"epoch {len(history):2d}: {accuracy(net, X_test, y_test):6.2%} in {history.seconds[-1]:.2f} s")

    one_hot = np.eye(10, dtype=np.float32)[y_train]
    net.fit(X_train, one_hot, epochs, 10, bp.SGD(learning_rate=3.0), seed=0, callbacks=[report])
    return accuracy(net, X_test, y_test)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 30)
