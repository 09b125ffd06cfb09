"""ONNX Runtime, which predicts by a model that fastbp wrote."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

from bench.peers import FastBP, Peer
from bench.shapes import Array, Shape


class OnnxRuntime(Peer):
    """`InferenceSession.run`."""

    name, module = "onnxruntime", "onnxruntime"

    @classmethod
    def available(cls) -> str | None:
        missing = [module for module in (cls.module, "onnx") if not importlib.util.find_spec(module)]
        return f"{' and '.join(missing)} not installed" if missing else None

    def prepare(self, shape: Shape) -> None:
        import onnxruntime

        self.shape = shape
        source = FastBP(self.n_threads)
        source.prepare(shape)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.n_threads
        options.log_severity_level = 3  # it warns where it may not pin its threads
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.onnx"
            source.net.to_onnx(path)
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def restart(self) -> None:
        """Nothing to do."""

    def predict(self, X: Array) -> Array:
        return self.session.run(None, {self.input: X})[0]


PEERS: dict[str, type[Peer]] = {OnnxRuntime.name: OnnxRuntime}
