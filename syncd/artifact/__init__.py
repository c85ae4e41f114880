"""Digests, manifests, names and part layouts: plain values, no clock, no chance, no I/O."""
