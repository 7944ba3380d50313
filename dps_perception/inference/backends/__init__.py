"""What runs the networks: PyTorch, ONNX Runtime, OpenVINO and TensorRT behind one interface (`base.Backend`)."""
