"""File formats of models: whether a file is what its name says, and whole."""
