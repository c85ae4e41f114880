"""Format parsers, one a file format: what a file is made of, from its header and its end."""

__all__ = ["gguf", "hdf5", "onnx", "pickles", "protobuf", "safetensors", "tensorflow", "tflite", "zips"]
