"""Bytes under keys. One file an implementation, what each must do in `base.py`."""
