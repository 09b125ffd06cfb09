"""The published code of Nielsen's text and `fastbp.nielsen`: epochs of stochastic gradient descent on digits."""

from __future__ import annotations

import contextlib
import io
import os
import random
from typing import Any, ClassVar

import numpy as np

from bench import published
from bench.agreement import projections
from bench.peers import Peer
from bench.shapes import Array, Shape
from fastbp.nielsen import network

ETA = 3.0
AGREEMENT_SAMPLES = 200  # of the epoch whose weights are compared; a sample takes the published code some 50 us
MNIST = "FASTBP_MNIST"  # a file with X_train and y_train; without it the embedded digits, enlarged


def digits(rows: int) -> tuple[Array, Array]:
    """Images (rows, 784) from 0 to 1 and their labels: MNIST, or scikit-learn's digits enlarged and repeated."""
    if os.environ.get(MNIST):
        with np.load(os.environ[MNIST]) as data:
            images, labels = data["X_train"] / 255, data["y_train"]
    else:
        from sklearn.datasets import load_digits

        small = load_digits()
        place = np.arange(28) * 8 // 28
        images, labels = small.images[:, place][:, :, place].reshape(-1, 784) / 16, small.target
    chosen = np.arange(rows) % len(images)
    return images[chosen], labels[chosen]


class Published(Peer):
    """The code of the text: column by column."""

    name, module = "published code", "bench.published"
    epochs_per_round: ClassVar[int] = 1

    @classmethod
    def version(cls) -> str:
        return "as in the text"

    def network(self) -> Any:
        """A fresh network, with the random numbers that come next."""
        return published.First(list(self.shape.sizes))

    def prepare(self, shape: Shape) -> None:
        self.shape = shape
        images, labels = digits(shape.rows)
        pairs = zip(images, labels, strict=True)
        self.samples = [(x.reshape(-1, 1), published.vectorized_result(label)) for x, label in pairs]

    def restart(self) -> None:
        random.seed(0)
        np.random.seed(0)
        self.net = self.network()

    def run_epochs(self, n: int, rows: int | None = None) -> None:
        """Train `n` epochs on the first rows; the lines of progress go nowhere."""
        with contextlib.redirect_stdout(io.StringIO()):
            self.net.SGD(self.samples[:rows], n, self.shape.batch, ETA)

    def fingerprint(self) -> list[float]:
        """The weights after an epoch of a few samples."""
        self.restart()
        self.run_epochs(1, AGREEMENT_SAMPLES)
        return projections(np.concatenate([w.ravel() for w in [*self.net.weights, *self.net.biases]]))


class Nielsen(Published):
    """`fastbp.nielsen`; a round is the 30 epochs of the text in one call, so that their data are converted once."""

    name, module = "fastbp.nielsen", "fastbp"
    epochs_per_round = 30
    dtype: ClassVar[str] = "float64"

    @classmethod
    def version(cls) -> str:
        return Peer.version.__func__(cls)  # type: ignore[attr-defined]

    def network(self) -> Any:

        return network.Network(list(self.shape.sizes), dtype=self.dtype)


class NielsenFloat32(Nielsen):
    """The same in float32."""

    name, dtype = "fastbp.nielsen, float32", "float32"


PEERS: dict[str, type[Published]] = {peer.name: peer for peer in (Published, Nielsen, NielsenFloat32)}
TARGETS = {"fastbp.nielsen": 15, "fastbp.nielsen, float32": 25}  # times faster than the published code


def reference(shape: Shape) -> list[float]:
    """The fingerprint by the published code, in this process."""
    peer = Published(1)
    peer.prepare(shape)
    return peer.fingerprint()
