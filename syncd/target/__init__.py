"""Places that must hold whole versions. What each must do in `base.py`."""
