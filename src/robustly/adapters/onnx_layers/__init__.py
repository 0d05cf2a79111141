"""ONNX operators as torch layers, a file a kind of operator."""
