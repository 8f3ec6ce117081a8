"""CPU devices: ONNX Runtime, one operator at a time, serial or parallel."""
