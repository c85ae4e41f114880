"""Command line: one file a command in `commands/`, what is printed in `output/`, exit codes in `exit_codes.py`."""

__all__ = [
    "commands",
    "demo",
    "execute",
    "exit_codes",
    "main",
    "output",
    "remote",
    "session",
    "upload",
]
