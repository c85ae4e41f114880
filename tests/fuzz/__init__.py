"""Fuzzing of every parser of bytes from outside. See `targets` for what is run, and `__main__` for the long form."""
