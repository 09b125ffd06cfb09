"""Mistakes in programs with networks: each marked line is one, and type checkers say so of no other line.

`E` marks what both mypy and pyright find, `E: mypy` and `E: pyright` what only one of them does.
"""

import io

import numpy as np

import fastbp as bp
from fastbp.plotting import ActivationDisplay, DecisionBoundaryDisplay, HistoryDisplay, NetworkDisplay

X, Y = np.zeros((8, 2)), np.zeros((8, 1))
net = bp.Network([2, 3, 1])
history = net.fit(X, Y)

# --- names and arguments of a network ---------------------------------------------------------------------------------
bp.Network([2, 3, 1], "rulu")  # E
bp.Network([2, 3, 1], activation="softmax")  # E
bp.Network([2, 3, 3, 1], ["relu", "tahn"])  # E
bp.Network([2, 3, 1], output="linear")  # E
bp.Network([2, 1], output=[("sigmoid", "1")])  # E
bp.Network([2, 1], output=[("sigmoyd", 1)])  # E
bp.Network([2, 1], loss="mse")  # E
bp.Network([2, 1], initializer="xavier")  # E
bp.Network([2, 1], dtype="float16")  # E
bp.Network([2, 1], dtype=np.int64)  # E
bp.Network([2, "3", 1])  # E
bp.Network("2-3-1")  # E
bp.Network(2, 3, 1)  # E
bp.Network([2, 3, 1], dropout="half")  # E
bp.Network([2, 3, 1], l2_penality=0.1)  # E
bp.Network([2, 3, 1], seed=0.5)  # E

# --- training ---------------------------------------------------------------------------------------------------------
net.fit("rows.csv", Y)  # E
net.fit(None, Y)  # E
net.fit({"x": [1.0]}, Y)  # E
net.fit([["1.0", "2.0"]], Y)  # E
net.fit(X)  # E
net.fit(X, Y, epochs=2.5)  # E
net.fit(X, Y, batchsize=10)  # E
net.fit(X, Y, batch_size="full")  # E
net.fit(X, Y, optimizer="adam")  # E
net.fit(X, Y, optimizer=bp.Adam)  # E
net.fit(X, Y, early_stopping=True)  # E
net.fit(X, Y, validation_data=(X,))  # E
net.fit(X, Y, callbacks=lambda net, history: None)  # E
net.fit(X, Y, callbacks=[lambda net: None])  # E
net.fit(X, Y, callbacks=[lambda net, history: "stop"])  # E
net.fit(X, Y, checkpoint_every="5 minutes")  # E
net.fit(X, Y, n_threads="all")  # E
net.fit(X, Y).predict(X)  # E
net.step(X, Y, optimizer=bp.LBFGS())  # E
bp.fit_many([net, net], X, Y, optimizer=["adam", "sgd"])  # E
bp.fit_many(net, X, Y)  # E
bp.SGD("0.1")  # E
bp.SGD(0.1, momentun=0.9)  # E
bp.Adam(lr=0.1)  # E
bp.Cosine(0.1)(3)  # E


def says_stop(net: bp.Network, history: bp.History) -> str:
    """Return what is not True, False or None."""
    return "stop"


def takes_an_epoch(epoch: int, net: bp.Network, history: bp.History) -> None:
    """Take one argument too many."""


net.fit(X, Y, callbacks=[says_stop])  # E
net.fit(X, Y, callbacks=[takes_an_epoch])  # E

# --- what comes back --------------------------------------------------------------------------------------------------
history["loss"]  # E
history.losses  # E
net.history.losses  # E
history.as_dict().loss  # E
history.loss = [0.1]  # E
history.best_epoch + 1  # E
len(net)  # E
net.weight  # E
net.weights = []  # E
net.predict(X, threads=2)  # E
net.predict_proba(X)  # E
cost, grad, hessian = net.value_and_grad(X, Y)  # E
by_params, by_inputs = net.vjp(X, Y, wrt="all")  # E
net.jvp(X, X, "input")  # E
net.vjp(X, Y, "both").sum()  # E
net.trace(X, Y).layers[0].db_  # E
bp.check_gradient(net, X, Y).passed  # E
bp.finite_difference_gradient(net, X, Y, scheme="backward")  # E

# --- files and other places -------------------------------------------------------------------------------------------
net.save(3)  # E
net.save(io.StringIO())  # E
net.fit(X, Y, metrics=["accuracy"])  # E
net.fit(X, Y, metrics={"accuracy": 0.5})  # E
bp.EarlyStopping(monitor="val_accuracy", mode="more")  # E
bp.load("net.safetensors", custom_classes=bp.Network)  # E
bp.load("net.safetensors", custom_functions=["cube"])  # E
net.to_c("net.c", format="q8")  # E
net.to_c("net.c").points  # E
net.compiled("adam")  # E
net.compiled(bp.LBFGS())  # E
bp.warmup("float16")  # E
bp.set_num_threads("all")  # E
bp.Activation("cube", 3.0, 9.0)  # E
bp.Sgd(0.1)  # E

# --- pictures ---------------------------------------------------------------------------------------------------------
HistoryDisplay.from_history(net)  # E
ActivationDisplay.from_names("relu")  # E
ActivationDisplay.from_names(["rulu"])  # E
DecisionBoundaryDisplay.from_network(net, X, Y, resolution=3)  # E
NetworkDisplay.from_network(net, X, Y, arrows="weight")  # E
HistoryDisplay([1.0]).plot().axes_  # E
history.plot(3)  # E
history.plot().set_titel("loss")  # E
