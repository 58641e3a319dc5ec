"""Export of trained policies to ONNX bundles."""
