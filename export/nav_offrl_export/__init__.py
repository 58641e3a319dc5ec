"""From trained torch modules to a checked ONNX bundle."""
