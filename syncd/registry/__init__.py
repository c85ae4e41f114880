"""Where versions come from. One file an implementation, what each must do in `base.py`."""
