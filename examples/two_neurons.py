"""Two neurons, one step of gradient descent, every number on the way.

A network 2-1-1 with a tanh neuron and a logistic output neuron learns from one sample.  What to look for: the error
of the output neuron travels back through the weight 0.5 to the hidden neuron, and each weight's step is the learning
rate times the error behind it times the activation in front of it.

Run: ``python examples/two_neurons.py [number of steps]``
"""

import sys

import numpy as np

import fastbp as bp

LEARNING_RATE = 0.1
X, Y = np.array([[-0.9, 0.1]]), np.array([[1.0]])


def two_neurons() -> bp.Network:
    """Return the network with its starting weights."""
    net = bp.Network([2, 1, 1], activation="tanh", output="sigmoid", loss="quadratic")
    net.weights[0][:, 0] = 0.6, -0.1
    net.biases[0][0] = 0.3
    net.weights[1][0, 0] = 0.5
    net.biases[1][0] = -0.2
    return net


def main(n_steps: int = 1) -> None:
    """Print a table for each step."""
    net = two_neurons()
    for step in range(1, n_steps + 1):
        trace = net.trace(X, Y)
        hidden, output = trace.layers
        print(f"step {step}: cost {trace.cost:.4f}")
        print(f"  hidden neuron  z {hidden.z[0, 0]:8.4f}  a {hidden.a[0, 0]:8.4f}  delta {hidden.delta[0, 0]:8.4f}")
        print(f"  output neuron  z {output.z[0, 0]:8.4f}  a {output.a[0, 0]:8.4f}  delta {output.delta[0, 0]:8.4f}")
        before = net.params.copy()
        net.fit(X, Y, epochs=1, batch_size=1, optimizer=bp.SGD(LEARNING_RATE))
        for name, old, new in zip(("w11", "w12", "b1", "w21", "b2"), before, net.params, strict=True):
            print(f"  {name:4s} {old:8.4f} {new - old:+9.5f} -> {new:8.4f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
