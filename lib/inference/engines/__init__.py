"""What computes a saved classifier's probabilities: torch, or ONNX Runtime."""
