"""Artifact values: digests, manifests, names, part layouts. Pure: no clock, no chance, no I/O."""

__all__ = ["blocks", "digest", "layout", "manifest", "names", "parts", "safetensors", "tensors", "weights"]
