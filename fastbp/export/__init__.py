"""Networks as other libraries have them: ONNX, torch."""
