"""`Network`: layer sizes, activations, a loss and one flat vector of parameters; trained, saved and exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Literal

from numpy.typing import ArrayLike

from fastbp.export.exported import ExportedModel
from fastbp.model.checks import checked_data
from fastbp.storage.atomic import PathLike
from fastbp.storage.networks import save
from fastbp.storage.streams import Destination
from fastbp.training.early_stopping import EarlyStopping
from fastbp.training.fit import fit
from fastbp.training.history import Callback, History
from fastbp.training.optimizers import Optimizer
from fastbp.training.plan import Plan
from fastbp.training.single_steps import Stepper
from fastbp.training.trained import TrainedModel
from fastbp.training.whole_batch import WholeBatchOptimizer
from fastbp.validation.matrix_like import MatrixLike

__all__ = ["Network"]


class Network(TrainedModel, ExportedModel):
    """A fully connected feed-forward network with its loss.

    Layer by layer ``z = a_prev @ W + b`` and ``a = f(z)``; the cost is the mean over samples of the loss, plus the
    penalties ``l2_penalty / 2 * sum(W**2) + l1_penalty * sum(abs(W))`` on the weights (not on the biases).

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes, inputs first: ``[784, 30, 10]``.
    activation : str, Activation or list
        Activation of the hidden layers: a name, or a list with one entry for each hidden layer.  An entry may itself be
        a list of ``(name, count)`` that covers the layer's neurons.  Names: identity, sigmoid, tanh, relu,
        leaky_relu, elu, softplus, gelu, silu, sine, exp.
    output : str, Activation or list
        Activation of the output layer, softmax included; or a list of ``(name, count)``.
    loss : str or Loss
        quadratic, cross_entropy, absolute, huber, log_cosh, poisson or quantile.
    initializer : str
        glorot_uniform, glorot_normal, he_uniform, he_normal, standard_normal, scaled_normal or zeros.
    dtype : {'float64', 'float32'}
        Type of parameters, inputs and outputs.  Nothing is converted between the two silently.
    seed : int or None
        Seed of the initial parameters; None draws fresh ones.
    l2_penalty, l1_penalty : float
        Cost per squared weight (halved) and per absolute weight.
    dropout : float or list of float
        Share of each hidden layer's neurons that a training step leaves out (inverted dropout); in `fit` only.
    loss_parameter : float, optional
        Of ``loss="huber"`` the error at which the loss turns from a parabola into a line, by default 1; of
        ``loss="quantile"`` the quantile in (0, 1), by default 0.5, the median.  Other losses have none.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value; the message says what is allowed.
    MemoryError
        If the parameters do not fit into the memory that is available.

    Warns
    -----
    UserWarning
        If the output is a softmax of a single neuron, which is always 1.

    Notes
    -----
    One training at a time: while `fit`, `find_learning_rate` or `random_weight_search` work on a network, another of
    them and `step` raise RuntimeError, in whatever thread, callback or signal handler.  All else may be done meanwhile:
    predictions, gradients, files, copies, writing to `params`; in a callback between two epochs, from where a copy goes
    on, in another thread perhaps within a step.  A call's arrays may be written to, but a mapped file not cut short.

    References
    ----------
    Rumelhart, Hinton & Williams, "Learning representations by back-propagating errors", Nature 323 (1986).

    Examples
    --------
    >>> import fastbp as bp
    >>> net = bp.Network([2, 3, 1], activation="tanh", seed=0)
    >>> net.n_params, net.weights[0].shape
    (13, (2, 3))
    >>> net.predict([[0.5, -1.0]]).shape
    (1, 1)
    """

    _made_by_views: ClassVar[tuple[str, ...]] = ("_stepper",)

    def _make_views(self) -> None:
        """Make what depends on where the parameters lie in memory."""
        super()._make_views()
        self._stepper: Stepper | None = None

    # --- training -----------------------------------------------------------------------------------------------------

    def fit(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        epochs: int = 30,
        batch_size: int | Literal["auto"] | None = "auto",
        optimizer: Optimizer | WholeBatchOptimizer | None = None,
        *,
        shuffle: bool = True,
        seed: int | None = None,
        validation_data: tuple[MatrixLike, ArrayLike] | tuple[MatrixLike, ArrayLike, ArrayLike] | None = None,
        sample_weight: ArrayLike | None = None,
        early_stopping: EarlyStopping | None = None,
        tol: float | None = None,
        clip_norm: float | None = None,
        callbacks: Sequence[Callback] = (),
        progress: bool = False,
        n_threads: int | None = None,
        checkpoint: PathLike | None = None,
        checkpoint_every: int | timedelta = 1,
        resume: bool = False,
        metrics: Mapping[str, str | Callable[..., Any]] | None = None,
    ) -> History:
        """Train a network by mini-batch gradient descent, or by an optimizer that looks at all rows in every step.

        Parameters
        ----------
        X : {array_like, sparse matrix}, shape (n, n_features)
            Inputs, of the network's dtype; integers, booleans, lists, and data frames of pandas and polars are
            converted. The names of a frame's columns, if all are str, become `net.feature_names`: later frames must
            have the same columns in the same order.  Copies, pickles, checkpoints and the files of `save` keep them.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        epochs : int
            Passes over the data.
        batch_size : int, None or 'auto'
            Rows of a mini-batch: 1 is online learning, None the full batch, 'auto' the smaller of 32 and n.
        optimizer : Optimizer or WholeBatchOptimizer, optional
            The rule of a step.  None or the same object goes on from the last fit; the first fit uses ``Adam()``, and a
            new object starts afresh.  A learning rate schedule begins with its step 0 in every fit, also where the
            optimizer goes on, and also one with `n_steps`; only `resume` goes on within it.  A `WholeBatchOptimizer`
            begins afresh in each fit, which has to name it: all rows at once, without `tol`, `clip_norm` and dropout.
        shuffle : bool
            Whether each epoch takes the rows in a new random order.
        seed : int, optional
            Seed of that order and of dropout.  None goes on with the random numbers of the last fit, if there was one.
            The same seed gives the same bits on any number of threads.
        validation_data : tuple, optional
            ``(X_val, Y_val)`` or ``(X_val, Y_val, sample_weight_val)``, whose cost is recorded after each epoch.
        sample_weight : array_like, shape (n,), optional
            How often each row counts.  The gradient of a mini-batch is the sum of the weighted gradients of its rows
            over (its number of rows times the mean weight of all n rows), so that on average a step follows the
            gradient of ``loss_value(X, Y, sample_weight)``, whatever the size of the mini-batches.
        early_stopping : EarlyStopping, optional
            When to stop by the validation loss or by a metric.
        tol : float, optional
            Stop when the Euclidean norm of the gradient over all data is not above this.  Full-batch training looks at
            it before each step, mini-batch training after each epoch at the price of one more gradient.
        clip_norm : float, optional
            Scale a gradient whose Euclidean norm is larger than this down to it.
        callbacks : sequence of callable
            Each is called as ``callback(net, history)`` after every epoch; one that returns True, Python's or NumPy's,
            ends the training when all were called.  False and None go on; anything else is a TypeError.
        progress : bool
            Show a progress bar on standard error, where that is a terminal or a notebook.
        n_threads : int, optional
            Threads to use; by default as many as the process may.
        checkpoint : str or os.PathLike, optional
            A file to write all of the fit's state to, now and then, at its end and when an exception such as Ctrl-C
            ends it; what was there is replaced.  It is written whole or not at all.
        checkpoint_every : int or datetime.timedelta
            How often: a number of epochs, or a time, after which the step at hand is finished first.
        resume : bool
            Go on from `checkpoint`, if there is such a file; a fresh fit otherwise.  The run ends with the same bits as
            one that was never interrupted, so network, data and arguments must be those of the checkpoint's fit; others
            are refused by name.  Of the data all rows are compared, by a digest that takes about 1 ms a megabyte once a
            fit, of a schedule of your own its learning rates.  Only `epochs` may be another, unless a schedule spans
            them; `optimizer` may be left out, unless its schedule is your own.

        metrics : dict of str to str or callable, optional
            What else to record after each epoch, by names of your own: ``{"accuracy": "accuracy"}``.  Of validation
            data, if there are any: ``history.metrics["val_accuracy"]``; else of all rows that are trained on, with the
            parameters after the epoch: ``history.metrics["accuracy"]``.  Each is one of these, see the notes:

            - the name of one of scikit-learn's scorers, such as ``"neg_log_loss"``;
            - a scorer, called as ``scorer(estimator, X, y)``, such as those of ``sklearn.metrics.make_scorer``;
            - a function, called as ``f(Y_true, Y_pred)``.

        Returns
        -------
        History
            Loss, validation loss, learning rate, metrics and time of each epoch, and why training ended.  It is
            `net.history` as well, also while the fit runs and when an exception ends it.

        Raises
        ------
        TypeError, ValueError, OSError, RuntimeError
            For a wrong argument, or while the network is trained already; it is unchanged.  A TypeError also where a
            callback returns neither a bool nor None or a metric no number, a RuntimeError where a metric raises an
            exception, with the network as it is after the epoch, and an OSError where a checkpoint cannot be written,
            for instance on a full disk: the one before it is whole, and the network is that of the last finished step.
        FileError
            If a checkpoint to resume from is damaged; the network is unchanged.
        TrainingDivergedError
            If the loss becomes NaN or infinite; the network has the parameters from before that epoch.

        Notes
        -----
        Ctrl-C ends a fit between two steps: the network has the parameters after the last finished step, `net.history`
        the finished epochs, and another fit goes on from there.  It is obeyed within the time of some blocks of at most
        1024 rows; a step of one block is always finished.

        Short epochs are trained together, some 50 ms at a time, with the same numbers, unless something is to happen
        after each: validation, metrics, a callback, a checkpoint, `tol` with mini-batches, a schedule of one's own.

        A function in `metrics` gets the targets and what `predict` returns, in the network's dtype: both of shape (n,)
        for one output, else both (n, n_outputs); integer labels stay (n,).  The same outputs are there for all metrics
        and cannot be written to.

        A scorer gets an estimator, which is a classifier where outputs are probabilities (softmax or sigmoid) and
        targets are labels or nothing but 0 and 1.  Then `y` is the labels: of one output 0 and 1, predicted above 1/2;
        of several the place of the single 1 in each row and of the largest output; or 0 and 1 (n, n_outputs), where
        rows have other than one 1.  `predict_proba` is the outputs; those of several sigmoids, of classes that exclude
        each other, are divided by their sum.  Else it is a regressor, whose `predict` is the outputs.

        Weights of the rows are passed as `sample_weight` to functions and scorers that take it.  A value may be NaN.

        Examples
        --------
        >>> import fastbp as bp
        >>> net = bp.Network([2, 8, 1], activation="tanh", output="sigmoid", loss="cross_entropy", seed=0)
        >>> X, Y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]
        >>> history = net.fit(X, Y, epochs=500, optimizer=bp.Adam(0.05), seed=0)
        >>> net.predict(X).round().ravel()
        array([0., 1., 1., 0.])
        >>> history = net.fit(X, Y, epochs=5, metrics={"accuracy": "accuracy", "largest": lambda Y, P: P.max()})
        >>> history.metrics["accuracy"]
        array([1., 1., 1., 1., 1.])
        """
        data = checked_data(self, X, Y, sample_weight)
        plan = Plan(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            shuffle=shuffle,
            seed=seed,
            validation_data=validation_data,
            early_stopping=early_stopping,
            tol=tol,
            clip_norm=clip_norm,  # type: ignore[arg-type] # what it takes becomes what it means there
            callbacks=callbacks,
            progress=progress,
            n_threads=n_threads,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,  # type: ignore[arg-type]
            resume=resume,
            metrics=metrics,
        )
        return fit(self, X, data, plan)

    def step(
        self,
        X: MatrixLike,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        optimizer: Optimizer | None = None,
        clip_norm: float | None = None,
        n_threads: int | None = None,
    ) -> float:
        """Take one step on all of the given rows and return the cost before it.

        It is the step of ``fit(X, Y, epochs=1, batch_size=None)``, with the same numbers to the bit; `net.history`
        stays as it is.  `fit` and `step` may take turns: each goes on where the other was.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (n, n_features)
            Inputs, of the network's dtype; integers and lists are converted.  Arrays are quicker, and quickest those of
            shapes and dtypes that the last steps had.
        Y : array_like, shape (n, n_outputs)
            Targets; for softmax with cross-entropy also integer labels (n,).
        sample_weight : array_like, shape (n,), optional
            How often each row counts; only their ratios matter.
        optimizer : Optimizer, optional
            The rule of the step.  None or the same object goes on from the last step or fit; the first step uses
            ``Adam()``, and a new object starts afresh, so make it once, before the loop.  Its learning rate may follow
            a schedule that does not depend on the number of all steps; it is asked for that of the steps taken.
        clip_norm : float, optional
            Scale a gradient whose Euclidean norm is larger than this down to it.
        n_threads : int, optional
            Threads to use; by default as many as the process may.

        Returns
        -------
        float
            The cost of the rows before the step, penalties included.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            For a wrong argument, also a schedule that spans a whole fit, or during a fit; the network is unchanged.
        TrainingDivergedError
            If the cost is NaN or infinite, or a parameter would be; the network has the parameters from before the
            step, and the optimizer's state was reset.

        Notes
        -----
        Dropout draws from the random numbers of the last fit; ``net.fit(X, Y, epochs=0, seed=0)`` seeds them.  Threads
        that step one network at once mix their steps and may lose some; so may a fit that begins during a step.

        Examples
        --------
        >>> import numpy as np, fastbp as bp
        >>> rng = np.random.default_rng(0)
        >>> net, optimizer = bp.Network([3, 8, 1], activation="tanh", seed=0), bp.Adam(0.01)
        >>> for _ in range(1000):  # rows as they come
        ...     X = rng.normal(size=(4, 3))
        ...     cost = net.step(X, X[:, :1] * X[:, 1:2], optimizer=optimizer)
        >>> cost < 0.1
        True
        """
        if self._stepper is None:
            self._stepper = Stepper(self)
        return self._stepper.step(X, Y, sample_weight, optimizer, clip_norm, n_threads)

    # --- files --------------------------------------------------------------------------------------------------------

    def save(self, path: Destination) -> None:
        """Write the network to a file, whole or not at all, or to a file object; `load` reads it.

        Of a subclass the file has the name: ``load(path, custom_classes=[Mine])`` makes one of that class again,
        without what it added, and ``load(path)`` a `Network`.

        Parameters
        ----------
        path : str, os.PathLike or binary file object
            The file; by convention its name ends in ``.safetensors``.  One that exists is replaced.  To a file object,
            such as an `io.BytesIO` or a member of a zip file, the same bytes are written from where it stands on.

        Raises
        ------
        TypeError, ValueError, OSError
            As `fastbp.storage.networks.save`, which says more.

        Examples
        --------
        >>> import os, tempfile, fastbp as bp
        >>> net = bp.Network([2, 3, 1], seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "net.safetensors"))
        ...     bp.load(os.path.join(folder, "net.safetensors"))
        <Network 2-3-1, loss quadratic, 13 parameters, float64>
        """
        save(self, path, None if type(self) is Network else type(self).__name__)
