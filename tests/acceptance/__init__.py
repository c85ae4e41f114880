"""The installed command as a process, against a local cloud in another."""
