"""What serves a version. One file an implementation, what each must do in `base.py`."""
