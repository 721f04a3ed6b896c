"""Networks in ONNX files: reading them with care, and running them in PyTorch so that gradients reach the photo."""
