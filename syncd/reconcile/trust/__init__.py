"""Trust: the evidence about a version, and its evaluation before a byte of it becomes visible."""
