"""Writes a saved model in the forms that other programs read: Hugging Face's folder, and ONNX; pushes one to a hub."""
