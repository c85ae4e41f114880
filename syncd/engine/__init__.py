"""Carries steps to workers. What an engine must do in `base.py`; the rest of syncd knows nothing else of it."""
