"""The command line: one file a command, what it prints, and its exit codes."""
